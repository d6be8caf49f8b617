;; Sets ten thousand repeating timers of 1 ms for itself when it is loaded; connections are served all the same.
;; rows: T-090
;; grant: timers
;; alone: yes
;; expect: served "ok"
(module
  (import "weir_1" "conn_send" (func $send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "timer_set" (func $timer (param i64 i64 i64 i64) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x49))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $n i64)
    (if (i32.eqz (local.get $event)) (then
      (loop $more
        (br_if $more (i32.and
          (i32.eqz (call $timer (i64.const 0) (local.get $n) (i64.const 1) (i64.const 1)))
          (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const 20000)))))
      (return (i32.const 0))))
    (if (i32.eq (local.get $event) (i32.const 6)) (then (return (i32.const 0))))
    (call $send (local.get $conn) (i32.const 1) (i32.const 0) (i32.const 2))))
