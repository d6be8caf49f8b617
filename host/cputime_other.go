//go:build !linux

package host

// threadCPUKnown says that threadCPU works here.
const threadCPUKnown = false

func threadCPU() int64 { return -1 }
