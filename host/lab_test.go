package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"weir/netpoll"
	"weir/pool"
	"weir/runtime"
)

// lab is a server whose sockets are memory, whose time is the test's, and whose
// lanes run when the test lets them. Unless a test starts threads, everything
// happens on its own goroutine, so that a failure repeats. The handlers are real.
type lab struct {
	t     testing.TB
	srv   *Server
	clock *labClock
	tasks *tasks
	log   *logBuffer
	wires []*wire
}

// labEngine is shared and keeps the guest compiled, which would otherwise be
// most of the time of these tests.
var labEngine = sync.OnceValue(func() *runtime.Engine {
	engine, err := runtime.NewEngine(runtime.Options{})
	if err == nil {
		_, err = engine.Load(context.Background(), puppet, runtime.ModuleOptions{Name: "kept", Generation: 1, Deny: true})
	}
	if err != nil {
		panic(err)
	}
	return engine
})

func newLab(t testing.TB, change ...func(*setup)) *lab {
	t.Helper()
	set := testSetup()
	for _, f := range change {
		f(set)
	}
	l := &lab{t: t, clock: &labClock{}, tasks: &tasks{}, log: new(logBuffer)}
	l.clock.ns.Store(int64(time.Hour))
	logger := slog.New(slog.NewTextHandler(l.log, nil))
	var err error
	l.srv, err = New(set.opts, Deps{Engine: labEngine(), Clock: l.clock, Logger: logger, HTTP: set.http})
	check(t, err)
	l.srv.exec = l.tasks
	for _, m := range set.modules {
		check(t, l.srv.Load(context.Background(), m))
	}
	check(t, l.srv.openRoutes())
	return l
}

// threads runs the lanes on goroutines of a real pool from now on, until the
// function it returns is called.
func (l *lab) threads(o pool.Options) (stop func()) {
	workers := pool.New(o)
	l.srv.exec = workers
	return func() { check(l.t, workers.Close(context.Background())) }
}

// close ends the server and checks that nothing is left of anybody.
func (l *lab) close() {
	l.t.Helper()
	done := make(chan error, 1)
	go func() { done <- l.srv.Close() }() // ends when every lane has run, below
	stop := l.tasks.thread()
	check(l.t, <-done)
	stop()
	l.srv.Advance()
	for _, w := range l.wires {
		w.mu.Lock()
		if !w.closed {
			l.t.Errorf("%v was not closed", w.addr)
		}
		w.mu.Unlock()
	}
	l.checkFaults()
	l.checkEmpty()
}

// checkFaults reports what a socket's owner did and must not do.
func (l *lab) checkFaults() {
	l.t.Helper()
	for _, w := range l.wires {
		w.mu.Lock()
		for _, f := range w.faults {
			l.t.Errorf("%v: %s", w.addr, f)
		}
		w.faults = nil
		w.mu.Unlock()
	}
}

// checkEmpty checks that no connection leaves anything behind.
func (l *lab) checkEmpty() {
	l.t.Helper()
	st := l.srv.Stats()
	closes := uint64(0)
	for _, n := range st.Closes {
		closes += n
	}
	if st.Open != 0 || st.Handshakes != 0 || closes != st.Accepted {
		l.t.Errorf("%d connections are open, %d of them shaking hands; %d were accepted and %d closed (%v)", st.Open, st.Handshakes, st.Accepted, closes, st.Closes)
	}
	if st.InboundBytes != 0 || st.OutboundBytes != 0 {
		l.t.Errorf("%d inbound and %d outbound bytes are still counted", st.InboundBytes, st.OutboundBytes)
	}
	if n := st.Deflate.TakeoverBytes; n != 0 {
		l.t.Errorf("%d bytes are still reserved for what connections remember", n)
	}
	for name, tn := range l.srv.tenants {
		if n := len(tn.topics.topics); n != 0 {
			l.t.Errorf("module %s still has %d topics", name, n)
		}
	}
	left := 0
	l.srv.hub.each(func(*Conn) { left++ })
	if left != 0 {
		l.t.Errorf("%d connections are still in the table", left)
	}
	for _, owner := range l.srv.wheel.owners() {
		switch owner := owner.(type) {
		case *guestTimer:
			if owner.conn != nil {
				l.t.Error("the wheel still holds a timer of a connection")
			}
		case *Conn:
			l.t.Error("the wheel still holds a connection")
		}
	}
}

// settle runs everything that can run without time passing.
func (l *lab) settle() {
	for {
		busy := l.tasks.step()
		for _, w := range l.wires {
			busy = w.tell() || busy
		}
		if !busy {
			return
		}
	}
}

