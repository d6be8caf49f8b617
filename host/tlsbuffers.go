package host

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"sync"
	"unsafe"
)

// A tls.Conn keeps what it has ever needed to read: 3.5 KB after a handshake, 18
// to 36 KB after one record of full size, for as long as the connection lives. Its
// three buffers are unexported and cannot be given back. So they are reached by
// their names, as offsets: a connection gets a pooled buffer for the time that it
// reads, which also makes one recv of what would be several, and an idle one has
// none. With 5,000 idle connections that have sent 16 KB once this is 100 MB.
//
// Should a Go release change the names or types, tlsLayout.known is false, the
// buffers stay where they are, everything else works, and
// TestBuffersOfAnIdleTLSConnectionAreReturned fails.
var tlsLayout = findTLSLayout()

type tlsOffsets struct {
	known                 bool
	rawInput, input, hand uintptr
}

func findTLSLayout() tlsOffsets {
	t := reflect.TypeFor[tls.Conn]()
	raw, ok1 := t.FieldByName("rawInput")
	input, ok2 := t.FieldByName("input")
	hand, ok3 := t.FieldByName("hand")
	buffer, reader := reflect.TypeFor[bytes.Buffer](), reflect.TypeFor[bytes.Reader]()
	if !ok1 || !ok2 || !ok3 || raw.Type != buffer || input.Type != reader || hand.Type != buffer {
		return tlsOffsets{}
	}
	return tlsOffsets{true, raw.Offset, input.Offset, hand.Offset}
}

// rawInputOf holds records as they came, perhaps a part of one.
func (l *tlsOffsets) rawInputOf(c *tls.Conn) *bytes.Buffer {
	return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), l.rawInput))
}

// inputOf is what is left of a record that was decrypted, in memory of rawInput.
func (l *tlsOffsets) inputOf(c *tls.Conn) *bytes.Reader {
	return (*bytes.Reader)(unsafe.Add(unsafe.Pointer(c), l.input))
}

// handOf holds messages of handshakes.
func (l *tlsOffsets) handOf(c *tls.Conn) *bytes.Buffer {
	return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), l.hand))
}

// tlsReadBytes holds the longest record (RFC 8446 §5.2: 2^14 + 256, and 5 of a
// header) and what bytes.Buffer wants to have room for when it reads.
const tlsReadBytes = 16<<10 + 256 + 5 + 2*bytes.MinRead

var tlsReadBuffers = sync.Pool{New: func() any { return new([tlsReadBytes]byte) }}

// lendBuffer gives the connection a buffer to read into, with what it has already,
// unless it has one. The reader hands it back with returnBuffer.
func (s *tlsSocket) lendBuffer() {
	if !tlsLayout.known || s.lent != nil || tlsLayout.inputOf(s.conn).Len() > 0 {
		return
	}
	raw := tlsLayout.rawInputOf(s.conn)
	if raw.Len() > tlsReadBytes-2*bytes.MinRead {
		return
	}
	s.lent = tlsReadBuffers.Get().(*[tlsReadBytes]byte)
	n := copy(s.lent[:], raw.Bytes())
	*raw = *bytes.NewBuffer(s.lent[:n])
}

// returnBuffer takes the buffer back, unless something decrypted is left in it;
// then there will be another read. What has come of the next record stays with the
// connection, in a buffer of its size, which is returned.
func (s *tlsSocket) returnBuffer() (keptBytes int) {
	if !tlsLayout.known {
		return 0
	}
	raw, input := tlsLayout.rawInputOf(s.conn), tlsLayout.inputOf(s.conn)
	if input.Len() > 0 {
		return 0
	}
	input.Reset(nil) // or it would keep the buffer from being collected
	rest := raw.Bytes()
	if len(rest) == 0 {
		*raw = bytes.Buffer{}
	} else {
		*raw = *bytes.NewBuffer(bytes.Clone(rest))
	}
	if s.lent != nil {
		tlsReadBuffers.Put(s.lent)
		s.lent = nil
	}
	return len(rest)
}

// dropHandshakeBuffer frees what only the handshake has needed.
func dropHandshakeBuffer(c *tls.Conn) {
	if !tlsLayout.known {
		return
	}
	if hand := tlsLayout.handOf(c); hand.Len() == 0 {
		*hand = bytes.Buffer{}
	}
	if raw, input := tlsLayout.rawInputOf(c), tlsLayout.inputOf(c); raw.Len() == 0 && input.Len() == 0 {
		input.Reset(nil)
		*raw = bytes.Buffer{}
	}
}

// isDrained reports that c has nothing that it could give without reading; false
// also when that cannot be known.
func isDrained(c *tls.Conn) bool {
	return tlsLayout.known && tlsLayout.inputOf(c).Len() == 0 && tlsLayout.rawInputOf(c).Len() == 0 && tlsLayout.handOf(c).Len() == 0
}
