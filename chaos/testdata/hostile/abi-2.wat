;; Was built for ABI 2: an old host must not run it by chance.
;; rows: T-086
;; expect: load-refused "exports weir_abi_2: it was built for another version of the ABI"
(module
  (memory (export "memory") 1)
  (func (export "weir_abi_2") (result i64) (i64.const 8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
