package host

import "syscall"

// threadCPUKnown says that threadCPU works here.
const threadCPUKnown = true

// threadCPU is the CPU time of the calling thread in ns.
func threadCPU() int64 {
	const rusageThread = 1 // RUSAGE_THREAD, getrusage(2)
	var u syscall.Rusage
	if syscall.Getrusage(rusageThread, &u) != nil {
		return -1
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
