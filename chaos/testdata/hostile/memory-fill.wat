;; Fills all its memory for ever: one instruction writes 16 MiB.
;; rows: T-072
;; expect: stopped timeout|fuel
(module
  (memory (export "memory") 256)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (loop $for
      (memory.fill (i32.const 0) (i32.const 7) (i32.const 0x1000000))
      (br $for))
    (i32.const 0)))
