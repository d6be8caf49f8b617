package host

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"weir/netpoll"
)

// allocs counts the allocations of one f, after some that warm the pools.
func allocs(t *testing.T, f func()) float64 {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector empties sync.Pools")
	}
	for range 100 {
		f()
	}
	return testing.AllocsPerRun(1000, f)
}

// quick makes the module's handlers run on the poller's goroutine, whatever the
// machine is doing.
func (l *lab) quick(on bool) {
	p := &l.tenant("puppet").rule.Load().stable.pace
	p.quick.Store(on)
	p.debt.Store(-1 << 60)
}

// deaf is a wire that throws away what the server writes, and reads the same
// bytes whenever it is told to.
type deaf struct {
	wire
	next []byte
}

func (d *deaf) Read(p []byte) (int, error) {
	if len(d.next) == 0 {
		return 0, netpoll.ErrWouldBlock
	}
	n := copy(p, d.next)
	d.next = d.next[n:]
	return n, nil
}

func (d *deaf) Write(p []byte) (int, error) { return len(p), nil }

// deafClient opens a connection over a socket that costs nothing.
func (l *lab) deafClient(query string) (*deaf, *Conn) {
	l.t.Helper()
	d := &deaf{}
	d.next = []byte(strings.Replace(upgradeHead, " / ", " "+query+" ", 1))
	l.srv.welcome(d)
	c := d.handler.(*Conn)
	c.Ready(netpoll.Readable)
	l.settle()
	if c.phase != phaseOpen {
		l.t.Fatalf("the connection is in phase %d", c.phase)
	}
	return d, c
}

// finishDeaf ends deaf clients.
func (l *lab) finishDeaf(conns ...*Conn) {
	for _, c := range conns {
		c.wakeUp(inReset)
	}
	l.settle()
	l.close()
}

// TestMessageAllocs holds the path of one message, from readiness to the bytes
// of the reply, to no allocation.
func TestMessageAllocs(t *testing.T) {
	for _, tc := range []struct {
		name, message string
		inline        bool
	}{
		{"an echo of 128 B on the poller's goroutine", frame(0x82, strings.Repeat("x", 128)), true},
		{"an echo of 4 KiB on the poller's goroutine", frame(0x82, strings.Repeat("x", 4096)), true},
		{"an echo of 128 B on a worker", frame(0x82, strings.Repeat("x", 128)), false},
		{"a text that is checked", frame(0x81, "echo "+strings.Repeat("é", 60)), true},
		{"sixteen messages at once", strings.Repeat(frame(0x82, strings.Repeat("x", 128)), 16), true},
		{"a message of 40 KiB that is gathered", frame(0x82, strings.Repeat("x", 40<<10)), true},
		{"a message in three fragments", frame(0x02, "a") + frame(0x00, "b") + frame(0x80, "c"), true},
		{"a ping", frame(0x89, "ping"), true},
		{"nothing at all", "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, func(s *setup) { s.opts.WebSocket.ControlRate = 1 << 30 })
			l.quick(tc.inline)
			d, c := l.deafClient("/")
			message := []byte(tc.message)
			n := allocs(t, func() {
				d.next = message
				if tc.inline {
					c.Ready(netpoll.Readable)
				} else if c.post(inRead) {
					for c.take(false) {
					}
				}
			})
			if n != 0 {
				t.Errorf("%v allocations, want 0", n)
			}
			l.finishDeaf(c)
		})
	}
}

// TestHalfAMessageAllocs is about bytes that have to be kept until more come.
func TestHalfAMessageAllocs(t *testing.T) {
	l := newLab(t)
	l.quick(true)
	d, c := l.deafClient("/")
	whole := []byte(frame(0x82, strings.Repeat("x", 128)))
	for _, cut := range []int{1, 5, 6, 50} {
		if n := allocs(t, func() {
			d.next = whole[:cut]
			c.Ready(netpoll.Readable)
			d.next = whole[cut:]
			c.Ready(netpoll.Readable)
		}); n != 0 {
			t.Errorf("a message cut after %d bytes: %v allocations, want 0", cut, n)
		}
	}
	l.finishDeaf(c)
}

// TestPublishAllocs holds a publish to no allocation per receiver.
func TestPublishAllocs(t *testing.T) {
	for _, members := range []int{1, fanOutInline, 1000} {
		l := newLab(t)
		l.quick(true)
		d, c := l.deafClient("/?open=join+topic")
		conns := []*Conn{c}
		for range members - 1 {
			_, member := l.deafClient("/?open=join+topic")
			conns = append(conns, member)
		}
		message := []byte(frame(0x81, "publish topic "+strings.Repeat("x", 128)))
		before := l.srv.Stats().FramesSent
		runs := uint64(0)
		n := allocs(t, func() {
			runs++
			d.next = message
			c.Ready(netpoll.Readable)
			for l.tasks.step() { // the fan-out
			}
		})
		if got := l.srv.Stats().FramesSent - before; got != runs*uint64(members) {
			t.Fatalf("%d frames were sent, want %d", got, runs*uint64(members))
		}
		if n != 0 {
			t.Errorf("to %d members: %v allocations, want 0", members, n)
		}
		l.finishDeaf(conns...)
	}
}

