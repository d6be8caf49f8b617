package host

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gobwas/ws"
	"github.com/klauspost/compress/flate"

	"weir/pool"
)

// rsv1 is the bit of a frame's header that says of a message that it is
// compressed (RFC 7692 §6), as ws.Header has it and as it stands in the first byte.
const (
	rsv1    = 4
	rsv1Bit = rsv1 << 4
)

// compression is what a server's connections share to inflate and deflate.
type compression struct {
	deflaters shelf[deflater] // with the largest window
	bounded   shelf[deflater] // with smaller ones
	inflaters shelf[inflater]
	kept      atomic.Int64 // bytes reserved for what takeover remembers

	// What travelled compressed, before and after: bytes of messages received, and
	// of frames sent.
	receivedWire, receivedPlain atomic.Uint64
	sentPlain, sentWire         atomic.Uint64
}

// shelf holds what is expensive to make and needed for moments, newest last.
type shelf[T any] struct {
	mu   sync.Mutex // below
	idle []*T
	out  int
}

// take returns the newest idle one that fits, or nil: then the caller makes one.
func (s *shelf[T]) take(fits func(*T) bool) *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out++
	for i := len(s.idle) - 1; i >= 0; i-- {
		if x := s.idle[i]; fits(x) {
			s.idle = slices.Delete(s.idle, i, i+1)
			return x
		}
	}
	return nil
}

// give returns x; the oldest is let go if more than most are idle.
func (s *shelf[T]) give(x *T, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out--
	if len(s.idle) >= most {
		s.idle = slices.Delete(s.idle, 0, 1)
	}
	s.idle = append(s.idle, x)
}

// count is how many there are.
func (s *shelf[T]) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out + len(s.idle)
}

// deflater compresses one message at a time. It takes 0.8 to 1.4 MB, so it is
// borrowed for as long as that lasts, by whoever commits or writes the message.
type deflater struct {
	w      *flate.Writer
	level  int   // of one that refers back as far as DEFLATE can, else 0
	window uint8 // the logarithm of what it refers back
	out    []byte
}

// Write implements io.Writer for flate.Writer.
func (d *deflater) Write(p []byte) (int, error) {
	d.out = append(d.out, p...)
	return len(p), nil
}

// deflatersFor are where one for that window is kept.
func (p *compression) deflatersFor(window uint8) *shelf[deflater] {
	if window == maxWindowBits {
		return &p.deflaters
	}
	return &p.bounded
}

func (s *Server) takeDeflater(window uint8) *deflater {
	level := 0
	if window == maxWindowBits {
		level = s.opts().WebSocket.Deflate.Level
	}
	d := s.compression.deflatersFor(window).take(func(d *deflater) bool { return d.level == level && d.window == window })
	if d != nil {
		return d
	}
	d = &deflater{level: level, window: window}
	var err error
	if window == maxWindowBits {
		d.w, err = flate.NewWriter(d, level)
	} else {
		d.w, err = flate.NewWriterWindow(d, 1<<window)
	}
	if err != nil {
		panic(err) // Validate and negotiate let nothing else pass
	}
	return d
}

func (s *Server) giveDeflater(d *deflater) {
	if cap(d.out) > pool.MaxPooledBytes {
		d.out = nil
	}
	s.compression.deflatersFor(d.window).give(d, s.cores)
}

// deflateTail is what a compressed message ends in and what is not sent of it (RFC
// 7692 §7.2.1).
const deflateTail = "\x00\x00\xff\xff"

// compress returns the compressed form of payload, good until the next call; nil
// if it is not shorter. earlier is what it may refer to.
func (d *deflater) compress(payload, earlier []byte) []byte {
	d.out = d.out[:0]
	d.w.ResetDict(d, earlier)
	// Neither fails: Write above does not.
	_, _ = d.w.Write(payload)
	_ = d.w.Flush()
	if len(earlier) > 0 {
		d.w.ResetDict(d, nil) // lets go of it
	}
	n := len(d.out) - len(deflateTail)
	if n < 0 || n >= len(payload) || string(d.out[n:]) != deflateTail {
		return nil
	}
	return d.out[:n]
}

// deflate returns the compressed form of an encoded frame, the caller's to release,
// for a receiver with that window who has heard earlier; nil: the frame goes out as
// it is. A message that is a good deal shorter than the window cannot refer to
// what is outside if it sees no more of earlier than still fits in; others need a
// compressor that keeps to the window.
func (s *Server) deflate(frame, earlier []byte, windowBits uint8) *pool.Buf {
	payload := s.worthDeflating(frame)
	if payload == nil {
		return nil
	}
	window, by := 1<<windowBits, windowBits
	if len(payload) <= window/2 || len(payload) <= window && len(earlier) == 0 {
		earlier = earlier[max(len(earlier)+len(payload)-window, 0):]
		by = maxWindowBits
	}
	d := s.takeDeflater(by)
	defer s.giveDeflater(d)
	packed := d.compress(payload, earlier)
	if packed == nil {
		return nil
	}
	buf := pool.Take(frameBytes(len(packed)))
	buf.B = appendFrame(buf.B[:0], ws.OpCode(frame[0]&0x0F), packed)
	buf.B[0] |= rsv1Bit
	return buf
}

// deflated is deflate for a frame that is about to be sent to c, whose context, if
// it has one, goes on by it: then only who has set Conn.writing may call it.
func (c *Conn) deflated(frame []byte) *pool.Buf {
	tk := c.takeover()
	var earlier []byte
	if tk != nil {
		earlier = tk.out.b
	}
	buf := c.srv.deflate(frame, earlier, c.agreed.out.bits())
	if buf == nil {
		return nil
	}
	if tk != nil {
		tk.out.add(payloadOf(frame))
	}
	c.srv.compression.noteSent(len(frame), len(buf.B))
	return buf
}

// worthDeflating returns the payload of an encoded frame if it is to be
// compressed: it is a whole message, not compressed yet, and not too short.
func (s *Server) worthDeflating(frame []byte) (payload []byte) {
	if frame[0] != 0x80|byte(ws.OpText) && frame[0] != 0x80|byte(ws.OpBinary) {
		return nil
	}
	if payload = payloadOf(frame); len(payload) < int(s.opts().WebSocket.Deflate.Threshold) {
		return nil
	}
	return payload
}

// payloadOf is what an encoded frame of ours says.
func payloadOf(frame []byte) []byte {
	_, headerBytes, err := parseHeader(frame)
	if err != nil {
		return nil
	}
	return frame[headerBytes:]
}

// noteSent counts frames that go out compressed.
func (p *compression) noteSent(plainBytes, wireBytes int) {
	p.sentPlain.Add(uint64(plainBytes))
	p.sentWire.Add(uint64(wireBytes))
}

func (p *compression) stats() DeflateStats {
	return DeflateStats{
		ReceivedWire:  p.receivedWire.Load(),
		ReceivedPlain: p.receivedPlain.Load(),
		SentPlain:     p.sentPlain.Load(),
		SentWire:      p.sentWire.Load(),
		Deflaters:     p.deflaters.count() + p.bounded.count(),
		Inflaters:     p.inflaters.count(),
		TakeoverBytes: p.kept.Load(),
	}
}
