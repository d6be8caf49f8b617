package load

import (
	"bytes"
	stdflate "compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
)

// packedFrom is the size from which on a reply must come compressed, which is the
// threshold of every server here.
const packedFrom = 512

// document returns a payload as template does, but JSON, which compresses to a
// third.
func document(payloadBytes int) []byte {
	rng := rand.New(rand.NewPCG(1, 1))
	p := make([]byte, stampBytes, payloadBytes+200)
	for len(p) < payloadBytes {
		p = fmt.Appendf(p, `{"id":%d,"user":"user%d","text":"hello world %s","at":%d,"ok":true},`,
			rng.IntN(100_000), rng.IntN(1000), strconv.FormatUint(rng.Uint64(), 16), 1_700_000_000+rng.IntN(10_000_000))
	}
	return p[:payloadBytes]
}

// plain is the one message of c.
func (k *client) plain(c *conn) []byte {
	p := bytes.Clone(k.tmpl)
	var s [stampBytes]byte
	stamp(&s, c.id, 0)
	copy(p, s[:])
	return p
}

// stamped is the sequence number that the payload of c's next reply has: a
// compressed one cannot be written anew for each message.
func (k *client) stamped(c *conn) uint32 {
	if k.o.Deflate {
		return 0
	}
	return c.recvSeq
}

// deflateTail is left out of a compressed message (RFC 7692 §7.2.1).
const deflateTail = "\x00\x00\xff\xff"

// deflate compresses a message.
func deflate(plain []byte) []byte {
	var b bytes.Buffer
	w, _ := stdflate.NewWriter(&b, stdflate.DefaultCompression)
	_, _ = w.Write(plain)
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte(deflateTail))
}

// checkPacked checks a whole reply. One that is the same as one before, byte for
// byte, says the same; others are inflated.
func (k *client) checkPacked(c *conn) error {
	in := &c.in
	if !in.isPack {
		if len(k.tmpl) >= packedFrom || in.offset != len(k.tmpl) {
			return fmt.Errorf("load: connection %d: %d bytes came back plain, sent %d", c.id, in.offset, len(k.tmpl))
		}
		return nil
	}
	if len(c.verified) > 0 && bytes.Equal(in.packed, c.verified) {
		return nil
	}
	got, err := io.ReadAll(stdflate.NewReader(io.MultiReader(bytes.NewReader(in.packed), bytes.NewReader([]byte(deflateTail+"\x01\x00\x00\xff\xff")))))
	if err != nil {
		return fmt.Errorf("load: connection %d: message %d: %w", c.id, c.recvSeq, err)
	}
	if len(got) != len(k.tmpl) {
		return fmt.Errorf("load: connection %d: message %d came back with %d bytes, sent %d", c.id, c.recvSeq, len(got), len(k.tmpl))
	}
	if err := checkPayload(got, 0, k.tmpl, c.id, 0); err != nil {
		return err
	}
	c.verified = append(c.verified[:0], in.packed...)
	return nil
}
