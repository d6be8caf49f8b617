;; Returns its own data as room for a message, which then overwrites what it is about to send.
;; rows: T-079
;; expect: served "x"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 4) "secret")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 4))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (call $send (local.get $conn) (i32.const 1) (i32.const 4) (i32.const 1))))
