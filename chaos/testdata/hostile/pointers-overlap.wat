;; Lets the host write where it reads: name and value of an attribute, state over state, its own inbound buffer.
;; rows: T-079
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "conn_attr" (func $attr (param i64 i32 i32 i32 i32) (result i32)))
  (import "weir_1" "conn_state_set" (func $set (param i64 i32 i32) (result i32)))
  (import "weir_1" "conn_state_get" (func $get (param i64 i32 i32) (result i32)))
  (import "weir_1" "random" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (data (i32.const 8) "path")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (drop (call $attr (local.get $conn) (i32.const 8) (i32.const 4) (i32.const 8) (i32.const 64)))
    (drop (call $attr (local.get $conn) (i32.const 8) (i32.const 4) (i32.const 9) (i32.const 64)))
    (drop (call $set (local.get $conn) (i32.const 0) (i32.const 16384)))
    (drop (call $get (local.get $conn) (i32.const 1) (i32.const 16384)))
    (drop (call $random (local.get $ptr) (i32.const 64)))
    (drop (call $get (local.get $conn) (i32.const 0) (i32.const 16384)))
    (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))
