package host

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"weir/pool"
)

// cut splits p in pieces: each byte of cuts is how long the next one is, the
// last piece is what is left.
func cut(p, cuts []byte) []string {
	var parts []string
	for _, n := range cuts {
		if int(n) >= len(p) {
			break
		}
		parts = append(parts, string(p[:n]))
		p = p[n:]
	}
	return append(parts, string(p))
}

// decode is what a client's stream means to an echo server, by the book and in
// one piece: what comes back, and whether the server ends it.
func decode(p []byte, limits WebSocketOptions) (replies []byte, ended bool) {
	var message []byte
	kind, frames := ws.OpCode(0), 0
	fail := func(c cause) ([]byte, bool) { return append(replies, closing(c)...), true }
	for {
		if len(p) < 2 {
			return replies, false
		}
		fin, rsv, op := p[0]&0x80 != 0, p[0]&0x70, ws.OpCode(p[0]&0x0F)
		masked, length := p[1]&0x80 != 0, uint64(p[1]&0x7F)
		extra, least := 0, uint64(0)
		switch length {
		case 126:
			extra, least = 2, 126
		case 127:
			extra, least = 8, 1<<16
		}
		header := 2 + extra
		if masked {
			header += 4
		}
		if len(p) < header {
			return replies, false
		}
		switch extra {
		case 2:
			length = uint64(binary.BigEndian.Uint16(p[2:]))
		case 8:
			length = binary.BigEndian.Uint64(p[2:])
		}
		control := op >= 8
		switch {
		case rsv != 0, !masked, length < least, length>>63 != 0,
			op >= 3 && op <= 7, op >= 0xB,
			control && (!fin || length > 125),
			op == 0 && frames == 0, !control && op != 0 && frames > 0:
			return fail(causeProtocol)
		}
		if !control {
			switch {
			case length > uint64(limits.MaxFrameSize), uint64(len(message))+length > uint64(limits.MaxMessageSize):
				return fail(causeTooBig)
			case frames == limits.MaxFragments:
				return fail(causeTooManyFragments)
			}
		}
		mask := p[header-4 : header]
		p = p[header:]
		whole := uint64(len(p)) >= length
		if control && !whole {
			return replies, false
		}
		payload := slices.Clone(p[:min(uint64(len(p)), length)])
		p = p[len(payload):]
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
		switch op {
		case ws.OpPing:
			replies = append(append(replies, 0x8A, byte(length)), payload...)
			continue
		case ws.OpPong:
			continue
		case ws.OpClose:
			switch {
			case length == 0:
				return append(replies, 0x88, 0), true
			case length == 1:
				return fail(causeProtocol)
			}
			code := binary.BigEndian.Uint16(payload)
			if code < 1000 || code >= 1004 && code <= 1006 || code >= 1015 && code < 3000 || code >= 5000 {
				return fail(causeProtocol)
			}
			if !utf8.Valid(payload[2:]) {
				return fail(causeInvalidUTF8)
			}
			return append(replies, 0x88, 2, payload[0], payload[1]), true
		}
		if frames++; frames == 1 {
			kind, message = op, nil
		}
		message = append(message, payload...)
		text := kind == ws.OpText
		if text && !canBecomeText(message) || text && whole && fin && !utf8.Valid(message) {
			return fail(causeInvalidUTF8)
		}
		if !whole {
			return replies, false
		}
		if !fin {
			continue
		}
		n := len(message)
		switch {
		case n <= 125:
			replies = append(replies, 0x80|byte(kind), byte(n))
		default: // the limit of these tests is below 64 KiB
			replies = append(replies, 0x80|byte(kind), 126, byte(n>>8), byte(n))
		}
		replies = append(replies, message...)
		frames, message = 0, nil
	}
}

// forReference are limits that random streams reach, and no others.
func forReference(s *setup) {
	smallLimits(s)
	s.opts.WebSocket.ControlRate = 1 << 20 // the reference has no clock
}

