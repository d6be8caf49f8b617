package host

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"

	"weir/pool"
)

// withEcho serves every path by a handler that sends each message back as it
// came, text and binary.
func withEcho(s *setup) {
	wasm, err := os.ReadFile("../examples/echo-c/echo.wasm")
	if err != nil {
		panic(err)
	}
	s.modules = []Module{{Name: "echo", Wasm: wasm}}
	s.opts.Routes = []Route{{Path: "/{path...}", Module: "echo"}}
}

// smallLimits make the limits of the tables below easy to reach.
func smallLimits(s *setup) {
	s.opts.WebSocket.MaxMessageSize = 1000
	s.opts.WebSocket.MaxFrameSize = 600
	s.opts.WebSocket.MaxFragments = 8
}

// stream is what a client sends to an echo server with small limits, and
// exactly what comes back.
type stream struct {
	name, send, want string
	open             bool // the connection goes on; else the server ends its side
}

// sealed is a frame of a client, every part of whose header the caller decides.
func sealed(first byte, length []byte, payload string) string {
	whole := frame(first, payload)
	return string([]byte{first}) + string(length) + whole[len(whole)-len(payload)-4:]
}

// length16 and length64 write a payload's length in that many bits, mask bit
// included, though fewer may do.
func length16(n uint16) []byte { return binary.BigEndian.AppendUint16([]byte{0x80 | 126}, n) }
func length64(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{0x80 | 127}, n) }

func binaryFrame(payload string) string { return string(appendFrame(nil, 2, []byte(payload))) }
func pongFrame(payload string) string   { return string(appendFrame(nil, 10, []byte(payload))) }

// closing is the Close frame that a cause brings.
func closing(c cause) string { return closeFrame(int(c.info().code), c.info().reason) }

