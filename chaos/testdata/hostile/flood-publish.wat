;; Joins a topic and publishes to it for ever.
;; rows: T-078
;; grant: topics
;; expect: stopped timeout|fuel
(module
  (import "weir_1" "topic_join" (func $join (param i64 i32 i32) (result i32)))
  (import "weir_1" "topic_publish" (func $publish (param i32 i32 i32 i32 i32 i64) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "ok")
  (func (export "weir_abi_1") (result i64) (i64.const 0x8))
  (func (export "weir_inbound") (param i32) (result i32) (i32.const 1024))
  (func (export "weir_event") (param $event i32) (param $conn i64) (param $arg i64) (param $ptr i32) (param $len i32) (result i32)
    (drop (call $join (local.get $conn) (i32.const 0) (i32.const 2)))
    (loop $for
      (drop (call $publish (i32.const 0) (i32.const 2) (i32.const 2) (i32.const 0) (i32.const 60000) (i64.const 0)))
      (br $for))
    (i32.const 0)))
