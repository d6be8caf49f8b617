;; Writes line ends and a second response into its response headers, and sets headers of the handshake itself.
;; rows: T-081
;; provoke: upgrade
;; expect: http 403
(module
  (import "weir_1" "upgrade_respond_header" (func $respond (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-evil")
  (data (i32.const 32) "x\0d\0aSet-Cookie: a=b\0d\0a\0d\0aHTTP/1.1 200 OK")
  (data (i32.const 64) "connection")
  (func (export "weir_abi_1") (result i64) (i64.const 0x2))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (if (i32.eqz (call $respond (i32.const 0) (i32.const 6) (i32.const 32) (i32.const 20))) (then (return (i32.const 200))))
    (if (i32.eqz (call $respond (i32.const 32) (i32.const 20) (i32.const 0) (i32.const 6))) (then (return (i32.const 200))))
    (if (i32.eqz (call $respond (i32.const 64) (i32.const 10) (i32.const 0) (i32.const 6))) (then (return (i32.const 200))))
    (if (i32.eqz (call $respond (i32.const 64) (i32.const 0) (i32.const 0) (i32.const 6))) (then (return (i32.const 200))))
    (i32.const 403)))
