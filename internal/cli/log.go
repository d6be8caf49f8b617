package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"weir/internal/config"
)

// newLogger writes to w as o says, and sets level, if there is one, to that of o:
// changing it later changes what is written. text tells that the lines are for
// people.
func newLogger(w io.Writer, o config.LogOptions, level *slog.LevelVar, terminal bool) (logger *slog.Logger, text bool) {
	if level == nil {
		level = new(slog.LevelVar)
	}
	level.Set(levelNamed(o.Level))
	text = o.Format == "text" || o.Format != "json" && terminal
	if !text {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})), false
	}
	return slog.New(newTextHandler(w, level)), true
}

// levelNamed is the level of a configuration; empty is info.
func levelNamed(name string) (level slog.Level) {
	if name != "" {
		if err := level.UnmarshalText([]byte(name)); err != nil {
			panic(fmt.Sprintf("cli: log level %q was not validated", name))
		}
	}
	return level
}

// newTextHandler writes lines for people to w.
func newTextHandler(w io.Writer, level slog.Leveler) *textHandler {
	shared := &textOutput{w: w}
	options := &slog.HandlerOptions{Level: level}
	options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}
	return &textHandler{shared, slog.NewTextHandler(&shared.line, options)}
}

// textHandler writes lines for people: "weir: warning: what happened key=value".
// The attributes are slog's own text form.
type textHandler struct {
	out        *textOutput
	attributes slog.Handler // writes them to out.line
}

type textOutput struct {
	mu   sync.Mutex
	line bytes.Buffer
	w    io.Writer
}

func (h *textHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.attributes.Enabled(ctx, l)
}

func (h *textHandler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	line := &h.out.line
	line.Reset()
	line.WriteString("weir: ")
	switch {
	case r.Level >= slog.LevelError:
		line.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		line.WriteString("warning: ")
	case r.Level < slog.LevelInfo:
		line.WriteString("debug: ")
	}
	line.WriteString(oneLine(r.Message))
	line.WriteByte(' ')
	if err := h.attributes.Handle(ctx, r); err != nil {
		return err
	}
	_, err := h.out.w.Write(append(bytes.TrimRight(line.Bytes(), " \n"), '\n'))
	return err
}

// oneLine escapes control characters: guests write messages too, and neither a
// second line nor an escape sequence may reach the terminal as our own words.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &textHandler{h.out, h.attributes.WithAttrs(attrs)}
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	return &textHandler{h.out, h.attributes.WithGroup(name)}
}
