;; Behaves as the low byte of arg says. The rest of arg, shifted down, is a parameter.
(module
  (memory (export "memory") 2)
  (global $sum (mut i32) (i32.const 0))
  (func (export "weir_abi_1") (result i64) (i64.const 0x18))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 65536))
  (func $inner (result i32) unreachable)
  (func $outer (result i32) (i32.add (call $inner) (i32.const 1)))
  (func $deeper (param $n i32) (result i32)
    (i32.add (call $deeper (i32.add (local.get $n) (i32.const 1))) (local.get $n)))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $with i32)
    (local.set $with (i32.wrap_i64 (i64.shr_u (local.get $arg) (i64.const 8))))
    (block $count (block $deep (block $outside (block $zero (block $grow (block $trap (block $answer
      (br_table $answer $trap $grow $zero $outside $deep $count
        (i32.and (i32.wrap_i64 (local.get $arg)) (i32.const 255))))
      (return (local.get $with)))                                          ;; 0: answer with the parameter
      (return (call $outer)))                                              ;; 1: trap two functions down
      (return (memory.grow (local.get $with))))                            ;; 2: grow by that many pages
      (return (i32.div_u (i32.const 1) (i32.const 0))))                    ;; 3: divide by zero
      (return (i32.load (i32.const -4))))                                  ;; 4: read outside memory
      (return (call $deeper (i32.const 0))))                               ;; 5: recurse for ever
    (global.set $sum (i32.add (global.get $sum) (i32.const 1)))            ;; 6: count its own calls
    (global.get $sum)))
