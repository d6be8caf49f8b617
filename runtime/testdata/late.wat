;; Was built for an ABI that this host does not speak.
(module
  (memory (export "memory") 1)
  (func (export "weir_abi_2") (result i64) (i64.const 0))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param i32 i64 i64 i32 i32) (result i32) (i32.const 0)))
