package chaos

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// assemble turns a .bytes file into a module. Its words are
//
//	00 61          bytes, in hexadecimal
//	"text"         bytes; \22 is one in hexadecimal, \\ a backslash
//	u32:70000      a number as the format writes it (LEB128)
//	[ … ]          the length of what is inside, then what is inside: a section, a function's body, a name
//	1000*( … )     what is inside, a thousand times
//	;; …           a comment, up to the end of the line
func assemble(text string) ([]byte, error) {
	a := &assembler{text: text, line: 1}
	out, err := a.until("")
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", a.line, err)
	}
	return out, nil
}

type assembler struct {
	text string // what is left
	line int
}

const maxAssembledBytes = 16 << 20

// until assembles up to the word that ends a group; "" is the end of the text.
func (a *assembler) until(end string) ([]byte, error) {
	var out []byte
	for {
		word, err := a.word()
		if err != nil {
			return nil, err
		}
		count, repeats := strings.CutSuffix(word, "*(")
		number, isNumber := strings.CutPrefix(word, "u32:")
		switch {
		case word == end:
			return out, nil
		case word == "":
			return nil, fmt.Errorf("%s is missing", end)
		case word[0] == '"':
			out = append(out, word[1:]...)
		case word == "[":
			inside, err := a.until("]")
			if err != nil {
				return nil, err
			}
			out = binary.AppendUvarint(out, uint64(len(inside)))
			out = append(out, inside...)
		case repeats:
			n, err := strconv.Atoi(count)
			if err != nil {
				return nil, err
			}
			inside, err := a.until(")")
			if err != nil {
				return nil, err
			}
			if n < 0 || n*len(inside) > maxAssembledBytes {
				return nil, fmt.Errorf("%s …): more than %d bytes", word, maxAssembledBytes)
			}
			out = append(out, bytes.Repeat(inside, n)...)
		case isNumber:
			n, err := strconv.ParseUint(number, 10, 32)
			if err != nil {
				return nil, err
			}
			out = binary.AppendUvarint(out, n)
		default:
			b, err := hex.DecodeString(word)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", word, err)
			}
			out = append(out, b...)
		}
	}
}

// word takes the next word; that of a text is its bytes behind a quotation mark.
func (a *assembler) word() (string, error) {
	for a.text != "" {
		switch {
		case a.text[0] == '\n':
			a.line++
			a.text = a.text[1:]
		case a.text[0] == ' ':
			a.text = a.text[1:]
		case strings.HasPrefix(a.text, ";;"):
			_, rest, _ := strings.Cut(a.text, "\n")
			a.text = "\n" + rest
			if rest == "" {
				a.text = ""
			}
		case a.text[0] == '"':
			return a.quoted()
		default:
			n := strings.IndexAny(a.text, " \n")
			if n < 0 {
				n = len(a.text)
			}
			word := a.text[:n]
			a.text = a.text[n:]
			return word, nil
		}
	}
	return "", nil
}

func (a *assembler) quoted() (string, error) {
	out := []byte{'"'}
	for i := 1; i < len(a.text); i++ {
		switch c := a.text[i]; {
		case c == '"':
			a.text = a.text[i+1:]
			return string(out), nil
		case c == '\\' && strings.HasPrefix(a.text[i+1:], `\`):
			out = append(out, '\\')
			i++
		case c == '\\':
			b, err := hex.DecodeString(a.text[i+1 : min(i+3, len(a.text))])
			if err != nil || len(b) != 1 {
				return "", fmt.Errorf("a backslash without two digits in a text")
			}
			out = append(out, b[0])
			i += 2
		default:
			out = append(out, c)
		}
	}
	return "", fmt.Errorf("a text without end")
}

func TestBytesAreAssembledAsWritten(t *testing.T) {
	for _, tc := range []struct{ name, text, want, wantErr string }{
		{"bytes and texts stand for themselves", "00 \"asm\"\n01 ;; one\n", "\x00asm\x01", ""},
		{"a text may hold any byte", `"\00\22\\\ff"`, "\x00\"\\\xff", ""},
		{"a number is LEB128", "u32:4294967295 u32:128", "\xff\xff\xff\xff\x0f\x80\x01", ""},
		{"brackets count what is inside", `[ 01 [ "ab" ] [ ] ]`, "\x05\x01\x02ab\x00", ""},
		{"a star repeats", `3*( 01 2*( 02 ) )`, "\x01\x02\x02\x01\x02\x02\x01\x02\x02", ""},
		{"a group needs its end", "01\n[ 01", "", "line 2: ] is missing"},
		{"a text needs its end", `"a`, "", "without end"},
		{"a number must fit", "u32:4294967296", "", "out of range"},
		{"what is no word is named", "zz", "", `"zz"`},
		{"bombs stay small here", "99999999*( 00 )", "", "more than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := assemble(tc.text)
			if string(got) != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("error %v, want %q", err, tc.wantErr)
			}
		})
	}
}
