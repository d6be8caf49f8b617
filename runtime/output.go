package runtime

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"unicode/utf8"
)

// output turns what a guest logs and prints into log records, bounded per call and, by the module's logGate, in rate.
type output struct {
	stdout, stderr lineWriter

	touched bool // something below is to be settled at the end of the call
	logged  int  // bytes logged in this call, see maxLogBytes
	printed int  // bytes written to stdout and stderr in this call, see maxOutputBytes
}

// init binds the two streams. What a guest prints to stderr is more often a complaint than not.
func (o *output) init(c *callContext) {
	o.stdout = lineWriter{call: c, stream: "stdout", level: slog.LevelInfo}
	o.stderr = lineWriter{call: c, stream: "stderr", level: slog.LevelWarn}
}

// settle ends a call that has touched the output: the rest of a line is a line, and what was dropped is told.
func (o *output) settle(c *callContext) {
	o.stdout.flush()
	o.stderr.flush()
	if n := c.logs.missed(); n > 0 {
		c.record(slog.LevelWarn, "guest output dropped", slog.Int("lines", n))
	}
	o.touched, o.logged, o.printed = false, 0, 0
}

// log writes one line of the guest, cut to maxLogLineBytes, and says false if the call has logged too much. That the
// module logs too fast is not said: the answer would depend on the time. stream is empty for the host function log.
func (c *callContext) log(level slog.Level, stream string, line []byte) bool {
	o := &c.out
	o.touched = true
	n := min(len(line), maxLogLineBytes) + logLineCost
	if o.logged+n > maxLogBytes {
		c.logs.drop()
		c.count.logsDropped++
		return false
	}
	o.logged += n
	c.count.logLines++
	if !c.logger.Enabled(context.Background(), level) {
		return true
	}
	if !c.logs.pass() {
		c.count.logsDropped++
		return true
	}
	text := strings.ToValidUTF8(string(cut(line)), string(utf8.RuneError))
	if stream == "" {
		c.record(level, text)
	} else {
		c.record(level, text, slog.String("stream", stream))
	}
	return true
}

// cut shortens a line to its bound, at the start of a character.
func cut(line []byte) []byte {
	if len(line) <= maxLogLineBytes {
		return line
	}
	end := maxLogLineBytes
	for end > maxLogLineBytes-utf8.UTFMax && !utf8.RuneStart(line[end]) {
		end--
	}
	return line[:end]
}

// record writes a log record in the name of the running call; the logger knows module and generation.
func (c *callContext) record(level slog.Level, text string, attrs ...slog.Attr) {
	if c.conn != 0 {
		attrs = append(attrs, slog.Uint64("conn", c.conn))
	}
	c.logger.LogAttrs(context.Background(), level, text, attrs...)
}

// lineWriter is the guest's stdout or stderr.
type lineWriter struct {
	call   *callContext
	stream string
	level  slog.Level
	line   []byte // of a line that has not ended, at most maxLogLineBytes+1: one more byte marks it as too long
}

var errTooMuchOutput = errors.New("runtime: guest prints too much in one call")

// Write takes the guest's bytes. WASI turns an error into EIO.
func (w *lineWriter) Write(p []byte) (int, error) {
	o := &w.call.out
	o.touched = true
	o.printed += len(p) + logLineCost
	if o.printed > maxOutputBytes {
		o.printed = maxOutputBytes
		return 0, errTooMuchOutput
	}
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		room := maxLogLineBytes + 1 - len(w.line)
		w.line = append(w.line, line[:min(len(line), room)]...)
		if ended {
			w.flush()
		}
		rest = after
	}
	return len(p), nil
}

// flush logs the line gathered so far. Empty lines are not worth a record.
func (w *lineWriter) flush() {
	if line := bytes.TrimSuffix(w.line, []byte{'\r'}); len(line) > 0 {
		w.call.log(w.level, w.stream, line)
	}
	w.line = w.line[:0]
}
