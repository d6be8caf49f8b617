//go:build linux || darwin

package netpoll

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// waitPendingNative waits until the kernel has something to read.
func waitPendingNative(t *testing.T, s *Socket) {
	t.Helper()
	fds := []unix.PollFd{{Fd: s.sys.fd, Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(patience.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("poll = %d, %v", n, err)
		}
		return
	}
}

// A connection that does nothing costs this, its closure (24 B), its place in
// easygo's map and the kernel's part.
func TestSocketIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Socket{}); size > 64 {
		t.Errorf("a Socket takes %d bytes, want at most 64", size)
	}
}
