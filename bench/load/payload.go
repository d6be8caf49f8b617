package load

import (
	"bytes"
	"fmt"
)

// stampBytes is the part of a payload that differs between messages: eight hex
// digits for the connection, eight for the sequence number. A shorter payload
// holds as much of it as fits.
const stampBytes = 16

// template returns the part that is the same in every payload of a run: ASCII,
// so that it may travel as text.
func template(payloadBytes int) []byte {
	p := make([]byte, payloadBytes)
	for i := range p {
		p[i] = ' ' + byte((i*7+i/95)%95)
	}
	return p
}

const hexDigits = "0123456789abcdef"

// stamp writes what names message seq of connection conn.
func stamp(to *[stampBytes]byte, conn, seq uint32) {
	for i := range 8 {
		shift := 28 - 4*i
		to[i] = hexDigits[conn>>shift&0xf]
		to[8+i] = hexDigits[seq>>shift&0xf]
	}
}

// checkPayload compares piece, which starts at offset in the payload of message
// seq of connection conn, with what was sent. Hot path, 0 allocs
// (TestMessageAllocs).
func checkPayload(piece []byte, offset int, tmpl []byte, conn, seq uint32) error {
	if offset+len(piece) > len(tmpl) {
		return fmt.Errorf("load: reply is longer than the %d bytes sent", len(tmpl))
	}
	if offset < stampBytes && len(piece) > 0 {
		var want [stampBytes]byte
		stamp(&want, conn, seq)
		n := min(len(piece), stampBytes-offset)
		if !bytes.Equal(piece[:n], want[offset:offset+n]) {
			return fmt.Errorf("load: connection %d: reply has %q at byte %d, want message %d: %q", conn, string(piece[:n]), offset, seq, string(want[offset:offset+n]))
		}
		piece, offset = piece[n:], offset+n
	}
	if !bytes.Equal(piece, tmpl[offset:offset+len(piece)]) {
		return fmt.Errorf("load: connection %d: payload of message %d differs behind byte %d", conn, seq, offset)
	}
	return nil
}
