;; Gives host functions the last bytes of its memory, and nothing just behind it, which is right.
;; rows: T-079
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "random" (func $random (param i32 i32) (result i32)))
  (import "weir_1" "conn_state_set" (func $set (param i64 i32 i32) (result i32)))
  (import "weir_1" "conn_state_get" (func $get (param i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (if (call $random (i32.const 65535) (i32.const 1)) (then unreachable))
    (if (call $random (i32.const 65536) (i32.const 0)) (then unreachable))
    (if (call $set (local.get $conn) (i32.const 65534) (i32.const 2)) (then unreachable))
    (if (i32.ne (call $get (local.get $conn) (i32.const 65536) (i32.const 0)) (i32.const 2)) (then unreachable))
    (if (i32.ne (call $get (local.get $conn) (i32.const 65534) (i32.const 2)) (i32.const 2)) (then unreachable))
    (i32.store16 (i32.const 65534) (i32.const 0x6b6f)) ;; "ok"
    (call $send (local.get $conn) (i32.const 1) (i32.const 65534) (i32.const 2))))
