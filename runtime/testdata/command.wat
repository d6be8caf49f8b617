;; Was built as a WASI command: nothing works before _start has run, and _start is never run.
(module
  (memory (export "memory") 1)
  (global $ready (mut i32) (i32.const 0))
  (func (export "_start") (global.set $ready (i32.const 1)))
  (func (export "weir_abi_1") (result i64)
    (if (i32.eqz (global.get $ready)) (then unreachable))
    (i64.const 0))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param i32 i64 i64 i32 i32) (result i32) (i32.const 0)))
