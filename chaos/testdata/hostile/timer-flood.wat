;; Sets timers of 1 ms for its connection until it gets no more, and answers its hundredth timer. None may fire after
;; the connection is gone.
;; rows: T-090
;; grant: timers
;; provoke: open
;; times: 2
;; never-log: after close
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "timer_set" (func $timer (param i64 i64 i64 i64) (result i32)))
  (import "weir_1" "log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (data (i32.const 8) "after close")
  (func (export "weir_abi_1") (result i64) (i64.const 0x64))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (global $gone (mut i64) (i64.const 0))
  (global $n (mut i32) (i32.const 0))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (if (i32.eq (local.get $event) (i32.const 2)) (then
      (loop $more
        (local.set $arg (i64.add (local.get $arg) (i64.const 1)))
        (br_if $more (i32.eqz (call $timer (local.get $conn) (local.get $arg) (i64.const 1) (i64.const 1)))))
      (if (i64.gt_u (local.get $arg) (i64.const 1000)) (then unreachable))
      (return (i32.const 0))))
    (if (i32.eq (local.get $event) (i32.const 5)) (then
      (global.set $gone (local.get $conn))
      (return (i32.const 0))))
    (if (i64.eq (global.get $gone) (local.get $conn)) (then
      (drop (call $log (i32.const 3) (i32.const 8) (i32.const 11)))))
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (if (i32.rem_u (global.get $n) (i32.const 100)) (then (return (i32.const 0))))
    (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))
