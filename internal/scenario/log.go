package scenario

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// logTail is a slog.Handler that keeps the last lines of server and handlers. A
// world is one goroutine, and so is its log.
type logTail struct {
	lines []string
}

// maxLogLines bounds what is kept.
const maxLogLines = 50

// Enabled implements slog.Handler.
func (t *logTail) Enabled(_ context.Context, l slog.Level) bool { return true }

// Handle implements slog.Handler.
func (t *logTail) Handle(ctx context.Context, r slog.Record) error {
	return logWith{tail: t}.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (t *logTail) WithAttrs(attrs []slog.Attr) slog.Handler { return logWith{t, attrs} }

// WithGroup implements slog.Handler.
func (t *logTail) WithGroup(string) slog.Handler { return t }

// logWith is a logTail with attributes that every line has.
type logWith struct {
	tail  *logTail
	attrs []slog.Attr
}

func (w logWith) Enabled(context.Context, slog.Level) bool { return true }

func (w logWith) Handle(_ context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo && w.attrs == nil {
		return nil // the server's own chatter
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-5s %s", r.Level, r.Message)
	write := func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	}
	for _, a := range w.attrs {
		write(a)
	}
	r.Attrs(write)
	if len(w.tail.lines) == maxLogLines {
		w.tail.lines = append(w.tail.lines[:0], w.tail.lines[1:]...)
	}
	w.tail.lines = append(w.tail.lines, cut(b.String(), 4000))
	return nil
}

func (w logWith) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logWith{w.tail, append(w.attrs[:len(w.attrs):len(w.attrs)], attrs...)}
}

func (w logWith) WithGroup(string) slog.Handler { return w }
