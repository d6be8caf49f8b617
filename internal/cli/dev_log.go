package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"weir/runtime"
)

// devHandler writes the log of `weir dev`: lines for people as textHandler has
// them, but what a guest prints without the words around it, and a handler that
// trapped as a block that stands out.
type devHandler struct {
	*textHandler
	with   []slog.Attr // of WithAttrs; groups are not looked into
	colour bool
}

func newDevLogger(w io.Writer, level slog.Leveler, colour bool) *slog.Logger {
	return slog.New(&devHandler{textHandler: newTextHandler(w, level), colour: colour})
}

// toldOtherwise are records of the server that dev has lines of its own for.
var toldOtherwise = []string{"module loaded", "module reloaded"}

// Handle implements slog.Handler.
func (h *devHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level == slog.LevelInfo && slices.Contains(toldOtherwise, r.Message) {
		return nil
	}
	attrs := make(map[string]slog.Value)
	for _, a := range h.with {
		attrs[a.Key] = a.Value
	}
	r.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value
		return true
	})
	_, failed := attrs["event"]
	stream, printed := attrs["stream"]
	switch {
	case r.Level == slog.LevelError && failed:
		return h.write(h.trapBlock(r.Message, attrs))
	case printed:
		line := oneLine(strings.ReplaceAll(r.Message, "\t", "    ")) // Go's panics have tabs
		return h.write(fmt.Sprintf("%s %s | %s\n", text(attrs, "module"), stream, line))
	}
	return h.textHandler.Handle(ctx, r)
}

// trapBlock tells of a handler that failed: what happened, to whom, where in the
// handler, and how to see it again.
func (h *devHandler) trapBlock(message string, attrs map[string]slog.Value) string {
	var b strings.Builder
	kind, what := "failure", message
	err, _ := attrs["err"].Any().(error)
	trap, trapped := errors.AsType[*runtime.TrapError](err)
	switch {
	case trapped:
		kind, what = "trap", trap.Message
	case err != nil:
		what = err.Error()
	case attrs["status"].Kind() == slog.KindInt64:
		what = fmt.Sprintf("the handler returned %s; what it asked for is undone", attrs["status"])
	}
	head := fmt.Sprintf("%s in %s, generation %s: %s", kind, text(attrs, "module"), text(attrs, "gen"), oneLine(what))
	if h.colour {
		head = "\x1b[1;31m" + head + "\x1b[0m"
	}
	fmt.Fprintf(&b, "weir: %s\n", head)
	fmt.Fprintf(&b, "      event %s of %s bytes", text(attrs, "event"), text(attrs, "bytes"))
	if _, ok := attrs["conn"]; ok {
		fmt.Fprintf(&b, " · connection %s on %s", text(attrs, "conn"), text(attrs, "route"))
	}
	b.WriteByte('\n')
	if stack, ok := attrs["stack"]; ok {
		for frame := range strings.SplitSeq(stack.String(), "\n") {
			fmt.Fprintf(&b, "      at %s\n", oneLine(frame))
		}
	}
	tape := text(attrs, "tape")
	if trapped && tape == "" {
		tape = trap.Tape
	}
	if tape != "" {
		fmt.Fprintf(&b, "      again with: weir replay %s\n", quoteArgument(tape))
	}
	return b.String()
}

// text is an attribute for people, without control characters; empty when there
// is none.
func text(attrs map[string]slog.Value, key string) string {
	v, ok := attrs[key]
	if !ok {
		return ""
	}
	return oneLine(v.String())
}

// write writes whole lines between those of the other records.
func (h *devHandler) write(lines string) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := io.WriteString(h.out.w, lines)
	return err
}

// WithAttrs implements slog.Handler.
func (h *devHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	inner, ok := h.textHandler.WithAttrs(attrs).(*textHandler)
	if !ok {
		panic("cli: another text handler")
	}
	return &devHandler{inner, slices.Concat(h.with, attrs), h.colour}
}

// WithGroup implements slog.Handler.
func (h *devHandler) WithGroup(name string) slog.Handler { return h.textHandler.WithGroup(name) }
