package netpoll

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience ends a test that would hang. No test passes because of it.
const patience = 20 * time.Second

// The contract, as the tests see it, so that they run on both implementations.
type (
	testPoller interface {
		Listen(network, address string) (testListener, error)
		ListenFile(f *os.File) (testListener, error)
		Probe(ctx context.Context) error
		Stats() Stats
		Close() error
	}
	testListener interface {
		Start(Handler) error
		Accept() (testSocket, error)
		Addr() net.Addr
		Close() error
	}
	testSocket interface {
		Start(Handler) error
		Read([]byte) (int, error)
		Write([]byte) (int, error)
		WantWrite(bool) error
		CloseWrite() error
		Close() error
		Detach() (net.Conn, error)
		RemoteAddr() netip.AddrPort
	}
)

// onBoth runs the test on this system's poller and on the reference.
func onBoth(t *testing.T, test func(t *testing.T, open func(Options) (testPoller, error))) {
	t.Run("native", func(t *testing.T) {
		test(t, func(o Options) (testPoller, error) {
			p, err := Open(o)
			return nativePoller{p}, err
		})
	})
	t.Run("reference", func(t *testing.T) {
		test(t, func(o Options) (testPoller, error) {
			p, err := openRef(o.withDefaults())
			return referencePoller{p}, err
		})
	})
}

type nativePoller struct{ *Poller }

func (p nativePoller) Listen(network, address string) (testListener, error) {
	l, err := p.Poller.Listen(network, address)
	return nativeListener{l}, err
}

func (p nativePoller) ListenFile(f *os.File) (testListener, error) {
	l, err := p.Poller.ListenFile(f, ListenOptions{UserTimeout: time.Minute})
	return nativeListener{l}, err
}

type nativeListener struct{ *Listener }

func (l nativeListener) Accept() (testSocket, error) {
	s, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return s, nil
}

type referencePoller struct{ sys *refPoller }

func (p referencePoller) Listen(network, address string) (testListener, error) {
	l, err := p.sys.listen(network, address, ListenOptions{})
	return referenceListener{l}, err
}
func (p referencePoller) ListenFile(f *os.File) (testListener, error) {
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	l, err := p.sys.adopt(ln, ListenOptions{})
	return referenceListener{l}, err
}
func (p referencePoller) Probe(ctx context.Context) error { return p.sys.probe(ctx) }
func (p referencePoller) Stats() Stats                    { return p.sys.stats() }
func (p referencePoller) Close() error                    { return p.sys.close() }

type referenceListener struct{ sys *refListener }

func (l referenceListener) Start(h Handler) error { return l.sys.start(h) }
func (l referenceListener) Addr() net.Addr        { return l.sys.address() }
func (l referenceListener) Refuse(p []byte) error { return l.sys.refuse(p) }
func (l referenceListener) Close() error          { return l.sys.close() }
func (l referenceListener) Accept() (testSocket, error) {
	a, err := l.sys.accept()
	if err != nil {
		return nil, err
	}
	s := new(referenceSocket)
	s.sys.init(l.sys, a)
	return s, nil
}

type referenceSocket struct{ sys refSocket }

func (s *referenceSocket) Start(h Handler) error       { return s.sys.start(h) }
func (s *referenceSocket) Read(p []byte) (int, error)  { return s.sys.read(p) }
func (s *referenceSocket) Write(p []byte) (int, error) { return s.sys.write(p) }
func (s *referenceSocket) WantWrite(on bool) error     { return s.sys.wantWrite(on) }
func (s *referenceSocket) CloseWrite() error           { return s.sys.closeWrite() }
func (s *referenceSocket) Close() error                { return s.sys.close() }
func (s *referenceSocket) Detach() (net.Conn, error)   { return s.sys.detach() }
func (s *referenceSocket) RemoteAddr() netip.AddrPort  { return s.sys.remoteAddr() }

// told is a handler that remembers what it was told.
type told struct{ events chan Event }

