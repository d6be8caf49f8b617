//go:build !guestheap

package runtime

// discard reports that it could not: this system's MADV_DONTNEED keeps the bytes.
func discard([]byte) bool { return false }
