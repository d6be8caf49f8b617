package runtime

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/tetratelabs/wazero/sys"

	"weir/internal/wasm"
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

// Reason is the kind of end that a guest came to.
type Reason uint8

// The reasons.
const (
	ReasonTrap    Reason = iota // an instruction trapped, such as unreachable or an access outside memory
	ReasonExit                  // it called proc_exit
	ReasonTimeout               // it ran longer than it may
	ReasonFuel                  // it worked more than it may
	ReasonStack                 // it called too deep
	ReasonMemory                // no memory was left for it to start with
	ReasonKilled                // the host wanted it to end
	ReasonABI                   // it broke the ABI
	reasonCount
)

// Reasons is the number of reasons.
const Reasons = int(reasonCount)

// String returns the reason as metrics and logs call it.
func (r Reason) String() string {
	switch r {
	case ReasonTrap:
		return "trap"
	case ReasonExit:
		return "exit"
	case ReasonTimeout:
		return "timeout"
	case ReasonFuel:
		return "fuel"
	case ReasonStack:
		return "stack"
	case ReasonMemory:
		return "memory"
	case ReasonKilled:
		return "killed"
	case ReasonABI:
		return "abi"
	default:
		return fmt.Sprintf("reason %d", uint8(r))
	}
}

// TrapError reports a guest that stopped: a trap, an exit, or an answer that breaks the ABI. Its instance can only be
// discarded.
type TrapError struct {
	Module       string // name@digest, the digest shortened to 12 digits
	Generation   uint64
	Export       string // guest function that was called; "start" while the module was instantiated
	Event        Event  // event that was delivered, if Export is weir_event
	PayloadBytes int    // and the size of its payload
	Reason       Reason // what kind of end it was
	Message      string // what happened, one line, such as "unreachable"
	Stack        string // guest functions, innermost first, one a line; empty if unknown
	Tape         string // what the tape of the instance is called, see ModuleOptions.Record; empty if there is none
	Cause        error  // the engine's own error, which matches context.DeadlineExceeded when time or fuel ran out; nil if the guest broke the ABI
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
func (m *meter) explain(err error) (reason Reason, message, stack string) {
	if exit, ok := errors.AsType[*sys.ExitError](err); ok {
		return ReasonExit, fmt.Sprintf("exited with code %d", exit.ExitCode()), ""
	}
	message, stack, _ = strings.Cut(err.Error(), guestStackMark)
	message = strings.TrimPrefix(message, "wasm error: ")
	if stop, ok := errors.AsType[*stopError](err); ok {
		reason, message = stop.reason, m.explainStop(stop)
	}
	stack, _, _ = strings.Cut(stack, goStackMark)
	if message == "stack overflow" { // the engine's own bound came first
		reason, message = ReasonStack, errStackFull.text
	}
	return reason, printable(message, maxMessageBytes), frames(stack)
}

// frames makes a stack of wazero presentable: without the meter's own functions, a run of equal ones in one line.
func frames(stack string) string {
	var list []string
	run := 0
	end := func() {
		if run > 1 {
			list[len(list)-1] += fmt.Sprintf(" (%d times)", run)
		}
	}
	last := ""
	for frame := range strings.SplitSeq(stack, "\n\t") {
		frame = printable(strings.TrimPrefix(frame, "."), maxFrameBytes)
		switch {
		case frame == "" || strings.HasPrefix(frame, wasm.MeterModule+"."):
		case frame == last:
			run++
		default:
			end()
			list = append(list, frame)
			last, run = frame, 1
		}
	}
	end()
	return strings.Join(list, "\n")
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
