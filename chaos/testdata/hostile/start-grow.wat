;; Takes all the memory that it gets in its start section, and writes to every page of it. That is its right, up to
;; the limit.
;; rows: T-075
;; expect: served "ok"
;; memory: 1MiB
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func $start
    (local $at i32)
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (if (i32.gt_u (memory.size) (i32.const 16)) (then unreachable))
    (loop $touch
      (i32.store (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $touch (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
    (i32.store16 (i32.const 0) (i32.const 0x6b6f)) ;; "ok"
  )
  (start $start)
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))
