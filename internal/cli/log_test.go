package cli

import (
	"log/slog"
	"strings"
	"testing"

	"weir/internal/config"
)

func TestLogForms(t *testing.T) {
	write := func(l *slog.Logger) {
		l.Debug("hidden")
		l.Info("listening on http://127.0.0.1:1")
		l = l.With("module", "chat")
		l.Warn("slow", "conn", 7)
		l.WithGroup("g").Error("went wrong\nbadly", "err", "a b", "msg", "x")
	}
	const text = "weir: listening on http://127.0.0.1:1\n" +
		"weir: warning: slow module=chat conn=7\n" +
		"weir: error: went wrong\\nbadly module=chat g.err=\"a b\" g.msg=x\n"
	for _, tc := range []struct {
		name     string
		options  config.LogOptions
		terminal bool
		isText   bool
	}{
		{"a terminal gets text", config.LogOptions{}, true, true},
		{"a file gets JSON", config.LogOptions{}, false, false},
		{"auto is the default", config.LogOptions{Format: "auto"}, true, true},
		{"text is had anywhere", config.LogOptions{Format: "text"}, false, true},
		{"JSON is had anywhere", config.LogOptions{Format: "json"}, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			logger, isText := newLogger(&out, tc.options, nil, tc.terminal)
			if isText != tc.isText {
				t.Fatalf("text: %v, want %v", isText, tc.isText)
			}
			write(logger)
			if isText && out.String() != text {
				t.Errorf("got\n%s\nwant\n%s", &out, text)
			}
			if !isText && strings.Count(out.String(), `{"time":`) != 3 {
				t.Errorf("got\n%s\nwant three objects", &out)
			}
		})
	}
}

func TestLogLevel(t *testing.T) {
	var out strings.Builder
	logger, _ := newLogger(&out, config.LogOptions{Level: "debug"}, nil, true)
	logger.Debug("seen")
	if out.String() != "weir: debug: seen\n" {
		t.Errorf("got %q", &out)
	}
	out.Reset()
	logger, _ = newLogger(&out, config.LogOptions{Level: "error"}, nil, true)
	logger.Warn("hidden")
	if out.Len() > 0 {
		t.Errorf("got %q", &out)
	}
}
