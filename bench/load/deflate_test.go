package load

import (
	"bytes"
	stdflate "compress/flate"
	"io"
	"strings"
	"testing"
)

// inflate undoes deflate.
func inflate(t *testing.T, packed []byte) []byte {
	t.Helper()
	p, err := io.ReadAll(stdflate.NewReader(strings.NewReader(string(packed) + deflateTail + "\x01\x00\x00\xff\xff")))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCompressedEchoes(t *testing.T) {
	o := options(fake{reply: func(n int, m []byte) []byte {
		if plain := inflate(t, m); n%2 == 0 { // another compressor, now and then
			var b bytes.Buffer
			w, _ := stdflate.NewWriter(&b, 1)
			_, _ = w.Write(plain)
			_ = w.Flush()
			m = bytes.TrimSuffix(b.Bytes(), []byte(deflateTail))
		}
		return serverFrame(0xc2, m)
	}}.start(t))
	o.PayloadBytes, o.Deflate = 1024, true
	r, err := Echo(t.Context(), o)
	if err != nil || r.Messages == 0 {
		t.Errorf("%d messages, %v", r.Messages, err)
	}
}

func TestCompressedEchoesAreChecked(t *testing.T) {
	for _, c := range []struct {
		name  string
		reply func(n int, message []byte) []byte
		want  string
	}{
		{"it comes plain", func(_ int, m []byte) []byte { return serverFrame(0x82, inflate(t, m)) }, "plain"},
		{"it says something else", func(_ int, m []byte) []byte { return serverFrame(0xc2, deflate(bytes.ToUpper(inflate(t, m)))) }, "differs"},
		{"it is short", func(_ int, m []byte) []byte { return serverFrame(0xc2, deflate(inflate(t, m)[:1000])) }, "1000 bytes"},
		{"it is broken", func(_ int, m []byte) []byte { return serverFrame(0xc2, m[:len(m)-9]) }, "message 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(fake{reply: c.reply}.start(t))
			o.PayloadBytes, o.Deflate = 1024, true
			if _, err := Echo(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}
