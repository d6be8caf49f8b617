;; Calls through its table what is null, what has another type, and what is outside.
;; rows: T-081
;; expect: stopped trap
(module
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (table 4 funcref)
  (elem (i32.const 1) $f)
  (func $f)
  (global $n (mut i32) (i32.const 0))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (if (i32.eq (local.get $len) (i32.const 1)) (then (call_indirect (i32.const 0))))
    (if (i32.eq (local.get $len) (i32.const 2)) (then (call_indirect (param i32) (i32.const 1) (i32.const 1))))
    (call_indirect (i32.const 99))
    (i32.const 0)))
