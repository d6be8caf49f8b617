;; Replaces its connection's state by 16 KiB and by nothing for ever.
;; rows: T-078
;; expect: stopped timeout|fuel
(module
  (import "weir_1" "conn_state_set" (func $set (param i64 i32 i32) (result i32)))
  (import "weir_1" "conn_state_get" (func $get (param i64 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (loop $for
      (drop (call $set (local.get $conn) (i32.const 0) (i32.const 16384)))
      (drop (call $get (local.get $conn) (i32.const 32768) (i32.const 16384)))
      (drop (call $set (local.get $conn) (i32.const 0) (i32.const 0)))
      (br $for))
    (i32.const 0)))