// pass lets time go by, in steps that a driver of the wheel would make.
func (l *lab) pass(d time.Duration) {
	end := l.clock.Mono() + int64(d)
	for {
		l.srv.Advance()
		l.settle()
		at, ok := l.srv.wheel.next()
		if !ok || at > end {
			break
		}
		l.clock.ns.Store(max(at, l.clock.Mono()))
	}
	l.clock.ns.Store(end)
	l.srv.Advance()
	l.settle()
}

// owners lists what is scheduled.
func (w *wheel) owners() (all []firer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for level := range w.slots {
		for slot := range w.slots[level] {
			head := &w.slots[level][slot]
			for n := head.next; n != head; n = n.next {
				all = append(all, n.owner)
			}
		}
	}
	return all
}

func (l *lab) tenant(name string) *tenant { return l.srv.tenants[name] }

// connect opens a WebSocket at path.
func (l *lab) connect(path string) *labClient {
	l.t.Helper()
	c := l.knock()
	c.write(strings.Replace(upgradeHead, " / ", " "+path+" ", 1))
	l.settle()
	c.upgraded()
	return c
}

// knock connects and says nothing.
func (l *lab) knock() *labClient {
	w := l.wire()
	l.srv.welcome(l.srv.behindProxy(w))
	conn, _ := w.handler.(*Conn)
	return &labClient{wire: w, t: l.t, lab: l, conn: conn}
}

func (l *lab) wire() *wire {
	w := newWire(len(l.wires))
	l.wires = append(l.wires, w)
	return w
}

// tasks is an Executor for the test's own goroutine.
type tasks struct {
	busy atomic.Bool // what Overloaded says

	mu    sync.Mutex // below
	queue []pool.Task
	wake  *sync.Cond // set while a thread runs
	stop  bool
}

func (e *tasks) Submit(t pool.Task) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, t)
	if e.wake != nil {
		e.wake.Signal()
	}
	return true
}

func (e *tasks) Overloaded() bool { return e.busy.Load() }

// step runs the oldest task for one turn, if there is one.
func (e *tasks) step() bool {
	e.mu.Lock()
	if len(e.queue) == 0 {
		e.mu.Unlock()
		return false
	}
	t := e.queue[0]
	e.queue = slices.Delete(e.queue, 0, 1)
	e.mu.Unlock()
	if t.Run() {
		e.Submit(t)
	}
	return true
}

// thread runs tasks on one goroutine until the function it returns is called,
// which waits for it.
func (e *tasks) thread() (stop func()) {
	e.mu.Lock()
	e.wake = sync.NewCond(&e.mu)
	e.stop = false
	e.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if e.step() {
				continue
			}
			e.mu.Lock()
			for len(e.queue) == 0 && !e.stop {
				e.wake.Wait()
			}
			done := len(e.queue) == 0
			e.mu.Unlock()
			if done {
				return
			}
		}
	})
	return func() {
		e.mu.Lock()
		e.stop = true
		e.wake.Signal()
		e.mu.Unlock()
		wg.Wait()
	}
}

// labClock stands still until the test moves it.
type labClock struct{ ns atomic.Int64 }

func (c *labClock) Mono() int64      { return c.ns.Load() }
func (c *labClock) UnixMilli() int64 { return c.ns.Load() / int64(time.Millisecond) }

// wire is a socket in memory, with the client at its other end. It keeps to the
// contract of Socket and notes when its owner does not.
type wire struct {
	addr netip.AddrPort

	// What a call of the server runs into; it may do something else meanwhile, as
	// other goroutines would. nil does nothing.
	inWrite, inInterest, inRead, inStart func()

	reading, writing, starting atomic.Int32 // owners inside

	startErr error // what Start fails with

	mu       sync.Mutex // below
	handler  netpoll.Handler
	inbound  []byte // to the server
	fin      bool   // the client's FIN follows inbound
	err      error  // what reads and writes fail with
	sent     []byte // by the server, not taken by the client yet
	room     int    // how much more the server may write before the client takes some
	wide     bool   // room without end
	bite     func(n int) int
	edges    netpoll.Event // not told yet
	interest bool
	shut     bool // the server's FIN follows sent
	closed   bool
	writes   int
	faults   []string
	notify   func() // edges is not 0 any more
}

func newWire(i int) *wire {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1000)
	return &wire{addr: addr, wide: true}
}

func (w *wire) faultLocked(format string, args ...any) {
	if len(w.faults) < 8 {
		w.faults = append(w.faults, fmt.Sprintf(format, args...))
	}
}

func (w *wire) edgeLocked(ev netpoll.Event) {
	w.edges |= ev
	if w.notify != nil {
		w.notify()
	}
}

// tell reports readiness as the poller does, and whether there was any.
func (w *wire) tell() bool {
	w.mu.Lock()
	ev, h := w.edges, w.handler
	if ev == 0 || h == nil || w.closed {
		w.mu.Unlock()
		return false
	}
	w.edges = 0
	w.mu.Unlock()
	h.Ready(ev)
	return true
}

