package load

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Opcodes of RFC 6455 §5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

const (
	finBit  = 0x80
	rsvBits = 0x70
	// packedBit, of these, says of a message that it is compressed (RFC 7692 §6).
	packedBit = 0x40
	maskBit   = 0x80
)

// maxHeaderBytes is the longest frame header: 2 bytes, an 8-byte length, a key.
const maxHeaderBytes = 14

// appendFrame appends a whole masked frame: what a client sends. With a key of
// zero the payload is masked all the same, and looks plain.
func appendFrame(to []byte, op byte, key [4]byte, payload []byte) []byte {
	to = append(to, finBit|op)
	switch n := len(payload); {
	case n < 126:
		to = append(to, maskBit|byte(n))
	case n < 1<<16:
		to = append(to, maskBit|126)
		to = binary.BigEndian.AppendUint16(to, uint16(n))
	default:
		to = append(to, maskBit|127)
		to = binary.BigEndian.AppendUint64(to, uint64(n))
	}
	to = append(to, key[:]...)
	start := len(to)
	to = append(to, payload...)
	mask(to[start:], key, 0)
	return to
}

// mask applies key to p, whose first byte is at offset in the payload.
func mask(p []byte, key [4]byte, offset int) {
	for i := range p {
		p[i] ^= key[(offset+i)&3]
	}
}

// header is a parsed frame header.
type header struct {
	fin     bool
	op      byte
	packed  bool // the message is compressed
	masked  bool
	key     [4]byte
	payload uint64 // bytes
	bytes   int    // of the header itself
}

var errFrame = errors.New("load: bad frame")

// parseHeader reads the header at the start of p. With too few bytes for one it
// returns a header of 0 bytes and no error. Reserved bits but that of a compressed message, unknown opcodes,
// lengths that could be shorter, and long or fragmented control frames are
// errors.
func parseHeader(p []byte) (header, error) {
	if len(p) < 2 {
		return header{}, nil
	}
	h := header{fin: p[0]&finBit != 0, packed: p[0]&packedBit != 0, op: p[0] & 0x0f, masked: p[1]&maskBit != 0, bytes: 2}
	if p[0]&rsvBits&^packedBit != 0 || h.packed && h.op != opText && h.op != opBinary {
		return header{}, fmt.Errorf("%w: reserved bits in %#02x", errFrame, p[0])
	}
	if h.op > opBinary && h.op < opClose || h.op > opPong {
		return header{}, fmt.Errorf("%w: opcode %#x", errFrame, h.op)
	}
	switch n := p[1] &^ maskBit; n {
	case 126:
		if len(p) < 4 {
			return header{}, nil
		}
		h.payload, h.bytes = uint64(binary.BigEndian.Uint16(p[2:])), 4
		if h.payload < 126 {
			return header{}, fmt.Errorf("%w: %d bytes in a 16-bit length", errFrame, h.payload)
		}
	case 127:
		if len(p) < 10 {
			return header{}, nil
		}
		h.payload, h.bytes = binary.BigEndian.Uint64(p[2:]), 10
		if h.payload < 1<<16 || h.payload >= 1<<63 {
			return header{}, fmt.Errorf("%w: %d bytes in a 64-bit length", errFrame, h.payload)
		}
	default:
		h.payload = uint64(n)
	}
	if h.op >= opClose && (!h.fin || h.payload > 125) {
		return header{}, fmt.Errorf("%w: control frame of %d bytes, fin %t", errFrame, h.payload, h.fin)
	}
	if h.masked {
		if len(p) < h.bytes+4 {
			return header{}, nil
		}
		copy(h.key[:], p[h.bytes:])
		h.bytes += 4
	}
	return h, nil
}
