package host

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"weir/netpoll"
	"weir/pool"
)

// manyOffers are of every kind.
var manyOffers = []string{
	"", plainOffer, plainOffer + "; client_no_context_takeover", plainOffer + "; server_no_context_takeover", plainOffer + "; server_max_window_bits=8",
	plainOffer + "; server_max_window_bits=9; server_no_context_takeover", plainOffer + "; client_max_window_bits",
}

func TestACrowdThatCompressesBreaksNoPromise(t *testing.T) {
	filler := "|" + strings.Repeat("and so on, ", 60)
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprint("takeover ", keep), func(t *testing.T) {
			crowdBreaksNoPromise(t, manyOffers, filler, deflateOn(keepingIf(keep), window(15), func(o *DeflateOptions) { o.Threshold = 100 }))
		})
	}
}

// TestAPublishIsCompressedOnceForAll is about receivers with the same parameters.
func TestAPublishIsCompressedOnceForAll(t *testing.T) {
	l := newLab(t, deflateOn(keepingIf(true), window(15)))
	var members []*zipped
	var plain []*labClient
	for range 3 {
		for _, offer := range manyOffers {
			if offer == "" {
				plain = append(plain, l.connect("/?open=join+topic"))
			} else {
				members = append(members, l.zip("/?open=join+topic", offer))
			}
		}
	}
	text := document(600, 1)
	members[0].write(frame(0x81, "publish topic "+text))
	l.settle()
	for _, c := range plain {
		c.want(text)
	}
	for _, z := range members {
		if got := z.wantTexts(text)[0]; !got.deflated {
			t.Errorf("%q: it was not compressed", z.response)
		}
	}

	frame := pool.Take(0)
	frame.B = appendFrame(frame.B, ws.OpText, []byte(text))
	f := forms{plain: frame}
	f.compress(l.srv, l.tenant("puppet").topics.find([]byte("topic")))
	made := map[*pool.Buf]int{}
	for _, z := range members {
		made[f.of(z.conn)]++
	}
	// With server_no_context_takeover: 3 with the largest window, 3 with the small one.
	// The others refer to what they have heard before, each by itself.
	if len(made) != 3 || made[frame] != 12 {
		t.Errorf("there are %d forms of the message, and the plain one is for %d: %v", len(made), made[frame], made)
	}
	f.release()
	for _, z := range members {
		z.leaveZipped()
	}
	for _, c := range plain {
		c.leave()
	}
	if n := l.srv.compression.deflaters.count(); n > l.srv.cores {
		t.Errorf("%d compressors are kept", n)
	}
	l.close()
}

// TestTakeoverKeepsToTheOrderOfTheWire lets replies, sends and publishes wait for a
// reader that is slow: each message refers to what went out before it, in whatever
// pieces.
func TestTakeoverKeepsToTheOrderOfTheWire(t *testing.T) {
	for _, room := range []int{0, 1, 7, 100, 300, 2000} {
		l := newLab(t, deflateOn(keeping, window(15)))
		z := l.zip("/?open=join+topic", plainOffer)
		other := l.connect("/")
		id := z.conn.id
		var want []string
		z.stop(room)
		for i := range 30 {
			text := document(520+i, uint64(i%3))
			switch i % 3 {
			case 0:
				z.write(frame(0x81, "echo "+text))
			case 1:
				other.write(frame(0x81, fmt.Sprintf("send %d %s", id, text)))
			default:
				other.write(frame(0x81, "publish topic "+text))
			}
			want = append(want, text)
			l.settle()
			if i%4 == 0 {
				z.give(room)
				l.settle()
			}
		}
		for range 10_000 {
			z.give(max(room, 50))
			l.settle()
		}
		z.open()
		l.settle()
		wire := 0
		for _, m := range z.wantTexts(want...) {
			if !m.deflated {
				t.Error("a message was not compressed")
			}
			wire += m.wire
		}
		if wire > 30*200 {
			t.Errorf("30 messages of 3 kinds took %d bytes", wire)
		}
		z.leaveZipped()
		other.leave()
		l.close()
	}
}

// TestASlowReaderWithTakeoverIsClosed is about what is queued and then dropped.
func TestASlowReaderWithTakeoverIsClosed(t *testing.T) {
	for _, room := range []int{0, 100, 5000} {
		l := newLab(t, withoutPings, deflateOn(keeping, window(15)), func(s *setup) { s.opts.WebSocket.OutboundQueueSize = 40_000 })
		z := l.zip("/?open=join+topic", plainOffer)
		other := l.connect("/")
		z.stop(room)
		for i := range 60 {
			other.write(frame(0x81, "publish topic "+document(1000, uint64(i))))
			l.settle()
		}
		z.open()
		l.settle()
		for i, m := range z.hear() {
			if m.text != document(1000, uint64(i)) {
				t.Errorf("message %d is another", i)
			}
		}
		z.wantEnd(codeOverloaded)
		z.hangUp()
		l.settle()
		other.leave()
		l.close()
	}
}