func (w *wire) Start(h netpoll.Handler) error {
	w.starting.Add(1)
	defer w.starting.Add(-1)
	w.mu.Lock()
	w.handler = h
	if len(w.inbound) > 0 || w.fin || w.err != nil || w.edges != 0 {
		w.edgeLocked(netpoll.Readable)
	}
	w.mu.Unlock()
	if w.inStart != nil {
		w.inStart()
	}
	return w.startErr
}

func (w *wire) Read(p []byte) (int, error) {
	if w.reading.Add(1) != 1 {
		w.mu.Lock()
		w.faultLocked("two goroutines read")
		w.mu.Unlock()
	}
	defer w.reading.Add(-1)
	if w.inRead != nil {
		w.inRead()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		w.faultLocked("read after close")
		return 0, netpoll.ErrClosed
	case w.err != nil:
		return 0, w.err
	case len(w.inbound) > 0:
		n := copy(p, w.inbound)
		w.inbound = w.inbound[:copy(w.inbound, w.inbound[n:])]
		return n, nil
	case w.fin:
		return 0, io.EOF
	default:
		return 0, netpoll.ErrWouldBlock
	}
}

func (w *wire) Write(p []byte) (int, error) {
	if w.writing.Add(1) != 1 {
		w.mu.Lock()
		w.faultLocked("two goroutines write")
		w.mu.Unlock()
	}
	defer w.writing.Add(-1)
	if w.inWrite != nil {
		w.inWrite()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	switch {
	case w.closed:
		w.faultLocked("write after close")
		return 0, netpoll.ErrClosed
	case w.shut:
		w.faultLocked("write after FIN")
		return 0, errors.New("broken pipe")
	case w.err != nil:
		return 0, w.err
	}
	n := len(p)
	if !w.wide {
		n = min(n, w.room)
	}
	if w.bite != nil && n > 0 {
		n = w.bite(n)
	}
	if n == 0 && len(p) > 0 {
		return 0, netpoll.ErrWouldBlock
	}
	w.sent = append(w.sent, p[:n]...)
	w.room -= n
	return n, nil
}

func (w *wire) WantWrite(on bool) error {
	if w.writing.Add(1) != 1 {
		w.mu.Lock()
		w.faultLocked("write interest changes while somebody writes")
		w.mu.Unlock()
	}
	defer w.writing.Add(-1)
	w.mu.Lock()
	closed := w.closed
	if closed {
		w.faultLocked("write interest after close")
	}
	w.interest = on
	if on && !closed && (w.wide || w.room > 0 || w.err != nil) {
		w.edgeLocked(netpoll.Writable)
	}
	w.mu.Unlock()
	if w.inInterest != nil {
		w.inInterest()
	}
	if closed {
		return netpoll.ErrClosed
	}
	return nil
}

func (w *wire) CloseWrite() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		w.faultLocked("FIN after close")
	}
	w.shut = true
	return nil
}

func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		w.faultLocked("closed twice")
	}
	if w.reading.Load() != 0 || w.writing.Load() != 0 || w.starting.Load() != 0 {
		w.faultLocked("closed while somebody reads, writes or starts it")
	}
	w.closed = true
	return nil
}

func (w *wire) Detach() (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return nil, errors.New("a wire cannot be detached")
}

func (w *wire) RemoteAddr() netip.AddrPort { return w.addr }

// The client's side.

// write sends bytes to the server.
func (w *wire) write(p string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inbound = append(w.inbound, p...)
	w.edgeLocked(netpoll.Readable)
}

// hangUp sends a FIN.
func (w *wire) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fin = true
	w.edgeLocked(netpoll.Readable | netpoll.Hangup)
}

// errTest is what a broken connection gives.
var errTest = errors.New("connection reset by peer")

// reset breaks the connection.
func (w *wire) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errTest
	w.edgeLocked(netpoll.Readable | netpoll.Writable | netpoll.Hangup)
}

// stop makes the client read no more than n further bytes.
func (w *wire) stop(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wide, w.room = false, n
}

// give makes room for n more bytes.
func (w *wire) give(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.wide {
		w.room += n
	}
	if w.interest {
		w.edgeLocked(netpoll.Writable)
	}
}

// open makes room without end.
func (w *wire) open() {
	w.mu.Lock()
	w.wide = true
	w.mu.Unlock()
	w.give(0)
}

// take returns what has arrived from the server.
func (w *wire) take() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.sent
	w.sent = nil
	return p
}

// labClient is a WebSocket client at the end of a wire.
type labClient struct {
	*wire
	t    failer
	lab  *lab
	conn *Conn

	zip *zipped // with permessage-deflate

	buf   []byte   // arrived, not understood yet
	heard []string // payloads of messages, not asked for yet
	pings int
	pongs []string
	end   *serverClose // the server's Close frame
}