// peerClose is a client's Close frame.
func peerClose(code int, reason string) string {
	return frame(0x88, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}

// fragments is a message in frames: first is the first byte of an unfragmented
// one.
func fragments(first byte, parts ...string) string {
	var b strings.Builder
	for i, part := range parts {
		head := byte(0)
		if i == 0 {
			head = first & 0x0F
		}
		if i == len(parts)-1 {
			head |= 0x80
		}
		b.WriteString(frame(head, part))
	}
	return b.String()
}

// pieces splits s into n-byte parts.
func pieces(s string, n int) []string {
	var parts []string
	for chunk := range slices.Chunk([]byte(s), n) {
		parts = append(parts, string(chunk))
	}
	return parts
}

func streams() []stream {
	x := func(n int) string { return strings.Repeat("x", n) }
	protocol, utf8, big := closing(causeProtocol), closing(causeInvalidUTF8), closing(causeTooBig)
	many := closing(causeTooManyFragments)
	unfinished := frame(0x01, "begin")
	all := []stream{
		// What must work.
		{"an empty text message", frame(0x81, ""), textFrame(""), true},
		{"an empty binary message", frame(0x82, ""), binaryFrame(""), true},
		{"the longest 7-bit length", frame(0x82, x(125)), binaryFrame(x(125)), true},
		{"the shortest 16-bit length", frame(0x82, x(126)), binaryFrame(x(126)), true},
		{"the largest frame", frame(0x82, x(600)), binaryFrame(x(600)), true},
		{"the largest message", fragments(0x82, x(600), x(400)), binaryFrame(x(1000)), true},
		{"the largest message in the most fragments", fragments(0x81, pieces(x(1000), 125)...), textFrame(x(1000)), true},
		{"text of every rune length", frame(0x81, "aé漢𝄞"), textFrame("aé漢𝄞"), true},
		{"NUL and other controls are text", frame(0x81, "\x00\x1F\x7F"), textFrame("\x00\x1F\x7F"), true},
		{"binary that is not UTF-8", fragments(0x82, "\xFF", "\xC0"), binaryFrame("\xFF\xC0"), true},
		{"runes split over fragments", fragments(0x81, pieces("aé漢𝄞", 2)...), textFrame("aé漢𝄞"), true},
		{"empty fragments", fragments(0x81, "", "", "a", "", "b", ""), textFrame("ab"), true},
		{"nothing but empty fragments", fragments(0x82, "", "", ""), binaryFrame(""), true},
		{"a mask of zeros", "\x81\x82\x00\x00\x00\x00hi", textFrame("hi"), true},
		{"messages back to back", frame(0x81, "1") + frame(0x82, "2") + fragments(0x81, "3", "4") + frame(0x81, ""), textFrame("1") + binaryFrame("2") + textFrame("34") + textFrame(""), true},
		{"an empty ping", frame(0x89, ""), pongFrame(""), true},
		{"the longest ping", frame(0x89, x(125)), pongFrame(x(125)), true},
		{"a ping's payload need not be text", frame(0x89, "\xFF\xFE"), pongFrame("\xFF\xFE"), true},
		{"a pong that nobody asked for", frame(0x8A, "hello?"), "", true},
		{"a ping between messages", frame(0x81, "1") + frame(0x89, "p") + frame(0x81, "2"), textFrame("1") + pongFrame("p") + textFrame("2"), true},
		{"a ping between fragments is answered first", frame(0x01, "a") + frame(0x89, "p") + frame(0x8A, "q") + frame(0x80, "b"), pongFrame("p") + textFrame("ab"), true},
		{"two pings between fragments", frame(0x02, "a") + frame(0x89, "p") + frame(0x00, "") + frame(0x89, "q") + frame(0x80, "b"), pongFrame("p") + pongFrame("q") + binaryFrame("ab"), true},

		// Frames that RFC 6455 §5 forbids.
		{"an unmasked text", "\x81\x05hello", protocol, false},
		{"an unmasked empty binary", "\x82\x00", protocol, false},
		{"an unmasked ping", "\x89\x00", protocol, false},
		{"an unmasked Close", "\x88\x02\x03\xE8", protocol, false},
		{"an unmasked 16-bit length", "\x82\x7E\x00\x7E" + x(126), protocol, false},
		{"an unmasked continuation", unfinished + "\x80\x01x", protocol, false},
		{"RSV1 without an extension", frame(0xC1, "x"), protocol, false},
		{"RSV2", frame(0xA1, "x"), protocol, false},
		{"RSV3", frame(0x91, "x"), protocol, false},
		{"every RSV bit", frame(0xF2, ""), protocol, false},
		{"RSV1 on a continuation", unfinished + frame(0xC0, "x"), protocol, false},
		{"RSV1 on a ping", frame(0xC9, ""), protocol, false},
		{"RSV2 on a Close", frame(0xA8, "\x03\xE8"), protocol, false},
		{"a ping in fragments", frame(0x09, "x"), protocol, false},
		{"a pong in fragments", frame(0x0A, "x") + frame(0x80, "y"), protocol, false},
		{"a Close in fragments", frame(0x08, "\x03") + frame(0x80, "\xE8"), protocol, false},
		{"a ping of 126 bytes", frame(0x89, x(126)), protocol, false},
		{"a pong of 126 bytes", frame(0x8A, x(126)), protocol, false},
		{"a Close with a reason of 124 bytes", peerClose(1000, x(124)), protocol, false},
		{"a ping with a 64-bit length", sealed(0x89, length64(1<<40), ""), protocol, false},
		{"a continuation first", frame(0x80, "x"), protocol, false},
		{"a continuation first that goes on", frame(0x00, "x"), protocol, false},
		{"a continuation after a whole message", frame(0x81, "a") + frame(0x80, "x"), textFrame("a") + protocol, false},
		{"a continuation after a fragmented message", fragments(0x81, "a", "b") + frame(0x80, "x"), textFrame("ab") + protocol, false},
		{"text inside a fragmented message", unfinished + frame(0x81, "x"), protocol, false},
		{"binary inside a fragmented message", unfinished + frame(0x82, "x"), protocol, false},
		{"a new first fragment inside a fragmented message", unfinished + frame(0x01, "x"), protocol, false},
		{"5 bytes with a 16-bit length", sealed(0x82, length16(5), "hello"), protocol, false},
		{"125 bytes with a 16-bit length", sealed(0x82, length16(125), x(125)), protocol, false},
		{"5 bytes with a 64-bit length", sealed(0x82, length64(5), "hello"), protocol, false},
		{"200 bytes with a 64-bit length", sealed(0x82, length64(200), x(200)), protocol, false},
		{"65535 bytes with a 64-bit length", sealed(0x82, length64(65535), ""), protocol, false},
		{"0 bytes with a 16-bit length", sealed(0x81, length16(0), ""), protocol, false},
		{"a ping with a 16-bit length", sealed(0x89, length16(1), "x"), protocol, false},
		{"a Close with a 64-bit length", sealed(0x88, length64(2), "\x03\xE8"), protocol, false},
		{"a length with its top bit set", sealed(0x82, length64(1<<63|1), "x"), protocol, false},
		{"a length of all ones", sealed(0x82, length64(1<<64-1), ""), protocol, false},

		// Limits.
		{"a message of one byte too many", frame(0x82, x(600)[:1]) + frame(0x02, x(600)) + frame(0x80, x(401)), binaryFrame("x") + big, false},
		{"a frame of one byte too many", frame(0x82, x(601)), big, false},
		{"a frame of one byte too many inside a message", frame(0x02, "x") + frame(0x80, x(601)), big, false},
		{"64 KiB announced", sealed(0x82, length64(1<<16), ""), big, false},
		{"2^62 bytes announced", sealed(0x82, length64(1<<62), ""), big, false},
		{"2^63-1 bytes announced", sealed(0x81, length64(1<<63-1), ""), big, false},
		{"2^63-1 bytes announced in a continuation", frame(0x02, "x") + sealed(0x80, length64(1<<63-1), ""), big, false},
		{"one fragment too many", frame(0x02, "a") + strings.Repeat(frame(0x00, "b"), 8), many, false},
		{"one empty fragment too many", frame(0x01, "") + strings.Repeat(frame(0x00, ""), 8), many, false},
		{"the last fragment is one too many", frame(0x01, "") + strings.Repeat(frame(0x00, ""), 7) + frame(0x80, ""), many, false},

		// Text that is not UTF-8: the server need not see the end of it.
		{"invalid text", frame(0x81, "a\xFFb"), utf8, false},
		{"invalid text, and the frame goes on", frame(0x81, "\xC0\xAF"+x(100))[:20], utf8, false},
		{"invalid text late, and the frame goes on", frame(0x81, x(300)+"\xED\xA0\x80"+x(200))[:320], utf8, false},
		{"invalid text in the first of many fragments", frame(0x01, "\xF5"), utf8, false},
		{"invalid text in a later fragment", frame(0x01, "fine") + frame(0x00, "\x80"), utf8, false},
		{"a rune that the next fragment spoils", frame(0x01, "\xE6\xBC") + frame(0x00, "\x41"), utf8, false},
		{"a rune spoilt three fragments later", frame(0x01, "\xF0") + frame(0x00, "\x9D") + frame(0x00, "") + frame(0x00, "\xC2"), utf8, false},
		{"an overlong second byte in the next fragment", frame(0x01, "\xE0") + frame(0x00, "\x9F"), utf8, false},
		{"half a rune at the end of a message", frame(0x81, "fine\xE6\xBC"), utf8, false},
		{"half a rune at the end of the last fragment", fragments(0x81, "fine\xE6", "\xBC"), utf8, false},
		{"half a rune, then an empty last fragment", fragments(0x81, "\xC3", ""), utf8, false},
		{"half a rune does not reach into the next message", frame(0x81, "\xC3") + frame(0x81, "\xA9"), utf8, false},

		// Close frames.
		{"an empty Close", frame(0x88, ""), closeFrame(0, ""), false},
		{"a Close with the longest reason", peerClose(1000, x(123)), closeFrame(1000, ""), false},
		{"a Close with a reason in Unicode", peerClose(4999, "tschüß"), closeFrame(4999, ""), false},
		{"a Close of one byte", frame(0x88, "\x03"), protocol, false},
		{"a Close whose reason is not UTF-8", peerClose(1000, "bye \xFF"), utf8, false},
		{"a Close whose reason breaks off", peerClose(1000, "bye \xC3"), utf8, false},
		{"a Close inside a fragmented message", unfinished + peerClose(1000, ""), closeFrame(1000, ""), false},
		{"a Close after messages", frame(0x81, "1") + frame(0x89, "2") + peerClose(1001, ""), textFrame("1") + pongFrame("2") + closeFrame(1001, ""), false},
	}
	for op := range byte(16) {
		if op >= 3 && op <= 7 || op >= 0xB {
			all = append(all, stream{fmt.Sprintf("reserved opcode %X", op), frame(0x80|op, ""), protocol, false})
			all = append(all, stream{fmt.Sprintf("reserved opcode %X inside a fragmented message", op), unfinished + frame(op, "x"), protocol, false})
		}
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		all = append(all, stream{fmt.Sprintf("Close code %d comes back", code), peerClose(code, "why"), closeFrame(code, ""), false})
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65535} {
		all = append(all, stream{fmt.Sprintf("Close code %d is illegal", code), peerClose(code, "why"), protocol, false})
	}
	return all
}

// behindTheEnd is what a client may go on to say after a connection has ended.
// None of it may have any effect.
var behindTheEnd = frame(0x81, "late") + frame(0x89, "late") + peerClose(4000, "late") + "\xFF\xFFnot a frame" + frame(0x88, "")

func TestStreams(t *testing.T) {
	w := start(t, withEcho, smallLimits)
	for _, tc := range streams() {
		t.Run(tc.name, func(t *testing.T) {
			c := w.raw()
			c.t = t
			c.upgrade()
			c.send(tc.send)
			if !tc.open {
				if got := c.rest(); got != tc.want {
					t.Fatalf("the server said %q, want %q and its end", clip(got, 200), clip(tc.want, 200))
				}
				return
			}
			c.send(frame(0x89, "still there?"))
			c.expect(tc.want + pongFrame("still there?"))
		})
	}
}

// expect reads as many bytes as want has and compares.
func (c *rawClient) expect(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c.Conn, got)
	if err != nil || string(got) != want {
		c.t.Fatalf("the server said %q (%v), want %q", clip(string(got[:n]), 200), err, clip(want, 200))
	}
}

