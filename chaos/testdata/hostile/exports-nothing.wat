;; Exports nothing that the host needs.
;; rows: T-086
;; expect: load-refused "no memory named" "function weir_abi_1" "function weir_inbound" "function weir_event"
(module
  (memory 1)
  (func (export "main")))
