//go:build unix

package host

import "syscall"

// defaultMaxConnections is what the process may open less a reserve for
// listeners, pollers, files and the answer to who is refused.
func defaultMaxConnections() int {
	const most, reserve = 65_536, 64
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > most+reserve {
		return most
	}
	return max(int(limit.Cur)-reserve, 1)
}
