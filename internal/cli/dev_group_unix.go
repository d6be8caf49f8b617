//go:build unix

package cli

import (
	"os/exec"
	"syscall"
)

// inGroup lets cmd run in a process group of its own: Ctrl-C is for weir to
// pass on, and a command that is cancelled ends with all that it has started.
// Call end when it has ended.
func inGroup(cmd *exec.Cmd) (end func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cancelled := false
	cmd.Cancel = func() error {
		cancelled = true
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	}
	return func() {
		if cancelled {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // who did not listen; mostly there is nobody
		}
	}
}
