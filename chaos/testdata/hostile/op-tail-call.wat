;; Calls itself in tail position for ever, which would neither end nor grow a stack.
;; rows: T-088
;; wat2wasm: --enable-tail-call
;; expect: load-refused "0x12|tail"
(module
  (memory (export "memory") 1)
  (func $again (return_call $again))
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
