package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxStreamLine bounds one event of a stream.
const maxStreamLine = 1 << 20

// maxSilence is how long a tail may say nothing before the server is taken for gone:
// it says something each second.
const maxSilence = 15 * time.Second

// stream asks for lines of JSON and gives each to line until line says that it has
// enough, the stream ends or ctx does; begun is called first, once the server has
// agreed (nil = nobody). silence is how long the server may say nothing; 0 = any
// time. It returns nil when line had enough or the stream ended in order.
func (c *adminClient) stream(ctx context.Context, r request, silence time.Duration, begun func(), line func([]byte) (enough bool, err error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body, err := c.open(ctx, r)
	if err != nil {
		return err
	}
	defer body.Close()
	if begun != nil {
		begun()
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxStreamLine)
	scan := func() bool { // what this side takes to print is not the server's silence
		if silence > 0 {
			timer := time.AfterFunc(silence, func() { cancel(fmt.Errorf("it has said nothing for %v", silence)) })
			defer timer.Stop()
		}
		return lines.Scan()
	}
	for scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		if enough, err := line(lines.Bytes()); enough || err != nil {
			return err
		}
	}
	if err := cmp.Or(lines.Err(), ctx.Err()); err != nil {
		return c.unreachable(ctx, r.what, err)
	}
	return nil
}

// ended is the error of a stream that should have gone on.
func (c *adminClient) ended(what string) error {
	return &exitError{exitPeer, fmt.Errorf("%s: the server at %s has ended the stream: it drains or stops; `weir status` says whether it is back", what, c.shown)}
}

// following tells people that a stream has begun.
func (c *adminClient) following(env *Env) func() {
	return func() { fmt.Fprintf(env.Stderr, "weir: following the server at %s; Ctrl-C ends it\n", c.shown) }
}

// isStopped says whether a stream was ended by a signal, as people end one.
func isStopped(err error) bool {
	return errors.Is(err, errStopped) || errors.Is(err, context.Canceled)
}

// statusLine is what a stream says between its items.
type statusLine struct {
	Kind    string `json:"kind"`
	Dropped uint64 `json:"dropped"`
}

// readStatus reports whether a line of a stream is no item, and how many items the
// server has dropped so far.
func readStatus(line []byte) (dropped uint64, ok bool) {
	var s statusLine
	if json.Unmarshal(line, &s) != nil || s.Kind != "status" {
		return 0, false
	}
	return s.Dropped, true
}

// streamWriter prints the items of a stream in one of the forms. What is JSON
// becomes one document when close is called.
type streamWriter struct {
	w       io.Writer
	form    string
	name    string // of the items in the document
	count   uint64
	dropped uint64
}

// item prints one, as the server has said it; text is it for people.
func (s *streamWriter) item(line []byte, text func() string) error {
	s.count++
	var err error
	switch s.form {
	case "text":
		_, err = fmt.Fprintln(s.w, text())
	case "ndjson":
		_, err = fmt.Fprintf(s.w, "%s\n", line)
	case "json":
		before := ", " // here, so that each item is a whole line at once
		if s.count == 1 {
			before = fmt.Sprintf("{%q: [\n  ", s.name)
		}
		_, err = fmt.Fprintf(s.w, "%s%s\n", before, line)
	}
	return err
}

// close ends the document.
func (s *streamWriter) close() error {
	if s.form != "json" {
		return nil
	}
	before := ""
	if s.count == 0 {
		before = fmt.Sprintf("{%q: [", s.name)
	}
	_, err := fmt.Fprintf(s.w, "%s], \"dropped\": %d}\n", before, s.dropped)
	return err
}
