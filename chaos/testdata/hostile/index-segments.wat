;; Names a table and a function that are not there in element and data segments.
;; rows: T-088
;; wat2wasm: --no-check
;; expect: load-refused "no table 0"
(module
  (memory (export "memory") 1)
  (elem (table 0) (i32.const 0) func 9)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