func newTold() told { return told{events: make(chan Event, 1024)} }

func (h told) Ready(ev Event) {
	select {
	case h.events <- ev:
	default: // the test does not look; it must not hold up the shard
	}
}

// wait returns the next event that has one of the bits.
func (h told) wait(t *testing.T, bits Event) Event {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case ev := <-h.events:
			if ev&bits != 0 {
				return ev
			}
		case <-timeout:
			t.Fatalf("never told of event %b", bits)
		}
	}
}

// readyFunc is a handler of one function.
type readyFunc func(Event)

func (f readyFunc) Ready(ev Event) { f(ev) }

// world is a poller with a started listener.
type world struct {
	t      *testing.T
	poller testPoller
	ln     testListener
	conns  told // of the listener
}

// newWorld opens a poller and listens on the network. At the end of the test
// it closes both and wants no complaint, so the test closes its sockets.
func newWorld(t *testing.T, open func(Options) (testPoller, error), o Options, network string) *world {
	t.Helper()
	p, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	ln, err := p.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, poller: p, ln: ln, conns: newTold()}
	if err := ln.Start(w.conns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// dial connects a client whose reads and writes fail rather than hang. It is
// closed at the end of the test.
func (w *world) dial() net.Conn {
	w.t.Helper()
	c, err := net.Dial(w.ln.Addr().Network(), w.ln.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	w.t.Cleanup(func() { c.Close() })
	return c
}

// accept waits for the next connection. It is closed at the end of the test.
func (w *world) accept() testSocket {
	w.t.Helper()
	for {
		s, err := w.ln.Accept()
		if errors.Is(err, ErrWouldBlock) {
			w.conns.wait(w.t, Readable)
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { s.Close() })
		return s
	}
}

// pair returns the two ends of a new connection, the server's started.
func (w *world) pair() (net.Conn, testSocket, told) {
	w.t.Helper()
	c := w.dial()
	s := w.accept()
	h := newTold()
	if err := s.Start(h); err != nil {
		w.t.Fatal(err)
	}
	return c, s, h
}

// readN reads exactly n bytes from s, waiting as an owner does.
func readN(t *testing.T, s testSocket, h told, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	for got := 0; got < n; {
		k, err := s.Read(p[got:])
		switch {
		case errors.Is(err, ErrWouldBlock):
			h.wait(t, Readable)
		case err != nil:
			t.Fatalf("after %d of %d bytes: %v", got, n, err)
		}
		got += k
	}
	return p
}

// readEnd reads until an error other than ErrWouldBlock and returns it.
func readEnd(t *testing.T, s testSocket, h told) error {
	t.Helper()
	p := make([]byte, 4096)
	for {
		_, err := s.Read(p)
		switch {
		case errors.Is(err, ErrWouldBlock):
			h.wait(t, Readable)
		case err != nil:
			return err
		}
	}
}

// writeAll writes all of p to s, waiting as an owner does.
func writeAll(t *testing.T, s testSocket, h told, p []byte) {
	t.Helper()
	for len(p) > 0 {
		n, err := s.Write(p)
		switch {
		case errors.Is(err, ErrWouldBlock):
			if err := s.WantWrite(true); err != nil {
				t.Fatal(err)
			}
			h.wait(t, Writable)
		case err != nil:
			t.Fatal(err)
		}
		p = p[n:]
	}
	if err := s.WantWrite(false); err != nil {
		t.Fatal(err)
	}
}

func mustWrite(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t *testing.T, r io.Reader, want string) {
	t.Helper()
	p := make([]byte, len(want))
	if _, err := io.ReadFull(r, p); err != nil || string(p) != want {
		t.Fatalf("read %q, %v, want %q", p, err, want)
	}
}

func mustEnd(t *testing.T, r io.Reader) {
	t.Helper()
	if p, err := io.ReadAll(r); err != nil || len(p) != 0 {
		t.Fatalf("read %d bytes, %v, want the end of the stream", len(p), err)
	}
}
