;; Sets a timer of its own when a connection opens, and fails on a message, which costs the instance. Who finds that timer
;; in its init event loops: no further instance can be made.
;; rows: T-072 T-085
;; grant: timers
;; times: 4
;; expect: closed 1011|1013
(module
  (import "weir_1" "timer_set" (func $timer (param i64 i64 i64 i64) (result i32)))
  (import "weir_1" "timer_cancel" (func $cancel (param i64 i64) (result i32)))
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0xd))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (if (i32.eqz (local.get $event)) (then
      (if (call $cancel (i64.const 0) (i64.const 1)) (then (return (i32.const 0)))) ;; not found
      (loop $for (br $for))))
    (if (i32.eq (local.get $event) (i32.const 2)) (then
      (return (call $timer (i64.const 0) (i64.const 1) (i64.const 3600000) (i64.const 0)))))
    (i32.const 1)))
