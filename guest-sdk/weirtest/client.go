package weirtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"weir/internal/scenario"
	"weir/internal/sim"
)

// grace is how long a Want waits in virtual time, but for Within: more than what
// the fault delay adds to a question and its answer.
const grace = 100 * time.Millisecond

// Client is one connection. What it hears waits until a Want takes it, in order.
// It answers pings and Close frames by itself.
type Client struct {
	w      *World
	c      *sim.Client
	heard  *heard
	within time.Duration
}

// heard is what a client has heard and no Want has taken.
type heard struct {
	messages []sim.Message
	ended    bool // WantClose has taken the end
	left     bool // the end is the client's own doing
}

// Within is the client with Wants that wait for up to d of virtual time, instead
// of 100 ms. Time stops when what is wanted has come.
func (c *Client) Within(d time.Duration) *Client {
	patient := *c
	patient.within = d
	return &patient
}

// Send sends a text message.
func (c *Client) Send(text string) { c.frame(sim.Text, []byte(text)) }

// SendBinary sends a binary message.
func (c *Client) SendBinary(p []byte) { c.frame(sim.Binary, p) }

// SendJSON sends a text message: v as JSON.
func (c *Client) SendJSON(v any) {
	c.w.t.Helper()
	c.frame(sim.Text, marshal(c.w, v))
}

// SendRaw sends bytes as they are: no frame is made of them.
func (c *Client) SendRaw(p []byte) {
	c.w.t.Helper()
	c.mustLive()
	c.c.SendRaw(p)
	c.settle()
}

func (c *Client) frame(op sim.Opcode, p []byte) {
	c.w.t.Helper()
	c.mustLive()
	c.c.SendFrame(sim.Frame{Opcode: op, Payload: append([]byte(nil), p...)})
	c.settle()
}

// Close sends a Close frame; code 0 leaves it empty.
func (c *Client) Close(code uint16, reason string) {
	c.w.t.Helper()
	c.mustLive()
	c.heard.left = true
	c.c.Close(code, reason)
	c.settle()
}

// Abort breaks the connection off: a TCP reset.
func (c *Client) Abort() {
	c.w.t.Helper()
	c.heard.left = true
	c.c.Abort()
	c.settle()
}

// Pause stops reading, until Resume.
func (c *Client) Pause() { c.c.Pause() }

// Resume reads on, all that waits first.
func (c *Client) Resume() {
	c.w.t.Helper()
	c.c.Resume()
	c.settle()
}

func (c *Client) settle() {
	c.w.t.Helper()
	c.w.w.Settle()
	c.w.check()
}

func (c *Client) mustLive() {
	c.w.t.Helper()
	if c.c.Ended() {
		c.fatal("it is connected", c.end())
	}
}

// Protocol is the subprotocol that was agreed on; empty when there is none.
func (c *Client) Protocol() string { return c.c.Header().Get("Sec-WebSocket-Protocol") }

// Next takes the next message and returns its payload, which is the caller's.
func (c *Client) Next() []byte {
	c.w.t.Helper()
	return c.next("a message").Payload
}

// Want wants the next message to be this text.
func (c *Client) Want(text string) {
	c.w.t.Helper()
	want := "text " + strconv.Quote(text)
	if m := c.next(want); m.Opcode != sim.Text || string(m.Payload) != text {
		c.fatal(want, m.String())
	}
}

// WantMatch wants the next message to be text that matches a regular expression.
func (c *Client) WantMatch(expression string) {
	c.w.t.Helper()
	re, err := regexp.Compile(expression)
	if err != nil {
		c.w.t.Fatalf("weirtest: %v", err)
	}
	want := "text that matches " + expression
	if m := c.next(want); m.Opcode != sim.Text || !re.Match(m.Payload) {
		c.fatal(want, m.String())
	}
}

// WantBinary wants the next message to be binary, and these bytes.
func (c *Client) WantBinary(p []byte) {
	c.w.t.Helper()
	want := fmt.Sprintf("binary %x", p)
	if m := c.next(want); m.Opcode != sim.Binary || string(m.Payload) != string(p) {
		c.fatal(want, m.String())
	}
}

