// Package weirlog writes log/slog records to the server's log.
//
//	func init() { slog.SetDefault(slog.New(weirlog.Handler(nil))) }
//
// The server adds the time, the module, its generation and the connection. It is a package of its own because log/slog
// makes a module more than 1 MB larger; weir.Log does without.
package weirlog

import (
	"bytes"
	"context"
	"log/slog"
	"strings"

	weir "weir/guest-sdk/go"
)

// Handler returns a handler whose records become one line each: the message, then key=value. level is the least that
// is written; nil means slog.LevelInfo.
func Handler(level slog.Leveler) slog.Handler {
	line := new(bytes.Buffer)
	return handler{line, slog.NewTextHandler(line, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
				return slog.Attr{} // the server adds the first two, Handle the third
			}
			return a
		},
	})}
}

// handler lets a text handler write the attributes into line, which every handler derived from it shares.
type handler struct {
	line  *bytes.Buffer
	attrs slog.Handler
}

func (h handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.attrs.Enabled(ctx, level)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.line, h.attrs.WithAttrs(attrs)}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.line, h.attrs.WithGroup(name)}
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	h.line.Reset()
	if err := h.attrs.Handle(ctx, r); err != nil {
		return err
	}
	level := weir.LevelError
	switch {
	case r.Level < slog.LevelInfo:
		level = weir.LevelDebug
	case r.Level < slog.LevelWarn:
		level = weir.LevelInfo
	case r.Level < slog.LevelError:
		level = weir.LevelWarn
	}
	weir.Log(level, strings.TrimSpace(r.Message+" "+h.line.String()))
	return nil
}