// TestASocketThatBreaksWithTakeover is about a write that fails while messages wait.
func TestASocketThatBreaksWithTakeover(t *testing.T) {
	l := newLab(t, withoutPings, deflateOn(keeping))
	z := l.zip("/?open=join+topic", plainOffer)
	other := l.connect("/")
	z.stop(10)
	for i := range 10 {
		other.write(frame(0x81, "publish topic "+document(1000, uint64(i))))
		l.settle()
	}
	z.reset()
	l.settle()
	if !z.gone() {
		t.Error("the connection is still there")
	}
	other.leave()
	l.close()
}

// TestDeflateAllocs holds an echo of compressed messages to no allocation.
func TestDeflateAllocs(t *testing.T) {
	text := document(1<<10, 1)
	for _, tc := range []struct {
		name, message string
		keep          bool
	}{
		{"1 KiB of JSON", frame(0xC1, deflated(text)), false},
		{"in fragments", fragmentsOf(0x41, pieces(deflated(text), 200)...), false},
		{"16 KiB of JSON", frame(0xC2, deflated(document(16<<10, 1))), false},
		{"1 KiB of JSON with our takeover", frame(0xC1, deflated(text)), true},
		{"sixteen at once", strings.Repeat(frame(0xC1, deflated(text)), 16), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, withEcho, deflateOn(keepingIf(tc.keep)))
			p := &l.tenant("echo").rule.Load().stable.pace
			p.quick.Store(true)
			p.debt.Store(-1 << 60)
			d := &deaf{next: []byte(withOffer(upgradeHead, plainOffer+"; client_no_context_takeover"))}
			l.srv.welcome(d)
			c := d.handler.(*Conn)
			c.Ready(netpoll.Readable)
			l.settle()
			if !c.agreed.compresses() || c.agreed.out.keeps() != tc.keep {
				t.Fatalf("agreed on %+v", c.agreed)
			}
			if c.more != nil && !tc.keep {
				t.Error("a connection that remembers nothing has more than a plain one")
			}
			message := []byte(tc.message)
			if n := allocs(t, func() {
				d.next = message
				c.Ready(netpoll.Readable)
			}); n != 0 {
				t.Errorf("%v allocations, want 0", n)
			}
			if c.phase != phaseOpen {
				t.Errorf("the connection is in phase %d", c.phase)
			}
			l.finishDeaf(c)
		})
	}
}

// TestInflatingBombs is T-036 of the list of faults: it ends with 1009 or 1007, or
// was no bomb, and what it cost is logged.
func TestInflatingBombs(t *testing.T) {
	const limit = 64 << 10
	for _, tc := range []struct {
		name, payload string
		end           int
	}{
		{"zeros, 1028:1", deflated(strings.Repeat("\x00", 32<<20)), codeTooBig},
		{"the smallest Huffman tables", emptyDynamicBlocks(limit), codeInvalidData},
		{"final blocks", strings.Repeat("\x03\x00", limit/2), 0},
		{"empty stored blocks", strings.Repeat("\x00\x00\x00\xff\xff", limit/5) + "\x00", 0},
		{"stored blocks of a byte", strings.Repeat("\x00\x01\x00\xfe\xffx", limit/6) + "\x00", 0},
		{"noise", noise(limit), codeInvalidData},
		{"a stream that never ends", deflated(document(30<<10, 1))[:5000], codeInvalidData},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, withEcho, deflateOn())
			z := l.zip("/", plainOffer)
			z.write(frame(0xC2, tc.payload[:min(len(tc.payload), limit)]))
			start := time.Now()
			l.settle()
			t.Logf("took %v", time.Since(start))
			z.hear()
			if tc.end == 0 {
				z.leaveZipped()
			} else {
				z.wantEnd(tc.end)
				z.hangUp()
				l.settle()
			}
			l.close()
		})
	}
}

// emptyDynamicBlocks is n bytes of blocks that say nothing but their own Huffman
// tables, as short as these can be.
func emptyDynamicBlocks(n int) string {
	var out []byte
	acc, bits := uint64(0), 0
	put := func(v uint64, n int) {
		for acc, bits = acc|v<<bits, bits+n; bits >= 8; acc, bits = acc>>8, bits-8 {
			out = append(out, byte(acc))
		}
	}
	for len(out) < n {
		put(0b100, 3)
		put(14<<10, 14) // 257 lengths, 1 distance, 18 lengths of lengths
		for i := range 18 {
			put(map[int]uint64{2: 1, 17: 1}[i], 3) // of a long run of zeros, and of a 1
		}
		put(1|127<<1|1<<8|107<<9, 16) // 256 zeros
		put(0, 3)                     // a length of 1 for the end and for the distance; the end
	}
	return string(out)
}
