;; Traps in the init event.
;; rows: T-081
;; expect: load-refused "init: .*divide by zero"
(module
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x9))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.div_u (i32.const 1) (i32.const 0))))
