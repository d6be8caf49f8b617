;; Asks WASI again and again to wait for a quarter of a million things at once: the time is the host's, not the guest's.
;; rows: T-078
;; expect: stopped timeout|fuel
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 384)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (loop $ever
      (drop (call $poll (i32.const 65536) (i32.const 0xd00000) (i32.const 250000) (i32.const 16)))
      (br $ever))
    (i32.const 0)))