func FuzzFrames(f *testing.F) {
	for _, s := range streams() {
		f.Add([]byte(s.send), []byte{1, 1, 1, 3, 7, 20})
	}
	f.Add([]byte(frame(0x82, strings.Repeat("x", 600))+fragments(0x81, pieces(strings.Repeat("aé漢𝄞", 50), 77)...)+peerClose(1000, "bye")), bytes.Repeat([]byte{13}, 100))
	l := newLab(f, withEcho, forReference)
	f.Cleanup(l.close)
	f.Fuzz(func(t *testing.T, sent, cuts []byte) {
		if len(sent) > 1<<14 {
			return
		}
		l.t = t
		replies, ended := decode(sent, l.srv.opts().WebSocket)
		l.converse(stream{name: "fuzzed", want: string(replies), open: !ended}, cut(sent, cuts)...)
	})
}

// randomStream writes frames as a client does that is mostly right.
func randomStream(r *rand.Rand) []byte {
	var p []byte
	words := []string{"", "a", "aé漢𝄞", "\xE6\xBC", "\xA2", "\xF0\x9D", "\xFF", strings.Repeat("x", 120), strings.Repeat("é", 150), strings.Repeat("z", 599)}
	word := func() string { return words[r.IntN(len(words))] }
	for range 1 + r.IntN(12) {
		switch r.IntN(20) {
		case 0, 1, 2, 3:
			p = append(p, frame(0x81, word())...)
		case 4, 5, 6:
			p = append(p, frame(0x82, word()+word())...)
		case 7, 8, 9:
			parts := make([]string, 1+r.IntN(10))
			for i := range parts {
				parts[i] = words[r.IntN(4+r.IntN(len(words)-3))]
			}
			p = append(p, fragments(byte(0x81+r.IntN(2)), parts...)...)
		case 10, 11, 12:
			p = append(p, frame(0x02, word())...)
			p = append(p, frame(0x89, "ping")...)
			p = append(p, frame(0x80, word())...)
		case 13, 14, 15:
			p = append(p, frame(0x89+byte(r.IntN(2)), word()[:0]+"p")...)
		case 16:
			p = append(p, peerClose(900+r.IntN(4500), word())...)
		case 17:
			p = append(p, frame(byte(r.IntN(256)), word())...)
		case 18:
			p = append(p, sealed(byte(0x80+r.IntN(3)), length64(r.Uint64()>>r.IntN(64)), word())...)
		case 19:
			p = append(p, frame(0x81, "broken")...)
			p[len(p)-1-r.IntN(12)] ^= 1 << r.IntN(8)
		}
	}
	return p[:len(p)-r.IntN(1+len(p)/8)]
}

func TestRandomStreamsMeanWhatAReferenceSays(t *testing.T) {
	l := newLab(t, withEcho, forReference)
	defer l.close()
	r := rand.New(rand.NewPCG(1, 2))
	ends := 0
	for range 3000 {
		sent := randomStream(r)
		var cuts []byte
		for range r.IntN(40) {
			cuts = append(cuts, byte(1+r.IntN(1+r.IntN(200))))
		}
		replies, ended := decode(sent, l.srv.opts().WebSocket)
		if ended {
			ends++
		}
		l.converse(stream{name: "random", want: string(replies), open: !ended}, cut(sent, cuts)...)
	}
	if ends < 500 || ends > 2500 {
		t.Errorf("%d of 3000 streams ended with a Close frame: the mixture tests little", ends)
	}
}

// forRequests are limits that a fuzzer reaches.
func forRequests(s *setup) {
	withEcho(s)
	s.opts.Server.MaxHeaderSize = 512
	s.opts.Server.MaxURISize = 64
	s.opts.Server.MaxHeaders = 12
	s.opts.Routes = []Route{{Path: "/{path...}", Module: "echo", Protocols: []string{"a"}}}
	s.opts.WebSocket.ControlRate = 1 << 20
}

