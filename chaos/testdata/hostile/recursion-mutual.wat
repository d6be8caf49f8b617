;; Two functions call each other for ever through a table.
;; rows: T-074
;; expect: stopped stack
(module
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (type $f (func (param i32) (result i32)))
  (table funcref (elem $even $odd))
  (func $even (type $f) (i32.add (call_indirect (type $f) (i32.const 7) (i32.const 1)) (local.get 0)))
  (func $odd (type $f) (i32.xor (call_indirect (type $f) (i32.const 8) (i32.const 0)) (local.get 0)))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (call $even (i32.const 0))))
