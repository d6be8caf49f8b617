;; Imports a memory, to share it with whoever else does.
;; rows: T-086
;; expect: load-refused "imports the memory .*only functions can be imported"
(module
  (import "env" "shared" (memory 1))
  (export "memory" (memory 0))
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
