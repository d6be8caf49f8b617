;; Imports a global, which shows only when it is instantiated.
(module
  (import "env" "base" (global i32))
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param i32 i64 i64 i32 i32) (result i32) (i32.const 0)))