// WantJSON wants the next message to be text: JSON that has at least what v has
// as JSON. Numbers compare as numbers, lists item by item.
func (c *Client) WantJSON(v any) {
	c.w.t.Helper()
	p := marshal(c.w, v)
	want := "json with " + string(p)
	m := c.next(want)
	if m.Opcode != sim.Text {
		c.fatal(want, m.String())
	}
	if diff := scenario.DiffJSON(p, m.Payload, false); len(diff) > 0 {
		c.fatal(want, m.String()+"\n  "+strings.Join(diff, "\n  "))
	}
}

// WantClose wants the server's Close frame to come next, with that code; 1005 is
// an empty frame, 1006 an end without one.
func (c *Client) WantClose(code uint16) {
	c.w.t.Helper()
	want := fmt.Sprintf("close %d", code)
	c.await(func() bool { return len(c.heard.messages) > 0 || c.ended() })
	switch {
	case len(c.heard.messages) > 0:
		c.fatal(want, c.heard.messages[0].String())
	case !c.ended():
		c.fatal(want, fmt.Sprintf("nothing within %v", c.within))
	}
	got := uint16(1006)
	if f := c.c.Closed(); f != nil {
		if got = f.Code; got == 0 {
			got = 1005
		}
	}
	if got != code {
		c.fatal(want, c.end())
	}
	c.heard.ended = true
}

// Silence lets virtual time go by in which the client may hear nothing.
func (c *Client) Silence(d time.Duration) {
	c.w.t.Helper()
	quiet(c.w, d, []*Client{c})
}

func quiet(w *World, d time.Duration, clients []*Client) {
	w.t.Helper()
	var loud *Client
	began := w.Now()
	w.w.Await(d, func() bool {
		for _, c := range clients {
			if c.pull(); len(c.heard.messages) > 0 || c.c.Opened() && c.ended() && !c.heard.ended && !c.heard.left {
				loud = c
				return true
			}
		}
		return false
	})
	w.check()
	if loud == nil {
		return
	}
	got := loud.end()
	if len(loud.heard.messages) > 0 {
		got = loud.heard.messages[0].String()
	}
	loud.fatal(fmt.Sprintf("nothing for %v", d), fmt.Sprintf("%s after %v", got, w.Now()-began))
}

// next takes the next message, or ends the test.
func (c *Client) next(want string) sim.Message {
	c.w.t.Helper()
	c.await(func() bool { return len(c.heard.messages) > 0 || c.ended() })
	if len(c.heard.messages) == 0 {
		got := fmt.Sprintf("nothing within %v", c.within)
		if c.ended() {
			got = c.end()
		}
		c.fatal(want, got)
	}
	m := c.heard.messages[0]
	c.heard.messages = c.heard.messages[1:]
	return m
}

func (c *Client) await(done func() bool) {
	c.w.t.Helper()
	c.w.w.Await(c.within, func() bool {
		c.pull()
		return done()
	})
	c.w.check()
}

func (c *Client) pull() { c.heard.messages = append(c.heard.messages, c.c.Take()...) }

func (c *Client) ended() bool { return c.c.Closed() != nil || c.c.Ended() }

// end says how the connection ended.
func (c *Client) end() string {
	switch {
	case c.c.Closed() != nil:
		return c.c.Closed().String()
	case c.c.Broken():
		return "a reset"
	default:
		return "the end, without a Close frame"
	}
}

// answer says how the server answered the request.
func (c *Client) answer() string {
	switch {
	case c.c.Status() != 0:
		return statusText(c.c.Status())
	case c.c.Ended():
		return c.end()
	default:
		return "no answer"
	}
}

func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// fatal ends the test.
func (c *Client) fatal(want, got string) {
	c.w.t.Helper()
	c.w.t.Fatalf("%s at %v:\n  expected %s\n  got      %s\ntraffic:\n  %s", c.c.Name(), c.w.Now(), want, got, strings.Join(c.c.Traffic(), "\n  "))
}

func marshal(w *World, v any) []byte {
	w.t.Helper()
	p, err := json.Marshal(v)
	if err != nil {
		w.t.Fatalf("weirtest: %v", err)
	}
	return p
}
