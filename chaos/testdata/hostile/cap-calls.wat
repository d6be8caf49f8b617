;; Counts how many host calls of one event are answered: not more than 10,000 and some.
;; rows: T-078
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "abi_has" (func $has (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $n i32)
    (drop (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2)))
    (loop $more
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (if (i32.gt_u (local.get $n) (i32.const 20000)) (then unreachable))
      (br_if $more (i32.ne (call $has (i32.const 0) (i32.const 2)) (i32.const -9))))
    (i32.const 0)))
