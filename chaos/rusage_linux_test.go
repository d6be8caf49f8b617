package chaos

import (
	"os"
	"syscall"
)

// peakKiB is the most memory that an ended process had resident; 0 = unknown.
func peakKiB(p *os.ProcessState) int {
	if usage, ok := p.SysUsage().(*syscall.Rusage); ok {
		return int(usage.Maxrss)
	}
	return 0
}
