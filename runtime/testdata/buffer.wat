;; Answers weir_inbound badly, in a way that the size picks; four and sixteen bytes are served.
(module
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x18))
  (func (export "weir_inbound") (param $size i32) (result i32)
    (if (i32.eq (local.get $size) (i32.const 1)) (then (return (i32.const 0))))       ;; nothing
    (if (i32.eq (local.get $size) (i32.const 2)) (then (return (i32.const 65535))))   ;; half outside
    (if (i32.eq (local.get $size) (i32.const 3)) (then (return (i32.const -1))))      ;; far outside
    (if (i32.eq (local.get $size) (i32.const 5)) (then (return (i32.const 65536))))   ;; just outside
    (if (i32.eq (local.get $size) (i32.const 6)) (then unreachable))
    (if (i32.eq (local.get $size) (i32.const 4)) (then (return (i32.const 65532))))   ;; the last bytes
    (i32.const 1024))
  ;; Answers with the first payload byte and where it lies.
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (if (i32.eqz (local.get $len)) (then (return (local.get $ptr))))
    (i32.or (i32.load8_u (local.get $ptr)) (i32.shl (local.get $ptr) (i32.const 8)))))
