//go:build !linux

package netpoll

import "testing"

// openDescriptors can be counted on Linux only.
func openDescriptors(testing.TB) map[int]string { return nil }
