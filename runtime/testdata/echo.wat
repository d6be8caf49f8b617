;; Sends every message back to its connection, and rolls back if that fails.
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "weir_abi_1") (result i64) (i64.const 0x18))
  ;; One page is the buffer; it refuses more.
  (func (export "weir_inbound") (param $size i32) (result i32)
    (select (i32.const 65536) (i32.const 0) (i32.le_u (local.get $size) (i32.const 65536))))
  ;; Events 3 and 4 are the kinds 1 and 2.
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (call $send (local.get $conn) (i32.sub (local.get $event) (i32.const 2)) (local.get $ptr) (local.get $len))))