func TestNothingBehindTheEndHasAnyEffect(t *testing.T) {
	w := start(t, withEcho, smallLimits)
	for _, tc := range streams() {
		if tc.open {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			c := w.raw()
			c.t = t
			c.send(upgradeHead + tc.send + behindTheEnd)
			c.head()
			if got := c.rest(); got != tc.want {
				t.Fatalf("the server said %q, want %q and its end", clip(got, 200), clip(tc.want, 200))
			}
		})
	}
}

// converse upgrades, sends the chunks one after another, each read before the
// next comes, and checks what comes back, and whether the server ends it.
func (l *lab) converse(tc stream, chunks ...string) {
	l.t.Helper()
	c := l.connect("/")
	for _, chunk := range chunks {
		c.write(chunk)
		l.settle()
	}
	got := string(c.buf) + string(c.take())
	if got != tc.want {
		l.t.Fatalf("%s, in chunks of %v: the server said %q, want %q", tc.name, lengths(chunks), clip(got, 200), clip(tc.want, 200))
	}
	if c.shut == tc.open {
		l.t.Fatalf("%s, in chunks of %v: the server has ended its side: %v", tc.name, lengths(chunks), c.shut)
	}
	if c.gone() {
		l.t.Fatalf("%s: the server has closed the socket before the client's FIN came", tc.name)
	}
	c.hangUp()
	l.settle()
	if !c.gone() || len(c.take()) > 0 {
		l.t.Fatalf("%s: the socket is closed: %v", tc.name, c.gone())
	}
	l.checkFaults()
	l.wires = l.wires[:0]
}

func lengths(chunks []string) string {
	if len(chunks) > 8 {
		return fmt.Sprint(len(chunks), " chunks")
	}
	var n []int
	for _, c := range chunks {
		n = append(n, len(c))
	}
	return fmt.Sprint(n)
}

func TestStreamsMeanTheSameByteByByte(t *testing.T) {
	l := newLab(t, withEcho, smallLimits)
	defer l.close()
	for _, tc := range streams() {
		l.converse(tc, tc.send)
		l.converse(tc, pieces(tc.send, 1)...)
		l.converse(tc, pieces(tc.send, 7)...)
	}
}

func TestStreamsMeanTheSameSplitAnywhere(t *testing.T) {
	l := newLab(t, withEcho, smallLimits)
	defer l.close()
	for _, tc := range streams() {
		if len(tc.send) > 60 {
			continue
		}
		for i := 1; i < len(tc.send); i++ {
			l.converse(tc, tc.send[:i], tc.send[i:])
		}
	}
	three := stream{
		"three fragments with pings between",
		frame(0x01, "aé漢") + frame(0x89, "p") + frame(0x00, "𝄞") + frame(0x89, "q") + frame(0x80, "z"),
		pongFrame("p") + pongFrame("q") + textFrame("aé漢𝄞z"), true,
	}
	for i := range len(three.send) {
		for j := i; j < len(three.send); j++ {
			l.converse(three, three.send[:i], three.send[i:j], three.send[j:])
		}
	}
}

// watcher hears how connections end, as the puppet tells it.
func (l *lab) watcher() *labClient {
	l.t.Helper()
	return l.connect("/?open=join+gone")
}

// id is how handlers name c.
func (c *labClient) id() string { return fmt.Sprint(int64(c.conn.id)) }