// outcome is what a handshake led to.
type outcome struct {
	answer string
	http   bool // it went to net/http
	shut   bool
}

func (l *lab) shakeHands(chunks ...string) outcome {
	l.t.Helper()
	given := l.srv.Stats().HTTP + l.srv.closes[causeHTTP].Load()
	c := l.knock()
	for _, chunk := range chunks {
		c.write(chunk)
		l.settle()
	}
	o := outcome{string(c.take()), l.srv.Stats().HTTP+l.srv.closes[causeHTTP].Load() != given, c.shut}
	if !c.gone() {
		c.hangUp()
		l.settle()
	}
	if !c.gone() {
		l.t.Fatal("the socket is still open")
	}
	l.checkFaults()
	l.wires = l.wires[:0]
	return o
}

func FuzzHandshake(f *testing.F) {
	f.Add([]byte(upgradeHead+frame(0x81, "behind it")), uint16(100))
	f.Add([]byte("GET /page HTTP/1.1\r\nHost: test\r\n\r\n"), uint16(10))
	for _, tc := range refusals() {
		if len(tc.request) < 1000 {
			f.Add([]byte(tc.request), uint16(len(tc.request)/2))
		}
	}
	for _, more := range []string{"Origin: http://test", "Sec-WebSocket-Protocol: b, a", "Content-Length: 0", "Cookie: a=b; c=\"d\"", "X-Long: " + strings.Repeat("x", 300)} {
		f.Add([]byte(with(more)+frame(0x82, "behind it")), uint16(200))
	}
	f.Add([]byte(changed("GET / ", "GET /a/%41?b=%zz&c=d#e ")), uint16(20))
	for _, n := range []int{512, 513} { // the limit of the head, and one byte more
		f.Add([]byte(with("X: "+strings.Repeat("x", n-len(with("X: "))))), uint16(512))
		f.Add([]byte("GET /"+strings.Repeat("u", n-len("GET /"))+" HTTP/1.1\r\n"), uint16(511))
		f.Add([]byte("GET / HTTP/1.1\r\nX: "+strings.Repeat("x", n)), uint16(511))
	}
	l := newLab(f, forRequests)
	f.Cleanup(l.close)
	f.Fuzz(func(t *testing.T, sent []byte, at uint16) {
		if len(sent) > 2048 {
			return
		}
		l.t = t
		whole := l.shakeHands(string(sent))
		i := min(int(at), len(sent))
		if halves := l.shakeHands(string(sent[:i]), string(sent[i:])); halves != whole {
			t.Fatalf("split at %d it means %+v, else %+v", i, halves, whole)
		}
		if bits := l.shakeHands(pieces(string(sent), 1)...); bits != whole {
			t.Fatalf("byte by byte it means %+v, else %+v", bits, whole)
		}
		if strings.Contains(l.log.take(), "after it was checked") {
			t.Fatal("a check is laxer than ws.Upgrader's")
		}
		upgraded := strings.HasPrefix(whole.answer, "HTTP/1.1 101 ")
		switch {
		case whole.http && whole.answer != "":
			t.Fatalf("a request for net/http was answered with %q", whole.answer)
		case upgraded:
			agreesWithNetHTTP(t, sent, whole.answer)
		case whole.answer != "":
			checkOneAnswer(t, whole)
		}
	})
}

// take is String for whom the log would grow too long.
func (l *logBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.b.String()
	l.b.Reset()
	return s
}

