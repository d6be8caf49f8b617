;; Sends as text what is not UTF-8, a kind that there is not, an empty message, and closes with codes and reasons that are not allowed.
;; rows: T-079
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "conn_close" (func $shut (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (data (i32.const 8) "\c0\af")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func $fails (param $status i32)
    (if (i32.ge_s (local.get $status) (i32.const 0)) (then unreachable)))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (call $fails (call $send (local.get $conn) (i32.const 1) (i32.const 8) (i32.const 2)))
    (call $fails (call $send (local.get $conn) (i32.const 3) (i32.const 0) (i32.const 2)))
    (call $fails (call $send (local.get $conn) (i32.const -1) (i32.const 0) (i32.const 2)))
    (call $fails (call $shut (local.get $conn) (i32.const 1005) (i32.const 0) (i32.const 2)))
    (call $fails (call $shut (local.get $conn) (i32.const 0) (i32.const 0) (i32.const 2)))
    (call $fails (call $shut (local.get $conn) (i32.const 65536) (i32.const 0) (i32.const 2)))
    (call $fails (call $shut (local.get $conn) (i32.const 1000) (i32.const 8) (i32.const 2)))
    (call $fails (call $shut (local.get $conn) (i32.const 1000) (i32.const 1024) (i32.const 124)))
    (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))
