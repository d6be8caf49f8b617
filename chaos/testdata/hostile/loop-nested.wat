;; Counts to 2^64 in nested loops, none of which is endless, with 64-bit divisions in the innermost.
;; rows: T-072
;; expect: stopped timeout|fuel
(module
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $i i32) (local $j i32) (local $x i64)
    (local.set $x (i64.const 0x123456789abcdef))
    (loop $outer
      (loop $inner
        (local.set $x (i64.rem_u (i64.mul (local.get $x) (local.get $x)) (i64.const 0xfffffffffffffffb)))
        (br_if $inner (local.tee $i (i32.add (local.get $i) (i32.const 1)))))
      (br_if $outer (local.tee $j (i32.add (local.get $j) (i32.const 1)))))
    (i32.wrap_i64 (local.get $x))))
