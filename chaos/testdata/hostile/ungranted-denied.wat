;; Calls the functions of every capability without having been granted any, where the operator lets it load all the same:
;; each answers "denied".
;; rows: T-086
;; ungranted: deny
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "topic_join" (func $join (param i64 i32 i32) (result i32)))
  (import "weir_1" "topic_leave" (func $leave (param i64 i32 i32) (result i32)))
  (import "weir_1" "topic_count" (func $members (param i32 i32) (result i32)))
  (import "weir_1" "topic_publish" (func $publish (param i32 i32 i32 i32 i32 i64) (result i32)))
  (import "weir_1" "timer_set" (func $timer (param i64 i64 i64 i64) (result i32)))
  (import "weir_1" "timer_cancel" (func $cancel (param i64 i64) (result i32)))
  (import "weir_1" "metric_add" (func $metric (param i32 i32 i64) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func $denied (param $status i32)
    (if (i32.ne (local.get $status) (i32.const -5)) (then unreachable)))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (call $denied (call $join (local.get $conn) (i32.const 0) (i32.const 2)))
    (call $denied (call $leave (local.get $conn) (i32.const 0) (i32.const 2)))
    (call $denied (call $members (i32.const 0) (i32.const 2)))
    (call $denied (call $publish (i32.const 0) (i32.const 2) (i32.const 1) (i32.const 0) (i32.const 2) (i64.const 0)))
    (call $denied (call $timer (i64.const 0) (i64.const 1) (i64.const 10) (i64.const 10)))
    (call $denied (call $cancel (i64.const 0) (i64.const 1)))
    (call $denied (call $metric (i32.const 0) (i32.const 2) (i64.const 1)))
    (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))
