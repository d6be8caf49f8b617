package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Opcode is what a frame carries (RFC 6455 §5.2).
type Opcode byte

// The opcodes of RFC 6455 §11.8.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

// String names the opcode.
func (op Opcode) String() string {
	switch op {
	case Continuation:
		return "continuation"
	case Text:
		return "text"
	case Binary:
		return "binary"
	case Close:
		return "close"
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	default:
		return fmt.Sprintf("opcode %#x", byte(op))
	}
}

// Frame is one frame as a client sends it. Nothing keeps it from being wrong.
type Frame struct {
	Opcode  Opcode
	More    bool // the FIN bit is clear
	RSV     byte // the three reserved bits, 0 to 7
	Bare    bool // not masked, which no client may do
	Mask    [4]byte
	Payload []byte
	// Declare is the length that the header tells, when it is not 0 and to be
	// another than the payload's.
	Declare uint64
}

// Append appends the encoded frame, with the shortest form of its length.
func (f Frame) Append(dst []byte) []byte {
	first := byte(f.Opcode)&0x0F | f.RSV&7<<4
	if !f.More {
		first |= 0x80
	}
	size, masked := uint64(len(f.Payload)), byte(0x80)
	if f.Declare != 0 {
		size = f.Declare
	}
	if f.Bare {
		masked = 0
	}
	switch {
	case size < 126:
		dst = append(dst, first, masked|byte(size))
	case size < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, first, masked|126), uint16(size))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, masked|127), size)
	}
	if f.Bare {
		return append(dst, f.Payload...)
	}
	dst = append(dst, f.Mask[:]...)
	for i, b := range f.Payload {
		dst = append(dst, b^f.Mask[i&3])
	}
	return dst
}

// maxServerPayload is what no frame of the server exceeds here; a larger length
// is a broken stream rather than a message.
const maxServerPayload = 64 << 20

var errMasked = errors.New("a server must not mask (RFC 6455 §5.1)")

// parseServerFrame reads one frame of a server. n is its length, 0 while it is
// not whole; payload lies within p. The error names the rule that was broken.
func parseServerFrame(p []byte) (op Opcode, more bool, payload []byte, n int, err error) {
	if len(p) < 2 {
		return 0, false, nil, 0, nil
	}
	op, more = Opcode(p[0]&0x0F), p[0]&0x80 == 0
	size, head := uint64(p[1]&0x7F), 2
	switch {
	case p[0]&0x70 != 0:
		return op, more, nil, 0, errors.New("reserved bits are set, but no extension was negotiated (RFC 6455 §5.2)")
	case p[1]&0x80 != 0:
		return op, more, nil, 0, errMasked
	case op > Binary && op < Close || op > Pong:
		return op, more, nil, 0, fmt.Errorf("%v is reserved (RFC 6455 §5.2)", op)
	case op >= Close && (more || size > 125):
		return op, more, nil, 0, errors.New("a control frame is fragmented or longer than 125 bytes (RFC 6455 §5.5)")
	case size == 126:
		if len(p) < 4 {
			return op, more, nil, 0, nil
		}
		size, head = uint64(binary.BigEndian.Uint16(p[2:])), 4
		if size < 126 {
			return op, more, nil, 0, errors.New("the length is not in its shortest form (RFC 6455 §5.2)")
		}
	case size == 127:
		if len(p) < 10 {
			return op, more, nil, 0, nil
		}
		size, head = binary.BigEndian.Uint64(p[2:]), 10
		if size < 1<<16 || size > maxServerPayload {
			return op, more, nil, 0, fmt.Errorf("a length of %d is not in its shortest form, or absurd (RFC 6455 §5.2)", size)
		}
	}
	if uint64(len(p)-head) < size {
		return op, more, nil, 0, nil
	}
	n = head + int(size)
	return op, more, p[head:n], n, nil
}

// CloseFrame is what the server said when it closed.
type CloseFrame struct {
	// Code is the close code; 0 when the frame was empty.
	Code uint16
	// Reason is the text behind it.
	Reason string
}

// String writes code and reason.
func (c CloseFrame) String() string {
	if c.Code == 0 {
		return "close without a code"
	}
	if c.Reason == "" {
		return fmt.Sprintf("close %d", c.Code)
	}
	return fmt.Sprintf("close %d %q", c.Code, c.Reason)
}

// parseClose reads a Close frame's payload (RFC 6455 §5.5.1, §7.4).
func parseClose(p []byte) (CloseFrame, error) {
	if len(p) == 0 {
		return CloseFrame{}, nil
	}
	if len(p) == 1 {
		return CloseFrame{}, errors.New("a Close frame holds half a code (RFC 6455 §5.5.1)")
	}
	c := CloseFrame{Code: binary.BigEndian.Uint16(p), Reason: string(p[2:])}
	switch {
	case c.Code < 1000 || c.Code >= 5000 || c.Code >= 1004 && c.Code <= 1006 || c.Code >= 1015 && c.Code < 3000:
		return c, fmt.Errorf("close code %d may not travel (RFC 6455 §7.4)", c.Code)
	case !utf8.ValidString(c.Reason):
		return c, errors.New("a close reason is not UTF-8 (RFC 6455 §5.5.1)")
	}
	return c, nil
}

// closePayload is what a Close frame with code and reason carries; code 0 makes
// it empty.
func closePayload(code uint16, reason string) []byte {
	if code == 0 {
		return nil
	}
	return append(binary.BigEndian.AppendUint16(nil, code), reason...)
}
