package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"
)

// Bounds of a LogRing: what it keeps, the length of one record, and what may wait
// for one reader.
const (
	maxLogRecords     = 1000
	maxLogBytes       = 1 << 20
	maxLogRecordBytes = 16 << 10
	maxLogWaiting     = 256
)

// LogRing keeps the last records of a log, as lines of JSON, and hands new ones to
// who reads along. A reader that is too slow misses some; the log never waits. Any
// goroutine.
type LogRing struct {
	mu      sync.Mutex // below
	line    bytes.Buffer
	kept    []logLine // the oldest first
	bytes   int       // of kept
	readers map[*logReader]struct{}
}

// logLine is a record. Its text is never changed.
type logLine struct {
	level slog.Level
	text  []byte // with a newline
}

// logReader reads along.
type logReader struct {
	level   slog.Level
	lines   chan []byte // of maxLogWaiting
	dropped uint64      // LogRing.mu
}

// NewLogRing is an empty one.
func NewLogRing() *LogRing { return &LogRing{readers: make(map[*logReader]struct{})} }

// Tee is a handler that gives everything to next, and what next wants to the ring
// too.
func (l *LogRing) Tee(next slog.Handler) slog.Handler {
	return &tee{next, slog.NewJSONHandler(&l.line, &slog.HandlerOptions{Level: slog.LevelDebug}), l}
}

type tee struct {
	next slog.Handler
	json slog.Handler // writes to ring.line
	ring *LogRing
}

func (t *tee) Enabled(ctx context.Context, level slog.Level) bool { return t.next.Enabled(ctx, level) }

func (t *tee) Handle(ctx context.Context, r slog.Record) error {
	t.ring.keep(ctx, t.json, r)
	return t.next.Handle(ctx, r)
}

func (t *tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &tee{t.next.WithAttrs(attrs), t.json.WithAttrs(attrs), t.ring}
}

func (t *tee) WithGroup(name string) slog.Handler {
	return &tee{t.next.WithGroup(name), t.json.WithGroup(name), t.ring}
}

func (l *LogRing) keep(ctx context.Context, toJSON slog.Handler, r slog.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line.Reset()
	if err := toJSON.Handle(ctx, r); err != nil || l.line.Len() > maxLogRecordBytes {
		text, _ := json.Marshal(map[string]any{"time": r.Time, "level": r.Level.String(), "msg": "a record that is too long", "bytes": l.line.Len()})
		l.line.Reset()
		l.line.Write(append(text, '\n'))
	}
	line := logLine{r.Level, bytes.Clone(l.line.Bytes())}
	l.kept = append(l.kept, line)
	l.bytes += len(line.text)
	gone := 0
	for len(l.kept)-gone > maxLogRecords || l.bytes > maxLogBytes {
		l.bytes -= len(l.kept[gone].text)
		l.kept[gone] = logLine{}
		gone++
	}
	l.kept = l.kept[gone:] // append moves them when the array is at its end
	for reader := range l.readers {
		reader.give(line)
	}
}

// give hands a line over or counts it as dropped. LogRing.mu is held.
func (r *logReader) give(line logLine) {
	if line.level < r.level {
		return
	}
	select {
	case r.lines <- line.text:
	default:
		r.dropped++
	}
}

// read returns the last n lines of that level or above, and reads along from there
// if that is wanted: the reader is given back with leave.
func (l *LogRing) read(level slog.Level, n int, follow bool) (last [][]byte, reader *logReader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.kept) - 1; i >= 0 && len(last) < n; i-- {
		if l.kept[i].level >= level {
			last = append(last, l.kept[i].text)
		}
	}
	for i, j := 0, len(last)-1; i < j; i, j = i+1, j-1 {
		last[i], last[j] = last[j], last[i]
	}
	if follow {
		reader = &logReader{level: level, lines: make(chan []byte, maxLogWaiting)}
		l.readers[reader] = struct{}{}
	}
	return last, reader
}

func (l *LogRing) leave(r *logReader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.readers, r)
}

func (l *LogRing) droppedFor(r *logReader) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return r.dropped
}

// logs answers /v1/logs.
func (c *call) logs() error {
	level := slog.LevelDebug
	if text := c.q.Get("level"); text != "" {
		if err := level.UnmarshalText([]byte(text)); err != nil {
			return problem(CodeInvalid, "level is "+quoted(text)+", which is none of debug, info, warn, error")
		}
	}
	n, err := c.number("lines", 0, maxLogRecords, 100)
	if err != nil {
		return err
	}
	follow, err := c.truth("follow")
	if err != nil {
		return err
	}
	ring := c.l.options.Logs
	if ring == nil {
		return problem(CodeUnavailable, "this server keeps no log records")
	}
	last, reader := ring.read(level, n, follow)
	s := c.stream()
	defer s.end()
	for _, line := range last {
		s.line(line)
	}
	s.flush()
	if reader == nil {
		return nil
	}
	defer ring.leave(reader)
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	var told uint64
	for s.open() {
		select {
		case line := <-reader.lines:
			s.line(line)
			if len(reader.lines) == 0 {
				s.flush()
			}
		case <-tick.C:
			if dropped := ring.droppedFor(reader); dropped > told {
				told = dropped
				s.value(LogRecord{Time: time.Now().UTC(), Level: slog.LevelWarn.String(), Message: "records were dropped", Kind: "status", Dropped: dropped})
				s.flush()
			}
		case <-s.ctx.Done():
		}
	}
	return nil
}
