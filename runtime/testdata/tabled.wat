;; Changes its table in every event, and traps when it is told something.
(module
  (memory (export "memory") 1)
  (table 2 funcref)
  (elem (i32.const 0) $one)
  (func $one (result i32) (i32.const 0))
  (func (export "weir_abi_1") (result i64) (i64.const 0x18))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param i32 i64 i64 i32 i32) (result i32)
    (table.copy (i32.const 1) (i32.const 0) (i32.const 1))
    (if (i32.eqz (local.get 4)) (then (unreachable)))
    (call_indirect (result i32) (i32.const 1))))