func TestAMessageThatTakesTooLongIsClosedWith1008(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first string   // at the start
		drip  []string // one every second; none of it ends the message
	}{
		{"half a frame, then nothing", frame(0x82, "half a frame")[:9], nil},
		{"a frame's header, then nothing", frame(0x82, "header")[:6], nil},
		{"a byte a second", frame(0x82, strings.Repeat("x", 100))[:7], pieces(strings.Repeat("y", 40), 1)},
		{"a fragment a second", frame(0x02, "begin"), slices.Repeat([]string{frame(0x00, "more")}, 40)},
		{"fragments with pings between", frame(0x02, "begin"), slices.Repeat([]string{frame(0x8A, "") + frame(0x00, "")}, 40)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, withEcho)
			defer l.close()
			c := l.connect("/")
			l.pass(time.Minute / 6) // the time runs from the message's first byte
			c.write(tc.first)
			l.settle()
			for i := range 30 {
				if got := c.texts(); len(got) > 0 || c.end != nil {
					t.Fatalf("after %d s: %q, Close %v", i, got, c.end)
				}
				if i == 29 {
					l.pass(time.Second - wheelTick)
				} else {
					l.pass(time.Second)
				}
				if i < len(tc.drip) {
					c.write(tc.drip[i])
					l.settle()
				}
			}
			if c.listen(); c.end != nil {
				t.Fatal("closed before its time was up")
			}
			l.pass(2 * wheelTick)
			c.wantEnd(codePolicy)
			if !c.shut || c.gone() {
				t.Fatalf("the server's side ended: %v; the socket is closed: %v", c.shut, c.gone())
			}
			l.pass(lingerTimeout + wheelTick)
			if !c.gone() {
				t.Error("the server waits for ever for the client's FIN")
			}
		})
	}
}

func TestAMessageThatIsWholeInTimeIsServed(t *testing.T) {
	l := newLab(t, withEcho)
	defer l.close()
	c := l.connect("/")
	whole := frame(0x81, "slow")
	c.write(whole[:8])
	l.pass(29 * time.Second)
	c.write(whole[8:])
	l.pass(time.Minute / 6)
	c.want("slow")
	c.write(frame(0x01, "the next one"))
	l.pass(20 * time.Second) // more than 30 s after the first began
	c.write(frame(0x80, " has its own time"))
	l.settle()
	c.want("the next one has its own time")

	// The last byte is there, but the server looks at its clock first.
	c.write(whole[:8])
	l.settle()
	c.write(whole[8:])
	l.clock.ns.Add(int64(40 * time.Second))
	l.srv.Advance()
	l.settle()
	c.want("slow")
}

func TestACloseOfOursThatIsNeverAnsweredEndsInTime(t *testing.T) {
	l := newLab(t)
	defer l.close()
	watcher := l.watcher()
	c := l.connect("/")
	c.say("echo before;close 4000 enough")
	l.settle()
	c.want("before")
	c.wantEnd(4000)
	for range 4 { // what comes now is thrown away
		c.say("echo late;publish gone late")
		c.write(frame(0x89, "late"))
		c.write(frame(0x02, "a message that never ends"))
		c.write(frame(0x00, "") + frame(0x80, ""))
		l.pass(time.Second)
	}
	if c.shut || c.gone() {
		t.Fatal("cut before close_timeout")
	}
	l.pass(time.Second + wheelTick)
	if !c.gone() {
		t.Fatal("still open after close_timeout")
	}
	if p := c.take(); len(p) > 0 {
		t.Errorf("the server said %q after its Close frame", p)
	}
	watcher.want("closed 4000 unclean enough")
}

func TestACloseOfOursThatIsAnsweredIsClean(t *testing.T) {
	for _, answer := range []string{peerClose(4000, "enough"), peerClose(1000, ""), frame(0x88, "")} {
		l := newLab(t)
		watcher := l.watcher()
		c := l.connect("/")
		c.say("close 4000 enough")
		l.settle()
		c.wantEnd(4000)
		c.write(answer + behindTheEnd)
		l.settle()
		if !c.shut {
			t.Error("the server did not end its side (RFC 6455 §7.1.1)")
		}
		if p := c.take(); len(p) > 0 {
			t.Errorf("the server said %q after its Close frame", p)
		}
		watcher.want("closed 4000 clean enough")
		c.hangUp()
		l.settle()
		if !c.gone() {
			t.Error("still open after both FINs")
		}
		l.close()
	}
}

func TestClosesMayCross(t *testing.T) {
	l := newLab(t)
	defer l.close()
	watcher := l.watcher()
	c := l.connect("/")
	c.write(frame(0x81, "close 4000 enough") + frame(0x81, "echo late") + fragments(0x82, "la", "te") + frame(0x89, "late") + peerClose(1001, "bye") + frame(0x81, "echo later"))
	l.settle()
	if got := string(c.take()); got != closeFrame(4000, "enough") || !c.shut {
		t.Errorf("the server said %q; it ended its side: %v", got, c.shut)
	}
	watcher.want("closed 4000 clean enough")
	c.hangUp()
	l.settle()
}

func TestAClientThatEndsItsSideAtOnceStillHearsTheAnswer(t *testing.T) {
	for _, tc := range []struct{ name, send, want string }{
		{"to messages", upgradeHead + frame(0x81, "one") + fragments(0x82, "t", "wo") + frame(0x89, "p"), textFrame("one") + binaryFrame("two") + pongFrame("p")},
		{"to its Close frame", upgradeHead + frame(0x81, "one") + peerClose(1000, "bye"), textFrame("one") + closeFrame(1000, "")},
		{"to a violation", upgradeHead + "\x81\x00", closing(causeProtocol)},
		{"to half a message", upgradeHead + frame(0x81, "one")[:8], ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, withEcho)
			defer l.close()
			c := l.knock()
			c.write(tc.send)
			c.hangUp()
			l.settle()
			c.upgraded()
			if got := string(c.buf); got != tc.want || !c.gone() {
				t.Errorf("it heard %q, want %q; the socket is closed: %v", got, tc.want, c.gone())
			}
		})
	}
	t.Run("to a bad request", func(t *testing.T) {
		l := newLab(t)
		defer l.close()
		c := l.knock()
		c.write(without("Host"))
		c.hangUp()
		l.settle()
		if checkRefusal(t, string(c.take()), 400); !c.gone() {
			t.Error("the socket is open")
		}
	})
}

