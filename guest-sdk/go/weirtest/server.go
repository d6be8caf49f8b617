package weirtest

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	weir "weir/guest-sdk/go"
	"weir/guest-sdk/go/internal/native"
)

// The limits of a real server, at their defaults.
const (
	maxStateBytes    = 16 << 10
	maxSavedBytes    = 1 << 20
	maxReasonBytes   = 123
	maxTopicBytes    = 255
	maxTopicsPerConn = 128
	maxTimersPerConn = 64
	maxTimers        = 10_000
	minTimer         = 10 * time.Millisecond
	maxTimerMillis   = 10 * 365 * 24 * 3600 * 1000
	maxMessageBytes  = 1 << 20
	maxQueueBytes    = 1 << 20
	maxEffects       = 1000 // per event
)

// Options say what the server's operator would have configured. The zero value has one route for every path and
// grants topics and timers.
type Options struct {
	// Route is the pattern that paths must match, such as /chat/{room}; empty takes every path.
	Route string
	// Config is the module's configuration (JSON), handed to the handler's Init; empty is {}.
	Config string
	// KeepHeaders names request headers that Conn.Header can read after the upgrade.
	KeepHeaders []string
	// Deny names capabilities that are not granted: topics, timers.
	Deny []string
	// Metrics names the metrics that the configuration declares.
	Metrics []string
	// Key is what the instance is for, under the scope key; empty is an instance for everybody.
	Key string
	// Start is the time at which the test begins; zero is the first second of 2026, UTC.
	Start time.Time
	// Seed starts the random stream.
	Seed uint64
}

// Server plays a server with the handler under test.
type Server struct {
	t       testing.TB
	options Options
	handles uint64

	generation int64

	start, now time.Time
	random     *rand.ChaCha8
	conns      map[uint64]*Client
	lastConn   uint64
	topics     map[string]map[uint64]bool
	timers     map[timerKey]*timer
	timersSet  int // counts settings, so that timers due together fire in the order they were set
	metrics    map[string]int64
	logs       []string

	// The event that runs.
	event   int32
	request *upgrade // of an upgrade event
	undo    []func() // takes back what the event did, last first
	effects int
	saved   []byte
}

type timerKey struct {
	conn uint64
	id   int64
}

type timer struct {
	due   time.Time
	every time.Duration
	order int
}

// upgrade is the request that an upgrade event decides about, and the answer so far.
type upgrade struct {
	conn     uint64
	request  Request
	protocol string
	header   http.Header
}

// New starts a server, and delivers the init event. The test fails if the handler refuses its configuration; Load lets
// a test expect that.
func New(t testing.TB, options Options) *Server {
	t.Helper()
	s, ok := Load(t, options)
	if !ok {
		t.Fatalf("the handler refuses its configuration: %s", strings.Join(s.logs, "; "))
	}
	return s
}

