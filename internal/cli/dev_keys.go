package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
)

const devKeys = `  r  build and load, even if nothing has changed
  t  play the scenarios, as weir test does
  l  log level: debug, info, warn, error
  c  clear the screen
  q  quit: drain, then stop
  ?  this list
`

// clearScreen empties a terminal and what was scrolled away (ECMA-48 CUP, ED;
// xterm's ED 3).
const clearScreen = "\x1b[H\x1b[2J\x1b[3J"

// grab prepares the terminal for keys. restore makes it as it was; it may be
// called more than once, from any goroutine.
func (d *development) grab() (restore func()) {
	if !d.env.StdinTerminal || d.env.Stdin == nil {
		return func() {}
	}
	restore, single := eachKey(d.env.Stdin)
	switch {
	case single:
		d.keyHint = "press ? for the keys"
	case d.env.Terminal:
		d.keyHint = "type ? and Enter for the keys"
	}
	return sync.OnceFunc(restore)
}

// keys delivers what is typed until standard input ends, if it is a terminal.
func (d *development) keys(ctx context.Context) <-chan byte {
	if !d.env.StdinTerminal || d.env.Stdin == nil {
		return nil
	}
	if d.keyHint != "" {
		fmt.Fprintln(d.env.Stderr, "weir: "+d.keyHint)
	}
	keys := make(chan byte)
	go readKeys(ctx, d.env.Stdin, keys) // ends with standard input, or with the first key after ctx; nobody can wait for it
	return keys
}

func readKeys(ctx context.Context, from io.Reader, keys chan<- byte) {
	defer close(keys)
	var b [1]byte
	for {
		n, err := from.Read(b[:])
		if n == 1 {
			select {
			case keys <- b[0]:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// press does what a key stands for, and reports whether that is to quit.
func (d *development) press(ctx context.Context, key byte) (quit bool) {
	switch key {
	case 'r', 'R':
		d.forced = true
		if !d.consider(ctx) {
			d.build(ctx)
		}
	case 't', 'T':
		d.test(ctx)
	case 'l', 'L':
		next := map[slog.Level]slog.Level{
			slog.LevelDebug: slog.LevelInfo, slog.LevelInfo: slog.LevelWarn, slog.LevelWarn: slog.LevelError, slog.LevelError: slog.LevelDebug,
		}[d.level.Level()]
		d.level.Set(next)
		fmt.Fprintf(d.env.Stderr, "weir: log level %s\n", next)
	case 'c', 'C':
		fmt.Fprint(d.env.Stderr, clearScreen)
	case 'q', 'Q':
		return true
	case '?', 'h', 'H':
		fmt.Fprint(d.env.Stderr, devKeys)
	}
	return false
}

// test plays the project's scenarios beside everything else, one run at a time.
func (d *development) test(ctx context.Context) {
	if d.tested != nil {
		fmt.Fprintln(d.env.Stderr, "weir: the scenarios are being played")
		return
	}
	d.tested = make(chan struct{})
	go func(done chan<- struct{}) { // ends with the scenarios, or soon after ctx; live waits for it
		defer close(done)
		f := testFlags{output: "text"}
		_, err := f.once(ctx, d.env, []string{filepath.Join(d.folder, "...")})
		if err != nil && !errors.Is(err, errSomeFailed) && ctx.Err() == nil {
			report(d.env.Stderr, err)
		}
	}(d.tested)
}
