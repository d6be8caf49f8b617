package load

import (
	"bytes"
	"errors"
	"testing"
)

func TestFramesAreReadAsTheyWereWritten(t *testing.T) {
	key := [4]byte{1, 2, 3, 4}
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 70000} {
		payload := template(n)
		frame := appendFrame(nil, opBinary, key, payload)
		h, err := parseHeader(frame)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		want := header{fin: true, op: opBinary, masked: true, key: key, payload: uint64(n), bytes: len(frame) - n}
		if h != want {
			t.Errorf("%d bytes: got %+v, want %+v", n, h, want)
		}
		got := bytes.Clone(frame[h.bytes:])
		if n > 4 && bytes.Equal(got, payload) {
			t.Errorf("%d bytes: the payload is not masked", n)
		}
		mask(got, key, 0)
		if !bytes.Equal(got, payload) {
			t.Errorf("%d bytes: the payload does not come back", n)
		}
	}
}

func TestMaskGoesOnWhereItStopped(t *testing.T) {
	key := [4]byte{9, 8, 7, 6}
	whole, parts := template(11), template(11)
	mask(whole, key, 0)
	mask(parts[:3], key, 0)
	mask(parts[3:], key, 3)
	if !bytes.Equal(whole, parts) {
		t.Errorf("masked in two parts %x, in one %x", parts, whole)
	}
}

func TestParseHeader(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		want header
		bad  bool
	}{
		{name: "one byte is not enough", in: []byte{0x82}},
		{name: "a 16-bit length needs four bytes", in: []byte{0x82, 126, 1}},
		{name: "a 64-bit length needs ten bytes", in: []byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0}},
		{name: "a key needs four more", in: []byte{0x82, 0x81, 1, 2, 3}},
		{name: "a short unmasked frame", in: []byte{0x82, 5, 'h'}, want: header{fin: true, op: opBinary, payload: 5, bytes: 2}},
		{name: "the first of several fragments", in: []byte{0x01, 0}, want: header{op: opText, bytes: 2}},
		{name: "a 16-bit length", in: []byte{0x81, 126, 1, 0}, want: header{fin: true, op: opText, payload: 256, bytes: 4}},
		{name: "a ping", in: []byte{0x89, 0}, want: header{fin: true, op: opPing, bytes: 2}},
		{name: "reserved bits are refused", in: []byte{0xa2, 0}, bad: true},
		{name: "a compressed message", in: []byte{0xc2, 0}, want: header{fin: true, packed: true, op: opBinary, bytes: 2}},
		{name: "a compressed ping is refused", in: []byte{0xc9, 0}, bad: true},
		{name: "unknown data opcodes are refused", in: []byte{0x83, 0}, bad: true},
		{name: "unknown control opcodes are refused", in: []byte{0x8b, 0}, bad: true},
		{name: "a 16-bit length that fits 7 is refused", in: []byte{0x82, 126, 0, 125}, bad: true},
		{name: "a 64-bit length that fits 16 is refused", in: []byte{0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255}, bad: true},
		{name: "the top bit of a length is refused", in: []byte{0x82, 127, 0x80, 0, 0, 0, 0, 1, 0, 0}, bad: true},
		{name: "a fragmented control frame is refused", in: []byte{0x09, 0}, bad: true},
		{name: "a long control frame is refused", in: []byte{0x89, 126, 0, 200}, bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := parseHeader(c.in)
			if (err != nil) != c.bad || c.bad && !errors.Is(err, errFrame) {
				t.Fatalf("got error %v, want one: %t", err, c.bad)
			}
			if h != c.want {
				t.Errorf("got %+v, want %+v", h, c.want)
			}
		})
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte{0x82, 5, 'h'})
	f.Add([]byte{0x81, 0xfe, 1, 0, 1, 2, 3, 4})
	f.Add([]byte{0x82, 0x7f, 0x80, 0, 0, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		h, err := parseHeader(p)
		if err != nil && h != (header{}) {
			t.Errorf("an error and a header %+v", h)
		}
		if h.bytes > len(p) || h.bytes > maxHeaderBytes {
			t.Errorf("a header of %d bytes in %d", h.bytes, len(p))
		}
		if h.bytes > 0 {
			again, err := parseHeader(p[:h.bytes])
			if err != nil || again != h {
				t.Errorf("%+v, but without what follows %+v, %v", h, again, err)
			}
		}
	})
}
