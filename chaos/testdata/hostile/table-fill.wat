;; Fills its table for ever.
;; rows: T-072 T-076
;; expect: stopped timeout|fuel
(module
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (table $t 65536 funcref)
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (loop $for
      (table.fill $t (i32.const 0) (ref.null func) (i32.const 65536))
      (br $for))
    (i32.const 0)))
