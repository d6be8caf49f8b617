;; Grows its memory for each message and returns room in the new part, so that the memory moves under the host.
;; rows: T-079
;; memory: 2MiB
;; warm: 20
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32)
    (drop (memory.grow (i32.const 1)))
    (i32.mul (i32.sub (memory.size) (i32.const 1)) (i32.const 65536)))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (if (i32.ne (i32.load8_u (local.get $ptr)) (i32.const 0x78)) (then unreachable)) ;; "x"
    (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))
