package host

import "unicode/utf8"

// utf8Check validates text that arrives in pieces and fails at the first byte
// that no continuation can make right (RFC 6455 §8.1). The zero value is ready.
type utf8Check struct {
	tail [utf8.UTFMax]byte // an unfinished rune's bytes
	n    uint8
}

// feed reports whether what came so far, p included, can still be valid.
func (u *utf8Check) feed(p []byte) bool {
	for u.n > 0 && len(p) > 0 {
		u.tail[u.n] = p[0]
		u.n++
		p = p[1:]
		held := u.tail[:u.n]
		if !utf8.FullRune(held) {
			if !canBegin(held) {
				return false
			}
			continue
		}
		if r, size := utf8.DecodeRune(held); r == utf8.RuneError && size == 1 {
			return false
		}
		u.n = 0
	}
	if len(p) == 0 {
		return true
	}
	rest := unfinished(p)
	if !utf8.Valid(p[:len(p)-rest]) {
		return false
	}
	u.n = uint8(copy(u.tail[:], p[len(p)-rest:]))
	return rest == 0 || canBegin(u.tail[:u.n])
}

// done reports whether the text may end here.
func (u *utf8Check) done() bool { return u.n == 0 }

// unfinished is how many bytes at the end of p begin a rune that p does not
// finish.
func unfinished(p []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(p); back++ {
		b := p[len(p)-back]
		if b < 0x80 {
			return 0
		}
		if utf8.RuneStart(b) {
			if utf8.FullRune(p[len(p)-back:]) {
				return 0
			}
			return back
		}
	}
	return 0
}

// canBegin reports whether b, shorter than its rune, can become one
// (the second byte's range depends on the first, Unicode table 3-7).
func canBegin(b []byte) bool {
	first := b[0]
	if first < 0xC2 || first > 0xF4 {
		return false
	}
	if len(b) == 1 {
		return true
	}
	lo, hi := byte(0x80), byte(0xBF)
	switch first {
	case 0xE0:
		lo = 0xA0
	case 0xED:
		hi = 0x9F
	case 0xF0:
		lo = 0x90
	case 0xF4:
		hi = 0x8F
	}
	if b[1] < lo || b[1] > hi {
		return false
	}
	for _, c := range b[2:] {
		if c < 0x80 || c > 0xBF {
			return false
		}
	}
	return true
}
