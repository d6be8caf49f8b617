//go:build !linux

package chaos

import "os"

// peakKiB is the most memory that an ended process had resident; 0 = unknown.
func peakKiB(*os.ProcessState) int { return 0 }
