package wasm

// The integers of the binary format (WebAssembly 2.0 §5.2.2): little-endian groups of seven bits. A decoder returns how
// many bytes it read, or 0 if the number is cut off or does not fit. Numbers that are longer than they need be are
// allowed, up to the length of the longest that fits.

// readU32 decodes an unsigned 32-bit integer.
func readU32(b []byte) (v uint32, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint32(b[0]), 1
	}
	for i := 0; i < 5 && i < len(b); i++ {
		if i == 4 && b[i] > 0x0f {
			return 0, 0
		}
		v |= uint32(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// readSigned decodes a signed integer of 32, 33 or 64 bits.
func readSigned(b []byte, bits int) (v int64, n int) {
	longest := (bits + 6) / 7
	for i := 0; i < longest && i < len(b); i++ {
		c := b[i]
		v |= int64(c&0x7f) << (7 * i)
		if c >= 0x80 {
			continue
		}
		used := 7 * (i + 1)
		if i == longest-1 {
			// The bits beyond the number's width repeat its sign.
			spare := used - bits
			if top := int8(c<<1) >> (7 - spare); top != 0 && top != -1 {
				return 0, 0
			}
		}
		if used < 64 {
			v = v << (64 - used) >> (64 - used)
		}
		return v, i + 1
	}
	return 0, 0
}

// appendU32 encodes v in as few bytes as possible.
func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// appendSigned encodes v in as few bytes as possible.
func appendSigned(b []byte, v int64) []byte {
	for v < -0x40 || v > 0x3f {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v)&0x7f)
}
