;; Reads attributes, the longest of names among them, for ever.
;; rows: T-078
;; expect: stopped timeout|fuel
(module
  (import "weir_1" "conn_attr" (func $attr (param i64 i32 i32 i32 i32) (result i32)))
  (import "weir_1" "conn_queued" (func $queued (param i64) (result i64)))
  (import "weir_1" "abi_has" (func $has (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (loop $for
      (drop (call $attr (local.get $conn) (i32.const 0) (i32.const 60000) (i32.const 0) (i32.const 60000)))
      (drop (call $queued (local.get $conn)))
      (drop (call $has (i32.const 0) (i32.const 60000)))
      (br $for))
    (i32.const 0)))
