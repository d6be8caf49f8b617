package runtime

import (
	"errors"
	"strings"
	"testing"
)

func TestNamesFromAFileAreMadePrintable(t *testing.T) {
	for _, c := range []struct {
		in   string
		most int
		want string
	}{
		{"weir_1.conn_send", 80, "weir_1.conn_send"},
		{"two\nlines\tand  blanks ", 80, "two lines and blanks"},
		{"\x1b[31mred", 80, "\ufffd[31mred"},
		{"\xff\xfe", 80, "\ufffd\ufffd"},
		{"größer", 80, "größer"},
		{"1234567890", 10, "1234567890"},
		{"12345678901", 10, "1234567890…"},
		{"123456789é", 10, "123456789\ufffd…"}, // cut within the letter
		{"", 10, ""},
	} {
		if got := printable(c.in, c.most); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestAnErrorIsTakenApart(t *testing.T) {
	for _, c := range []struct{ in, message, stack string }{
		{"wasm error: unreachable\nwasm stack trace:\n\tm.f(i32) i32\n\t.$3()", "unreachable", "m.f(i32) i32\n$3()"},
		{"stack overflow", "call stack exhausted", ""},
		{"wasm error: stack overflow", "call stack exhausted", ""},
		{"boom (recovered by wazero)\nwasm stack trace:\n\tm.f()\n\t\tmain.c:3\n\nGo runtime stack trace:\ngoroutine 1", "boom (recovered by wazero)", "m.f()\nmain.c:3"},
	} {
		if _, message, stack := new(meter).explain(errors.New(c.in)); message != c.message || stack != c.stack {
			t.Errorf("%q: %q, %q", c.in, message, stack)
		}
	}
}

// FuzzPrintedLines: it does not matter in which pieces a guest prints.
func FuzzPrintedLines(f *testing.F) {
	f.Add([]byte("one\ntwo\r\n\nthree"), uint8(1))
	f.Add([]byte(strings.Repeat("long ", maxLogLineBytes/3)+"\nnext"), uint8(7))
	f.Add([]byte("\xff\x00\r"), uint8(2))
	f.Fuzz(func(t *testing.T, text []byte, piece uint8) {
		text = text[:min(len(text), 3*maxLogLineBytes)]
		printed := func(piece int) string {
			logger, said := logged()
			c := &callContext{logger: logger, logs: unlimitedLogs()}
			c.out.init(c)
			for rest := text; len(rest) > 0; {
				n := min(piece, len(rest))
				if _, err := c.out.stdout.Write(rest[:n]); err != nil {
					t.Skip("more pieces than one call may print")
				}
				rest = rest[n:]
				if cap(c.out.stdout.line) > 4*maxLogLineBytes {
					t.Fatalf("a line takes %d bytes", cap(c.out.stdout.line))
				}
			}
			c.out.settle(c)
			return said()
		}
		if whole, pieces := printed(len(text)+1), printed(int(piece)+1); whole != pieces {
			t.Errorf("whole:     %q\nin pieces: %q", whole, pieces)
		}
	})
}
