;; Everything that can be wrong with imports and exports, at once.
(module
  (import "weir_1" "conn_send" (func (param i32) (result i32)))
  (import "weir_1" "conn_teleport" (func))
  (import "weir_2" "conn_send" (func (param i64 i32 i32 i32) (result i32)))
  (import "env" "abort" (func (param i32 i32 i32 i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_teleport" (func (result i32)))
  (memory 1000)
  (export "mem" (memory 0))
  (func (export "_initialize") (param i32))
  (func (export "weir_abi_1") (result i32) (i32.const 0))
  (func (export "weir_inbound") (param i64) (result i32) (i32.const 0)))
