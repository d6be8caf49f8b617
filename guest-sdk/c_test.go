package guestsdk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// maxPages bounds the guest's memory: 2 MiB.
const maxPages = 32

// helpers is testdata/helpers.c in a sandbox.
type helpers struct {
	t       testing.TB
	mod     api.Module
	in, out uint32
	query   string // what conn_attr answers
}

// compileHelpers compiles testdata/helpers.c as the Makefile does a guest, once for all tests.
var compileHelpers = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "weir-c")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	wasm := filepath.Join(dir, "helpers.wasm")
	cmd := exec.Command("clang-14", "--target=wasm32", "-std=c11", "-O2", "-nostdlib", "-Wall", "-Wextra", "-Werror", "-I", "c",
		"-Wl,--no-entry", "-Wl,-z,stack-size=65536", "-Wl,--stack-first", "-o", wasm, "testdata/helpers.c")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return os.ReadFile(wasm)
})

func newHelpers(t testing.TB) *helpers {
	t.Helper()
	if _, err := exec.LookPath("clang-14"); err != nil {
		if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
			t.Fatal("needs clang-14: make tools")
		}
		t.Skip("needs clang-14: make tools")
	}
	code, err := compileHelpers()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithMemoryLimitPages(maxPages))
	t.Cleanup(func() { rt.Close(ctx) })
	h := &helpers{t: t}
	_, err = rt.NewHostModuleBuilder("weir_1").NewFunctionBuilder().
		WithFunc(func(_ context.Context, m api.Module, _ uint64, _, _, buf, size uint32) int32 {
			if len(h.query) <= int(size) {
				m.Memory().WriteString(buf, h.query)
			}
			return int32(len(h.query))
		}).Export("conn_attr").Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if h.mod, err = rt.Instantiate(ctx, code); err != nil {
		t.Fatal(err)
	}
	h.in, h.out = uint32(h.call("in")), uint32(h.call("out"))
	return h
}

func (h *helpers) call(name string, args ...uint64) uint64 {
	h.t.Helper()
	results, err := h.mod.ExportedFunction(name).Call(context.Background(), args...)
	if err != nil {
		h.t.Fatalf("%s: %v", name, err)
	}
	if len(results) == 0 {
		return 0
	}
	return results[0]
}

// give writes p where the helpers read.
func (h *helpers) give(p []byte) uint64 {
	h.mod.Memory().Write(h.in, p)
	return uint64(len(p))
}

// took returns what a helper wrote; false if its result is negative.
func (h *helpers) took(result uint64) (string, bool) {
	n := int32(result)
	if n < 0 {
		return "", false
	}
	p, _ := h.mod.Memory().Read(h.out, uint32(n))
	return string(p), true
}

