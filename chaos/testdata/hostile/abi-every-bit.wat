;; Says that it handles every event that there is and 54 that there are not.
;; rows: T-086
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const -1))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (if (i32.gt_u (local.get $event) (i32.const 9)) (then unreachable))
    (if (i32.ne (local.get $event) (i32.const 3)) (then (return (i32.const 0))))
    (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))
