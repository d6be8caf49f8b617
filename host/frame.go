package host

import (
	"encoding/binary"
	"errors"

	"github.com/gobwas/ws"
)

// appendFrame appends one unfragmented server frame (RFC 6455 §5.2; servers do
// not mask).
func appendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	return append(appendFrameHeader(dst, op, len(payload)), payload...)
}

func appendFrameHeader(dst []byte, op ws.OpCode, payloadBytes int) []byte {
	const fin = 0x80
	switch {
	case payloadBytes <= 125:
		return append(dst, fin|byte(op), byte(payloadBytes))
	case payloadBytes <= 0xFFFF:
		return binary.BigEndian.AppendUint16(append(dst, fin|byte(op), 126), uint16(payloadBytes))
	default:
		return binary.BigEndian.AppendUint64(append(dst, fin|byte(op), 127), uint64(payloadBytes))
	}
}

// frameBytes is how long appendFrame's result is.
func frameBytes(payloadBytes int) int {
	return payloadBytes + ws.HeaderSize(ws.Header{Length: int64(payloadBytes)})
}

// errFrame is a header that RFC 6455 §5.2 does not allow.
var errFrame = errors.New("host: malformed frame header")

// unframe is what appendFrame has encoded. The payload is a part of frame.
func unframe(frame []byte) (binary bool, payload []byte) {
	head := 2
	switch frame[1] {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	return ws.OpCode(frame[0]&0x0F) == ws.OpBinary, frame[head:]
}

// parseHeader reads the frame header that begins p, and how long it is: 0 while
// it is not whole. Lengths must be written as briefly as they can be. It takes a
// tenth of the time of ws.ReadHeaderBuffer, which wants an io.Reader.
func parseHeader(p []byte) (h ws.Header, headerBytes int, err error) {
	if len(p) < ws.MinHeaderSize {
		return h, 0, nil
	}
	h.Fin = p[0]&0x80 != 0
	h.Rsv = p[0] >> 4 & 7
	h.OpCode = ws.OpCode(p[0] & 0x0F)
	h.Masked = p[1]&0x80 != 0
	h.Length = int64(p[1] & 0x7F)
	n := ws.MinHeaderSize
	switch h.Length {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	whole := n
	if h.Masked {
		whole += len(h.Mask)
	}
	if len(p) < whole {
		return h, 0, nil
	}
	switch h.Length {
	case 126:
		h.Length = int64(binary.BigEndian.Uint16(p[2:]))
	case 127:
		// The most significant bit must be 0; as an int64 it would be a sign.
		if h.Length = int64(binary.BigEndian.Uint64(p[2:])); h.Length < 0 {
			return h, 0, errFrame
		}
	}
	if n != ws.HeaderSize(ws.Header{Length: h.Length}) {
		return h, 0, errFrame
	}
	copy(h.Mask[:], p[n:whole])
	return h, whole, nil
}

// maxReasonBytes is what a Close frame's reason may take: a control frame's
// payload less the code (§5.5.1).
const maxReasonBytes = ws.MaxControlFramePayloadSize - 2

// appendClose appends a Close frame; code 0 sends an empty one. reason is cut
// to maxReasonBytes at a rune's start.
func appendClose(dst []byte, code uint16, reason string) []byte {
	if code == 0 {
		return appendFrameHeader(dst, ws.OpClose, 0)
	}
	reason = clip(reason, maxReasonBytes)
	dst = appendFrameHeader(dst, ws.OpClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, reason...)
}

// clip cuts s to at most limitBytes without splitting a rune.
func clip(s string, limitBytes int) string {
	if len(s) <= limitBytes {
		return s
	}
	for limitBytes > 0 && s[limitBytes]&0xC0 == 0x80 {
		limitBytes--
	}
	return s[:limitBytes]
}
