package wasm

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

const jailsHere = true

// jail compiles a module within 10 s of processor time and 1 GiB of address space, more than what Go has reserved for
// itself before anything happens, which is as much again.
func jail() int {
	var pages uint64
	statm, err := os.ReadFile("/proc/self/statm")
	if _, scanErr := fmt.Sscan(string(statm), &pages); err != nil || scanErr != nil {
		fmt.Fprintln(os.Stderr, err, scanErr)
		return jailBroken
	}
	for resource, limit := range map[int]uint64{
		syscall.RLIMIT_AS:  pages*uint64(os.Getpagesize()) + 1<<30,
		syscall.RLIMIT_CPU: 10,
	} {
		if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return jailBroken
		}
	}
	file, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return jailBroken
	}
	err = compile(file)
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	fmt.Printf("%v of processor time, %d MiB", cpu.Round(time.Millisecond), usage.Maxrss>>10)
	if err != nil {
		fmt.Printf(", %.300v", err)
		return jailRefused
	}
	return jailCompiled
}
