;; Has a memory with 64-bit addresses.
;; rows: T-088
;; wat2wasm: --enable-memory64
;; expect: load-refused "memory64|64-bit"
(module
  (memory (export "memory") i64 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
