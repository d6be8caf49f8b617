//go:build !guestheap

package runtime

import "syscall"

// discard has the system take back the pages of mem, which then read as zeros (madvise(2)), or reports false.
func discard(mem []byte) bool { return syscall.Madvise(mem, syscall.MADV_DONTNEED) == nil }
