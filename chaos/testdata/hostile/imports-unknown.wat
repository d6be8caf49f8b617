;; Imports functions that no host of this version has, one of ours with a wrong type, and modules that do not exist.
;; rows: T-086
;; expect: load-refused "weir_1.file_read: this host has no such function" "weir_1.log has the type" "env.system: unknown module" "weir_2.conn_send: unknown module"
(module
  (import "weir_1" "file_read" (func (param i32 i32) (result i32)))
  (import "weir_1" "log" (func (param i32)))
  (import "env" "system" (func (param i32) (result i32)))
  (import "weir_2" "conn_send" (func (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