func TestCNumbers(t *testing.T) {
	h := newHelpers(t)
	for _, n := range []int64{0, 1, -1, 9, 10, -10, 1234567890, math.MaxInt64, math.MinInt64} {
		want := strconv.FormatInt(n, 10)
		if got, _ := h.took(h.call("put_int", uint64(n))); got != want {
			t.Errorf("%s is written as %s", want, got)
		}
		if got := int64(h.call("json_int", h.give([]byte(want)), 42)); got != n {
			t.Errorf("%s is read as %d", want, got)
		}
	}
	for _, text := range []string{"", "-", "1.5", "x", "9223372036854775808", "-9223372036854775809", "99999999999999999999"} {
		if got := int64(h.call("json_int", h.give([]byte(text)), 42)); got != 42 {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}

func TestCQuery(t *testing.T) {
	h := newHelpers(t)
	const notFound, tooBig = -7, -4
	for _, tc := range []struct {
		query, want string
		status      int32
	}{
		{"name=ann", "ann", 3},
		{"a=b&name=ann+b%C3%A9%21&name=later", "ann bé!", 8},
		{"name=", "", 0},
		{"name", "", 0},
		{"names=x&xname=y", "", notFound},
		{"", "", notFound},
		{"name=100%&x", "100%", 4},
		{"name=%4", "%4", 2},
		{"name=%zz", "%zz", 3},
		{"name=12345678901234567", "", tooBig},
		{"name=x&" + strings.Repeat("y", 1100), "", tooBig},
	} {
		h.query = tc.query
		status := h.call("query", 16)
		if int32(status) != tc.status {
			t.Errorf("query %q: status %d, want %d", tc.query, int32(status), tc.status)
		}
		if got, _ := h.took(status); got != tc.want {
			t.Errorf("query %q: name %q, want %q", tc.query, got, tc.want)
		}
	}
}

func TestCFindsSeveralMembersInOnePass(t *testing.T) {
	h := newHelpers(t)
	for _, tc := range []struct {
		document, want string
		object         bool
	}{
		{`{"c":[1,{"a":2}],"a":"x","x":{"b":3},"b":null}`, `"x" null [1,{"a":2}]`, true},
		{` { "b" : -1.5e3 } `, "- -1.5e3 -", true},
		{`{"a":1,"b":2,"a":3}`, "3 2 -", true},
		{`{}`, "- - -", true},
		{`{"a":1,"b":2`, "", false},
		{`{"a":1}x`, "", false},
		{`[{"a":1}]`, "", false},
	} {
		if got, object := h.took(h.call("json_members", h.give([]byte(tc.document)))); got != tc.want || object != tc.object {
			t.Errorf("in %s there is %q, %v; want %q, %v", tc.document, got, object, tc.want, tc.object)
		}
	}
}

func TestCInboundGrowsWithTheMessage(t *testing.T) {
	h := newHelpers(t)
	first := h.call("fill", 65536)
	if again := h.call("fill", 1); again != first {
		t.Errorf("a small message goes to %#x, want the same place as before, %#x", again, first)
	}
	h.give([]byte("mine"))
	before := h.mod.Memory().Size()
	large := h.call("fill", 65537)
	if large < uint64(before) {
		t.Errorf("a large message goes to %#x, into what the guest has for itself (%#x)", large, before)
	}
	if larger := h.call("fill", 300_000); larger != large {
		t.Errorf("a larger one goes to %#x, want the same place, grown: %#x", larger, large)
	}
	if grown := h.mod.Memory().Size() - before; grown != 5<<16 {
		t.Errorf("memory grew by %d, want five pages", grown)
	}
	h.call("grow", 1) // an allocator takes the page behind
	end := h.mod.Memory().Size()
	if moved := h.call("fill", 400_000); moved != uint64(end) {
		t.Errorf("with somebody behind it, it moves to %#x, want the end, %#x", moved, end)
	}
	for _, size := range []uint64{64 << 20, math.MaxUint32} {
		if p := h.call("fill", size); p != 0 {
			t.Errorf("%d bytes are promised at %#x, beyond the memory's limit", size, p)
		}
	}
	if p, _ := h.mod.Memory().Read(h.in, 4); string(p) != "mine" {
		t.Errorf("the guest's own bytes became %q", p)
	}
}

func FuzzCStringsSurviveJSON(f *testing.F) {
	for _, seed := range []string{"", "plain", `"\`, "\x00\x1f\n\t", "é€😀", "\xff\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xe2\x82"} {
		f.Add([]byte(seed))
	}
	h := newHelpers(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 10_000 { // an escape takes six bytes
			return
		}
		h.t = t
		if got, want := h.call("utf8_valid", h.give(text)) == 1, utf8.Valid(text); got != want {
			t.Errorf("%q: valid UTF-8 %v, want %v", text, got, want)
		}
		written, ok := h.took(h.call("put_json", h.give(text)))
		if !ok {
			t.Fatalf("%q does not fit", text)
		}
		var read string
		if err := json.Unmarshal([]byte(written), &read); err != nil {
			t.Fatalf("%q became %s: %v", text, written, err)
		}
		want := string([]rune(string(text))) // U+FFFD for what is not UTF-8
		if read != want {
			t.Errorf("%q became %q, want %q", text, read, want)
		}
		if back, ok := h.took(h.call("json_unquote", h.give([]byte(written)))); !ok || back != want {
			t.Errorf("%s is read as %q, want %q", written, back, want)
		}
	})
}

func FuzzCJSONAgreesWithGo(f *testing.F) {
	for _, seed := range []string{
		`{"text":"hi"}`, ` { "a" : [ 1 , -2.5e+3, {} , [] ] , "text" : "\ud83d\ude00\u00e9\n\/" , "b":null} `, `{"text":1,"text":"two"}`,
		`{"text":"\ud800"}`, `{"text":"\udc00\ud800\u0041"}`, `{"text":"` + "\n" + `"}`, `{"text":tru}`, `{"text":01}`, `{"text":"x"},`,
		`{"text":"x"`, `{text:1}`, `["text"]`, `"text"`, ``, `{"t\u0065xt":1}`, `{"text":{"text":1}}`, `{"a":{"text":1}}`, `{"text":-}`,
		`{"text":1.}`, `{"text":1e}`, `{"text":"\x"}`, `{"text":"\u12"}`, `{,}`, `{"text":[1,]}`, `{"text":true,}`, `{}`, `{"text":"\ud83dx"}`,
	} {
		f.Add([]byte(seed))
	}
	h := newHelpers(f)
	f.Fuzz(func(t *testing.T, document []byte) {
		if len(document) > 10_000 || !utf8.Valid(document) || bytes.Count(document, []byte("["))+bytes.Count(document, []byte("{")) > 30 {
			return // not a text message, or nested deeper than C reads
		}
		h.t = t
		got, found := h.took(h.call("json_field", h.give(document)))
		want, wanted := lastText(document)
		if found != wanted || got != want {
			t.Fatalf("%q has text %q (%v), Go says %q (%v)", document, got, found, want, wanted)
		}
		var text string
		isString := found && got[0] == '"' && json.Unmarshal([]byte(got), &text) == nil
		if plain, ok := h.took(h.call("json_unquote", h.give([]byte(got)))); ok != isString || plain != text {
			t.Errorf("%q stands for %q (%v), Go says %q (%v)", got, plain, ok, text, isString)
		}
	})
}

// lastText returns the raw value of the last key that is written "text", if the document is a JSON object.
func lastText(document []byte) (value string, found bool) {
	if !json.Valid(document) {
		return "", false
	}
	d := json.NewDecoder(bytes.NewReader(document))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return "", false
	}
	for d.More() {
		from := d.InputOffset()
		if _, err := d.Token(); err != nil {
			return "", false
		}
		key := bytes.TrimLeft(document[from:d.InputOffset()], " \t\r\n,")
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil && err != io.EOF {
			return "", false
		}
		if string(key) == `"text"` {
			value, found = string(raw), true
		}
	}
	return value, found
}
