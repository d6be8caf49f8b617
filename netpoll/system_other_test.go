//go:build !linux && !darwin

package netpoll

import (
	goruntime "runtime"
	"testing"
)

// waitPendingNative waits until the reader has something.
func waitPendingNative(_ *testing.T, s *Socket) {
	for arrived := false; !arrived; goruntime.Gosched() {
		s.sys.mu.Lock()
		arrived = len(s.sys.in) > 0
		s.sys.mu.Unlock()
	}
}
