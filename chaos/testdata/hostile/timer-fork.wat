;; Each of its timers sets two more of 0 ms: they are bounded for a connection, and end with it.
;; rows: T-090
;; grant: timers
;; provoke: open
;; times: 2
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "timer_set" (func $timer (param i64 i64 i64 i64) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x44))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (global $id (mut i64) (i64.const 0))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (global.set $id (i64.add (global.get $id) (i64.const 2)))
    (drop (call $timer (local.get $conn) (global.get $id) (i64.const 0) (i64.const 0)))
    (drop (call $timer (local.get $conn) (i64.add (global.get $id) (i64.const 1)) (i64.const 0) (i64.const 0)))
    (if (i64.lt_u (global.get $id) (i64.const 400)) (then (return (i32.const 0))))
    (global.set $id (i64.const 0))
    (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))
