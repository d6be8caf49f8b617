;; Exits with code 0 on a message: only its instance may end.
;; rows: T-081
;; expect: stopped exit
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (call $exit (i32.const 0))
    (i32.const 0)))
