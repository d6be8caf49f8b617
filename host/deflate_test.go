package host

import (
	"bytes"
	stdflate "compress/flate"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// zipped is the client's end of a connection with permessage-deflate.
type zipped struct {
	*labClient
	response string // of the handshake
	inKeeps  bool   // the server's messages may refer to earlier ones
	window   int    // how far back, in bytes
	earlier  []byte

	w     *stdflate.Writer // the client's compressor; nil: a new one each time
	wired bytes.Buffer

	got []zipMessage
}

// zipMessage is a message of the server.
type zipMessage struct {
	op       ws.OpCode
	text     string
	deflated bool
	wire     int // bytes of its payload on the wire
}

// withOffer is a request that offers an extension, unless it is empty.
func withOffer(head, offer string) string {
	if offer == "" {
		return head
	}
	return strings.Replace(head, "\r\n\r\n", "\r\nSec-WebSocket-Extensions: "+offer+"\r\n\r\n", 1)
}

// zip opens a WebSocket with the offer.
func (l *lab) zip(path, offer string) *zipped {
	l.t.Helper()
	c := l.knock()
	c.write(withOffer(strings.Replace(upgradeHead, " / ", " "+path+" ", 1), offer))
	l.settle()
	return c.agree()
}

// agree takes the 101 response, and is from then on the connection's compressor.
func (c *labClient) agree() *zipped {
	c.t.Helper()
	z := &zipped{labClient: c, window: 1 << maxWindowBits}
	c.buf = append(c.buf, c.take()...)
	head, rest, ok := strings.Cut(string(c.buf), "\r\n\r\n")
	if !ok || !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		c.t.Fatalf("not upgraded: %q", c.buf)
	}
	c.buf = []byte(rest)
	_, z.response, _ = strings.Cut(head, "\r\nSec-WebSocket-Extensions: ")
	z.response, _, _ = strings.Cut(z.response, "\r\n")
	z.inKeeps = !strings.Contains(z.response, "server_no_context_takeover")
	if _, bits, ok := strings.Cut(z.response, "server_max_window_bits="); ok {
		bits, _, _ = strings.Cut(bits, ";")
		n, _ := strconv.Atoi(bits)
		z.window = 1 << n
	}
	if !strings.Contains(z.response, "client_no_context_takeover") {
		z.w, _ = stdflate.NewWriter(&z.wired, 6)
	}
	return z
}

// pack compresses a message of the client.
func (z *zipped) pack(text string) string {
	w := z.w
	if w == nil {
		w, _ = stdflate.NewWriter(&z.wired, 6)
	}
	z.wired.Reset()
	_, _ = w.Write([]byte(text))
	_ = w.Flush()
	return strings.TrimSuffix(z.wired.String(), deflateTail)
}

// deflated compresses a message for a receiver that remembers nothing.
func deflated(text string) string { return (&zipped{}).pack(text) }

// sayPacked sends a compressed text message.
func (z *zipped) sayPacked(text string) { z.write(frame(0xC1, z.pack(text))) }

// hear understands what has arrived, by the book: what it says, and that it
// refers back no further than agreed.
func (z *zipped) hear() []zipMessage {
	z.t.Helper()
	z.buf = append(z.buf, z.take()...)
	for len(z.buf) > 0 {
		first := z.buf[0]
		z.buf[0] &^= rsv1Bit
		op, payload, n := parseServerFrame(z.buf)
		z.buf[0] = first
		if n == 0 {
			break
		}
		if n < 0 || z.end != nil || first&rsv1Bit != 0 && op.IsControl() {
			z.t.Fatalf("the server sent a broken frame, or one behind its Close frame: %x", z.buf[:min(len(z.buf), 32)])
		}
		z.buf = z.buf[n:]
		if op == ws.OpClose {
			z.end = new(serverClose)
			if len(payload) >= 2 {
				z.end.code, z.end.reason = int(binary.BigEndian.Uint16([]byte(payload))), payload[2:]
			}
			continue
		}
		m := zipMessage{op: op, text: payload, wire: len(payload)}
		if first&rsv1Bit != 0 {
			m.text, m.deflated = z.unpack(payload), true
		}
		z.got = append(z.got, m)
	}
	got := z.got
	z.got = nil
	return got
}

