;; Closes its connection for ever, with every code.
;; rows: T-078
;; expect: stopped timeout|fuel
(module
  (import "weir_1" "conn_close" (func $shut (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (loop $for
      (drop (call $shut (local.get $conn) (local.tee $len (i32.add (local.get $len) (i32.const 1))) (i32.const 0) (i32.const 2)))
      (br $for))
    (i32.const 0)))
