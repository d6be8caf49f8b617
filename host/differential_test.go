package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gorilla/websocket"
)

// What weir takes, two other servers must take, and understand in the same way:
// it may be stricter than they are, where the tests below say so, but never more
// lenient.

// heard is what a server understood of a client's stream.
type heard struct {
	messages []message
	pongs    []string // what it answered pings with
	end      ending
	code     int // of the Close frame that it got, for endPeer
}

type message struct {
	text    bool
	payload string
}

func (m message) String() string { return fmt.Sprintf("text %v %q", m.text, m.payload) }

// ending says why a server stopped to listen.
type ending int

const (
	endOfStream ending = iota // nothing was wrong, and no Close came
	endPeer                   // the client's Close
	endError                  // the stream is wrong
)

// errSilent stands for a peer that says no more. At an io.EOF between two
// fragments, coder takes the message for whole.
var errSilent = errors.New("the client says no more")

type silence struct{}

func (silence) Read([]byte) (int, error) { return 0, errSilent }

// memoryConn is a connection whose peer has said all it will.
type memoryConn struct {
	io.Reader
	sent bytes.Buffer
}

func (c *memoryConn) Write(p []byte) (int, error)      { return c.sent.Write(p) }
func (c *memoryConn) Close() error                     { return nil }
func (c *memoryConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *memoryConn) SetDeadline(time.Time) error      { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

// givenAway is a ResponseWriter that gives its connection away.
type givenAway struct {
	*httptest.ResponseRecorder
	conn *memoryConn
}

func (h givenAway) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

func upgradeRequest(t testing.TB) *http.Request {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(upgradeHead)))
	check(t, err)
	return r
}

func pongsIn(t testing.TB, sent []byte) (all []string) {
	for r := bytes.NewReader(sent); r.Len() > 0; {
		f, err := readFrame(r)
		check(t, err)
		if f.Header.OpCode == ws.OpPong {
			all = append(all, string(f.Payload))
		}
	}
	return all
}

func hearGorilla(t testing.TB, stream []byte) (h heard) {
	conn := &memoryConn{Reader: io.MultiReader(bytes.NewReader(stream), silence{})}
	c, err := (&websocket.Upgrader{}).Upgrade(givenAway{httptest.NewRecorder(), conn}, upgradeRequest(t), nil)
	check(t, err)
	head := conn.sent.Len()
	for {
		kind, payload, err := c.ReadMessage()
		if err == nil {
			h.messages = append(h.messages, message{kind == websocket.TextMessage, string(payload)})
			continue
		}
		var closed *websocket.CloseError
		switch {
		case errors.Is(err, errSilent):
			h.end = endOfStream
		case errors.As(err, &closed):
			h.end, h.code = endPeer, closed.Code
		default:
			h.end = endError
		}
		h.pongs = pongsIn(t, conn.sent.Bytes()[head:])
		return h
	}
}

func hearCoder(t testing.TB, stream []byte) (h heard) {
	conn := &memoryConn{Reader: io.MultiReader(bytes.NewReader(stream), silence{})}
	c, err := coder.Accept(givenAway{httptest.NewRecorder(), conn}, upgradeRequest(t), nil)
	check(t, err)
	defer c.CloseNow()
	c.SetReadLimit(-1)
	head := conn.sent.Len()
	for {
		kind, payload, err := c.Read(context.Background())
		if err == nil {
			h.messages = append(h.messages, message{kind == coder.MessageText, string(payload)})
			continue
		}
		switch code := coder.CloseStatus(err); {
		case code >= 0:
			h.end, h.code = endPeer, int(code)
		case errors.Is(err, errSilent):
			h.end = endOfStream
		default:
			h.end = endError
		}
		h.pongs = pongsIn(t, conn.sent.Bytes()[head:])
		return h
	}
}

