;; Works as the low byte of arg says, as long as it is let. The rest of arg, shifted down, is a parameter.
(module
  (import "weir_1" "time_mono_ns" (func $time (result i64)))
  (import "weir_1" "random" (func $random (param i32 i32) (result i32)))
  (import "weir_1" "abi_has" (func $has (param i32 i32) (result i32)))
  (memory (export "memory") 16)
  (table 1 funcref)
  (elem (i32.const 0) $indirectly)
  (type $unary (func (param i32) (result i32)))
  (func (export "weir_abi_1") (result i64) (i64.const 0xff))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 65536))
  (func $fib (param $n i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else (i32.add
        (call $fib (i32.sub (local.get $n) (i32.const 1)))
        (call $fib (i32.sub (local.get $n) (i32.const 2)))))))
  (func $deeper (param $n i32) (result i32)
    (i32.add (call $deeper (i32.add (local.get $n) (i32.const 1))) (local.get $n)))
  (func $indirectly (type $unary)
    (i32.add (call_indirect (type $unary) (i32.add (local.get 0) (i32.const 1)) (i32.const 0)) (local.get 0)))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $with i32) (local $last i32)
    (local.set $with (i32.wrap_i64 (i64.shr_u (local.get $arg) (i64.const 8))))
    (block $asked (block $counts (block $randoms (block $times (block $indirect (block $deep (block $fill (block $fib (block $loop (block $answer
      (br_table $answer $loop $fib $fill $deep $indirect $times $randoms $counts $asked
        (i32.and (i32.wrap_i64 (local.get $arg)) (i32.const 255))))
      (return (local.get $with)))                                          ;; 0: answer with the parameter
      (loop $ever (br $ever)))                                             ;; 1: loop for ever
      (return (call $fib (i32.const 60))))                                 ;; 2: recurse without a loop, for hours
      (loop $ever                                                          ;; 3: fill the whole memory again and again
        (memory.fill (i32.const 0) (i32.const 7) (i32.const 1048576))
        (br $ever)))
      (return (call $deeper (i32.const 0))))                               ;; 4: recurse for ever
      (return (call $indirectly (i32.const 0))))                           ;; 5: the same through the table
      (loop $ever (drop (call $time)) (br $ever)))                         ;; 6: call a cheap host function for ever
      (loop $ever (drop (call $random (i32.const 0) (i32.const 1048576))) (br $ever))) ;; 7: and a dear one
      (loop $down                                                          ;; 8: count down from the parameter
        (local.set $with (i32.sub (local.get $with) (i32.const 1)))
        (br_if $down (i32.gt_s (local.get $with) (i32.const 0))))
      (return (i32.const 0)))
    (loop $down                                                            ;; 9: call that often, answer with the last result
      (local.set $last (call $has (i32.const 0) (i32.const 0)))
      (local.set $with (i32.sub (local.get $with) (i32.const 1)))
      (br_if $down (i32.gt_s (local.get $with) (i32.const 0))))
    (local.get $last)))
