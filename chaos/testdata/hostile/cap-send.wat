;; Sends until it is told that it was enough: after at most a thousand messages. Those are delivered.
;; rows: T-078
;; expect: served "ok"
;; log: too many
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (data (i32.const 8) "too many")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $status i32)
    (loop $more (br_if $more (i32.eqz (local.tee $status
      (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))))
    (if (i32.ne (local.get $status) (i32.const -9)) (then unreachable))
    (drop (call $log (i32.const 1) (i32.const 8) (i32.const 8)))
    (i32.const 0)))
