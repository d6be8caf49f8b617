package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"weir/netpoll"
	"weir/pool"
	"weir/runtime"
)

// world is a real server on a free port, with real sockets and real Wasm.
type world struct {
	t     *testing.T
	srv   *Server
	clock *labClock // setup.clock
	addr  string
	log   *logBuffer
	once  sync.Once
	down  func()
}

// setup is what a test may change before the server starts.
type setup struct {
	opts    Options
	modules []Module
	pool    pool.Options
	http    http.Handler
	clock   *labClock // nil: the system's; else time goes by in world.pass only
	timed   bool      // Deps.TimeHandlers

	wrap func(Socket) Socket // what the server gets for a socket; nil: the socket
}

// testSetup leaves out what only tests of it want: the breaker, the end of a
// wait for an instance, and that of a handler by time. Fuel ends one that loops,
// however busy the machine is.
func testSetup() *setup {
	return &setup{
		opts: Options{
			Server:  ServerOptions{Listen: []string{"127.0.0.1:0"}},
			Routes:  []Route{{Path: "/{path...}", Module: "puppet"}},
			Handler: HandlerOptions{QueueTimeout: time.Hour},
		},
		modules: []Module{{
			Name: "puppet", Wasm: puppet, Capabilities: runtime.CapabilityTopics | runtime.CapabilityTimers, KeepHeaders: []string{"X-Kept"},
			Limits:  runtime.Limits{Timeout: time.Minute, OpenTimeout: time.Minute, StartTimeout: time.Minute},
			Breaker: BreakerOptions{Traps: -1},
		}},
	}
}

func start(t *testing.T, change ...func(*setup)) *world {
	t.Helper()
	set := testSetup()
	for _, f := range change {
		f(set)
	}
	w := &world{t: t, clock: set.clock, log: new(logBuffer)}
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	engine, err := runtime.NewEngine(runtime.Options{Logger: logger})
	check(t, err)
	poller, err := netpoll.Open(netpoll.Options{Shards: 2})
	check(t, err)
	workers := pool.New(set.pool)
	deps := Deps{Engine: engine, Poller: poller, Pool: workers, Logger: logger, HTTP: set.http, TimeHandlers: set.timed}
	if set.clock != nil {
		deps.Clock = set.clock
	}
	if set.wrap != nil {
		deps.Bind = func(network, address string) (Listener, error) {
			ln, err := poller.Listen(network, address)
			return wrappedListener{polledListener{ln}, set.wrap}, err
		}
	}
	w.srv, err = New(set.opts, deps)
	check(t, err)
	for _, m := range set.modules {
		check(t, w.srv.Load(context.Background(), m))
	}
	check(t, w.srv.Listen())
	w.addr = w.srv.Addrs()[0].String()
	w.down = func() {
		check(t, w.srv.Close())
		check(t, workers.Close(context.Background()))
		check(t, poller.Close())
		check(t, engine.Close(context.Background()))
		if n := w.srv.inbound.Load(); n != 0 {
			t.Errorf("%d inbound bytes are still counted after Close", n)
		}
		if n := w.srv.outbound.Load(); n != 0 {
			t.Errorf("%d outbound bytes are still counted after Close", n)
		}
	}
	t.Cleanup(w.close)
	return w
}

// wrappedListener puts something between the server and its sockets.
type wrappedListener struct {
	Listener
	wrap func(Socket) Socket
}

func (l wrappedListener) Accept() (Socket, error) {
	s, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(s), nil
}

func (w *world) close() { w.once.Do(w.down) }

// withFakeClock makes time stand still but for world.pass.
func withFakeClock(s *setup) {
	s.clock = new(labClock)
	s.clock.ns.Store(int64(time.Hour))
}

// pass moves the clock and starts what is due then.
func (w *world) pass(d time.Duration) {
	w.clock.ns.Add(int64(d))
	w.srv.Advance()
}

// until waits for what the server does by itself.
func (w *world) until(what string, done func(Stats) bool) {
	w.t.Helper()
	for limit := time.Now().Add(20 * time.Second); !done(w.srv.Stats()); goruntime.Gosched() {
		if time.Now().After(limit) {
			w.t.Fatalf("it did not happen that %s", what)
		}
	}
}

