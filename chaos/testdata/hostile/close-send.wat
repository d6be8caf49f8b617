;; Sends, closes, joins and sets timers when a connection is gone: all of that is denied, state is not.
;; rows: T-089
;; grant: topics timers
;; provoke: close
;; log: all denied
;; expect: served
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "conn_close" (func $shut (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "topic_join" (func $join (param i64 i32 i32) (result i32)))
  (import "weir_1" "timer_set" (func $timer (param i64 i64 i64 i64) (result i32)))
  (import "weir_1" "conn_state_set" (func $set (param i64 i32 i32) (result i32)))
  (import "weir_1" "log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (data (i32.const 8) "all denied")
  (func (export "weir_abi_1") (result i64) (i64.const 0x20))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func $denied (param $status i32)
    (if (i32.ne (local.get $status) (i32.const -5)) (then unreachable)))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (call $denied (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2)))
    (call $denied (call $shut (local.get $conn) (i32.const 1000) (i32.const 0) (i32.const 2)))
    (call $denied (call $join (local.get $conn) (i32.const 0) (i32.const 2)))
    (call $denied (call $timer (local.get $conn) (i64.const 1) (i64.const 10) (i64.const 10)))
    (if (call $set (local.get $conn) (i32.const 0) (i32.const 2)) (then unreachable))
    (drop (call $log (i32.const 1) (i32.const 8) (i32.const 10)))
    (i32.const 0)))
