package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

const (
	// statusEvery is between two lines that tell how a stream goes.
	statusEvery = time.Second
	// streamTimeout is how long a client of a stream may take nothing.
	streamTimeout = 10 * time.Second
)

// stream is an answer of lines of JSON that goes on until the client leaves or the
// listener closes.
type stream struct {
	ctx     context.Context
	cancel  context.CancelFunc
	release func() bool
	w       http.ResponseWriter
	control *http.ResponseController
	failed  bool
}

// stream begins one. Whoever begins it ends it.
func (c *call) stream() *stream {
	ctx, cancel := context.WithCancel(c.r.Context())
	s := &stream{ctx: ctx, cancel: cancel, w: c.w, control: http.NewResponseController(c.w)}
	s.release = context.AfterFunc(c.l.streams, cancel)
	_ = s.control.SetReadDeadline(time.Time{})
	s.hurry()
	h := c.w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(http.StatusOK)
	s.failed = c.r.Method == http.MethodHead // who wants no lines
	return s
}

func (s *stream) hurry() { _ = s.control.SetWriteDeadline(time.Now().Add(streamTimeout)) }

// line writes a whole line.
func (s *stream) line(text []byte) {
	if s.failed {
		return
	}
	if _, err := s.w.Write(text); err != nil {
		s.failed = true
	}
}

// value writes v as a line.
func (s *stream) value(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic("admin: a line of a stream has no form in JSON: " + err.Error())
	}
	s.line(append(text, '\n'))
}

// flush sends what was written, and waits for the client to take it.
func (s *stream) flush() {
	s.hurry()
	if s.control.Flush() != nil {
		s.failed = true
	}
}

// open reports whether somebody may still read.
func (s *stream) open() bool { return !s.failed && s.ctx.Err() == nil }

func (s *stream) end() {
	s.release()
	s.cancel()
}
