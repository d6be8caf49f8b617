;; Sends ten messages, sets its state and closes politely before it loops for ever: none of it may take hold.
;; rows: T-072
;; expect: stopped timeout|fuel
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "conn_close" (func $shut (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $n i32)
    (loop $ten
      (drop (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2)))
      (br_if $ten (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10))))
    (drop (call $shut (local.get $conn) (i32.const 1000) (i32.const 0) (i32.const 2)))
    (loop $for (br $for))
    (i32.const 0)))
