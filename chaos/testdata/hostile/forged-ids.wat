;; Tries connection ids that it was not given: its own with one bit changed, and all small slots and generations.
;; Each answer must be "unknown connection".
;; rows: T-083
;; grant: topics timers
;; times: 1
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "conn_close" (func $shut (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "conn_attr" (func $attr (param i64 i32 i32 i32 i32) (result i32)))
  (import "weir_1" "conn_state_get" (func $get (param i64 i32 i32) (result i32)))
  (import "weir_1" "conn_state_set" (func $set (param i64 i32 i32) (result i32)))
  (import "weir_1" "conn_queued" (func $queued (param i64) (result i64)))
  (import "weir_1" "topic_join" (func $join (param i64 i32 i32) (result i32)))
  (import "weir_1" "timer_set" (func $timer (param i64 i64 i64 i64) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (data (i32.const 8) "path")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func $unknown (param $status i32)
    (if (i32.ne (local.get $status) (i32.const -1)) (then unreachable)))
  (func $all (param $id i64)
    (call $unknown (call $send (local.get $id) (i32.const 1) (i32.const 0) (i32.const 2)))
    (call $unknown (call $shut (local.get $id) (i32.const 1000) (i32.const 0) (i32.const 2)))
    (call $unknown (call $attr (local.get $id) (i32.const 8) (i32.const 4) (i32.const 64) (i32.const 64)))
    (call $unknown (call $get (local.get $id) (i32.const 64) (i32.const 64)))
    (call $unknown (call $set (local.get $id) (i32.const 0) (i32.const 2)))
    (call $unknown (i32.wrap_i64 (call $queued (local.get $id))))
    (call $unknown (call $join (local.get $id) (i32.const 0) (i32.const 2)))
    (if (i64.ne (local.get $id) (i64.const 0)) (then ;; 0 is the module itself
      (call $unknown (call $timer (local.get $id) (i64.const 1) (i64.const 1000) (i64.const 0))))))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $bit i64) (local $slot i64) (local $use i64) (local $id i64)
    (loop $bits
      (call $all (i64.xor (local.get $conn) (i64.shl (i64.const 1) (local.get $bit))))
      (br_if $bits (i64.lt_u (local.tee $bit (i64.add (local.get $bit) (i64.const 1))) (i64.const 64))))
    (call $all (i64.const -1))
    (loop $slots
      (local.set $use (i64.const 0))
      (loop $uses
        (local.set $id (i64.or (i64.shl (local.get $use) (i64.const 32)) (local.get $slot)))
        (if (i64.ne (local.get $id) (local.get $conn)) (then
          (call $unknown (call $send (local.get $id) (i32.const 1) (i32.const 0) (i32.const 2)))
          (call $unknown (call $shut (local.get $id) (i32.const 1000) (i32.const 0) (i32.const 2)))))
        (br_if $uses (i64.lt_u (local.tee $use (i64.add (local.get $use) (i64.const 1))) (i64.const 60))))
      (br_if $slots (i64.lt_u (local.tee $slot (i64.add (local.get $slot) (i64.const 1))) (i64.const 64))))
    (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))