func TestAMessageThatWaitsForAnInstanceIsNotLate(t *testing.T) {
	for _, tc := range []struct{ name, send string }{
		{"whole", frame(0x81, "patient")},
		{"in fragments", fragments(0x81, "pat", "ient")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, withEcho, func(s *setup) { s.modules[0].Instances = 1 })
			defer l.close()
			c := l.connect("/")
			mod := l.tenant("echo").rule.Load().stable.pool.mod
			busy := mod.TryTake()
			c.write(tc.send[:8])
			l.pass(10 * time.Second)
			c.write(tc.send[8:] + frame(0x89, "behind it"))
			l.pass(40 * time.Second)
			if got := string(c.take()); got != "" {
				t.Fatalf("the server said %q although the message waits", got)
			}
			mod.Give(busy)
			l.settle()
			if got := string(c.take()); !strings.HasPrefix(got, textFrame("patient")+pongFrame("behind it")) || c.shut {
				t.Errorf("the server said %q", got)
			}
		})
	}
}

func TestACloseOfOursMayMeetAMessageHalfWay(t *testing.T) {
	// The payload looks like frames, and like a Close, to whom has lost count.
	payload := strings.Repeat("\x88\x80\x00\x00\x00\x00", 300) + strings.Repeat("\xC1\x05", 500)
	for _, half := range []struct{ name, before, after string }{
		{"in a frame", frame(0x82, payload)[:1000], frame(0x82, payload)[1000:]},
		{"in a frame's header", frame(0x82, payload)[:5], frame(0x82, payload)[5:]},
		{"between fragments", frame(0x02, payload), frame(0x00, payload) + frame(0x80, payload)},
		{"in a fragment", frame(0x02, payload) + frame(0x00, payload)[:700], frame(0x00, payload)[700:] + frame(0x80, "")},
	} {
		t.Run(half.name, func(t *testing.T) {
			l := newLab(t)
			defer l.close()
			watcher := l.watcher()
			c := l.connect("/")
			c.write(half.before)
			l.settle()
			watcher.say("closeid " + c.id() + " 4001")
			l.settle()
			c.wantEnd(4001)
			c.write(half.after)
			l.settle()
			if c.shut {
				t.Fatal("the server hung up on a client that is in the middle of a message")
			}
			watcher.want()
			c.write(peerClose(4001, ""))
			l.settle()
			watcher.want("closed 4001 clean ")
			if p := c.take(); len(p) > 0 || !c.shut {
				t.Errorf("the server said %q after its Close frame; it ended its side: %v", p, c.shut)
			}
			c.hangUp()
			l.settle()
		})
	}
}

func TestAClientThatNeitherReadsNorAnswersIsCut(t *testing.T) {
	withWriteTimeout := func(s *setup) { s.opts.WebSocket.WriteTimeout = 100 * time.Millisecond }
	for _, tc := range []struct {
		name, send string
		within     time.Duration
	}{
		{"after our Close frame", frame(0x81, "blob 50000;close 4000"), 5 * time.Second},
		{"after a violation", frame(0x81, "blob 50000") + "\x81\x00", lingerTimeout},
		{"after its own Close frame", frame(0x81, "blob 50000") + peerClose(1000, ""), lingerTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, withWriteTimeout)
			defer l.close()
			c := l.connect("/")
			c.stop(100)
			c.write(tc.send)
			l.settle()
			for range 50 {
				l.pass(tc.within / 50)
			}
			l.pass(2 * wheelTick)
			if !c.gone() {
				t.Error("the connection stays for ever")
			}
		})
	}
}

func TestAFloodBehindTheEndDoesNotKeepAConnection(t *testing.T) {
	flood := strings.Repeat(frame(0x82, strings.Repeat("flood", 100)), turnBytes/500)
	for _, tc := range []struct {
		name, send string
		within     time.Duration
	}{
		{"after our Close frame", frame(0x81, "close 4000"), 5 * time.Second},
		{"after a violation", "\x81\x00", lingerTimeout},
		{"after its own Close frame", peerClose(1000, ""), lingerTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			defer l.close()
			c := l.connect("/")
			c.write(tc.send)
			l.settle()
			end := l.clock.Mono() + int64(tc.within+time.Second)
			for l.clock.Mono() < end && !c.gone() {
				if len(c.inbound) <= turnBytes { // always more than a turn reads
					c.write(flood)
				}
				c.tell()
				l.tasks.step()
				l.clock.ns.Add(int64(tc.within / 20))
				l.srv.Advance()
			}
			if !c.gone() {
				t.Error("the connection lives as long as the flood")
			}
		})
	}
}

