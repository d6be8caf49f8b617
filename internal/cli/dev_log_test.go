package cli

import (
	"log/slog"
	"strings"
	"testing"

	"weir/runtime"
)

func TestATrapStandsOut(t *testing.T) {
	var out strings.Builder
	logger := newDevLogger(&out, slog.LevelInfo, false).With("module", "chat", "gen", 3)
	trap := &runtime.TrapError{Module: "chat@0123", Export: "weir_event", Message: "unreachable", Tape: "tapes/1.tape"}
	for _, tc := range []struct {
		name string
		log  func()
		want string
	}{
		{"a trap has everything", func() {
			logger.Error("handler failed; its effects are undone", "event", "text", "bytes", 52, "conn", uint64(17), "route", "/chat/{room}",
				"err", trap, "reason", "trap", "stack", "on_message(i64) i32\nweir_event(i32) i32", "tape", "tapes/a b.tape")
		}, `weir: trap in chat, generation 3: unreachable
      event text of 52 bytes · connection 17 on /chat/{room}
      at on_message(i64) i32
      at weir_event(i32) i32
      again with: weir replay 'tapes/a b.tape'
`},
		{"a tape is known by the trap too", func() {
			logger.Error("handler failed", "event", "text", "bytes", 1, "err", trap)
		}, "weir: trap in chat, generation 3: unreachable\n      event text of 1 bytes\n      again with: weir replay tapes/1.tape\n"},
		{"a failure has its status", func() {
			logger.Error("handler failed; its effects are undone", "event", "timer", "bytes", 0, "status", int32(7))
		}, "weir: failure in chat, generation 3: the handler returned 7; what it asked for is undone\n      event timer of 0 bytes\n"},
		{"what a guest prints is its own", func() { logger.Warn("panic: \t\x1b[2J", "stream", "stderr", "conn", uint64(17)) },
			"chat stderr | panic:     \\x1b[2J\n"},
		{"what dev tells itself is not told twice", func() { logger.Info("module reloaded", "swap", 1) }, ""},
		{"everything else is a line", func() { logger.Warn("guest output dropped", "lines", 3) },
			"weir: warning: guest output dropped module=chat gen=3 lines=3\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out.Reset()
			tc.log()
			if out.String() != tc.want {
				t.Errorf("got\n%s\nwant\n%s", out.String(), tc.want)
			}
		})
	}
	out.Reset()
	newDevLogger(&out, slog.LevelInfo, true).Error("handler failed", "event", "text", "bytes", 1, "module", "m", "gen", 1, "err", trap)
	if !strings.HasPrefix(out.String(), "weir: \x1b[1;31mtrap in m, generation 1: unreachable\x1b[0m\n") {
		t.Errorf("in colour it is %q", out.String())
	}
}
