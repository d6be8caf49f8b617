package host

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// rule is a sentence of RFC 6455 about servers, and a conversation that breaks
// or keeps it. docs/protocol.md lists them.
type rule struct {
	section string
	says    string

	request string // sent instead of the good one
	status  int    // and its answer; 0 = 101
	header  string // a line that the answer must have

	send, want string // behind the handshake, as in stream
	open       bool
}

func rules() []rule {
	protocol := closing(causeProtocol)
	handshake := []rule{
		{section: "4.2.1", says: "the method is GET", request: changed("GET", "POST"), status: 405},
		{section: "4.2.1", says: "the version of HTTP is 1.1", request: changed("HTTP/1.1", "HTTP/1.0"), status: 505},
		{section: "4.2.1", says: "the target is a path, not a URI", request: changed("GET / ", "GET ws://test/ "), status: 400},
		{section: "4.2.1", says: "there is a Host", request: without("Host"), status: 400},
		{section: "4.2.1", says: "Upgrade is websocket, in any case", request: changed(upgradeLine, "Upgrade: WebSocket\r\n")},
		{section: "4.2.1", says: "Connection lists Upgrade, in any case", request: changed(connLine, "Connection: keep-alive, upgrade\r\n")},
		{section: "4.2.1", says: "there is a Connection", request: without("Connection"), status: 400},
		{section: "4.2.1", says: "the key is 16 bytes in base64", request: changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j"), status: 400},
		{section: "4.2.1", says: "there is one key", request: with(strings.TrimSpace(keyLine)), status: 400},
		{section: "4.2.1", says: "the version is there", request: without("Sec-WebSocket-Version"), status: 400},
		{section: "4.2.1", says: "an Origin is not required", request: upgradeHead},
		{section: "4.2.1", says: "other fields are ignored", request: with("Sec-WebSocket-Foo: bar", "X-Other: y")},
		{section: "4.2.2", says: "the key's answer is that of the example in 1.3", request: upgradeHead, header: "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		{section: "4.2.2", says: "the answer upgrades to websocket", request: upgradeHead, header: "Upgrade: websocket"},
		{section: "4.2.2", says: "the answer's Connection is Upgrade", request: upgradeHead, header: "Connection: Upgrade"},
		{section: "4.2.2", says: "a foreign Origin is answered 403", request: with("Origin: https://evil.example"), status: 403},
		{section: "4.2.2", says: "another version is answered 426 with ours", request: changed(versionLine, "Sec-WebSocket-Version: 25\r\n"), status: 426, header: "Sec-WebSocket-Version: 13"},
		{section: "4.2.2", says: "a path without a service is answered 404", request: changed("GET / ", "GET /nowhere "), status: 404},
		{section: "4.2.2", says: "the subprotocol is one that was offered", request: with("Sec-WebSocket-Protocol: x, a"), header: "Sec-WebSocket-Protocol: a"},
		{section: "4.4", says: "several versions at once are none", request: changed(versionLine, "Sec-WebSocket-Version: 8, 13\r\n"), status: 426, header: "Sec-WebSocket-Version: 13"},
		{section: "11.3.2", says: "extensions may come in several fields", request: with("Sec-WebSocket-Extensions: x-a", "Sec-WebSocket-Extensions: x-b; c=d")},
		{section: "9.1", says: "an extension that nobody knows is declined", request: with("Sec-WebSocket-Extensions: x-unknown")},
	}
	half := frame(0x01, "half")
	after := []rule{
		{section: "5.1", says: "a frame that is not masked fails the connection", send: "\x81\x05hello", want: protocol},
		{section: "5.1", says: "an empty frame is masked, too", send: "\x82\x00", want: protocol},
		{section: "5.1", says: "a control frame is masked, too", send: "\x89\x00", want: protocol},
		{section: "5.1", says: "a server does not mask", send: frame(0x82, "payload"), want: "\x82\x07payload", open: true},
		{section: "5.2", says: "RSV1 is 0 without an extension", send: frame(0xC1, "x"), want: protocol},
		{section: "5.2", says: "RSV2 is 0", send: frame(0xA1, "x"), want: protocol},
		{section: "5.2", says: "RSV3 is 0", send: frame(0x91, "x"), want: protocol},
		{section: "5.2", says: "a reserved opcode of data fails the connection", send: frame(0x83, ""), want: protocol},
		{section: "5.2", says: "a reserved opcode of control fails the connection", send: frame(0x8B, ""), want: protocol},
		{section: "5.2", says: "a length of 64 bits begins with 0", send: sealed(0x82, length64(1<<63), ""), want: protocol},
		{section: "5.2", says: "16 bits are for lengths from 126 on", send: sealed(0x82, length16(125), strings.Repeat("x", 125)), want: protocol},
		{section: "5.2", says: "64 bits are for lengths from 65536 on", send: sealed(0x82, length64(65535), ""), want: protocol},
		{section: "5.2", says: "125 bytes come back with a length of 7 bits", send: frame(0x82, strings.Repeat("x", 125)), want: "\x82\x7D" + strings.Repeat("x", 125), open: true},
		{section: "5.2", says: "126 bytes come back with a length of 16 bits", send: frame(0x82, strings.Repeat("x", 126)), want: "\x82\x7E\x00\x7E" + strings.Repeat("x", 126), open: true},
		{section: "5.3", says: "any key unmasks, one of zeros too", send: "\x82\x83\x00\x00\x00\x00abc" + "\x82\x83\xFF\xFF\xFF\xFF\x9E\x9D\x9C", want: binaryFrame("abc") + binaryFrame("abc"), open: true},
		{section: "5.4", says: "fragments are one message", send: fragments(0x81, "a", "b", "c"), want: textFrame("abc"), open: true},
		{section: "5.4", says: "control frames come between fragments", send: half + frame(0x89, "p") + frame(0x80, "!"), want: pongFrame("p") + textFrame("half!"), open: true},
		{section: "5.4", says: "a control frame has no fragments", send: frame(0x09, "p") + frame(0x80, "q"), want: protocol},
		{section: "5.4", says: "messages do not interleave", send: half + frame(0x82, "other"), want: protocol},
		{section: "5.4", says: "a continuation has something to continue", send: frame(0x80, "x"), want: protocol},
		{section: "5.5", says: "a control frame has up to 125 bytes", send: frame(0x89, strings.Repeat("p", 126)), want: protocol},
		{section: "5.5.1", says: "a Close is answered with its code", send: peerClose(1001, "bye"), want: closeFrame(1001, "")},
		{section: "5.5.1", says: "a Close without a code is answered without one", send: frame(0x88, ""), want: closeFrame(0, "")},
		{section: "5.5.1", says: "a Close has two bytes of code or none", send: frame(0x88, "\x03"), want: protocol},
		{section: "5.5.1", says: "a reason is UTF-8", send: peerClose(1000, "\xFF"), want: closing(causeInvalidUTF8)},
		{section: "5.5.1", says: "nothing is sent after a Close", send: peerClose(1000, "") + frame(0x89, "p") + frame(0x82, "m"), want: closeFrame(1000, "")},
		{section: "5.5.1", says: "a Close ends a message that was never whole", send: half + peerClose(1000, ""), want: closeFrame(1000, "")},
		{section: "5.5.2", says: "a ping is answered with its payload", send: frame(0x89, "p\x00\xFF"), want: pongFrame("p\x00\xFF"), open: true},
		{section: "5.5.3", says: "a pong that nobody asked for is not answered", send: frame(0x8A, "p"), open: true},
		{section: "5.6", says: "text is UTF-8", send: frame(0x81, "\xC3\x28"), want: closing(causeInvalidUTF8)},
		{section: "5.6", says: "binary is any bytes", send: frame(0x82, "\xC3\x28"), want: binaryFrame("\xC3\x28"), open: true},
		{section: "5.6", says: "a fragment of text may end within a rune", send: fragments(0x81, "\xC3", "\xA9"), want: textFrame("é"), open: true},
		{section: "6.2", says: "messages keep their order and their kind", send: frame(0x81, "1") + frame(0x82, "2") + frame(0x81, "3"), want: textFrame("1") + binaryFrame("2") + textFrame("3"), open: true},
		{section: "7.4.1", says: "1005 does not travel", send: peerClose(1005, ""), want: protocol},
		{section: "7.4.1", says: "1006 does not travel", send: peerClose(1006, ""), want: protocol},
		{section: "7.4.1", says: "1015 does not travel", send: peerClose(1015, ""), want: protocol},
		{section: "7.4.1", says: "1004 is reserved", send: peerClose(1004, ""), want: protocol},
		{section: "7.4.1", says: "a message too big is answered 1009", send: sealed(0x82, length64(1<<40), ""), want: closing(causeTooBig)},
		{section: "7.4.2", says: "codes below 1000 are not used", send: peerClose(999, ""), want: protocol},
		{section: "7.4.2", says: "codes from 1016 to 2999 are reserved", send: peerClose(2999, ""), want: protocol},
		{section: "7.4.2", says: "codes from 3000 to 3999 are for libraries", send: peerClose(3500, ""), want: closeFrame(3500, "")},
		{section: "7.4.2", says: "codes from 4000 to 4999 are private", send: peerClose(4500, ""), want: closeFrame(4500, "")},
		{section: "7.4.2", says: "codes from 5000 on are none", send: peerClose(5000, ""), want: protocol},
		{section: "8.1", says: "text that is not UTF-8 fails before it ends", send: frame(0x01, "\xED\xA0"), want: closing(causeInvalidUTF8)},
		{section: "8.1", says: "text that breaks off fails", send: frame(0x81, "\xE2\x82"), want: closing(causeInvalidUTF8)},
	}
	return append(handshake, after...)
}

func TestRFC6455(t *testing.T) {
	w := start(t, withEcho, smallLimits, func(s *setup) {
		s.opts.Routes = []Route{{Path: "/", Module: "echo", Protocols: []string{"a"}}}
	})
	for _, r := range rules() {
		t.Run("§"+r.section+" "+r.says, func(t *testing.T) {
			c := w.raw()
			c.t = t
			request := r.request
			if request == "" {
				request = upgradeHead
			}
			c.send(request)
			if r.status != 0 {
				answer := c.rest()
				checkRefusal(t, answer, r.status)
				checkLine(t, answer, r.header)
				return
			}
			head := c.head()
			if resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head)), nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("answered %q (%v)", clip(head, 200), err)
			}
			checkLine(t, head, r.header)
			if strings.Contains(head, "Sec-WebSocket-Extensions") {
				t.Errorf("an extension was accepted: %q", head)
			}
			c.send(r.send)
			if r.send == "" || r.open {
				c.send(frame(0x89, "still there?"))
				c.expect(r.want + pongFrame("still there?"))
				return
			}
			if got := c.rest(); got != r.want {
				t.Errorf("the server said %s, want %s and its end", shown(got), shown(r.want))
			}
		})
	}
}

