;; Exports functions of the right names and wrong types, and a function where the memory should be: a call that
;; passes five values to a function that takes none reads the host's stack.
;; rows: T-086
;; expect: load-refused "no memory named" "export weir_abi_1 has the type" "export weir_inbound has the type" "export weir_event has the type" "export _initialize has the type"
(module
  (memory 1)
  (func (export "memory"))
  (func (export "weir_abi_1") (result i32) (i32.const 8))
  (func (export "weir_inbound") (param i64) (result i32) (i32.const 1024))
  (func (export "weir_event") (result i32) (i32.const 0))
  (func (export "_initialize") (param i32)))
