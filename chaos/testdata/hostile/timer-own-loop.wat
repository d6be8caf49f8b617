;; Its own timer of 1 ms loops for ever each time, and no client is needed for that.
;; rows: T-072 T-090
;; grant: timers
;; alone: yes
;; provoke: open
;; expect: served
;; log-reason: timeout|fuel
(module
  (import "weir_1" "timer_set" (func $timer (param i64 i64 i64 i64) (result i32)))
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x41))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (if (i32.eqz (local.get $event)) (then
      (return (call $timer (i64.const 0) (i64.const 1) (i64.const 1) (i64.const 1)))))
    (loop $for (br $for))
    (i32.const 0)))