func TestPings(t *testing.T) {
	const interval, timeout = 25 * time.Second, 10 * time.Second
	pings := func(c *labClient) int {
		c.listen()
		n := c.pings
		c.pings = 0
		return n
	}
	wantPings := func(t *testing.T, c *labClient, want int) {
		t.Helper()
		if got := pings(c); got != want {
			t.Fatalf("%d pings, want %d", got, want)
		}
	}

	t.Run("a silent client is pinged, and dropped when it does not answer", func(t *testing.T) {
		l := newLab(t)
		defer l.close()
		c := l.connect("/")
		l.pass(interval - wheelTick)
		wantPings(t, c, 0)
		l.pass(2 * wheelTick)
		wantPings(t, c, 1)
		watcher := l.watcher()
		l.pass(timeout - 3*wheelTick)
		if wantPings(t, c, 0); c.shut || c.gone() {
			t.Fatal("dropped before its time was up")
		}
		l.pass(3 * wheelTick)
		if wantPings(t, c, 0); !c.shut || c.end != nil {
			t.Fatalf("ended: %v, with a Close frame: %v", c.shut, c.end)
		}
		watcher.want("closed 1006 unclean ")
		l.pass(lingerTimeout + wheelTick)
		if !c.gone() {
			t.Error("still open")
		}
		if n := l.srv.Stats().Closes["ping_timeout"]; n != 1 {
			t.Errorf("%d ping timeouts are counted", n)
		}
	})
	for _, answer := range []struct{ name, bytes string }{
		{"a pong", frame(0x8A, "")},
		{"a pong that does not match", frame(0x8A, "something else")},
		{"a ping of its own", frame(0x89, "")},
		{"a message", frame(0x82, "here")},
		{"a part of a message", frame(0x02, "here")},
	} {
		t.Run("a client that answers with "+answer.name+" stays", func(t *testing.T) {
			l := newLab(t, withEcho, func(s *setup) { s.opts.WebSocket.MessageTimeout = time.Hour })
			defer l.close()
			c := l.connect("/")
			l.pass(interval + wheelTick)
			wantPings(t, c, 1)
			l.pass(timeout - 2*wheelTick)
			c.write(answer.bytes)
			l.settle()
			l.pass(interval - 2*wheelTick)
			wantPings(t, c, 0)
			l.pass(3 * wheelTick) // silent for the interval once more
			wantPings(t, c, 1)
			if c.shut {
				t.Error("dropped although it answered")
			}
		})
	}
	t.Run("who talks is not pinged", func(t *testing.T) {
		l := newLab(t, withEcho)
		defer l.close()
		c := l.connect("/")
		for range 20 {
			l.pass(interval - 2*wheelTick)
			c.write(frame(0x82, "still here"))
			l.settle()
		}
		wantPings(t, c, 0)
	})
	t.Run("an answer that is there counts, however late the server looks", func(t *testing.T) {
		l := newLab(t)
		defer l.close()
		c := l.connect("/")
		l.pass(interval + wheelTick)
		wantPings(t, c, 1)
		c.write(frame(0x8A, ""))
		l.clock.ns.Add(int64(timeout + time.Second)) // the machine was busy
		l.srv.Advance()
		l.settle()
		if c.shut {
			t.Error("dropped although its pong was waiting in the socket")
		}
	})
	t.Run("no frame at all for idle_timeout ends it", func(t *testing.T) {
		l := newLab(t, func(s *setup) { s.opts.WebSocket.PingInterval = time.Hour })
		defer l.close()
		c := l.connect("/")
		watcher := l.watcher()
		l.pass(119 * time.Second)
		if watcher.write(frame(0x8A, "")); c.shut {
			t.Fatal("dropped before its time was up")
		}
		l.pass(time.Second + wheelTick)
		if !c.shut || len(c.take()) > 0 {
			t.Error("still open, or told so")
		}
		watcher.want("closed 1006 unclean ")
	})
}

func TestAControlFloodIsClosedWith1008(t *testing.T) {
	for _, kind := range []struct {
		name  string
		frame string
		reply string
	}{
		{"pings", frame(0x89, "p"), pongFrame("p")},
		{"pongs", frame(0x8A, "p"), ""},
	} {
		t.Run(kind.name, func(t *testing.T) {
			l := newLab(t, withEcho)
			defer l.close()
			c := l.connect("/")
			said := func() string { return string(c.take()) }
			c.write(strings.Repeat(kind.frame, 200)) // the burst of a rate of 100
			l.settle()
			if got := said(); got != strings.Repeat(kind.reply, 200) {
				t.Fatalf("a burst was answered with %q", clip(got, 100))
			}
			for range 50 { // the rate
				l.pass(100 * time.Millisecond)
				c.write(strings.Repeat(kind.frame, 10))
				l.settle()
			}
			if got := said(); got != strings.Repeat(kind.reply, 500) {
				t.Fatalf("the allowed rate was answered with %q", clip(got, 100))
			}
			c.write(kind.frame + frame(0x82, "behind it"))
			l.settle()
			if got := said(); got != closing(causeControlFlood) || !c.shut {
				t.Errorf("one too many was answered with %q; ended: %v", clip(got, 100), c.shut)
			}
		})
	}
	t.Run("messages are not control frames", func(t *testing.T) {
		l := newLab(t, withEcho)
		defer l.close()
		c := l.connect("/")
		c.write(strings.Repeat(frame(0x81, "m"), 1000) + fragments(0x81, slices.Repeat([]string{"f"}, 250)...))
		l.settle()
		if got := c.texts(); len(got) != 1001 || c.shut {
			t.Errorf("%d of 1001 messages came back", len(got))
		}
	})
	t.Run("a client that does not read its pongs costs nothing", func(t *testing.T) {
		l := newLab(t, withEcho)
		defer l.close()
		c := l.connect("/")
		c.stop(1000)
		for range 200 {
			c.write(strings.Repeat(frame(0x89, strings.Repeat("p", 125)), 10))
			l.settle()
			l.clock.ns.Add(int64(100 * time.Millisecond / 2))
			if n := l.srv.Stats().OutboundBytes; n > 10*(2+125) {
				t.Fatalf("%d bytes wait for it", n)
			}
		}
	})
}

