;; Starts with 4 GiB of memory.
;; rows: T-069 T-075
;; expect: load-refused "65536 pages"
(module
  (memory (export "memory") 65536)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
