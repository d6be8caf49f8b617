;; Takes all the table that it gets in its start section.
;; rows: T-076
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (table $t 1 funcref)
  (func $start
    (loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
    (if (i32.gt_u (table.size $t) (i32.const 65536)) (then unreachable)))
  (start $start)
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))