func TestAnAnnouncedLengthTakesNoMemory(t *testing.T) {
	l := newLab(t, withEcho, func(s *setup) { s.opts.WebSocket.MaxMessageSize = 64 << 20 })
	defer l.close()
	var clients []*labClient
	for range 100 {
		c := l.connect("/")
		c.write(sealed(0x82, length64(64<<20), "few bytes"))
		clients = append(clients, c)
	}
	l.settle()
	if n := l.srv.Stats().InboundBytes; n > 100*2048 {
		t.Errorf("100 clients that announced 64 MiB and sent 9 bytes hold %d bytes", n)
	}
	c := clients[0]
	for sent := 9; sent < 1<<20; sent += 10000 {
		c.write(strings.Repeat("x", 10000))
		l.settle()
		if n := int(l.srv.Stats().InboundBytes) - 99*2048; n > 3*(sent+10000) {
			t.Fatalf("after %d bytes a client holds %d", sent, n)
		}
	}
}

func TestAMessageInSmallFragmentsIsNotCopiedForEachOfThem(t *testing.T) {
	const fragments, each = 4000, 16
	l := newLab(t, withEcho, func(s *setup) { s.opts.WebSocket.MaxFragments = fragments })
	defer l.close()
	c := l.connect("/")
	var last *pool.Buf
	var copied int // bytes that moved to a larger buffer
	for i := range fragments - 1 {
		head := byte(0x00)
		if i == 0 {
			head = 0x02
		}
		c.write(frame(head, strings.Repeat("x", each)))
		l.settle()
		a := c.conn.asm
		if a.buf != last && last != nil {
			copied += a.n - each
		}
		if last = a.buf; len(a.buf.B) > max(assemblyMinBytes, 2*a.n) {
			t.Fatalf("after %d bytes the message holds %d", a.n, len(a.buf.B))
		}
	}
	if copied > 2*fragments*each {
		t.Errorf("%d bytes were copied for a message of %d", copied, fragments*each)
	}
	c.write(frame(0x80, strings.Repeat("x", each)))
	l.settle()
	if got := c.take(); string(got) != binaryFrame(strings.Repeat("x", fragments*each)) {
		t.Errorf("%d bytes came back", len(got))
	}
}

func TestTheInboundBudgetBoundsAllConnectionsTogether(t *testing.T) {
	l := newLab(t, withEcho, func(s *setup) { s.opts.Server.InboundBudget = 100_000 })
	defer l.close()
	half := frame(0x82, strings.Repeat("x", 50_000))
	var clients []*labClient
	for range 5 {
		c := l.connect("/")
		c.write(half[:30_000])
		l.settle()
		clients = append(clients, c)
	}
	turned := 0
	for _, c := range clients {
		if c.listen(); c.end != nil {
			turned++
			c.wantEnd(codeOverloaded)
			c.hangUp()
		}
	}
	l.settle()
	if turned == 0 || turned == len(clients) {
		t.Errorf("%d of %d clients were turned away", turned, len(clients))
	}
	if n := l.srv.Stats().InboundBytes; n > 100_000 {
		t.Errorf("%d bytes are held, 100000 are allowed", n)
	}
	for _, c := range clients[1:] {
		c.hangUp()
	}
	l.settle()
	clients[0].write(half[30_000:])
	l.settle()
	if len(clients[0].texts()) != 1 {
		t.Error("a client within the budget was not served")
	}
	late := l.connect("/")
	late.write(half)
	l.settle()
	if len(late.texts()) != 1 {
		t.Error("the budget is not free again")
	}
}

func TestTheDefaultLimitsOfAMessage(t *testing.T) {
	w := start(t, withEcho)
	const limit = 64 << 10
	whole := strings.Repeat("w", limit)
	big, many := closing(causeTooBig), closing(causeTooManyFragments)
	for _, tc := range []stream{
		{"the limit in one frame", frame(0x82, whole), binaryFrame(whole), true},
		{"the limit in one frame of text", frame(0x81, whole), textFrame(whole), true},
		{"the limit in two frames", fragments(0x82, whole[1:], "x"), binaryFrame(whole[1:] + "x"), true},
		{"the limit in 256 frames", fragments(0x82, pieces(whole, limit/256)...), binaryFrame(whole), true},
		{"256 frames, most of them empty", fragments(0x82, append(slices.Repeat([]string{""}, 255), "x")...), binaryFrame("x"), true},
		{"one byte more in one frame", frame(0x82, whole+"x"), big, false},
		{"one byte more in the second frame", fragments(0x82, whole, "x"), big, false},
		{"one byte more in the third frame", fragments(0x81, whole[:limit/2], whole[limit/2:], "x"), big, false},
		{"one byte more, announced", sealed(0x82, length64(limit+1), ""), big, false},
		{"257 frames", fragments(0x82, slices.Repeat([]string{"x"}, 257)...), many, false},
		{"frames without end", frame(0x02, "x") + strings.Repeat(frame(0x00, "x"), 10_000), many, false},
		{"empty frames without end", frame(0x02, "") + strings.Repeat(frame(0x00, ""), 10_000), many, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := w.raw()
			c.t = t
			c.upgrade()
			c.send(tc.send)
			if !tc.open {
				if got := c.rest(); got != tc.want {
					t.Errorf("the server said %q, want %q and its end", clip(got, 100), tc.want)
				}
				return
			}
			c.send(frame(0x89, "still there?"))
			c.expect(tc.want + pongFrame("still there?"))
		})
	}
	if n := w.srv.Stats().InboundBytes; n != 0 {
		t.Errorf("%d bytes are still held", n)
	}
}

// echoClient is a client library at work, as a test needs it.
type echoClient struct {
	name string
	// echo sends a message, whole (parts has one) or in fragments, and returns
	// what comes back.
	echo func(t *testing.T, text bool, parts []string) (isText bool, payload string)
	// bye closes politely and reports how the server answered.
	bye func(t *testing.T) error
}