// dial opens a WebSocket with an independent client.
func (w *world) dial(path string, header ...string) *client {
	w.t.Helper()
	h := make(http.Header)
	for i := 0; i+1 < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	dialer := websocket.Dialer{Subprotocols: h["Sec-Websocket-Protocol"], HandshakeTimeout: 10 * time.Second}
	h.Del("Sec-WebSocket-Protocol")
	ws, resp, err := dialer.Dial("ws://"+w.addr+path, h)
	if err != nil {
		body := ""
		if resp != nil {
			b, _ := io.ReadAll(resp.Body)
			body = resp.Status + " " + string(b)
		}
		w.t.Fatalf("dial %s: %v %s", path, err, body)
	}
	c := &client{t: w.t, ws: ws}
	w.t.Cleanup(func() { ws.Close() })
	return c
}

// raw opens a TCP connection.
func (w *world) raw() *rawClient {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	check(w.t, err)
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	w.t.Cleanup(func() { conn.Close() })
	return &rawClient{t: w.t, Conn: conn}
}

// client is a gorilla client with short words.
type client struct {
	t  *testing.T
	ws *websocket.Conn
}

func (c *client) say(text string) {
	c.t.Helper()
	check(c.t, c.ws.WriteMessage(websocket.TextMessage, []byte(text)))
}

func (c *client) hear() string {
	c.t.Helper()
	c.ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, p, err := c.ws.ReadMessage()
	if err != nil {
		c.t.Fatalf("hear: %v", err)
	}
	return string(p)
}

func (c *client) want(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		if got := c.hear(); got != text {
			c.t.Fatalf("heard %q, want %q", clip(got, 200), clip(text, 200))
		}
	}
}

// ask says a script and returns the one reply.
func (c *client) ask(text string) string {
	c.t.Helper()
	c.say(text)
	return c.hear()
}

// wantClose reads to the end and checks how it came. Codes 1012 to 1014 and
// 1006 are what they are: gorilla reports every code.
func (c *client) wantClose(code int) {
	c.t.Helper()
	c.ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		_, _, err := c.ws.ReadMessage()
		if err == nil {
			continue
		}
		if ce, ok := err.(*websocket.CloseError); !ok || ce.Code != code {
			c.t.Fatalf("ended with %v, want close code %d", err, code)
		}
		return
	}
}

// rawClient speaks bytes.
type rawClient struct {
	t *testing.T
	net.Conn
}

const upgradeHead = "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

func (c *rawClient) send(p string) {
	c.t.Helper()
	if _, err := c.Write([]byte(p)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// upgrade shakes hands and returns the response head.
func (c *rawClient) upgrade() string {
	c.t.Helper()
	c.send(upgradeHead)
	return c.head()
}

// head reads up to the empty line, byte by byte so that frames stay unread.
func (c *rawClient) head() string {
	c.t.Helper()
	var got []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(got, []byte("\r\n\r\n")) {
		if _, err := c.Read(one); err != nil {
			c.t.Fatalf("read head: %v after %q", err, got)
		}
		got = append(got, one[0])
	}
	return string(got)
}

// rest reads until the server closes.
func (c *rawClient) rest() string {
	c.t.Helper()
	p, err := io.ReadAll(c.Conn)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Fatalf("read to the end: %v", err)
	}
	return string(p)
}

// frame encodes a masked client frame; first is its first byte.
func frame(first byte, payload string) string {
	var b bytes.Buffer
	b.WriteByte(first)
	switch n := len(payload); {
	case n <= 125:
		b.WriteByte(0x80 | byte(n))
	case n <= 0xFFFF:
		b.Write([]byte{0x80 | 126, byte(n >> 8), byte(n)})
	default:
		b.Write([]byte{0x80 | 127, 0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	b.Write(mask[:])
	for i := range len(payload) {
		b.WriteByte(payload[i] ^ mask[i%4])
	}
	return b.String()
}

// closeFrame is what the server sends for code and reason.
func closeFrame(code int, reason string) string {
	return string(appendClose(nil, uint16(code), reason))
}

func textFrame(text string) string { return string(appendFrame(nil, 1, []byte(text))) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logBuffer is a log that tests can read.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var _ = fmt.Sprint
