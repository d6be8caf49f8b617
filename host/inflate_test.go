package host

import (
	"bytes"
	stdflate "compress/flate"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// inflateAlone is what the server makes of a compressed message.
func inflateAlone(t testing.TB, s *Server, payload, earlier []byte, limit int) ([]byte, error) {
	t.Helper()
	o := inflation{srv: s, limit: limit, ratio: 25}
	f := s.takeInflater()
	defer s.giveInflater(f)
	err := f.run(&o, append(bytes.Clone(payload), inflateTail...), earlier)
	message := bytes.Clone(o.message())
	o.release()
	if n := s.inbound.Load(); n != 0 {
		t.Fatalf("%d bytes are still counted", n)
	}
	return message, err
}

// FuzzInflate holds the inflater against an inflater by the book, the limit of a
// message included, and what the book reads against the standard library.
func FuzzInflate(f *testing.F) {
	for _, seed := range []string{
		"\xf2\x48\xcd\xc9\xc9\x07\x00", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "\x00\x05\x00\xfa\xffHello\x00", "\x01", "\x00", "\x02\x00", "\x03\x00\x00",
		"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", deflated(document(300, 1)), deflated(strings.Repeat("x", 3000)), packedAfter(document(300, 1), document(300, 1)),
		emptyDynamicBlocks(30), deflated(noise(100)),
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	s := &Server{cores: 1}
	s.settings.Store(newSettings(Options{}))
	const limit = 2000
	f.Fuzz(func(t *testing.T, payload []byte, after bool) {
		if len(payload) == 0 {
			return // never comes to the inflater
		}
		var earlier []byte
		if after {
			earlier = []byte(document(300, 1))
		}
		got, err := inflateAlone(t, s, payload, earlier, limit)
		want, _, wrong := inflateByTheBook(payload, earlier)
		switch {
		case err == nil && wrong == nil:
			if !bytes.Equal(got, want) {
				t.Fatalf("%x is %q, want %q", payload, got, want)
			}
		case err == errInflateBig:
			if wrong == nil && len(want) <= limit {
				t.Fatalf("%x is refused as too big, with %d bytes", payload, len(want))
			}
		case err == nil: // the library may be more lenient: then so is Go's
			if theirs, err := inflateByGo(payload, earlier); err != nil || !bytes.Equal(theirs, got) {
				t.Fatalf("%x is %q; by the book: %v; by the standard library: %q, %v", payload, got, wrong, theirs, err)
			}
		case wrong == nil:
			if _, err := inflateByGo(payload, earlier); err == nil {
				t.Fatalf("%x is refused, though it says %q: %v", payload, want, err)
			}
		}
	})
}

// inflateByGo inflates one stream, or more, by the standard library.
func inflateByGo(payload, earlier []byte) (message []byte, err error) {
	src := bytes.NewReader(append(bytes.Clone(payload), inflateTail...))
	for {
		p, err := io.ReadAll(stdflate.NewReaderDict(src, earlier))
		message = append(message, p...)
		if left := src.Len(); err != nil || left == 0 || left == 5 || left == len(inflateTail) {
			return message, err
		} else if left < len(inflateTail) {
			return nil, errPuff
		}
		earlier = nil
	}
}

// FuzzDeflate holds what the server compresses against the inflater by the book:
// it says the same, and refers back no further than the window.
func FuzzDeflate(f *testing.F) {
	for _, size := range []int{0, 1, 33, 127, 128, 129, 256, 257, 700, 5000} {
		f.Add([]byte(document(size, 1)), []byte(document(size/2, 1)), byte(size), byte(1))
		f.Add([]byte(strings.Repeat("x", size)), []byte("x"), byte(size+1), byte(9))
	}
	var servers [9]*Server // by level, since a compressor is slow to make
	for i := range servers {
		servers[i] = &Server{cores: 1}
		o := Options{}
		o.WebSocket.Deflate.Level, o.WebSocket.Deflate.Threshold = 1+i, 1
		servers[i].settings.Store(newSettings(o))
	}
	f.Fuzz(func(t *testing.T, payload, earlier []byte, bits, level byte) {
		s := servers[level%9]
		windowBits := minWindowBits + bits%8
		h := history{limit: 1 << windowBits}
		h.add(earlier[:len(earlier)/2])
		h.add(earlier[len(earlier)/2:])
		if !bytes.HasSuffix(earlier, h.b) || len(h.b) != min(len(earlier), h.limit) {
			t.Fatalf("of %d bytes %d are remembered", len(earlier), len(h.b))
		}
		buf := s.deflate(appendFrame(nil, ws.OpBinary, payload), h.b, windowBits)
		if buf == nil {
			return
		}
		defer buf.Release()
		frame, headerBytes, err := parseHeader(buf.B)
		if err != nil || frame.Rsv != rsv1 || frame.OpCode != ws.OpBinary || !frame.Fin {
			t.Fatalf("the frame is %x", buf.B)
		}
		packed := buf.B[headerBytes:]
		got, reach, err := inflateByTheBook(packed, h.b)
		if err != nil || reach > 1<<windowBits || !bytes.Equal(got, payload) || len(packed) >= len(payload) {
			t.Fatalf("%d bytes after %d, window %d: %v, reach %d, %d bytes of %d", len(payload), len(h.b), windowBits, err, reach, len(got), len(packed))
		}
	})
}
