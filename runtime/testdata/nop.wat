;; Handles every event with nothing.
(module
  (memory (export "memory") 2)
  (func (export "weir_abi_1") (result i64) (i64.const 0x3ff))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 65536))
  (func (export "weir_event") (param i32 i64 i64 i32 i32) (result i32) (i32.const 0)))
