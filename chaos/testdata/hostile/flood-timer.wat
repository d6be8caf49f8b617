;; Sets another timer of 1 ms each time for ever, for its connection and for itself.
;; rows: T-078 T-090
;; grant: timers
;; expect: stopped timeout|fuel
(module
  (import "weir_1" "timer_set" (func $timer (param i64 i64 i64 i64) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x48))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (loop $for
      (local.set $arg (i64.add (local.get $arg) (i64.const 1)))
      (drop (call $timer (local.get $conn) (local.get $arg) (i64.const 1) (i64.const 1)))
      (drop (call $timer (i64.const 0) (local.get $arg) (i64.const 1) (i64.const 1)))
      (br $for))
    (i32.const 0)))
