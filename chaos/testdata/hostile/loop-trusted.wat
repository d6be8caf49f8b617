;; Answers 3,000 messages as fast as can be, so that it may run where sockets are read, and loops from then on.
;; rows: T-072
;; warm: 3000
;; expect: stopped timeout|fuel
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (global $n (mut i32) (i32.const 0))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (if (i32.le_u (global.get $n) (i32.const 3000)) (then
      (return (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2)))))
    (loop $for (br $for))
    (i32.const 0)))
