;; Takes 32 MiB for each of many clients at once and then fails, so that its instances come and go.
;; rows: T-075
;; clients: 16
;; times: 3
;; expect: closed 1011|1013
(module
  (memory (export "memory") 1)
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (local $at i32)
    (drop (memory.grow (i32.const 511)))
    (loop $touch
      (i64.store (local.get $at) (i64.const -1))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $touch (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
    (i32.const 1)))
