package load

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a WebSocket server that answers as a test says.
type fake struct {
	// answer, unless nil, replaces the answer to the handshake.
	answer func(accept string) string
	// reply returns the bytes to send for message number n, from 0.
	reply func(n int, message []byte) []byte
	// all sends replies to every connection.
	all bool
	// dribble writes a byte at a time.
	dribble bool
}

func serverFrame(first byte, payload []byte) []byte {
	p := []byte{first}
	if len(payload) < 126 {
		p = append(p, byte(len(payload)))
	} else {
		p = append(p, 126, byte(len(payload)>>8), byte(len(payload)))
	}
	return append(p, payload...)
}

func echoReply(_ int, message []byte) []byte { return serverFrame(0x82, message) }

// start serves until the test ends and returns the address.
func (f fake) start(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	running.Go(func() { // ends when ln is closed
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			running.Go(func() { // ends when c is closed
				f.serve(c, func(p []byte) {
					to := []net.Conn{c}
					if f.all {
						mu.Lock()
						to = append([]net.Conn(nil), conns...)
						mu.Unlock()
					}
					for _, c := range to {
						for f.dribble && len(p) > 1 {
							_, _ = c.Write(p[:1])
							p = p[1:]
						}
						_, _ = c.Write(p)
					}
				})
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return ln.Addr().String()
}

func (f fake) serve(c net.Conn, send func([]byte)) {
	br := bufio.NewReader(c)
	r, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	accept := string(acceptKey(r.Header.Get("Sec-WebSocket-Key")))
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + "\r\n\r\n"
	if f.answer != nil {
		answer = f.answer(accept)
	}
	_, _ = io.WriteString(c, answer)
	for n := 0; ; n++ {
		head, err := br.Peek(2)
		if err != nil {
			return
		}
		size := 6
		if head[1]&0x7f == 126 {
			size = 8
		}
		head, err = br.Peek(size)
		if err != nil {
			return
		}
		h, err := parseHeader(head)
		if err != nil || !h.masked {
			return
		}
		_, _ = br.Discard(h.bytes)
		message := make([]byte, h.payload)
		if _, err := io.ReadFull(br, message); err != nil {
			return
		}
		mask(message, h.key, 0)
		if h.op != opBinary {
			n--
			continue
		}
		send(f.reply(n, message))
	}
}

func options(address string) Options {
	return Options{Address: address, Conns: 3, PayloadBytes: 200, Depth: 4, Warmup: 5 * time.Millisecond, Measure: 20 * time.Millisecond}
}

func TestEchoAcceptsRightAnswers(t *testing.T) {
	for _, c := range []struct {
		name string
		fake fake
	}{
		{"whole frames", fake{reply: echoReply}},
		{"a byte at a time", fake{reply: echoReply, dribble: true}},
		{"fragments with a ping between them", fake{reply: func(_ int, m []byte) []byte {
			p := serverFrame(0x02, m[:50])
			p = append(p, serverFrame(0x89, []byte("hello"))...)
			p = append(p, serverFrame(0x00, m[50:50])...)
			return append(p, serverFrame(0x80, m[50:])...)
		}}},
		{"pongs that nobody asked for", fake{reply: func(n int, m []byte) []byte {
			return append(serverFrame(0x8a, nil), echoReply(n, m)...)
		}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			begun, ended := 0, 0
			o := options(c.fake.start(t))
			o.Begin = func() error { begun++; return nil }
			o.End = func() error { ended++; return nil }
			r, err := Echo(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Messages == 0 || r.Latency.Count() != r.Messages || r.Elapsed < o.Measure {
				t.Errorf("%d messages, %d latencies in %v", r.Messages, r.Latency.Count(), r.Elapsed)
			}
			if begun != 1 || ended != 1 {
				t.Errorf("Begin ran %d times, End %d times", begun, ended)
			}
		})
	}
}

func TestEchoRefusesWrongAnswers(t *testing.T) {
	third := func(f func(m []byte) []byte) func(int, []byte) []byte {
		return func(n int, m []byte) []byte {
			if n != 2 {
				return echoReply(n, m)
			}
			return f(m)
		}
	}
	for _, c := range []struct {
		name string
		fake fake
		want string // in the error
	}{
		{"a byte is wrong", fake{reply: third(func(m []byte) []byte { m[150]++; return serverFrame(0x82, m) })}, "differs"},
		{"a byte is missing", fake{reply: third(func(m []byte) []byte { return serverFrame(0x82, m[:199]) })}, "came back with 199 bytes"},
		{"a byte is too many", fake{reply: third(func(m []byte) []byte { return serverFrame(0x82, append(m, 0)) })}, "longer"},
		{"a message is lost", fake{reply: third(func([]byte) []byte { return nil })}, "want message 2"},
		{"a message comes twice", fake{reply: third(func(m []byte) []byte { return append(serverFrame(0x82, m), serverFrame(0x82, m)...) })}, "want message 3"},
		{"an empty message comes twice", fake{reply: func(int, []byte) []byte { return append(serverFrame(0x82, nil), serverFrame(0x82, nil)...) }}, "nothing"},
		{"the kind is another", fake{reply: third(func(m []byte) []byte { return serverFrame(0x81, m) })}, "opcode"},
		{"a message begins inside another", fake{reply: third(func(m []byte) []byte { return append(serverFrame(0x02, m[:9]), serverFrame(0x82, m)...) })}, "opcode"},
		{"the frame is masked", fake{reply: third(func(m []byte) []byte { return appendFrame(nil, opBinary, [4]byte{1}, m) })}, "masked"},
		{"a reserved bit is set", fake{reply: third(func(m []byte) []byte { return serverFrame(0xa2, m) })}, "reserved"},
		{"it compresses unasked", fake{reply: third(func(m []byte) []byte { return serverFrame(0xc2, m) })}, "not offered"},
		{"it closes", fake{reply: third(func([]byte) []byte { return serverFrame(0x88, []byte("\x03\xf3sorry")) })}, `1011 "sorry"`},
		{"it closes without a code", fake{reply: third(func([]byte) []byte { return serverFrame(0x88, nil) })}, "without a code"},
		{"it says nothing", fake{reply: func(int, []byte) []byte { return nil }}, "stopped answering"},
		{"the handshake is refused", fake{answer: func(string) string { return "HTTP/1.1 403 No\r\n\r\n" }}, "403"},
		{"the accept key is wrong", fake{answer: func(string) string {
			return "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: abc\r\n\r\n"
		}}, "accept key"},
		{"it talks before it is asked", fake{answer: func(accept string) string {
			return "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + accept + "\r\n\r\n\x82\x00"
		}}, "behind the answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(c.fake.start(t))
			switch c.name {
			case "an empty message comes twice":
				o.PayloadBytes = 0
			case "it says nothing":
				o.Patience = 50 * time.Millisecond
			}
			_, err := Echo(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestPublishTriesAgainUntilAllHaveJoined(t *testing.T) {
	// The first message is published before anybody is a member.
	f := fake{all: true, reply: func(n int, m []byte) []byte {
		if n == 0 {
			return nil
		}
		return echoReply(n, m)
	}}
	o := options(f.start(t))
	o.Depth = 2
	r, err := Publish(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Messages == 0 || r.Latency.Count() != r.Messages {
		t.Errorf("%d deliveries, %d latencies", r.Messages, r.Latency.Count())
	}
}

func TestConnectTellsOpeningFromClosing(t *testing.T) {
	var calls []string
	call := func(name string) func() error {
		return func() error { calls = append(calls, name); return nil }
	}
	o := options(fake{reply: echoReply}.start(t))
	o.Measure = time.Millisecond
	o.Begin, o.End = call("begin"), call("end")
	r, err := Connect(t.Context(), o, call("closed"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(calls, " "); got != "begin end closed" || r.Messages != 3 {
		t.Errorf("%d handshakes and the calls %s", r.Messages, got)
	}
}

func TestIdleRestsAndThenUsesEachConnection(t *testing.T) {
	var calls []string
	call := func(name string) func() error {
		return func() error { calls = append(calls, name); return nil }
	}
	r, err := Idle(t.Context(), options(fake{reply: echoReply}.start(t)), IdleHooks{Opening: call("opening"), Opened: call("opened"), Rested: call("rested"), Touched: call("touched")})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(calls, " "); got != "opening opened rested touched" || r.Messages != 3 {
		t.Errorf("%d handshakes and the calls %s", r.Messages, got)
	}
}

func TestAHookThatFailsEndsTheRun(t *testing.T) {
	broken := errors.New("broken")
	o := options(fake{reply: echoReply}.start(t))
	o.Begin = func() error { return broken }
	if _, err := Echo(t.Context(), o); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestARunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := options(fake{reply: func(int, []byte) []byte { cancel(); return nil }}.start(t))
	o.Measure, o.Patience = time.Hour, time.Hour
	if _, err := Echo(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOnlyLoopbackIsLoaded(t *testing.T) {
	if _, err := Echo(t.Context(), options("192.0.2.1:80")); err == nil {
		t.Error("want an error")
	}
}

func TestNobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if _, err := Echo(t.Context(), options(ln.Addr().String())); err == nil {
		t.Error("want an error")
	}
}

// TestMessageAllocs holds the hot path, from the bytes of a reply to those of
// the next message, at no allocation.
func TestMessageAllocs(t *testing.T) {
	k, err := newClient(options("127.0.0.1:1").withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	c := &k.conns[0]
	k.prepare(c)
	k.sink = &echo{k: k, latency: new(Hist), counting: true}
	k.out = k.appendMessage(k.out, c, k.now())
	reply := serverFrame(0x82, k.tmpl)
	if n := testing.AllocsPerRun(1000, func() {
		stamp((*[stampBytes]byte)(reply[len(reply)-len(k.tmpl):]), 0, c.recvSeq)
		k.out = k.out[:0]
		if err := k.consume(c, reply, k.now()); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("one message costs %v allocations, want 0", n)
	}
}
