;; Uses an instruction of threads on a memory of its own.
;; rows: T-088
;; wat2wasm: --enable-threads
;; expect: load-refused "0xfe|thread|atomic"
(module
  (memory (export "memory") 1)
  (func (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
