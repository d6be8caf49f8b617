;; Adds response headers to a handshake for ever.
;; rows: T-078
;; provoke: upgrade
;; expect: stopped timeout|fuel
(module
  (import "weir_1" "upgrade_respond_header" (func $respond (param i32 i32 i32 i32) (result i32)))
  (import "weir_1" "upgrade_header" (func $header (param i32 i32 i32 i32) (result i32)))
  (import "weir_1" "upgrade_uri" (func $uri (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-header")
  (func (export "weir_abi_1") (result i64) (i64.const 0x2))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (loop $for
      (drop (call $respond (i32.const 0) (i32.const 8) (i32.const 8) (i32.const 2000)))
      (drop (call $header (i32.const 0) (i32.const 4) (i32.const 3000) (i32.const 2000)))
      (drop (call $uri (i32.const 3000) (i32.const 2000)))
      (br $for))
    (i32.const 0)))
