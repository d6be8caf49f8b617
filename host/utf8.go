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
		if !utf8.FullRune(held) { // what nothing can complete counts as full
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
	return true
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