func echoClients(t *testing.T, w *world) []echoClient {
	t.Helper()
	url := "ws://" + w.addr + "/"
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)

	g, _, err := (&websocket.Dialer{WriteBufferSize: 512}).Dial(url, nil)
	check(t, err)
	t.Cleanup(func() { g.Close() })
	check(t, g.SetReadDeadline(time.Now().Add(30*time.Second)))

	c, _, err := coder.Dial(ctx, url, nil)
	check(t, err)
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(-1)

	return []echoClient{{
		name: "gorilla",
		echo: func(t *testing.T, text bool, parts []string) (bool, string) {
			kind := websocket.BinaryMessage
			if text {
				kind = websocket.TextMessage
			}
			if len(parts) == 1 {
				check(t, g.WriteMessage(kind, []byte(parts[0])))
			} else { // a frame whenever its small buffer is full
				out, err := g.NextWriter(kind)
				check(t, err)
				for _, part := range parts {
					_, err = io.WriteString(out, part)
					check(t, err)
				}
				check(t, out.Close())
			}
			kind, p, err := g.ReadMessage()
			check(t, err)
			return kind == websocket.TextMessage, string(p)
		},
		bye: func(t *testing.T) error {
			check(t, g.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4001, "bye")))
			_, _, err := g.ReadMessage()
			if !websocket.IsCloseError(err, 4001) {
				return fmt.Errorf("the answer to the Close frame is %w", err)
			}
			return g.Close()
		},
	}, {
		name: "coder",
		echo: func(t *testing.T, text bool, parts []string) (bool, string) {
			kind := coder.MessageBinary
			if text {
				kind = coder.MessageText
			}
			if len(parts) == 1 {
				check(t, c.Write(ctx, kind, []byte(parts[0])))
			} else { // a frame for each write, and an empty last one
				out, err := c.Writer(ctx, kind)
				check(t, err)
				for _, part := range parts {
					_, err = io.WriteString(out, part)
					check(t, err)
				}
				check(t, out.Close())
			}
			kind, p, err := c.Read(ctx)
			check(t, err)
			return kind == coder.MessageText, string(p)
		},
		bye: func(*testing.T) error { return c.Close(4001, "bye") }, // waits for the answer
	}}
}

func TestIndependentClientsHearTheirMessagesBack(t *testing.T) {
	w := start(t, withEcho)
	const limit = 64 << 10
	for _, client := range echoClients(t, w) {
		t.Run(client.name, func(t *testing.T) {
			for _, n := range []int{0, 1, 125, 126, 127, 511, 512, 4096, 16 << 10, 16<<10 + 1, limit - 1, limit} {
				whole := strings.Repeat("aé漢𝄞", n/10+1)[:n/10*10] + strings.Repeat("z", n%10)
				for _, text := range []bool{true, false} {
					for _, parts := range [][]string{{whole}, append([]string{"", ""}, pieces(whole, 1000)...), pieces(whole, n/3+1), {whole, ""}} {
						if len(parts) == 0 {
							parts = []string{"", ""}
						}
						if isText, got := client.echo(t, text, parts); isText != text || got != whole {
							t.Fatalf("%d bytes, text %v, in %d parts: text %v, %d bytes came back", n, text, len(parts), isText, len(got))
						}
					}
				}
			}
			check(t, client.bye(t))
		})
	}
	w.until("both clients are gone", func(s Stats) bool { return s.Closes["peer_closed"] == 2 && s.Open == 0 })
}

func TestIndependentClientsAreKeptAliveByTheirPongs(t *testing.T) {
	w := start(t, withEcho, withFakeClock)
	clients := echoClients(t, w)
	mute := w.raw()
	mute.upgrade()
	w.until("all are open", func(s Stats) bool { return s.Upgraded == 3 })
	const pong, alive = 6, 6 + 5 // bytes of the wire
	for i := range 3 {
		before := w.srv.Stats().BytesReceived
		w.pass(25*time.Second + wheelTick)
		mute.expect("\x89\x00")
		mute.send(frame(0x8A, ""))
		w.until("everybody is pinged", func(s Stats) bool { return s.Pings == uint64(3*(i+1)) })
		for _, c := range clients { // they answer pings while they read
			if _, got := c.echo(t, true, []string{"alive"}); got != "alive" {
				t.Fatalf("%s heard %q", c.name, got)
			}
		}
		// A pong that came after the next step of the clock would put the next ping off.
		w.until("everybody's pong is heard", func(s Stats) bool { return s.BytesReceived >= before+3*pong+2*alive })
	}
	before := w.srv.Stats().BytesReceived
	w.pass(25*time.Second + wheelTick)
	mute.expect("\x89\x00")
	w.until("everybody is pinged once more", func(s Stats) bool { return s.Pings == 3*4 })
	for _, c := range clients {
		c.echo(t, true, []string{"alive"})
	}
	w.until("both clients' pongs are heard", func(s Stats) bool { return s.BytesReceived >= before+2*(pong+alive) })
	w.pass(10*time.Second + wheelTick)
	if got := mute.rest(); got != "" {
		t.Errorf("the client that did not answer was told %q", got)
	}
	mute.Close()
	for _, c := range clients {
		if _, got := c.echo(t, true, []string{"alive"}); got != "alive" {
			t.Errorf("%s heard %q", c.name, got)
		}
		check(t, c.bye(t))
	}
	w.until("one was dropped and two left", func(s Stats) bool { return s.Closes["ping_timeout"] == 1 && s.Closes["peer_closed"] == 2 })
}

func TestATimeoutOnTheNetworkClosesTheSocket(t *testing.T) {
	w := start(t, withFakeClock)
	c := w.raw()
	c.upgrade()
	c.send(frame(0x81, "close 4000 enough"))
	c.expect(closeFrame(4000, "enough")) // and is not answered
	slow := w.raw()
	slow.upgrade()
	slow.send(frame(0x89, "") + frame(0x82, "half a message")[:10])
	slow.expect(pongFrame("")) // so the half message was read too
	w.pass(5*time.Second + wheelTick)
	if got := c.rest(); got != "" {
		t.Errorf("after close_timeout the server said %q", got)
	}
	w.pass(25 * time.Second)
	if got := slow.rest(); got != closing(causeSlowMessage) {
		t.Errorf("after message_timeout the server said %q", got)
	}
}
