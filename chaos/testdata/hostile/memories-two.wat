;; Has two memories, of which the limit would bound the first.
;; rows: T-088
;; wat2wasm: --enable-multi-memory
;; expect: load-refused "2 memories"
(module
  (memory (export "memory") 1)
  (memory 512)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
