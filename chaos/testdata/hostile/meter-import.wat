;; Imports the meter's own function, to refill itself.
;; rows: T-088
;; expect: load-refused "weir_meter.*reserved"
(module
  (import "weir_meter" "refill" (func $refill (param i32 i64) (result i64)))
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
