;; Loops for ever on a message, for many clients at once: more than there are workers, and than it has instances.
;; rows: T-072 T-085
;; clients: 32
;; expect: stopped timeout|fuel|busy
(module
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (loop $for (br $for))
    (i32.const 0)))