// agreesWithNetHTTP checks that a request which was accepted is the same
// request to another parser, that it ends at the same byte, and that the answer
// is for its key.
func agreesWithNetHTTP(t *testing.T, sent []byte, answer string) {
	t.Helper()
	var r request
	n := headEnd(sent)
	if n <= 0 {
		t.Fatalf("a request without an end was accepted")
	}
	if status := r.parse(sent[:n], 64, 12); status != 0 {
		t.Fatalf("what was accepted is parsed as %d", status)
	}
	br := bufio.NewReader(bytes.NewReader(sent))
	req, err := http.ReadRequest(br)
	if err != nil {
		t.Fatalf("net/http refuses what was accepted: %v", err)
	}
	host, _ := r.one("Host")
	if req.Method != string(r.method) || req.RequestURI != string(r.target) || req.Host != string(host) || req.ContentLength != 0 || req.TransferEncoding != nil || req.ProtoMajor != 1 || req.ProtoMinor != 1 {
		t.Fatalf("net/http reads %s %s of %s, body of %d %v; the server %s %s of %s", req.Method, req.RequestURI, req.Host, req.ContentLength, req.TransferEncoding, r.method, r.target, host)
	}
	mine := make(http.Header)
	for _, f := range r.fields {
		if !equalFold(f.name, "Host") {
			mine.Add(string(f.name), string(f.value))
		}
	}
	for name, values := range mine {
		if !slices.Equal(values, req.Header[name]) {
			t.Fatalf("net/http reads %s as %q, the server as %q", name, req.Header[name], values)
		}
	}
	if len(mine) != len(req.Header) {
		t.Fatalf("net/http reads the fields %v, the server %v", req.Header, mine)
	}
	if rest, _ := io.ReadAll(br); string(rest) != string(sent[n:]) {
		t.Fatalf("behind the request net/http sees %q, the server %q", rest, sent[n:])
	}
	key, _ := r.one("Sec-WebSocket-Key")
	sum := sha1.Sum(append(slices.Clone(key), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
	if accept := "\r\nSec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"; !strings.Contains(answer, accept) {
		t.Fatalf("the answer is not for its key: %q", answer)
	}
}

func checkOneAnswer(t *testing.T, o outcome) {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(o.answer))
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatalf("answered %q: %v", o.answer, err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatalf("answered %q: %v", o.answer, err)
	}
	if more, _ := io.ReadAll(br); len(more) > 0 || resp.StatusCode < 400 || !resp.Close || !o.shut {
		t.Fatalf("answered %q and %q; ended: %v", o.answer, more, o.shut)
	}
}

func FuzzHeader(f *testing.F) {
	for _, s := range streams() {
		f.Add([]byte(s.send[:min(len(s.send), 20)]))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		r := bytes.NewReader(p)
		want, err := ws.ReadHeader(r)
		headerBytes := len(p) - r.Len()
		got, n, mine := parseHeader(p)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			if n != 0 || mine != nil {
				t.Fatalf("% x is half a header, and was read as %+v, %d bytes, %v", p, got, n, mine)
			}
		case err != nil, headerBytes != ws.HeaderSize(want):
			if mine == nil {
				t.Fatalf("% x was read as %+v although: %v", p, got, err)
			}
		case mine != nil, got != want, n != headerBytes:
			t.Fatalf("% x was read as %+v, %d bytes, %v; want %+v, %d bytes", p, got, n, mine, want, headerBytes)
		}
	})
}

func FuzzUTF8(f *testing.F) {
	for _, text := range []string{"", "plain", "aé漢𝄞", "\xC0\xAF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF", "\xF4\x90\x80\x80", "é\xC3", "漢\xE6\xBC", "𝄞\xF0\x9D\x84", "\x80", "\xFE\xFF"} {
		f.Add([]byte(text), []byte{1, 1, 1, 1})
		f.Add([]byte(strings.Repeat("longer than a word of the machine ", 3)+text), []byte{70, 33})
	}
	f.Fuzz(func(t *testing.T, text, cuts []byte) {
		var parts [][]byte
		for _, part := range cut(text, cuts) {
			parts = append(parts, []byte(part))
		}
		checkTextInPieces(t, parts...)
	})
}

