;; Logs lines of 60 KB with line ends and escape codes in them for ever.
;; rows: T-078
;; most-lines: 300
;; expect: stopped timeout|fuel
(module
  (import "weir_1" "log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\0a{\"level\":\"ERROR\",\"msg\":\"forged\"}\0a\1b[2J")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (loop $for
      (drop (call $log (i32.const 2) (i32.const 0) (i32.const 60000)))
      (br $for))
    (i32.const 0)))
