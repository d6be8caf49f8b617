;; Fills a mebibyte with random bytes, again and again, through WASI and a table.
;; rows: T-078
;; expect: stopped timeout|fuel
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 18)
  (type $two (func (param i32 i32) (result i32)))
  (table 1 funcref)
  (elem (i32.const 0) $random)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (loop $ever
      (drop (call_indirect (type $two) (i32.const 65536) (i32.const 0x100000) (i32.const 0)))
      (br $ever))
    (i32.const 0)))
