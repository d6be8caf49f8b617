package weirjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

func TestMembersGoWhereTheyAreToGo(t *testing.T) {
	var yes bool
	var n, low int64
	var f float64
	var s, empty, escaped string
	var raw, null []byte
	kept := "as it was"
	err := Read([]byte(` {"yes":true,"n": 9223372036854775807,"low":-9223372036854775808,"f":-2.5e3, "s":"one","s":"é\"\\\/\b\f\n\r\t\u0041\ud83d\ude00\ud800\udc00x\ud800",`+
		`"empty":"","\u0065scaped":"yes","raw" : [1, {"a":[]}, "]"] ,"null":null,"kept":null,"other":{"n":1}}`+"\r\n\t "),
		Bool("yes", &yes), Int("n", &n), Int("low", &low), Float("f", &f), String("s", &s), String("empty", &empty),
		String("escaped", &escaped), Raw("raw", &raw), Raw("null", &null), String("kept", &kept), String("missing", &kept))
	if err != nil {
		t.Fatal(err)
	}
	if !yes || n != math.MaxInt64 || low != math.MinInt64 || f != -2500 || s != "é\"\\/\b\f\n\r\tA😀𐀀x\ufffd" || empty != "" || escaped != "yes" ||
		string(raw) != `[1, {"a":[]}, "]"]` || string(null) != "null" || kept != "as it was" {
		t.Error(yes, n, low, f, s, empty, escaped, string(raw), string(null), kept)
	}
}

func TestErrorsSayWhere(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		offset     int
		reason     string
	}{
		{"nothing", "", 0, "an object was expected"},
		{"another value", "[]", 0, "an object was expected"},
		{"two objects", "{} {}", 3, "nothing more was expected"},
		{"no end", `{"n":1`, 6, "a comma was expected, or the end"},
		{"a comma at the end", `{"n":1,}`, 7, "a string was expected"},
		{"no colon", `{"n" 1}`, 5, "a colon was expected"},
		{"no value", `{"n":}`, 5, "a value was expected"},
		{"a word of no meaning", `{"x":tru}`, 5, "a value was expected"},
		{"a leading zero", `{"x":01}`, 6, "a comma was expected, or the end"},
		{"a number without digits", `{"x":-}`, 6, "a digit was expected"},
		{"a fraction without digits", `{"x":1.}`, 7, "a digit was expected"},
		{"an exponent without digits", `{"x":1e+}`, 8, "a digit was expected"},
		{"a string without end", `{"x":"a`, 7, "the end of a string was expected"},
		{"a line break in a string", "{\"x\":\"a\n\"}", 7, "a control character stands in a string"},
		{"a wrong escape", `{"x":"\x"}`, 6, "this escapes nothing"},
		{"a short escape", `{"x":"\u12"}`, 6, "this escapes nothing"},
		{"another kind than a string", `{"s":1}`, 5, "a string was expected"},
		{"another kind than an integer", `{"n":"1"}`, 5, "an integer of 64 bits was expected"},
		{"a fraction for an integer", `{"n":1.0}`, 5, "an integer of 64 bits was expected"},
		{"one more than an integer holds", `{"n":9223372036854775808}`, 5, "an integer of 64 bits was expected"},
		{"one less than an integer holds", `{"n":-9223372036854775809}`, 5, "an integer of 64 bits was expected"},
		{"another kind than a number", `{"f":true}`, 5, "a number was expected"},
		{"a number out of range", `{"f":1e999}`, 5, "a number was expected"},
		{"another kind than a bool", `{"b":0}`, 5, "true or false was expected"},
		{"more depth than there is", `{"x":` + strings.Repeat("[", 1001), 1005, "this is too deep"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b bool
			var n int64
			var f float64
			var s string
			var got *Error
			err := Read([]byte(tc.text), Bool("b", &b), Int("n", &n), Float("f", &f), String("s", &s))
			if !errors.As(err, &got) || got.Offset != tc.offset || got.Reason != tc.reason {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestReadingCostsNothingButStrings(t *testing.T) {
	data := []byte(`{"type":"move","id":17,"x":3.5,"far":{"a":["b"]},"ok":true}`)
	var id int64
	var x float64
	var ok bool
	var far []byte
	if n := testing.AllocsPerRun(1000, func() {
		if err := Read(data, Int("id", &id), Float("x", &x), Raw("far", &far), Bool("ok", &ok)); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// members are what FuzzRead reads.
type members struct {
	n    int64
	s    string
	f    float64
	b    bool
	more string
}

// theirs is what encoding/json reads; ok is false if that is not what Read is to read.
func theirs(data []byte) (m members, ok bool) {
	raw := map[string]json.RawMessage{}
	if json.Unmarshal(data, &raw) != nil || raw == nil {
		return m, false
	}
	for name, to := range map[string]any{"n": &m.n, "s": &m.s, "f": &m.f, "b": &m.b} {
		if value, there := raw[name]; there && json.Unmarshal(value, to) != nil {
			return m, false
		}
	}
	m.more = string(raw["more"])
	return m, true
}

// once reports whether no member comes twice: Read looks at each, encoding/json at the last.
func once(data []byte) bool {
	for _, name := range []string{`"n"`, `"s"`, `"f"`, `"b"`} {
		if bytes.Count(data, []byte(name)) > 1 {
			return false
		}
	}
	return !bytes.Contains(data, []byte(`\u00`)) // which may be a name
}

// FuzzRead compares Read with encoding/json.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		`{"n":1,"s":"a","f":1.5,"b":true,"more":[{}]}`, `{"s":"\ud83d\ude00\ud800\"","n":-0}`, `{"n":null,"\u0073":"x"}`, `{"f":1e400}`,
		"{\"s\":\"\xff\x00\"}", `[`, `{"a":{"a":[[],{"":0.1E-7}]}} x`, "null",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got members
		var more []byte
		err := Read(data, Int("n", &got.n), String("s", &got.s), Float("f", &got.f), Bool("b", &got.b), Raw("more", &more))
		got.more = string(more)
		var wrong *Error
		if errors.As(err, &wrong) && (wrong.Offset < 0 || wrong.Offset > len(data)) {
			t.Fatal(err)
		}
		if !once(data) || wrong != nil && wrong.Reason == "this is too deep" {
			return // encoding/json goes deeper
		}
		want, ok := theirs(data)
		if ok != (err == nil) || ok && got != want {
			t.Fatalf("%q is read as %+v, %v; want %+v, %v", data, got, err, want, ok)
		}
	})
}

// FuzzAppendString holds strings to what encoding/json reads, and Read too.
func FuzzAppendString(f *testing.F) {
	for _, seed := range []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "é☺😀\ufffd", "\xff\xed\xa0\x80a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := AppendString([]byte("x"), s)[1:]
		want := string([]rune(s)) // U+FFFD for each byte that is not UTF-8
		var byThem, byUs string
		if err := json.Unmarshal(text, &byThem); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if err := Read([]byte(`{"s":`+string(text)+`}`), String("s", &byUs)); err != nil || byUs != want || byThem != want {
			t.Fatalf("%q is read as %q and %q: %v", text, byThem, byUs, err)
		}
	})
}
