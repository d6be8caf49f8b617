;; Looks for files, sockets and the environment through WASI: there are none.
;; rows: T-086
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (data (i32.const 8) "/etc/passwd")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $fd i32)
    (loop $fds ;; a folder to start from, under any descriptor
      (if (i32.eqz (call $open (local.get $fd) (i32.const 1) (i32.const 8) (i32.const 11) (i32.const 0) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 64)))
        (then unreachable))
      (br_if $fds (i32.lt_u (local.tee $fd (i32.add (local.get $fd) (i32.const 1))) (i32.const 64))))
    (drop (call $environ (i32.const 64) (i32.const 68)))
    (if (i32.load (i32.const 64)) (then unreachable))
    (drop (call $args (i32.const 64) (i32.const 68)))
    (if (i32.load (i32.const 64)) (then unreachable))
    (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))
