package host

import (
	"slices"
	"testing"
	"unicode/utf8"
)

// continuations are the ends that text which breaks off may need: one byte of
// every range that a second byte may be restricted to, up to three times.
var continuations = func() (all []string) {
	all = []string{""}
	for from := 0; len(all[from]) < utf8.UTFMax-1; from++ {
		for _, b := range []string{"\x80", "\x90", "\xA0"} {
			all = append(all, all[from]+b)
		}
	}
	return all
}()

// canBecomeText is the meaning of fail-fast, spelt out: something can follow
// that makes p valid.
func canBecomeText(p []byte) bool {
	if utf8.Valid(p) {
		return true
	}
	// What is wrong stands in the last bytes, or nothing can help.
	tail := max(0, len(p)-utf8.UTFMax+1)
	for ; tail < len(p); tail++ {
		if utf8.Valid(p[:tail]) && slices.ContainsFunc(continuations, func(end string) bool { return utf8.ValidString(string(p[tail:]) + end) }) {
			return true
		}
	}
	return false
}

// checkTextInPieces feeds text in the pieces given and compares with what it is as a
// whole, after every piece.
func checkTextInPieces(t *testing.T, pieces ...[]byte) {
	t.Helper()
	var u utf8Check
	var sofar []byte
	for _, p := range pieces {
		sofar = append(sofar, p...)
		ok, want := u.feed(p), canBecomeText(sofar)
		if ok != want {
			t.Fatalf("after % x of % x: can be valid is %v, want %v", sofar, pieces, ok, want)
		}
		if !ok {
			return
		}
		if done := u.done(); done != utf8.Valid(sofar) {
			t.Fatalf("after % x of % x: may end is %v", sofar, pieces, done)
		}
	}
}

func TestTextIsValidInPiecesIfAndOnlyIfItIsAsAWhole(t *testing.T) {
	// Both sides of every border of Unicode table 3-7.
	borders := []byte{0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF}
	later := []byte{0x7F, 0x80, 0xBF, 0xC2} // of a third or fourth byte
	var text [4]byte
	for _, text[0] = range borders {
		for _, text[1] = range borders {
			checkTextInPieces(t, text[:1], text[1:2])
			for _, text[2] = range later {
				checkTextInPieces(t, text[:1], text[1:3])
				for _, text[3] = range later {
					checkTextInPieces(t, text[:4])
					checkTextInPieces(t, text[:1], text[1:2], text[2:3], text[3:4])
					checkTextInPieces(t, text[:2], nil, text[2:4])
					checkTextInPieces(t, text[:3], text[3:4])
				}
			}
		}
	}
}

func TestTextFailsAtTheFirstByteThatCannotBeMadeRight(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		failsAt    int // index of that byte; -1: never
		mayEnd     bool
	}{
		{"nothing", "", -1, true},
		{"all lengths of rune", "aé漢𝄞", -1, true},
		{"the last code point", "\xF4\x8F\xBF\xBF", -1, true},
		{"noncharacters are characters here", "\uFFFE\uFFFF", -1, true},
		{"the replacement character itself", "\uFFFD", -1, true},
		{"a continuation first", "a\x80", 1, false},
		{"overlong slash in two bytes", "\xC0\xAF", 0, false},
		{"overlong slash in three bytes", "\xE0\x80\xAF", 1, false},
		{"overlong slash in four bytes", "\xF0\x80\x80\xAF", 1, false},
		{"a surrogate half", "\xED\xA0\x80", 1, false},
		{"above the last code point", "\xF4\x90\x80\x80", 1, false},
		{"five bytes once were a rune", "\xF8\x88\x80\x80\x80", 0, false},
		{"a rune broken off by ASCII", "\xE6\xBCa", 2, false},
		{"a rune broken off by a rune", "\xE6é", 1, false},
		{"half a rune at the end", "aé漢\xF0\x9D\x84", -1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var u utf8Check
			for i := range len(tc.text) {
				if ok := u.feed([]byte(tc.text[i : i+1])); ok != (i != tc.failsAt) {
					t.Fatalf("byte %d: can be valid is %v", i, ok)
				}
				if i == tc.failsAt {
					return
				}
			}
			if tc.failsAt >= 0 {
				t.Fatal("it never failed")
			}
			if u.done() != tc.mayEnd {
				t.Errorf("may end is %v", u.done())
			}
		})
	}
}
