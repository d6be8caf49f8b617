package kernels

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func answer(t *testing.T, message []byte) []byte {
	t.Helper()
	p, err := Answer(message)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The digests are those of Python's hashlib.
func TestSHA256IsChained(t *testing.T) {
	for _, c := range []struct {
		name   string
		rounds uint32
		input  string
		want   string
	}{
		{"no round leaves zeros", 0, "abc", "0000000000000000000000000000000000000000000000000000000000000000"},
		{"the first digest is of zeros and the input", 1, "abc", "365aa7d8f7f9402c4b9434502b4cc89ddb09fe50d7cd95b493b834c62d5a5370"},
		{"the second is of the first and the input", 2, "abc", "0f25de757a05fdcd69becaeb50675b3d752b78fd31929cdbc8352b5defb683a1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := hex.EncodeToString(hash([]byte(c.input), c.rounds)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestJSONChangesTheDocument(t *testing.T) {
	before := `{"version":1,"name":"a","items":[{"id":7,"title":"\"t\"","price":10,"tags":["x","y","z"],"active":true}]}`
	after := `{"version":3,"name":"a","items":[{"id":7,"title":"\"t\"","price":24,"tags":["z","x","y"],"active":true}]}`
	got, err := rewrite([]byte(before), 2)
	if err != nil || string(got) != after {
		t.Errorf("got %s, %v\nwant %s", got, err, after)
	}
	if _, err := rewrite([]byte("{"), 1); err == nil {
		t.Error("half a document is accepted")
	}
}

func TestTheDocumentIsAsLongAsItSays(t *testing.T) {
	text := jsonInput()
	if n := len(text); n < 1900 || n > 2200 {
		t.Errorf("it has %d bytes, want about 2 KB", n)
	}
	if !json.Valid(text) {
		t.Error("it is not JSON")
	}
	if bytes.Contains(text, []byte(`\u`)) {
		t.Error("it holds an escape that the C guest does not know")
	}
}

func TestPointsEscapeAsTheSetHasIt(t *testing.T) {
	for _, c := range []struct {
		name   string
		cr, ci float64
		want   uint32
	}{
		{"the origin never leaves", 0, 0, 100},
		{"-1 never leaves", -1, 0, 100},
		{"-2 stays on the edge", -2, 0, 100},
		{"i never leaves", 0, 1, 100},
		{"1 leaves when it has become 5", 1, 0, 3},
		{"what is far away leaves after one step", 3, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := escape(c.cr, c.ci, 100); got != c.want {
				t.Errorf("after %d steps, want %d", got, c.want)
			}
		})
	}
}

func TestEveryRoundCounts(t *testing.T) {
	for _, k := range All() {
		t.Run(k.String(), func(t *testing.T) {
			var seen [][]byte
			for rounds := range uint32(4) {
				p := answer(t, Message(k, rounds))
				if slices.ContainsFunc(seen, func(q []byte) bool { return bytes.Equal(p, q) }) {
					t.Errorf("%d rounds answer what fewer do", rounds)
				}
				seen = append(seen, p)
			}
			if again := answer(t, Message(k, 3)); !bytes.Equal(again, seen[3]) {
				t.Error("the same message has two answers")
			}
		})
	}
}

func TestBadMessagesAreRefused(t *testing.T) {
	if _, err := Answer([]byte{byte(SHA256), 1, 0, 0}); !errors.Is(err, ErrShort) {
		t.Errorf("a message without all of its header: %v", err)
	}
	for name, message := range map[string][]byte{
		"a kernel that there is not": {'x', 1, 0, 0, 0},
		"a grid without its limit":   {byte(Mandelbrot), 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8},
		"no document":                {byte(JSON), 1, 0, 0, 0},
	} {
		if p, err := Answer(message); err == nil {
			t.Errorf("%s is answered with %x", name, p)
		}
	}
}