// unpack inflates a message of the server.
func (z *zipped) unpack(payload string) string {
	z.t.Helper()
	if z.response == "" {
		z.t.Fatalf("a compressed message, though nothing was agreed on")
	}
	text, reach, err := inflateByTheBook([]byte(payload), z.earlier)
	if err != nil || reach > z.window {
		z.t.Fatalf("a message that refers %d bytes back, with a window of %d: %v", reach, z.window, err)
	}
	if len(text) <= len(payload) {
		z.t.Fatalf("%d bytes were sent as %d", len(text), len(payload))
	}
	if z.inKeeps {
		z.earlier = append(z.earlier, text...)
		z.earlier = z.earlier[max(len(z.earlier)-z.window, 0):]
	}
	return string(text)
}

// wantTexts checks what has arrived.
func (z *zipped) wantTexts(texts ...string) []zipMessage {
	z.t.Helper()
	got := z.hear()
	if len(got) != len(texts) {
		z.t.Fatalf("%d messages arrived, want %d; the end is %v", len(got), len(texts), z.end)
	}
	for i, m := range got {
		if m.text != texts[i] {
			z.t.Fatalf("message %d is %q, want %q", i, clip(m.text, 200), clip(texts[i], 200))
		}
	}
	return got
}

// document is JSON of about n bytes, which compresses to a third.
func document(n int, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, `{"id":%d,"user":"user%d","text":"hello world %x","at":%d,"ok":true},`, r.IntN(100000), r.IntN(1000), r.Uint64(), 1700000000+r.IntN(10000000))
	}
	return b.String()[:n]
}