func checkLine(t *testing.T, head, line string) {
	t.Helper()
	if line != "" && !strings.Contains(head, "\r\n"+line+"\r\n") {
		t.Errorf("the answer lacks %q: %q", line, clip(head, 300))
	}
}

// readFrame reads a frame by a header parser that is not ours.
func readFrame(r io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err != nil {
		return f, err
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}

// serverFrames takes a server's stream apart, by a reader that is not ours, and
// holds each frame against §5.
func serverFrames(t *testing.T, p []byte) (all []ws.Frame) {
	t.Helper()
	for r := bytes.NewReader(p); r.Len() > 0; {
		before := r.Len()
		f, err := readFrame(r)
		switch {
		case err != nil:
			t.Fatalf("what the server sent ends within a frame: %v", err)
		case f.Header.Masked, f.Header.Rsv != 0, !f.Header.Fin:
			t.Fatalf("a frame has the header %+v", f.Header)
		case before-r.Len() != ws.HeaderSize(ws.Header{Length: f.Header.Length})+len(f.Payload):
			t.Fatalf("a length of %d takes more bytes than it needs", f.Header.Length)
		}
		all = append(all, f)
	}
	return all
}

// However a connection ends, the server sends one Close frame, as the last thing
// (§5.5.1), ends its side at once, being the server (§7.1.1), and closes the
// socket within a second, though the client neither answers, nor ends its side,
// nor stops to send.
func TestTheServerClosesOnceAndEndsTheConnectionItself(t *testing.T) {
	type ending struct {
		name, send string
		code       int // of the Close; -1 = none has one
	}
	var endings []ending
	for _, s := range streams() {
		if !s.open {
			endings = append(endings, ending{s.name, s.send, -1})
		}
	}
	for _, s := range rules() {
		if s.send != "" && !s.open {
			endings = append(endings, ending{"§" + s.section + " " + s.says, s.send, -1})
		}
	}
	l := newLab(t, withEcho, smallLimits)
	defer l.close()
	for _, e := range endings {
		for _, late := range []struct{ name, says string }{
			{"silent", ""},
			{"talking", frame(0x81, "late") + frame(0x89, "late")},
			{"closing again", peerClose(1000, "again")},
			{"no longer speaking WebSocket", "\xFF\xFF\xFF\xFF"},
		} {
			c := l.connect("/")
			c.write(e.send)
			l.settle()
			frames := serverFrames(t, slices.Concat(c.buf, c.take()))
			closes := 0
			for _, f := range frames {
				if f.Header.OpCode == ws.OpClose {
					closes++
				}
			}
			if closes != 1 || frames[len(frames)-1].Header.OpCode != ws.OpClose {
				t.Fatalf("%s: %d Close frames among %d, the last is %x", e.name, closes, len(frames), frames[len(frames)-1].Header.OpCode)
			}
			if !c.shut {
				t.Fatalf("%s: the server has not ended its side", e.name)
			}
			for range 10 {
				c.write(late.says)
				l.pass(lingerTimeout / 10)
			}
			l.pass(wheelTick)
			if !c.gone() {
				t.Fatalf("%s, then %s: the socket is open a second later", e.name, late.name)
			}
			if p := c.take(); len(p) > 0 {
				t.Fatalf("%s, then %s: the server went on with %q", e.name, late.name, p)
			}
			l.checkFaults()
			l.wires = l.wires[:0]
		}
	}
}

// Every code that may travel does so in both directions, with its reason.
func TestCloseCodesTravelInBothDirections(t *testing.T) {
	l := newLab(t)
	defer l.close()
	received, sent := 0, 0
	for code := range 1 << 13 {
		if mayReceive(uint16(code)) && (code < 3010 || code > 4990) {
			received++
			watcher := l.watcher()
			c := l.connect("/")
			c.write(peerClose(code, "warum? 漢"))
			l.settle()
			if got := string(c.take()); got != closeFrame(code, "") {
				t.Fatalf("a Close with %d is answered with %q", code, got)
			}
			watcher.want(fmt.Sprintf("closed %d clean warum? 漢", code))
			watcher.leave()
			c.hangUp()
			l.settle()
			l.wires = l.wires[:0]
		}
		if mayHandlerSend(int32(code)) && (code < 3010 || code > 4990) {
			sent++
			watcher := l.watcher()
			c := l.connect("/")
			c.say(fmt.Sprintf("close %d darum 漢", code))
			l.settle()
			if got := string(c.take()); got != closeFrame(code, "darum 漢") {
				t.Fatalf("the handler's %d arrives as %q", code, got)
			}
			c.write(peerClose(code, "")) // its echo (§5.5.1)
			l.settle()
			if !c.shut {
				t.Fatalf("after the answer to %d the server has not ended its side", code)
			}
			watcher.want(fmt.Sprintf("closed %d clean darum 漢", code))
			watcher.leave()
			c.hangUp()
			l.settle()
			l.wires = l.wires[:0]
		}
	}
	if received != 12+10+9 || sent != 6+10+9 {
		t.Errorf("%d codes came and %d went", received, sent)
	}
}

// On the network: whoever closes first, the client reads the Close frame and
// then the end of the stream, not a reset, while its own side is open.
func TestTheClientReadsTheEndWithoutClosingItsSide(t *testing.T) {
	w := start(t)
	for _, tc := range []struct {
		name, send, answer string
		code               int
	}{
		{"the client closes", peerClose(1000, ""), "", 1000},
		{"the server fails the connection", "\x81\x00", "", 1002},
		{"the handler closes", frame(0x81, "close 4000 bye"), peerClose(4000, ""), 4000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := w.raw()
			c.t = t
			c.upgrade()
			c.send(tc.send)
			f, err := readFrame(c.Conn)
			if err != nil || f.Header.OpCode != ws.OpClose || int(binary.BigEndian.Uint16(f.Payload)) != tc.code {
				t.Fatalf("frame %+v (%v), want a Close with %d", f, err, tc.code)
			}
			c.send(tc.answer)
			if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("after the Close: %d bytes, %v; want the end of the stream", n, err)
			}
		})
	}
}

// docs/protocol.md names tests that there are, and every Close that there is.
func TestTheProtocolPageIsRight(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	check(t, err)
	files, err := filepath.Glob("*_test.go")
	check(t, err)
	var source []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(t, err)
		source = append(source, text...)
	}
	for _, m := range regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllSubmatch(page, -1) {
		if !bytes.Contains(source, []byte("\nfunc "+string(m[1])+"(")) {
			t.Errorf("there is no %s", m[1])
		}
	}
	for why := causeNone; why < causes; why++ {
		if info := why.info(); info.code != 0 && info.code != codeAbnormal && !bytes.Contains(page, fmt.Appendf(nil, "\n| %d | %s | ", info.code, info.reason)) {
			t.Errorf("the page lacks the Close %d %q of %v", info.code, info.reason, why)
		}
	}
}
