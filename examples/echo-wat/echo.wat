;; Sends every message back to where it came from: ABI 1 by hand. docs/abi.md explains it line by line.
(module
  (import "weir_1" "conn_send"
    (func $conn_send (param $conn i64) (param $kind i32) (param $data i32) (param $data_len i32) (result i32)))

  (memory (export "memory") 2)

  ;; The events that this module handles: text (3) and binary (4).
  (func (export "weir_abi_1") (result i64)
    (i64.const 0x18))

  ;; Messages arrive at 65536, behind a page that is left alone. One that is longer than a page needs more of them.
  (func (export "weir_inbound") (param $size i32) (result i32)
    (local $missing i32)
    (local.set $missing
      (i32.sub
        (i32.add (i32.const 65536) (local.get $size))
        (i32.shl (memory.size) (i32.const 16))))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then
        (if (i32.eq
              (memory.grow (i32.shr_u (i32.add (local.get $missing) (i32.const 65535)) (i32.const 16)))
              (i32.const -1))
          (then (return (i32.const 0)))))) ;; there is no more memory: the message is refused
    (i32.const 65536))

  ;; A message goes back as what it was: event 3 is kind 1, text; event 4 is kind 2, binary. What conn_send returns is 0 or
  ;; a negative status, and so it is the event's result.
  (func (export "weir_event")
    (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (call $conn_send
      (local.get $conn)
      (i32.sub (local.get $event) (i32.const 2))
      (local.get $ptr)
      (local.get $len))))
