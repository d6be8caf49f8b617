;; Exports a global under the name that the meter gives its own.
;; rows: T-088
;; expect: load-refused "weir_meter_fuel.*reserved"
(module
  (memory (export "memory") 1)
  (global (export "weir_meter_fuel") (mut i64) (i64.const 0x7fffffffffffffff))
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
