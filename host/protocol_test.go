package host

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
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

// length7, length16 and length64 write a payload's length in that many bits,
// mask bit included, short or not.
func length7(n byte) []byte    { return []byte{0x80 | n} }
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
		{"invalid text, and the frame goes on", frame(0x81, "\xC0\xAF" + x(100))[:20], utf8, false},
		{"invalid text late, and the frame goes on", frame(0x81, x(300) + "\xED\xA0\x80" + x(200))[:320], utf8, false},
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