// failer is what a client needs of *testing.T, and *rapid.T has too.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// serverClose is a Close frame of the server.
type serverClose struct {
	code   int // 0: an empty frame
	reason string
}

// upgraded takes the 101 response.
func (c *labClient) upgraded() {
	c.t.Helper()
	c.buf = append(c.buf, c.take()...)
	i := bytes.Index(c.buf, []byte("\r\n\r\n"))
	if i < 0 || !bytes.HasPrefix(c.buf, []byte("HTTP/1.1 101 ")) {
		c.t.Fatalf("not upgraded: %q", c.buf)
	}
	c.buf = c.buf[i+4:]
}

func (c *labClient) say(text string) {
	if c.zip != nil && len(text)%2 == 0 {
		c.write(frame(0xC1, c.zip.pack(text)))
		return
	}
	c.write(frame(0x81, text))
}

// listen understands what has arrived.
func (c *labClient) listen() {
	c.t.Helper()
	c.buf = append(c.buf, c.take()...)
	for len(c.buf) > 0 {
		packed := c.zip != nil && c.buf[0]&rsv1Bit != 0
		if packed {
			c.buf[0] &^= rsv1Bit
		}
		op, payload, n := parseServerFrame(c.buf)
		if packed {
			c.buf[0] |= rsv1Bit
		}
		if n == 0 {
			return
		}
		if n < 0 || c.end != nil {
			c.t.Fatalf("%v: the server sent a broken frame, or one behind its Close frame: %x", c.addr, c.buf[:min(len(c.buf), 32)])
		}
		c.buf = c.buf[n:]
		switch op {
		case ws.OpText, ws.OpBinary:
			if packed {
				payload = c.zip.unpack(payload)
			}
			c.heard = append(c.heard, payload)
		case ws.OpPing:
			c.pings++
		case ws.OpPong:
			c.pongs = append(c.pongs, payload)
		case ws.OpClose:
			c.end = new(serverClose)
			if len(payload) >= 2 {
				c.end.code = int(binary.BigEndian.Uint16([]byte(payload)))
				c.end.reason = payload[2:]
			}
		}
	}
}

// parseServerFrame reads one whole frame: n is its length, 0 when more bytes
// are needed, -1 when no server may send it.
func parseServerFrame(p []byte) (op ws.OpCode, payload string, n int) {
	if len(p) < 2 {
		return 0, "", 0
	}
	size, head := int(p[1]), 2
	switch {
	case p[0]&0xF0 != 0x80 || p[1]&0x80 != 0:
		return 0, "", -1
	case size == 126 && len(p) >= 4:
		size, head = int(binary.BigEndian.Uint16(p[2:])), 4
	case size == 127 && len(p) >= 10:
		size, head = int(binary.BigEndian.Uint64(p[2:])), 10
	case size >= 126:
		return 0, "", 0
	}
	if len(p) < head+size {
		return 0, "", 0
	}
	return ws.OpCode(p[0] & 0x0F), string(p[head : head+size]), head + size
}

// texts returns the messages that have arrived since it was called last.
func (c *labClient) texts() []string {
	c.t.Helper()
	c.listen()
	texts := c.heard
	c.heard = nil
	return texts
}

// want checks what has arrived.
func (c *labClient) want(texts ...string) {
	c.t.Helper()
	if got := c.texts(); !slices.Equal(got, texts) {
		c.t.Fatalf("%v heard %q, want %q", c.addr, got, texts)
	}
}

// ask says a script and returns the one reply.
func (c *labClient) ask(script string) string {
	c.t.Helper()
	c.say(script)
	c.lab.settle()
	got := c.texts()
	if len(got) != 1 {
		c.t.Fatalf("%q was answered with %q", clip(script, 100), got)
	}
	return got[0]
}

// number is ask for an answer like "id=5".
func (c *labClient) number(script string) int64 {
	c.t.Helper()
	_, digits, _ := strings.Cut(c.ask(script), "=")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		c.t.Fatalf("%q: %v", script, err)
	}
	return n
}

// wantEnd checks the server's Close frame.
func (c *labClient) wantEnd(code int) {
	c.t.Helper()
	c.listen()
	if c.end == nil || c.end.code != code {
		c.t.Fatalf("%v: the Close frame is %v, want %d", c.addr, c.end, code)
	}
}

// leave closes as a polite client does: a Close frame, and a FIN once the
// server's Close frame is there.
func (c *labClient) leave() {
	c.t.Helper()
	c.write(frame(0x88, "\x03\xe8"))
	c.lab.settle()
	c.wantEnd(codeNormal)
	c.hangUp()
	c.lab.settle()
}

// gone reports that the server has closed the socket.
func (w *wire) gone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}