// hearWeir takes what weir understood from what its echo says. own is the code
// of a Close that weir began.
func (l *lab) hearWeir(stream []byte) (h heard, own int) {
	l.t.Helper()
	c := l.connect("/")
	c.write(string(stream))
	l.settle()
	sent := slices.Concat(c.buf, c.take())
	for r := bytes.NewReader(sent); r.Len() > 0; {
		f, err := readFrame(r)
		check(l.t, err)
		switch f.Header.OpCode {
		case ws.OpText, ws.OpBinary:
			h.messages = append(h.messages, message{f.Header.OpCode == ws.OpText, string(f.Payload)})
		case ws.OpPong:
			h.pongs = append(h.pongs, string(f.Payload))
		case ws.OpClose:
			code := websocket.CloseNoStatusReceived
			if len(f.Payload) >= 2 {
				code = int(f.Payload[0])<<8 | int(f.Payload[1])
			}
			if len(f.Payload) > 2 { // an answer has no reason, ours has
				h.end, own = endError, code
			} else {
				h.end, h.code = endPeer, code
			}
		}
	}
	c.hangUp()
	l.settle()
	l.checkFaults()
	l.wires = l.wires[:0]
	return h, own
}

// compare holds weir's understanding against another server's.
func compare(mine heard, own int, name string, other heard, stream []byte) error {
	n := len(mine.messages)
	if len(other.messages) < n || !slices.Equal(mine.messages, other.messages[:n]) {
		return fmt.Errorf("%s heard %v, weir %v", name, other.messages, mine.messages)
	}
	if p := len(mine.pongs); len(other.pongs) < p || !slices.Equal(mine.pongs, other.pongs[:p]) {
		return fmt.Errorf("%s answered the pings %q, weir %q", name, other.pongs, mine.pongs)
	}
	same := len(other.messages) == n && len(other.pongs) == len(mine.pongs)
	switch mine.end {
	case endOfStream:
		early := other.end == endError && endsInHeader(stream) // before it is whole; weir waits for all of it
		if other.end != endOfStream && !early || !same {
			return fmt.Errorf("weir would go on listening, having heard %v; %s ended (%d) after %v", mine.messages, name, other.end, other.messages)
		}
	case endPeer:
		badGateway := name == "gorilla" && mine.code == 1014 // in the IANA registry since 2012
		if other.end != endPeer && !badGateway || other.end == endPeer && other.code != mine.code || !same {
			return fmt.Errorf("weir heard a Close of %d; %s ended (%d) with %d after %v", mine.code, name, other.end, other.code, other.messages)
		}
	case endError:
		// Where they are more lenient: text that is not UTF-8, limits, and lengths in
		// more bytes than they need (RFC 6455 §5.2 forbids them); gorilla takes a Close
		// of one byte for an empty one (§5.5.1 forbids it).
		oneByte := name == "gorilla" && other.end == endPeer && other.code == websocket.CloseNoStatusReceived
		if own == codeProtocol && (other.end != endError && !oneByte || !same) && !hasLongLength(stream) {
			return fmt.Errorf("weir fails the connection after %v; %s ended (%d) after %v", mine.messages, name, other.end, other.messages)
		}
		if own != codeProtocol && own != codeInvalidData && own != codeTooBig {
			return fmt.Errorf("weir closes with %d", own)
		}
	}
	return nil
}

// walkHeaders reads headers as leniently as can be, and calls see with each and how many
// bytes it has. It reports whether the stream ends within one.
func walkHeaders(stream []byte, see func(h ws.Header, headerBytes int)) (inHeader bool) {
	for r := bytes.NewReader(stream); r.Len() > 0; {
		before := r.Len()
		h, err := ws.ReadHeader(r)
		if err != nil {
			return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		}
		see(h, before-r.Len())
		if h.Length > int64(r.Len()) {
			return false
		}
		if _, err := r.Seek(h.Length, io.SeekCurrent); err != nil {
			return false
		}
	}
	return false
}

// hasLongLength reports that a frame's length is written in more bytes than it
// needs.
func hasLongLength(stream []byte) (long bool) {
	walkHeaders(stream, func(h ws.Header, headerBytes int) { long = long || headerBytes != ws.HeaderSize(h) })
	return long
}

func endsInHeader(stream []byte) bool { return walkHeaders(stream, func(ws.Header, int) {}) }

// forOthers are limits that no stream of these tests reaches.
func forOthers(s *setup) {
	s.opts.WebSocket.MaxFragments = 1 << 20
	s.opts.WebSocket.ControlRate = 1 << 20
}

func (l *lab) compareAll(stream []byte) error {
	mine, own := l.hearWeir(stream)
	return errors.Join(
		compare(mine, own, "gorilla", hearGorilla(l.t, stream), stream),
		compare(mine, own, "coder", hearCoder(l.t, stream), stream))
}

