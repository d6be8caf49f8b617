;; What `weir dev` serves in place of a module that does not build or load yet: it
;; answers every upgrade with 503.
(module
  (memory (export "memory") 1 1)
  (func (export "weir_abi_1") (result i64) (i64.const 2)) ;; event 1, upgrade, and no other
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 0))
  (func (export "weir_event") (param i32 i64 i64 i32 i32) (result i32) (i32.const 503)))
