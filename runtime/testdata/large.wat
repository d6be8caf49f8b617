;; Nothing is wrong but that its memory starts with 600 pages, 37.5 MiB.
(module
  (memory (export "memory") 600)
  (func (export "weir_abi_1") (result i64) (i64.const 0))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param i32 i64 i64 i32 i32) (result i32) (i32.const 0)))
