;; Imports a memory and a global.
(module
  (import "env" "memory" (memory 1))
  (import "env" "base" (global i32))
  (export "memory" (memory 0))
  (func (export "weir_abi_1") (result i64) (i64.const 0))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param i32 i64 i64 i32 i32) (result i32) (i32.const 0)))
