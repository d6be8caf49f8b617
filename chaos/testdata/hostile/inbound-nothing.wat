;; Refuses room for a message by returning 0.
;; rows: T-079
;; expect: stopped abi
(module
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 0))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
