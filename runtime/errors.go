package runtime

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/tetratelabs/wazero/sys"
)

// ErrClosed means that the engine or the module is closed, or closes as soon as its last user has left.
var ErrClosed = errors.New("runtime: closed")

// LoadError says why a module was refused. The fault is in the file (or in what it was promised), not in weir.
type LoadError struct {
	Module  string   // name it was to be loaded under
	Reasons []string // every reason that was found, at least one
}

// Error returns the reasons in one line.
func (e *LoadError) Error() string {
	return fmt.Sprintf("load module %q: %s", e.Module, strings.Join(e.Reasons, "; "))
}

// TrapError reports a guest that stopped: a trap, an exit, or an answer that breaks the ABI. Its instance can only be
// discarded.
type TrapError struct {
	Module       string // name@digest, the digest shortened to 12 digits
	Generation   uint64
	Export       string // guest function that was called; "start" while the module was instantiated
	Event        Event  // event that was delivered, if Export is weir_event
	PayloadBytes int    // and the size of its payload
	Message      string // what happened, one line, such as "unreachable"
	Stack        string // guest functions, innermost first, one a line; empty if unknown
	Cause        error  // the engine's own error; nil if the guest broke the ABI
}

// Error names the module, the function and what happened, without the stack.
func (e *TrapError) Error() string {
	call := e.Export
	if call == exportEvent {
		call += " " + e.Event.String()
	}
	return e.Module + ": " + call + ": " + e.Message
}

// Unwrap returns Cause.
func (e *TrapError) Unwrap() error { return e.Cause }

// Between these two marks wazero puts the guest's stack into an error's text (internal/wasmdebug).
const (
	guestStackMark = "\nwasm stack trace:\n\t"
	goStackMark    = "\n\nGo runtime stack trace:\n"
)

// explain takes an error of wazero apart. Names in it come from the module's file, so they are made printable.
func explain(err error) (message, stack string) {
	if exit, ok := errors.AsType[*sys.ExitError](err); ok {
		return fmt.Sprintf("exited with code %d", exit.ExitCode()), ""
	}
	message, stack, _ = strings.Cut(err.Error(), guestStackMark)
	message = strings.TrimPrefix(message, "wasm error: ")
	stack, _, _ = strings.Cut(stack, goStackMark)
	var frames []string
	for frame := range strings.SplitSeq(stack, "\n\t") {
		if frame = printable(frame, maxFrameBytes); frame != "" {
			frames = append(frames, frame)
		}
	}
	return printable(message, maxMessageBytes), strings.Join(frames, "\n")
}

// Bounds of texts that may hold names from a module's file, which are as long as their author likes.
const (
	maxNameBytes    = 80
	maxFrameBytes   = 200
	maxMessageBytes = 500
)

// printable returns s on one line, without control characters, cut to about n bytes.
func printable(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "…"
	}
	var b strings.Builder
	for _, r := range strings.Join(strings.Fields(s), " ") {
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}