func FuzzMask(f *testing.F) {
	f.Add([]byte("short"), uint32(0x12345678), []byte{1, 2})
	f.Add(bytes.Repeat([]byte("longer than every block "), 20), uint32(0xFFFFFFFF), []byte{1, 15, 16, 17, 3, 64, 0, 5})
	f.Add([]byte{}, uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, payload []byte, key uint32, cuts []byte) {
		var mask [4]byte
		binary.BigEndian.PutUint32(mask[:], key)
		want := slices.Clone(payload)
		for i := range want {
			want[i] ^= mask[i%4]
		}
		// In the pieces in which an incomplete message comes, after a message that
		// ended anywhere in the same buffer.
		for before := range 4 {
			a := assembly{op: ws.OpBinary, mask: mask, left: int64(len(payload)), n: before}
			a.buf = pool.Take(before + len(payload) + 1)
			a.buf.B[before+len(payload)] = 0xAA
			copy(a.buf.B[before:], payload)
			for _, part := range cut(payload, cuts) {
				a.took(len(part))
			}
			if !bytes.Equal(a.payload()[before:], want) || a.left != 0 || a.n != before+len(payload) {
				t.Fatalf("in pieces of %v, %d bytes into the buffer: % x, want % x", cuts, before, a.payload()[before:], want)
			}
			if a.buf.B[before+len(payload)] != 0xAA {
				t.Fatal("a byte behind the payload was changed")
			}
			a.buf.Release()
		}
		// As a whole, in guest memory.
		ws.Cipher(payload, mask, 0)
		if !bytes.Equal(payload, want) {
			t.Fatalf("as a whole: % x, want % x", payload, want)
		}
	})
}

// matchSlowly is what a pattern means, in as many words.
func matchSlowly(text, path string) (params map[string]string, ok bool) {
	if !strings.HasPrefix(path, "/") {
		return nil, false
	}
	params = map[string]string{}
	want, have := strings.Split(text[1:], "/"), strings.Split(path[1:], "/")
	for i, w := range want {
		name, isParam := strings.CutPrefix(w, "{")
		name = strings.TrimSuffix(name, "}")
		switch rest, isRest := strings.CutSuffix(name, "..."); {
		case i >= len(have):
			return nil, false
		case isParam && isRest:
			params[rest] = strings.Join(have[i:], "/")
			return params, true
		case isParam && have[i] != "":
			params[name] = have[i]
		case isParam || w != have[i]:
			return nil, false
		}
	}
	return params, len(want) == len(have)
}

func FuzzPattern(f *testing.F) {
	for _, tc := range [][2]string{
		{"/", "/"}, {"/", ""}, {"/", "//"}, {"/a", "/a/"}, {"/a/", "/a"}, {"/a/b", "/a/b"}, {"/chat/{room}", "/chat/lobby"}, {"/chat/{room}", "/chat/"},
		{"/chat/{room}", "/chat/a/b"}, {"/{a}/x/{b}", "/1/x/2"}, {"/files/{rest...}", "/files/a/b"}, {"/files/{rest...}", "/files/"}, {"/files/{rest...}", "/files"},
		{"/{all...}", "/"}, {"/{a}/{a}", "/1/2"}, {"/{a...}/b", "/1/b"}, {"/{a", "/x"}, {"/a}", "/a}"}, {"/{}", "/x"}, {"/%41", "/A"}, {"/{a}", "/..."}, {"a", "a"},
	} {
		f.Add(tc[0], tc[1])
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		p, err := parsePattern(text)
		if err != nil {
			return
		}
		want, ok := matchSlowly(text, path)
		if got := p.match(path); got != ok {
			t.Fatalf("%q matches %q: %v, want %v", text, path, got, ok)
		}
		if !ok {
			return
		}
		for name, value := range want {
			if got, ok := p.param(path, name); !ok || got != value {
				t.Fatalf("%q in %q of %q is %q (%v), want %q", name, path, text, got, ok, value)
			}
		}
		for _, name := range []string{"", "nobody", "..."} {
			if _, is := want[name]; !is {
				if got, ok := p.param(path, name); ok {
					t.Fatalf("%q has a parameter %q: %q", text, name, got)
				}
			}
		}
	})
}
