;; Does what the letters of its payload say, one after the other, and keeps a number that depends on all it was told.
(module
  (import "weir_1" "conn_send" (func $conn_send (param i64 i32 i32 i32) (result i32)))
  (import "weir_1" "conn_state_get" (func $conn_state_get (param i64 i32 i32) (result i32)))
  (import "weir_1" "conn_queued" (func $conn_queued (param i64) (result i64)))
  (import "weir_1" "topic_publish" (func $topic_publish (param i32 i32 i32 i32 i32 i64) (result i32)))
  (import "weir_1" "time_mono_ns" (func $time_mono_ns (result i64)))
  (import "weir_1" "random" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 3)
  (global $mix (mut i64) (i64.const 1))
  (global $room (mut i32) (i32.const 0))
  (func (export "_initialize") (call $draw))
  (func (export "weir_abi_1") (result i64) (i64.const 0x3fd))
  (func (export "weir_inbound") (param $n i32) (result i32)
    (global.set $room (i32.add (global.get $room) (i32.const 1)))
    (if (i32.eq (local.get $n) (i32.const 60001)) (then (unreachable)))
    (i32.const 65536))
  (func $stir (param $with i64)
    (global.set $mix (i64.add (i64.rotl (i64.mul (global.get $mix) (i64.const 0x9e3779b97f4a7c15)) (i64.const 23)) (local.get $with)))
    (i64.store (i32.and (i32.wrap_i64 (global.get $mix)) (i32.const 0x7ff8)) (global.get $mix)))
  (func $draw
    (drop (call $random (i32.const 0x8000) (i32.const 8)))
    (drop (call $random_get (i32.const 0x8008) (i32.const 8)))
    (call $stir (i64.xor (i64.load (i32.const 0x8000)) (i64.load (i32.const 0x8008)))))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $i i32) (local $c i32)
    (call $stir (i64.xor (local.get $arg) (local.get $conn)))
    (block $end (loop $next
      (br_if $end (i32.ge_u (local.get $i) (local.get $len)))
      (local.set $c (i32.load8_u (i32.add (local.get $ptr) (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (call $stir (i64.extend_i32_u (local.get $c)))
      (if (i32.eq (local.get $c) (i32.const 0x62)) (then ;; b: look behind the payload
        (call $stir (i64.load (i32.add (local.get $ptr) (local.get $len))))))
      (if (i32.eq (local.get $c) (i32.const 0x63)) (then ;; c: the connection's state
        (call $stir (i64.extend_i32_s (call $conn_state_get (local.get $conn) (i32.const 0x8100) (i32.const 256))))
        (call $stir (i64.load (i32.const 0x8100)))))
      (if (i32.eq (local.get $c) (i32.const 0x65)) (then ;; e: echo
        (drop (call $conn_send (local.get $conn) (i32.const 1) (local.get $ptr) (local.get $len)))))
      (if (i32.eq (local.get $c) (i32.const 0x66)) (then (return (i32.const 1)))) ;; f: fail
      (if (i32.eq (local.get $c) (i32.const 0x67)) (then ;; g: grow
        (call $stir (i64.extend_i32_s (memory.grow (i32.const 1))))
        (i64.store (i32.sub (i32.mul (memory.size) (i32.const 0x10000)) (i32.const 8)) (global.get $mix))))
      (if (i32.eq (local.get $c) (i32.const 0x68)) (then ;; h: call the host for ever
        (loop $again (call $stir (call $conn_queued (local.get $conn))) (br $again))))
      (if (i32.eq (local.get $c) (i32.const 0x6c)) (then ;; l: loop for ever
        (loop $again (call $stir (i64.const 1)) (br $again))))
      (if (i32.eq (local.get $c) (i32.const 0x70)) (then ;; p: publish
        (drop (call $topic_publish (i32.const 0x8000) (i32.const 4) (i32.const 2) (local.get $ptr) (local.get $len) (local.get $conn)))))
      (if (i32.eq (local.get $c) (i32.const 0x72)) (then (call $draw))) ;; r: random
      (if (i32.eq (local.get $c) (i32.const 0x73)) (then ;; s: say the number
        (i64.store (i32.const 0x8010) (global.get $mix))
        (drop (call $conn_send (local.get $conn) (i32.const 2) (i32.const 0x8010) (i32.const 8)))))
      (if (i32.eq (local.get $c) (i32.const 0x74)) (then ;; t: the time, by both ways
        (call $stir (call $time_mono_ns))
        (drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0x8018)))
        (call $stir (i64.load (i32.const 0x8018)))))
      (if (i32.eq (local.get $c) (i32.const 0x78)) (then ;; x: trap, unless the test has made the number a zero
        (if (i32.const 0x5eed) (then (unreachable)))))
      (br $next)))
    (i32.const 0)))
