//go:build unix

package admin

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// askSystem reads what POSIX tells, and what Linux has in /proc.
func (p *processStats) askSystem() {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		p.cpu = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		p.maxFiles = uint64(files.Cur)
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.openFiles = uint64(len(open)) - 1 // but for the folder itself
	}
	// proc(5): the second number of statm is the resident pages.
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(statm); len(fields) > 1 {
			pages, _ := strconv.ParseUint(string(fields[1]), 10, 64)
			p.residentBytes = pages * uint64(os.Getpagesize())
		}
	}
}