// Load is New for a configuration that may be refused: ok is false if it is.
func Load(t testing.TB, options Options) (s *Server, ok bool) {
	if options.Config == "" {
		options.Config = "{}"
	}
	if options.Start.IsZero() {
		options.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	var seed [32]byte
	for i := range 8 {
		seed[i] = byte(options.Seed >> (8 * i))
	}
	s = &Server{
		t: t, options: options, handles: native.Handles(),
		start: options.Start, now: options.Start, random: rand.NewChaCha8(seed),
		conns: map[uint64]*Client{}, topics: map[string]map[uint64]bool{}, timers: map[timerKey]*timer{},
		metrics: map[string]int64{}, generation: 1,
	}
	return s, s.run(native.EventInit, 0, s.generation, []byte(options.Config)) == 0
}

// Request is a client's request to connect.
type Request struct {
	// Target is the path and the query; empty is /.
	Target string
	// Header is what the client sends besides the handshake itself; nil is nothing.
	Header http.Header
	// Protocols are the subprotocols that the client offers, those it prefers first.
	Protocols []string
	// RemoteAddr is the client's address; empty is 192.0.2.1:1234.
	RemoteAddr string
}

// Response is the server's answer to a Request.
type Response struct {
	// Status is 101 when the connection was accepted.
	Status int
	// Protocol is the subprotocol that the handler picked.
	Protocol string
	// Header is what the handler added.
	Header http.Header
}

// Open connects a client to a target such as /chat/lobby?name=ann. The test fails if it is rejected.
func (s *Server) Open(target string) *Client {
	s.t.Helper()
	client, response := s.Dial(Request{Target: target})
	if client == nil {
		s.t.Fatalf("open %s: rejected with %d", target, response.Status)
	}
	return client
}

// Dial sends a request, and returns the client that it connects: nil if it is rejected.
func (s *Server) Dial(r Request) (*Client, Response) {
	s.t.Helper()
	if r.Target == "" {
		r.Target = "/"
	}
	if r.RemoteAddr == "" {
		r.RemoteAddr = "192.0.2.1:1234"
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if len(r.Protocols) > 0 {
		r.Header = r.Header.Clone()
		r.Header.Set("Sec-WebSocket-Protocol", strings.Join(r.Protocols, ", "))
	}
	params, ok := match(s.options.Route, r.Target)
	if !ok {
		return nil, Response{Status: http.StatusNotFound, Header: http.Header{}}
	}

	s.lastConn++
	c := &Client{server: s, id: s.lastConn, attrs: map[string]string{"remote_addr": r.RemoteAddr}}
	c.attrs["path"], c.attrs["query"], _ = strings.Cut(r.Target, "?")
	for name, value := range params {
		c.attrs["param:"+name] = value
	}
	for _, name := range s.options.KeepHeaders {
		if values := r.Header.Values(name); len(values) > 0 {
			c.attrs["header:"+strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}

	asked := &upgrade{conn: c.id, request: r, header: http.Header{}}
	s.conns[c.id] = c
	if s.wants(native.EventUpgrade) {
		s.request = asked
		status := s.run(native.EventUpgrade, c.id, 0, nil)
		s.request = nil
		if status != 0 {
			delete(s.conns, c.id)
			if status < 400 || status > 599 {
				status = http.StatusInternalServerError
			}
			return nil, Response{Status: int(status), Header: asked.header}
		}
	}
	c.attrs["protocol"] = asked.protocol
	s.deliver(native.EventOpen, c, 0, nil)
	return c, Response{Status: http.StatusSwitchingProtocols, Protocol: asked.protocol, Header: asked.header}
}

// match compares a target with a route, part by part, and returns what stands for the route's names.
func match(route, target string) (params map[string]string, ok bool) {
	if route == "" {
		return nil, true
	}
	path, _, _ := strings.Cut(target, "?")
	want, have := strings.Split(route, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return nil, false
	}
	params = map[string]string{}
	for i := range want {
		if name, found := strings.CutPrefix(want[i], "{"); found && have[i] != "" {
			params[strings.TrimSuffix(name, "}")] = have[i]
		} else if want[i] != have[i] {
			return nil, false
		}
	}
	return params, true
}

// Advance lets time pass. Timers that come due fire in their order, each at its own time.
func (s *Server) Advance(d time.Duration) {
	until := s.now.Add(d)
	for {
		key, next := s.nextTimer()
		if next == nil || next.due.After(until) {
			break
		}
		if next.due.After(s.now) {
			s.now = next.due
		}
		if next.every > 0 {
			next.due = next.due.Add(next.every)
		} else {
			delete(s.timers, key)
		}
		s.deliver(native.EventTimer, s.conns[key.conn], key.id, nil)
	}
	s.now = until
}

func (s *Server) nextTimer() (key timerKey, next *timer) {
	for k, t := range s.timers {
		if next == nil || t.due.Before(next.due) || t.due.Equal(next.due) && t.order < next.order {
			key, next = k, t
		}
	}
	return key, next
}

// Drain announces that the server goes down in the given time: to each connection, and to the module.
func (s *Server) Drain(left time.Duration) {
	for id := uint64(1); id <= s.lastConn; id++ {
		if c := s.conns[id]; c != nil {
			s.deliver(native.EventDrain, c, left.Milliseconds(), nil)
		}
	}
	s.deliver(native.EventDrain, nil, left.Milliseconds(), nil)
}

// Replace plays what happens to an instance of the scope connection, key or singleton when a new version of its module
// comes: the save event, then init and restore as the next generation. The handler is the same value, so that a test
// clears what a new instance would not have in between, with forget; nil clears nothing. It reports whether the new
// version was taken.
func (s *Server) Replace(forget func()) bool {
	s.t.Helper()
	s.saved = nil
	if s.wants(native.EventSave) && s.run(native.EventSave, 0, s.generation, nil) != 0 {
		return false
	}
	if forget != nil {
		forget()
	}
	if s.run(native.EventInit, 0, s.generation+1, []byte(s.options.Config)) != 0 {
		return false
	}
	if s.saved != nil && (!s.wants(native.EventRestore) || s.run(native.EventRestore, 0, s.generation, s.saved) != 0) {
		return false
	}
	s.generation++
	return true
}

// Now returns the virtual time.
func (s *Server) Now() time.Time { return s.now }

// Members returns how many connections are in a topic.
func (s *Server) Members(topic string) int { return len(s.topics[topic]) }

// Metric returns what the handler has added to a metric.
func (s *Server) Metric(name string) int64 { return s.metrics[name] }

// Logs returns what the handler has logged so far, one "level text" each, and forgets it.
func (s *Server) Logs() []string {
	logs := s.logs
	s.logs = nil
	return logs
}

func (s *Server) wants(event int32) bool { return s.handles&(1<<event) != 0 }

// deliver runs an event of a connection, or of the module if c is nil, and closes what asked for it or failed.
func (s *Server) deliver(event int32, c *Client, arg int64, payload []byte) {
	if s.wants(event) {
		var id uint64
		if c != nil {
			id = c.id
		}
		if status := s.run(event, id, arg, payload); status != 0 && c != nil && event != native.EventClose {
			c.leave(weir.CloseFailed, "handler failed", true)
		}
	}
	for id := uint64(1); id <= s.lastConn; id++ {
		if c := s.conns[id]; c != nil && c.closing {
			s.gone(c)
		}
	}
}

// gone takes a connection off the books, and tells the handler.
func (s *Server) gone(c *Client) {
	for topic := range s.topics {
		delete(s.topics[topic], c.id)
	}
	for key := range s.timers {
		if key.conn == c.id {
			delete(s.timers, key)
		}
	}
	arg := int64(c.code)
	if c.clean {
		arg |= 1 << 16
	}
	c.closing = false // the close event finds it still there
	c.left = true
	s.deliver(native.EventClose, c, arg, []byte(c.reason))
	delete(s.conns, c.id)
}

// run delivers one event, and takes everything back if the handler does not return 0.
func (s *Server) run(event int32, conn uint64, arg int64, payload []byte) int32 {
	s.event, s.undo, s.effects = event, nil, 0
	lent := append([]byte(nil), payload...)
	status := native.Run(&host{s}, event, conn, arg, lent)
	for i := range lent {
		lent[i] = 0xdb // a handler that keeps the bytes notices
	}
	if status != 0 {
		for i := len(s.undo) - 1; i >= 0; i-- {
			s.undo[i]()
		}
	}
	s.event, s.undo = -1, nil
	return status
}

// logf adds a line to the log.
func (s *Server) logf(format string, args ...any) {
	s.logs = append(s.logs, fmt.Sprintf(format, args...))
}

// Client is one connection, seen from its far end.
type Client struct {
	server *Server
	id     uint64
	attrs  map[string]string
	state  []byte

	inbox       []weir.Message
	queuedBytes int  // of the messages that arrived while it was paused
	paused      bool // reads nothing

	closing bool // a close was asked for
	left    bool // the close event runs, or has run
	code    int
	reason  string
	clean   bool
}

// Conn returns what the handler knows the connection by.
func (c *Client) Conn() weir.Conn { return weir.Conn(c.id) }

// SendText sends a text message to the handler.
func (c *Client) SendText(text string) { c.server.t.Helper(); c.Send(weir.Text(text)) }

// SendBinary sends a binary message to the handler.
func (c *Client) SendBinary(data []byte) { c.server.t.Helper(); c.Send(weir.Binary(data)) }

// Send sends a message to the handler. The test fails if the connection is closed.
func (c *Client) Send(m weir.Message) {
	c.server.t.Helper()
	if c.left {
		c.server.t.Fatalf("send on a connection that was closed with %d %q", c.code, c.reason)
	}
	event := int32(native.EventText)
	if m.Kind == weir.KindBinary {
		event = native.EventBinary
	}
	c.server.deliver(event, c, 0, m.Data)
}

// Close closes the connection from the client's side, with close frames both ways.
func (c *Client) Close(code int, reason string) { c.end(code, reason, true) }

// Drop breaks the connection.
func (c *Client) Drop() { c.end(1006, "", false) }

func (c *Client) end(code int, reason string, clean bool) {
	if c.left {
		return
	}
	c.leave(code, reason, clean)
	c.server.gone(c)
}

// leave notes how the connection ends.
func (c *Client) leave(code int, reason string, clean bool) {
	c.closing, c.code, c.reason, c.clean = true, code, reason, clean
}

// Pause makes the client stop reading: what is sent to it waits in its queue, until that is full.
func (c *Client) Pause() { c.paused = true }

// full says whether the queue has no room for so many bytes.
func (c *Client) full(more int) bool { return c.paused && c.queuedBytes+more > maxQueueBytes }

// Resume makes the client read again what has waited.
func (c *Client) Resume() { c.paused, c.queuedBytes = false, 0 }

// Receive takes the oldest message that the client has not taken yet; false if there is none.
func (c *Client) Receive() (weir.Message, bool) {
	if len(c.inbox) == 0 || c.paused {
		return weir.Message{}, false
	}
	m := c.inbox[0]
	c.inbox = c.inbox[1:]
	return m, true
}

// WantText takes as many messages as there are texts, and fails the test unless they are these.
func (c *Client) WantText(texts ...string) {
	c.server.t.Helper()
	for _, text := range texts {
		c.want(weir.Text(text))
	}
}

// WantBinary takes one message, and fails the test unless it is binary with this data.
func (c *Client) WantBinary(data []byte) {
	c.server.t.Helper()
	c.want(weir.Binary(data))
}

func (c *Client) want(want weir.Message) {
	c.server.t.Helper()
	got, ok := c.Receive()
	if !ok {
		c.server.t.Errorf("got no message, want %s", describe(want))
	} else if got.Kind != want.Kind || string(got.Data) != string(want.Data) {
		c.server.t.Errorf("got %s, want %s", describe(got), describe(want))
	}
}

// WantNothing fails the test if there is a message that the client has not taken.
func (c *Client) WantNothing() {
	c.server.t.Helper()
	for _, m := range c.inbox {
		c.server.t.Errorf("got %s, want no message", describe(m))
	}
	c.inbox = nil
}

// WantOpen fails the test if the connection is closed.
func (c *Client) WantOpen() {
	c.server.t.Helper()
	if c.left {
		c.server.t.Errorf("the connection was closed with %d %q, want it open", c.code, c.reason)
	}
}

// WantClosed fails the test unless the connection is closed with this code.
func (c *Client) WantClosed(code int) {
	c.server.t.Helper()
	if !c.left {
		c.server.t.Errorf("the connection is open, want it closed with %d", code)
	} else if c.code != code {
		c.server.t.Errorf("the connection was closed with %d %q, want %d", c.code, c.reason, code)
	}
}

// Closed returns how the connection ended; false if it is open.
func (c *Client) Closed() (weir.Closed, bool) {
	return weir.Closed{Code: c.code, Reason: c.reason, Clean: c.clean}, c.left
}

func describe(m weir.Message) string {
	if m.Kind == weir.KindText {
		return "text " + strconv.Quote(string(m.Data))
	}
	return fmt.Sprintf("binary %x", m.Data)
}
