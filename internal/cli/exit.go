package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"weir/internal/config"
	"weir/runtime"
)

// Exit codes. They are part of the interface: scripts read them.
const (
	exitOK      = 0
	exitFailed  = 1  // the command failed, or was stopped at once by a second signal
	exitUsage   = 2  // wrong usage, an invalid configuration, or a module that cannot be loaded
	exitBuild   = 3  // a module does not build
	exitRefused = 4  // a server refuses what it was asked for: a module, a conflict, a limit
	exitPeer    = 5  // a server cannot be reached, or refuses the connection or the token
	exitBind    = 69 // an address cannot be bound (EX_UNAVAILABLE of sysexits.h)
	exitBroken  = 70 // what the server stands on has failed (EX_SOFTWARE)
	exitBounds  = 99 // a benchmark's threshold is crossed
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
	reasons := reasonsIn(err, withExcerpt)
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
func reasonsOf(err error) []string { return reasonsIn(err, error.Error) }

// reasonsIn is reasonsOf where say puts a single error into words.
func reasonsIn(err error, say func(error) string) []string {
	switch e := err.(type) {
	case *exitError:
		return reasonsIn(e.err, say)
	case interface{ Unwrap() []error }:
		var all []string
		for _, one := range e.Unwrap() {
			all = append(all, reasonsIn(one, say)...)
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
	return []string{say(err)}
}

// withExcerpt is an error with the line of the file that is to blame, if any.
func withExcerpt(err error) string {
	if m, ok := errors.AsType[config.Mistake](err); ok && m.Excerpt() != "" {
		return err.Error() + "\n    " + strings.ReplaceAll(m.Excerpt(), "\n", "\n    ")
	}
	return err.Error()
}
