module weir/bench/guests/json-go

go 1.24

require weir/guest-sdk/go v0.0.0

replace weir/guest-sdk/go => ../../../guest-sdk/go
