module weir/guest-sdk/go

go 1.24
