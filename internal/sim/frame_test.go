package sim

import (
	"bytes"
	"strings"
	"testing"
)

func TestServerFramesAreHeldAgainstTheRFC(t *testing.T) {
	for _, tc := range []struct {
		name, frame string
		err         string // part of the error; empty: none
		n           int
	}{
		{"a short text frame is read", "\x81\x02hi", "", 4},
		{"half a header waits for more", "\x81", "", 0},
		{"half a payload waits for more", "\x81\x02h", "", 0},
		{"an empty frame is a frame", "\x82\x00", "", 2},
		{"half a length waits for more", "\x82\x7E\x00", "", 0},
		{"a masked frame is refused", "\x81\x82\x00\x00\x00\x00hi", "must not mask", 0},
		{"a reserved bit is refused", "\xC1\x00", "reserved bits", 0},
		{"a reserved opcode is refused", "\x83\x00", "reserved", 0},
		{"a reserved control opcode is refused", "\x8B\x00", "reserved", 0},
		{"a fragmented ping is refused", "\x09\x00", "control frame", 0},
		{"a long ping is refused", "\x89\x7E\x00\x7E", "control frame", 0},
		{"a length of 16 bits that fits into 7 is refused", "\x82\x7E\x00\x7D", "shortest form", 0},
		{"a length of 64 bits that fits into 16 is refused", "\x82\x7F\x00\x00\x00\x00\x00\x00\xFF\xFF", "shortest form", 0},
		{"a length with its top bit set is refused", "\x82\x7F\x80\x00\x00\x00\x00\x00\x00\x01", "absurd", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, _, n, err := parseServerFrame([]byte(tc.frame))
			switch {
			case tc.err == "" && err != nil:
				t.Error(err)
			case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
				t.Errorf("the error is %v, want one with %q", err, tc.err)
			case n != tc.n:
				t.Errorf("the frame has %d bytes, want %d", n, tc.n)
			}
		})
	}
}

func TestCloseFramesAreHeldAgainstTheRFC(t *testing.T) {
	for _, tc := range []struct {
		name, payload string
		want          CloseFrame
		err           string
	}{
		{"an empty one has no code", "", CloseFrame{}, ""},
		{"a code and a reason are read", "\x03\xE8bye", CloseFrame{1000, "bye"}, ""},
		{"half a code is refused", "\x03", CloseFrame{}, "half a code"},
		{"a code that may not travel is refused", "\x03\xEE", CloseFrame{1006, ""}, "may not travel"},
		{"a code beyond 4999 is refused", "\x13\x88", CloseFrame{5000, ""}, "may not travel"},
		{"a reason that is not UTF-8 is refused", "\x03\xE8\xFF", CloseFrame{1000, "\xFF"}, "UTF-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseClose([]byte(tc.payload))
			if got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			if (tc.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("the error is %v, want %q", err, tc.err)
			}
		})
	}
}

// FuzzServerFrame: no bytes make the parser panic or claim more than there is; a
// frame that it reads is the one that the encoder writes; and no prefix of it is
// a frame.
func FuzzServerFrame(f *testing.F) {
	f.Add([]byte("\x81\x02hi"))
	f.Add(Frame{Opcode: Binary, Bare: true, Payload: make([]byte, 70000)}.Append(nil))
	f.Add(Frame{Opcode: Close, Bare: true, Payload: closePayload(1000, "bye")}.Append(nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		op, more, payload, n, err := parseServerFrame(p)
		if n < 0 || n > len(p) || err != nil && n != 0 {
			t.Fatalf("%d bytes of %d, error %v", n, len(p), err)
		}
		if err != nil || n == 0 {
			return
		}
		if op == Close {
			_, _ = parseClose(payload)
		}
		if again := (Frame{Opcode: op, More: more, Bare: true, Payload: payload}).Append(nil); !bytes.Equal(again, p[:n]) {
			t.Fatalf("%x was read, and is written as %x", p[:min(n, 32)], again[:min(len(again), 32)])
		}
		if _, _, _, less, err := parseServerFrame(p[:n-1]); less != 0 || err != nil {
			t.Fatalf("without its last byte it is a frame of %d bytes, error %v", less, err)
		}
	})
}
