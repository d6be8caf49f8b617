//go:build !unix

package cli

import "os/exec"

// inGroup does nothing here: a command that is cancelled ends, and what it has
// started may go on for a while.
func inGroup(*exec.Cmd) (end func()) { return func() {} }
