;; Fills 16 MiB with a pattern and fails, so that the host gets that memory back. secret-2-look looks for it.
;; rows: T-082
;; expect: closed 1011
(module
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $at i32)
    (drop (memory.grow (i32.const 255)))
    (loop $next
      (i64.store (local.get $at) (i64.const 0x5ec4e75ec4e75ec4))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 0xfffff8))))
    (i32.const 1)))
