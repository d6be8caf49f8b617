;; Sets a timer when a connection opens, and loops for ever when it is due.
;; rows: T-072
;; grant: timers
;; provoke: open
;; expect: stopped timeout|fuel
(module
  (import "weir_1" "timer_set" (func $timer (param i64 i64 i64 i64) (result i32)))
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x44))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (if (i32.eq (local.get $event) (i32.const 2))
      (then (return (call $timer (local.get $conn) (i64.const 1) (i64.const 10) (i64.const 0)))))
    (loop $for (br $for))
    (i32.const 0)))
