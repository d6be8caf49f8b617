package host

import (
	"encoding/binary"

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

// minimalLength reports that h's length, which took headerBytes to write, was
// written as briefly as §5.2 demands.
func minimalLength(h ws.Header, headerBytes int) bool {
	return headerBytes == ws.HeaderSize(h)
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