// noise is n bytes that do not compress.
func noise(n int) string {
	r := rand.New(rand.NewPCG(uint64(n), 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

const plainOffer = "permessage-deflate"

// TestDeflatedStreams is what a client with permessage-deflate may send, and what
// comes of it.
func TestDeflatedStreams(t *testing.T) {
	const hello = "\xf2\x48\xcd\xc9\xc9\x07\x00" // RFC 7692 §7.2.3.1
	text := document(900, 1)
	for _, tc := range []struct {
		name, send string
		want       []string
		end        cause // causeNone: it goes on
	}{
		{"a compressed message", frame(0xC1, hello), []string{"Hello"}, 0},
		{"one in two fragments", frame(0x41, hello[:3]) + frame(0x80, hello[3:]), []string{"Hello"}, 0},
		{"one in fragments of a byte", fragmentsOf(0x41, pieces(hello, 1)...), []string{"Hello"}, 0},
		{"empty fragments", fragmentsOf(0x41, "", hello, ""), []string{"Hello"}, 0},
		{"a block that is stored", frame(0xC1, "\x00\x05\x00\xfa\xffHello\x00"), []string{"Hello"}, 0},
		{"a final block", frame(0xC1, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), []string{"Hello"}, 0},
		{"a final block without the byte behind it", frame(0xC1, "\xf3\x48\xcd\xc9\xc9\x07\x00"), []string{"Hello"}, 0},
		{"two final blocks", frame(0xC1, strings.Repeat("\xf3\x48\xcd\xc9\xc9\x07\x00", 2)+"\x00"), []string{"HelloHello"}, 0},
		{"two blocks", frame(0xC1, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), []string{"Hello"}, 0},
		{"a final stored block that the tail completes", frame(0xC2, "\x01"), []string{""}, 0},
		{"an empty message", frame(0xC1, "\x00"), []string{""}, 0},
		{"nothing at all", frame(0xC1, ""), []string{""}, 0},
		{"nothing at all in fragments", fragmentsOf(0x41, "", "", ""), []string{""}, 0},
		{"plain and compressed in turn", frame(0x81, "a") + frame(0xC1, hello) + frame(0x82, "b"), []string{"a", "Hello", "b"}, 0},
		{"a ping between fragments", frame(0x41, hello[:3]) + frame(0x89, "p") + frame(0x80, hello[3:]), []string{"p", "Hello"}, 0},
		{"a document", frame(0xC1, deflated(text)), []string{text}, 0},
		{"a document in fragments", fragmentsOf(0x41, pieces(deflated(text), 100)...), []string{text}, 0},
		{"runes split over fragments", fragmentsOf(0x41, pieces(deflated("aé漢𝄞"), 1)...), []string{"aé漢𝄞"}, 0},
		{"bytes that are not UTF-8", frame(0xC2, deflated("\xff\xfe")), []string{"\xff\xfe"}, 0},
		{"compressed bytes are no text", frame(0xC1, deflated(strings.Repeat("é", 200))), []string{strings.Repeat("é", 200)}, 0},
		{"the largest message", frame(0xC2, deflated(strings.Repeat("x", 1000))), []string{strings.Repeat("x", 1000)}, 0},
		{"the largest message, longer when compressed", frame(0xC2, deflated(noise(1000))), []string{noise(1000)}, 0},

		{"the bit on a continuation", frame(0x41, hello[:3]) + frame(0xC0, hello[3:]), nil, causeProtocol},
		{"the bit on the second fragment only", frame(0x01, "a") + frame(0xC0, "b"), nil, causeProtocol},
		{"the bit on a ping", frame(0xC9, ""), nil, causeProtocol},
		{"the bit on a Close frame", frame(0xC8, ""), nil, causeProtocol},
		{"RSV2", frame(0xA1, ""), nil, causeProtocol},
		{"RSV1 and RSV2", frame(0xE1, hello), nil, causeProtocol},
		{"RSV3", frame(0x91, ""), nil, causeProtocol},

		{"text that is not UTF-8", frame(0xC1, deflated("a\xff")), nil, causeInvalidUTF8},
		{"text that ends within a rune", frame(0xC1, deflated("a\xc3")), nil, causeInvalidUTF8},
		{"a reserved block", frame(0xC1, "\x06"), nil, causeBadDeflate},
		{"noise", frame(0xC2, "\xff\xff\xff\xff"), nil, causeBadDeflate},
		{"no end of the last block", frame(0xC1, hello[:5]), nil, causeBadDeflate},
		{"one byte too few", frame(0xC1, hello[:6]), nil, causeBadDeflate},
		{"a stored block's length is wrong", frame(0xC1, "\x00\x05\x00\xfa\xfeHello\x00"), nil, causeBadDeflate},
		{"a stored block is cut off", frame(0xC1, "\x00\x05\x00\xfa\xffHell"), nil, causeBadDeflate},
		{"a reference to before the message", frame(0xC1, deflated(text)) + frame(0xC1, packedAfter(text, text)), []string{text}, causeBadDeflate},

		{"one byte too many", frame(0xC2, deflated(strings.Repeat("x", 1001))), nil, causeTooBig},
		{"a bomb", frame(0xC2, deflated(strings.Repeat("\x00", 500_000))), nil, causeTooBig},
		{"a bomb in fragments", fragmentsOf(0x42, pieces(deflated(strings.Repeat("\x00", 500_000)), 100)...), nil, causeTooBig},
		{"stored blocks beyond the limit", frame(0xC2, strings.Repeat("\x00\x64\x00\x9b\xff"+strings.Repeat("x", 100), 11)), nil, causeTooBig},
		{"more fragments than allowed", fragmentsOf(0x41, pieces(hello+strings.Repeat("\x00\x00\x00\xff\xff", 12), 1)...), nil, causeTooManyFragments},
	} {
		for _, bytewise := range []bool{false, true} {
			t.Run(fmt.Sprint(tc.name, "/", bytewise), func(t *testing.T) {
				l := newLab(t, withEcho, smallLimits, deflateOn(), func(s *setup) {
					s.opts.WebSocket.MaxFrameSize, s.opts.WebSocket.MaxFragments = 0, 64
				})
				z := l.zip("/", plainOffer)
				if bytewise {
					for i := range len(tc.send) {
						z.write(tc.send[i : i+1])
						l.settle()
					}
				} else {
					z.write(tc.send)
					l.settle()
				}
				z.wantTexts(tc.want...)
				if tc.end == causeNone {
					z.write(frame(0x88, "\x03\xe8"))
					l.settle()
					z.hear()
					z.wantEnd(codeNormal)
				} else {
					z.wantEnd(int(tc.end.info().code))
				}
				z.hangUp()
				l.settle()
				if tc.end != causeNone && l.srv.Stats().Closes[tc.end.String()] != 1 {
					t.Errorf("it ended by %v, want %v", l.srv.Stats().Closes, tc.end)
				}
				l.close()
			})
		}
	}
}

// fragmentsOf is a message in frames, the first of which begins with first.
func fragmentsOf(first byte, parts ...string) string {
	var b strings.Builder
	for i, part := range parts {
		head := byte(0)
		if i == 0 {
			head = first
		}
		if i == len(parts)-1 {
			head |= 0x80
		}
		b.WriteString(frame(head, part))
	}
	return b.String()
}

// packedAfter is text as a compressor writes it that has seen earlier.
func packedAfter(earlier, text string) string {
	z := &zipped{}
	z.w, _ = stdflate.NewWriter(&z.wired, 6)
	z.pack(earlier)
	return z.pack(text)
}

func TestCompressionIsOffByDefault(t *testing.T) {
	l := newLab(t)
	z := l.zip("/", plainOffer)
	if z.response != "" {
		t.Errorf("the response agrees to %q", z.response)
	}
	z.write(frame(0xC1, "\xf2\x48\xcd\xc9\xc9\x07\x00"))
	l.settle()
	z.hear()
	z.wantEnd(codeProtocol)
	z.hangUp()
	l.settle()
	l.close()
}

// TestInflateRatio is about bombs within the limit of a message.
func TestInflateRatio(t *testing.T) {
	l := newLab(t, withEcho, deflateOn(), func(s *setup) { s.opts.WebSocket.MaxMessageSize = 8 << 20 })
	for _, tc := range []struct {
		size int
		end  cause
	}{{ratioFreeBytes, causeNone}, {ratioFreeBytes + 1, causeInflateRatio}, {4 << 20, causeInflateRatio}} {
		z := l.zip("/", plainOffer)
		z.write(frame(0xC2, deflated(strings.Repeat("x", tc.size))))
		l.settle()
		if got := z.hear(); tc.end == causeNone {
			if len(got) != 1 || len(got[0].text) != tc.size {
				t.Errorf("%d bytes: %d messages, end %v", tc.size, len(got), z.end)
			}
		} else {
			z.wantEnd(codeTooBig)
		}
		z.hangUp()
		l.settle()
	}
	z := l.zip("/", plainOffer) // what compresses well, but is no bomb
	large := document(500<<10, 1)
	z.sayPacked(large)
	l.settle()
	z.wantTexts(large)
	z.hangUp()
	l.settle()
	l.close()
}

func TestInflationIsWithinTheBudget(t *testing.T) {
	l := newLab(t, withEcho, deflateOn(), func(s *setup) { s.opts.Server.InboundBudget = 20 << 10 })
	z := l.zip("/", plainOffer)
	z.write(frame(0xC2, deflated(strings.Repeat("x", 50<<10))))
	l.settle()
	z.hear()
	z.wantEnd(codeOverloaded)
	z.hangUp()
	l.settle()
	l.close()
}

// TestThreshold is about what is compressed and what is not.
func TestThreshold(t *testing.T) {
	l := newLab(t, withEcho, deflateOn(func(o *DeflateOptions) { o.Threshold = 100 }))
	z := l.zip("/", plainOffer)
	for _, tc := range []struct {
		text     string
		deflated bool
	}{{strings.Repeat("x", 99), false}, {strings.Repeat("x", 100), true}, {document(5000, 1), true}, {"", false}} {
		z.write(frame(0x81, tc.text))
		l.settle()
		if got := z.wantTexts(tc.text)[0]; got.deflated != tc.deflated {
			t.Errorf("%d bytes: compressed %v", len(tc.text), got.deflated)
		}
	}
	z.write(frame(0x82, noise(5000)))
	l.settle()
	if got := z.wantTexts(noise(5000))[0]; got.deflated {
		t.Error("what does not compress was compressed")
	}
	z.leaveZipped()
	st := l.srv.Stats().Deflate
	if st.SentPlain < 5100 || st.SentWire == 0 || st.SentWire > st.SentPlain/2 || st.ReceivedWire != 0 {
		t.Errorf("the figures are %+v", st)
	}
	l.close()
}

func (z *zipped) leaveZipped() {
	z.t.Helper()
	z.write(frame(0x88, "\x03\xe8"))
	z.lab.settle()
	z.hear()
	z.wantEnd(codeNormal)
	z.hangUp()
	z.lab.settle()
}

// TestWindows holds both directions to every window, at every level, with and
// without takeover. The client checks how far each message refers back.
func TestWindows(t *testing.T) {
	for _, level := range []int{1, 6, 9} {
		for _, keep := range []bool{false, true} {
			l := newLab(t, withEcho, deflateOn(keepingIf(keep), window(maxWindowBits), func(o *DeflateOptions) { o.Level, o.Threshold = level, 1 }),
				func(s *setup) { s.opts.WebSocket.MaxMessageSize = 1 << 20 })
			for bits := minWindowBits; bits <= maxWindowBits; bits++ {
				t.Run(fmt.Sprintf("level %d/takeover %v/%d bits", level, keep, bits), func(t *testing.T) {
					z := l.zip("/", fmt.Sprintf("permessage-deflate; server_max_window_bits=%d; client_max_window_bits=%d", bits, bits))
					if z.window != 1<<bits || z.inKeeps != keep {
						t.Fatalf("agreed on %q", z.response)
					}
					plain, wire := 0, 0
					for i, size := range []int{10, 100, 200, 256, 300, 1000, 1 << bits, 1<<bits + 1, 2<<bits + 77, 20, 60_000, 3} {
						text := document(size, uint64(i%2))
						z.write(frame(0xC1, deflatedWithin(text, bits)))
						l.settle()
						got := z.wantTexts(text)[0]
						plain, wire = plain+size, wire+got.wire
					}
					if bits >= 10 && wire > plain*6/10 {
						t.Errorf("%d bytes were sent as %d", plain, wire)
					}
					z.leaveZipped()
				})
			}
			l.close()
		}
	}
}

// deflatedWithin is deflated with a window of so many bits: stretches that refer to
// nothing before them.
func deflatedWithin(text string, bits int) string {
	var b strings.Builder
	for part := range slices.Chunk([]byte(text), 1<<bits) {
		b.WriteString(deflated(string(part)) + deflateTail)
	}
	return strings.TrimSuffix(b.String(), deflateTail)
}

// TestTakeover is about messages that refer to earlier ones, each way.
func TestTakeover(t *testing.T) {
	for _, offer := range []string{
		"permessage-deflate", "permessage-deflate; client_no_context_takeover", "permessage-deflate; server_no_context_takeover",
		"permessage-deflate; server_no_context_takeover; client_no_context_takeover", "permessage-deflate; client_max_window_bits=9; server_max_window_bits=9",
	} {
		t.Run(offer, func(t *testing.T) {
			l := newLab(t, withEcho, deflateOn(keeping, window(15)))
			z := l.zip("/", offer)
			reserved := l.srv.Stats().Deflate.TakeoverBytes
			if want := z.conn.agreed.keepsBytes(); reserved != want {
				t.Errorf("%d bytes are reserved, want %d", reserved, want)
			}
			first, again := 0, 0
			text := document(600, 1)
			for i := range 40 {
				if i%7 == 3 { // what is not compressed is not referred to either
					z.write(frame(0x82, noise(700+i)))
					l.settle()
					if z.wantTexts(noise(700 + i))[0].deflated {
						t.Error("noise was compressed")
					}
				}
				if z.w != nil && strings.Contains(offer, "client_max_window_bits") {
					z.w = nil // the writer of the standard library cannot keep to a window
				}
				z.sayPacked(text)
				l.settle()
				if got := z.wantTexts(text)[0]; i == 0 {
					first = got.wire
				} else {
					again = got.wire
				}
			}
			if smaller := again < first/2; smaller != z.inKeeps && !strings.Contains(offer, "window") {
				t.Errorf("%q: a message took %d bytes, and when it came again %d", z.response, first, again)
			}
			z.leaveZipped()
			if st := l.srv.Stats().Deflate; st.TakeoverBytes != 0 {
				t.Errorf("%d bytes are still reserved", st.TakeoverBytes)
			}
			l.close()
		})
	}
}

func TestTakeoverBudget(t *testing.T) {
	l := newLab(t, withEcho, deflateOn(keeping, window(15), func(o *DeflateOptions) { o.TakeoverBudget = 64 << 10 }))
	one := l.zip("/", plainOffer)
	two := l.zip("/", plainOffer)
	if one.response != plainOffer || two.response != plainOffer+forgets {
		t.Errorf("agreed on %q and %q", one.response, two.response)
	}
	one.leaveZipped()
	three := l.zip("/", plainOffer)
	if three.response != plainOffer {
		t.Errorf("agreed on %q", three.response)
	}
	for _, z := range []*zipped{two, three} {
		z.sayPacked(document(1000, 1))
		l.settle()
		z.wantTexts(document(1000, 1))
		z.leaveZipped()
	}
	l.close()
}

// TestCompressionIsReconfigured is about a server that runs: what was agreed on
// stays, levels and thresholds hold at once.
func TestCompressionIsReconfigured(t *testing.T) {
	l := newLab(t, withEcho)
	plain := l.zip("/", plainOffer)
	check(t, reconfigured(t, l.srv, func(o *Options) { o.WebSocket.Compression = compressionOn }))
	packed := l.zip("/", plainOffer)
	check(t, reconfigured(t, l.srv, func(o *Options) { o.WebSocket.Compression = compressionOff }))
	after := l.zip("/", plainOffer)
	if plain.response != "" || packed.response == "" || after.response != "" {
		t.Fatalf("agreed on %q, %q and %q", plain.response, packed.response, after.response)
	}
	text := document(2000, 1)
	sizes := map[int]int{}
	for _, level := range []int{1, 9, 1} {
		check(t, reconfigured(t, l.srv, func(o *Options) { o.WebSocket.Deflate.Level = level }))
		packed.sayPacked(text)
		l.settle()
		sizes[level] = packed.wantTexts(text)[0].wire
	}
	if sizes[9] >= sizes[1] {
		t.Errorf("by level, a message takes %v bytes", sizes)
	}
	check(t, reconfigured(t, l.srv, func(o *Options) { o.WebSocket.Deflate.Threshold = 3000 }))
	packed.sayPacked(text)
	l.settle()
	if packed.wantTexts(text)[0].deflated {
		t.Error("a message below the new threshold is compressed")
	}
	for _, z := range []*zipped{plain, packed, after} {
		z.leaveZipped()
	}
	l.close()
}

func TestCompressionOptions(t *testing.T) {
	bad := Options{}
	bad.WebSocket.Compression = "yes"
	bad.WebSocket.Deflate = DeflateOptions{Level: 10, Threshold: -1, MaxRatio: -1, TakeoverBudget: -1, WindowBits: 16}
	err := bad.Validate()
	for _, key := range []string{"compression: ", "deflate.level: ", "deflate.threshold: ", "deflate.max_ratio: ", "deflate.takeover_budget: ", "deflate.window_bits: "} {
		if err == nil || !strings.Contains(err.Error(), "websocket."+key) {
			t.Errorf("%v does not name %s", err, key)
		}
	}
}

func TestATailShowsCompressedMessagesPlain(t *testing.T) {
	l := newLab(t, withEcho, deflateOn())
	tail := l.tail(TailOptions{Kinds: []string{TailMessage, TailSend}, Payload: 20})
	z := l.zip("/", plainOffer)
	text := document(1000, 1)
	z.sayPacked(text)
	l.settle()
	z.write(fragmentsOf(0x41, pieces(z.pack(text), 50)...))
	l.settle()
	for _, m := range z.wantTexts(text, text) {
		if !m.deflated {
			t.Error("a reply is not compressed")
		}
	}
	events := tail.events()
	if len(events) != 4 {
		t.Fatalf("%d events are shown", len(events))
	}
	for _, ev := range events {
		if ev.Size != len(text) || ev.Binary || string(ev.Payload) != text[:20] {
			t.Errorf("%s of %d bytes shows %q", ev.Kind, ev.Size, ev.Payload)
		}
	}
	tail.Close()
	z.leaveZipped()
	l.close()
}
