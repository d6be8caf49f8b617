;; Adds to a metric of another name each time for ever.
;; rows: T-078
;; grant: metrics
;; expect: stopped timeout|fuel
(module
  (import "weir_1" "metric_add" (func $metric (param i32 i32 i64) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (loop $for
      (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
      (drop (call $metric (i32.const 0) (i32.const 64) (i64.const 0x7fffffffffffffff)))
      (br $for))
    (i32.const 0)))