func FuzzFramesBesideOtherServers(f *testing.F) {
	for _, s := range streams() {
		f.Add([]byte(s.send))
		f.Add([]byte(s.send + behindTheEnd))
	}
	l := newLab(f, withEcho, forOthers)
	f.Cleanup(l.close)
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) > 1<<14 {
			return
		}
		l.t = t
		if err := l.compareAll(stream); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRandomStreamsMeanTheSameToOtherServers(t *testing.T) {
	l := newLab(t, withEcho, forOthers)
	defer l.close()
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		stream := randomStream(r)
		if err := l.compareAll(stream); err != nil {
			t.Fatalf("% x: %v", stream, err)
		}
	}
}

// FuzzRequestBesideNetHTTP holds the parser of requests alone against that of
// net/http. Whatever weir takes for an upgrade, net/http must take, with the same
// method, target and fields, and end it at the same byte. It refuses more.
func FuzzRequestBesideNetHTTP(f *testing.F) {
	for _, tc := range refusals() {
		if len(tc.request) < 2000 {
			f.Add([]byte(tc.request))
		}
	}
	for _, request := range []string{
		upgradeHead, with("Origin: http://test"), with("X:"), with("X: \t y \t"), with("x: 1", "X: 2"), with("Content-Length: 0"), with("X: \xFF"),
		changed("GET / ", "GET /?a=%zz "), changed("GET / ", "GET /%41 "), changed("GET / ", "GET //evil/path "), changed("GET / ", "GET /a:b@c "),
		changed("Host: test", "Host: [::1]:80"), changed("Host: test", "Host: a,b"), changed("Host: test", "Host: test:port"), changed("Host: test", "Host: [x"),
		"GET /page HTTP/1.1\r\nHost: test\r\n\r\n", "POST /form HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello",
	} {
		f.Add([]byte(request))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		n := headEnd(sent)
		if n <= 0 {
			return
		}
		var r request
		if r.parse(sent[:n], 8<<10, 64) != 0 || !r.isUpgrade() || r.checkUpgrade() != 0 {
			return
		}
		path, _, _ := bytes.Cut(r.target, []byte("?"))
		if host, _ := r.one("Host"); len(path) == 0 || !validHost(host) {
			t.Fatalf("accepted with the path %q and the host %q", path, host)
		}
		br := bufio.NewReader(bytes.NewReader(sent))
		req, err := http.ReadRequest(br)
		if err != nil {
			t.Fatalf("net/http refuses what weir takes: %v", err)
		}
		host, _ := r.one("Host")
		if req.Method != string(r.method) || req.RequestURI != string(r.target) || req.Host != string(host) || req.ContentLength != 0 || req.TransferEncoding != nil || !req.ProtoAtLeast(1, 1) || req.ProtoAtLeast(1, 2) {
			t.Fatalf("net/http reads %s %s of %s, body of %d %v; weir %s %s of %s", req.Method, req.RequestURI, req.Host, req.ContentLength, req.TransferEncoding, r.method, r.target, host)
		}
		fields := 0
		for _, values := range req.Header {
			fields += len(values)
		}
		if fields != len(r.fields)-1 { // Host is not among them
			t.Fatalf("net/http reads %d fields, weir %d", fields+1, len(r.fields))
		}
		for name := range req.Header {
			value, count := r.header(name, nil)
			if want := req.Header.Values(name); count != len(want) || string(value) != strings.Join(want, ", ") {
				t.Fatalf("net/http reads %s as %q, weir as %q", name, want, value)
			}
		}
		if rest, _ := io.ReadAll(br); !bytes.Equal(rest, sent[n:]) {
			t.Fatalf("behind the request net/http sees %q, weir %q", rest, sent[n:])
		}
		// Two other servers check the handshake; what they refuse weir must refuse.
		// gorilla takes no Origin but of the same host, as weir does elsewhere.
		req.Header.Del("Origin")
		conn := &memoryConn{Reader: bytes.NewReader(nil)}
		if _, err := (&websocket.Upgrader{}).Upgrade(givenAway{httptest.NewRecorder(), conn}, req, nil); err != nil {
			t.Fatalf("gorilla refuses what weir takes: %v", err)
		}
		c, err := coder.Accept(givenAway{httptest.NewRecorder(), conn}, req, nil)
		if err != nil {
			t.Fatalf("coder refuses what weir takes: %v", err)
		}
		_ = c.CloseNow()
	})
}