// TestSlowReaderAllocs is about frames that wait for a full socket.
func TestSlowReaderAllocs(t *testing.T) {
	l := newLab(t)
	l.quick(true)
	c := l.connect("/")
	c.stop(0)
	message := frame(0x82, strings.Repeat("x", 128))
	n := allocs(t, func() {
		c.write(message)
		c.tell()
		c.give(130)
		c.tell()
		c.sent = c.sent[:0]
		c.room = 0
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	l.close()
}

// inMemory is the io.ReadWriter that ws.Upgrader is measured with.
type inMemory struct {
	bytes.Reader
	out []byte
}

func (m *inMemory) Write(p []byte) (int, error) {
	m.out = append(m.out[:0], p...)
	return len(p), nil
}

// requests are handshakes as clients send them.
var requests = map[string]string{
	"the smallest": upgradeHead,
	"a browser's": "GET /chat/general/room/with/a/long/path?token=0123456789abcdef&lang=en HTTP/1.1\r\nHost: chat.example.com\r\nConnection: keep-alive, Upgrade\r\n" +
		"Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n" +
		"Upgrade: websocket\r\nOrigin: https://chat.example.com\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
	"with subprotocols": strings.Replace(upgradeHead, "Upgrade: websocket", "Sec-WebSocket-Protocol: graphql-transport-ws, chat.v2\r\nUpgrade: websocket", 1),
}

// upgraderAllocs is what ws.Upgrader allocates for a request when it is set up
// as ours is.
func upgraderAllocs(t *testing.T, request string, protocols []string) float64 {
	m := &inMemory{}
	u := ws.Upgrader{ReadBufferSize: readerBytes, Header: ws.HandshakeHeaderFunc(func(io.Writer) (int64, error) { return 0, nil })}
	u.Protocol = func(offered []byte) bool {
		for _, p := range protocols {
			if p == string(offered) {
				return true
			}
		}
		return false
	}
	head := []byte(request)
	return allocs(t, func() {
		m.Reader.Reset(head)
		if _, err := u.Upgrade(m); err != nil {
			t.Fatal(err)
		}
	})
}

// TestUpgradeAllocs compares a handshake with what ws.Upgrader allocates in it.
// What an open connection consists of is counted separately.
func TestUpgradeAllocs(t *testing.T) {
	protocols := []string{"chat.v2"}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			theirs := upgraderAllocs(t, request, protocols)

			l := newLab(t, withEchoOf("puppet"), func(s *setup) {
				s.modules[0].KeepHeaders = []string{"Cookie", "User-Agent"}
				s.opts.Routes[0].Protocols = protocols
			})
			l.quick(true)
			head := []byte(request)
			d, c := l.deafClient("/")
			ours := allocs(t, func() {
				// The same connection again, as it was accepted.
				c.phase, c.told, c.shaking, c.route, c.attrs = phaseHandshake, 0, true, nil, nil
				l.srv.handshakes++
				d.next = head
				c.Ready(netpoll.Readable)
				if c.phase != phaseOpen {
					t.Fatal("not upgraded")
				}
			})
			t.Logf("ws.Upgrader: %v allocations, the whole handshake: %v", theirs, ours)
			if ours > theirs {
				t.Errorf("the handshake costs %v allocations, ws.Upgrader alone %v", ours, theirs)
			}
			l.finishDeaf(c)
		})
	}
}

// TestConnectionAllocs counts what a connection costs from accept to its end, so
// that nobody adds to it unawares.
func TestConnectionAllocs(t *testing.T) {
	l := newLab(t, func(s *setup) {
		s.modules[0].Wasm, s.modules[0].KeepHeaders = mustRead("../examples/echo-c/echo.wasm"), nil
	})
	l.quick(true)
	request := []byte(upgradeHead)
	d := &deaf{}
	n := allocs(t, func() {
		*d = deaf{next: request}
		l.srv.welcome(d)
		c := d.handler.(*Conn)
		c.Ready(netpoll.Readable)
		if c.phase != phaseOpen {
			t.Fatal("not upgraded")
		}
		c.wakeUp(inReset)
		for l.tasks.step() {
		}
		if c.phase != phaseDead {
			t.Fatal("not closed")
		}
	})
	// Conn, how it ended, and what ws.Upgrader allocates.
	t.Logf("%v allocations", n)
	if want := 2 + upgraderAllocs(t, upgradeHead, nil); n > want {
		t.Errorf("a connection costs %v allocations from accept to its end, want at most %v", n, want)
	}
	l.close()
}

// TestDeadlineAllocs is about time that passes over idle connections.
func TestDeadlineAllocs(t *testing.T) {
	l := newLab(t)
	l.quick(true)
	d, c := l.deafClient("/")
	pong := []byte(frame(0x8A, ""))
	n := allocs(t, func() {
		l.clock.ns.Add(int64(25*time.Second + wheelTick))
		l.srv.Advance()
		for l.tasks.step() {
		}
		d.next = pong
		c.Ready(netpoll.Readable)
	})
	if n != 0 {
		t.Errorf("a ping and its pong cost %v allocations, want 0", n)
	}
	l.finishDeaf(c)
}
