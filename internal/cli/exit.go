package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"weir/runtime"
)

// Exit codes. They are part of the interface: scripts read them.
const (
	exitOK     = 0
	exitFailed = 1  // the command failed, or was stopped at once by a second signal
	exitUsage  = 2  // wrong usage, an invalid configuration, or a module that cannot be loaded
	exitBuild  = 3  // a module does not build
	exitPeer   = 5  // a server cannot be reached, or refuses the connection
	exitBind   = 69 // an address cannot be bound (EX_UNAVAILABLE of sysexits.h)
	exitBounds = 99 // a benchmark's threshold is crossed
)

// exitError is an error with the exit code that it means.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// errStopped ends a command that a signal has stopped at once. The log has said
// so already.
var errStopped = errors.New("stopped at once")

// report tells err to people and returns the exit code.
func report(w io.Writer, err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errStopped), errors.Is(err, errSomeFailed):
		return exitFailed
	}
	reasons := reasonsOf(err)
	if len(reasons) == 1 {
		fmt.Fprintf(w, "weir: %s\n", reasons[0])
	} else {
		fmt.Fprintf(w, "weir: %d things are wrong:\n", len(reasons))
		for _, r := range reasons {
			fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(r, "\n", "\n  "))
		}
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	return exitFailed
}

// reasonsOf takes joined errors and refused modules apart, one line a reason.
func reasonsOf(err error) []string {
	switch e := err.(type) {
	case *exitError:
		return reasonsOf(e.err)
	case interface{ Unwrap() []error }:
		var all []string
		for _, one := range e.Unwrap() {
			all = append(all, reasonsOf(one)...)
		}
		return all
	}
	var load *runtime.LoadError
	if errors.As(err, &load) {
		all := make([]string, len(load.Reasons))
		for i, r := range load.Reasons {
			all[i] = fmt.Sprintf("module %s: %s", load.Module, r)
		}
		return all
	}
	return []string{err.Error()}
}
