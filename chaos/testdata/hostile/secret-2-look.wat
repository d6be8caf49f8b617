;; Looks through 4 MiB of fresh memory for anything that another module has left: all of it must be zero.
;; rows: T-082
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (i32.const 65536))
    (drop (memory.grow (i32.const 63)))
    (loop $next
      (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 0x400000))))
    (drop (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2)))
    (memory.fill (i32.const 65536) (i32.const 0) (i32.const 0x3f0000))
    (i32.const 0)))
