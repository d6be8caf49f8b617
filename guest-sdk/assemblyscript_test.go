package guestsdk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"weir/runtime"
)

// needsAssemblyScript skips a test by the name of what it lacks, and returns the compiler.
func needsAssemblyScript(t testing.TB) (node, asc string) {
	t.Helper()
	asc, err := filepath.Abs("../node_modules/assemblyscript/bin/asc.js")
	if err != nil {
		t.Fatal(err)
	}
	node, err = exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(asc)
	}
	if err != nil {
		if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
			t.Fatal("needs node and assemblyscript: make tools")
		}
		t.Skip("needs node and assemblyscript: make tools")
	}
	if testing.Short() || underRace {
		t.Skip("compiling AssemblyScript takes seconds, and what the race detector looks for is elsewhere")
	}
	return node, asc
}

// buildAssemblyScript builds a folder for the sandbox, as weir build does.
func buildAssemblyScript(t testing.TB, folder string) []byte {
	t.Helper()
	node, asc := needsAssemblyScript(t)
	wasm := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.Command(node, asc, "--config", "asconfig.json", "-o", wasm)
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("asc %s: %v\n%s", folder, err, out)
	}
	code, err := os.ReadFile(wasm)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestEchoInAssemblyScript(t *testing.T) {
	wasm := buildAssemblyScript(t, "../examples/echo-assemblyscript")
	if len(wasm) > 10<<10 {
		t.Errorf("an echo has %d bytes, want 10 KiB at most", len(wasm))
	}
	testEcho(t, wasm)
}

func TestChatInAssemblyScript(t *testing.T) {
	testChat(t, buildAssemblyScript(t, "../examples/chat-assemblyscript"))
}

// The tests that users of the SDK would write, and the vectors that hold its fake server to a real one.
func TestNativeTestsInAssemblyScript(t *testing.T) {
	node, _ := needsAssemblyScript(t)
	for _, folder := range []string{"../examples/echo-assemblyscript", "../examples/chat-assemblyscript", "conformance/assemblyscript", "assemblyscript"} {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(node, "--test")
			cmd.Dir = folder
			if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("# tests 0")) {
				t.Errorf("node --test: %v\n%s", err, out)
			}
		})
	}
}

// The collector keeps up with what handlers leave behind, whether that is little or much.
func TestMemoryInAssemblyScriptIsFlat(t *testing.T) {
	const move = `{"type":"move","id":17,"player":"ann","x":3.5,"y":-2,"tags":["a","b"]}`
	for _, tc := range []struct {
		name     string
		wasm     []byte
		messages int
		text     string
	}{
		{"a handler that makes little", buildAssemblyScript(t, "../bench/guests/json-assemblyscript"), 1_000_000, move},
		{"a handler that makes strings and arrays", asHelpersWasm(t), 100_000, "a message of many words " + strings.Repeat("x", 100)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := runtime.NewEngine(runtime.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := e.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
			g := load(t, e, tc.wasm)
			call := func(times int) {
				for range times {
					view, err := g.inst.Inbound(len(tc.text))
					if err != nil {
						t.Fatal(err)
					}
					if status, err := g.inst.Call(quiet{g}, runtime.EventText, 7, 0, copy(view, tc.text)); status != 0 || err != nil {
						t.Fatal(status, err)
					}
				}
			}
			call(tc.messages / 100)
			before := g.inst.Module().Stats().MemoryBytes
			call(tc.messages)
			if after := g.inst.Module().Stats().MemoryBytes; before == 0 || after != before {
				t.Errorf("the memory has grown from %d to %d bytes in %d messages", before, after, tc.messages)
			} else {
				t.Logf("%d bytes after %d messages", after, tc.messages)
			}
		})
	}
}

// quiet takes what a guest sends without keeping it.
type quiet struct{ *guest }

func (quiet) ConnSend(uint64, int32, []byte) runtime.Status { return runtime.StatusOK }

func TestTheJSONHandlerInAssemblyScript(t *testing.T) {
	wasm := buildAssemblyScript(t, "../bench/guests/json-assemblyscript")
	engines(t, func(t *testing.T, e *runtime.Engine) {
		g := load(t, e, wasm)
		const moved = `send 7 1 {"type":"moved","id":18,"player":"a \"n\" é😀\n","x":3.5,"y":-2e3,"tags":["a","b\\",[],{"c":null}]}`
		g.wants(g.event(runtime.EventText, 7, 0, `{"type":"move","id":17,"player":"a \"n\" é\ud83d\ude00\n","x":3.5,"y":-2e3,"tags":["a","b\\",[],{"c":null}]}`), moved)
		g.wants(g.event(runtime.EventText, 7, 0, " {\"tags\" : [ \"a\" , \"\\u0062\\\\\",[ ] ,{ \"c\" :null}],\"y\":-2e3,\"x\":3.5,\t\"id\":17,\n\"extra\":true,\"player\":\"a \\\"n\\\" é😀\\n\",\"type\":\"\\u006dove\"} "), moved)
		for _, text := range []string{``, `[]`, `{"type":"stay"}`, `{"type":"move","id":1.5,"player":"a","x":1,"y":1,"tags":[]}`, `{"type":"move","id":1,"player":"a","x":1,"y":1,"tags":[]}x`} {
			g.wants(g.event(runtime.EventText, 7, 0, text), "close 7 4400 not a move")
		}
	})
}

// asHelpers is testdata/assemblyscript in a sandbox.
type asHelpers struct {
	t       testing.TB
	mod     api.Module
	in, out uint32
}

// compiledASHelpers is compiled once for all tests.
var compiledASHelpers struct {
	sync.Once
	wasm []byte
}

func asHelpersWasm(t testing.TB) []byte {
	t.Helper()
	needsAssemblyScript(t)
	compiledASHelpers.Do(func() { compiledASHelpers.wasm = buildAssemblyScript(t, "testdata/assemblyscript") })
	if compiledASHelpers.wasm == nil {
		t.Fatal("the helpers do not compile")
	}
	return compiledASHelpers.wasm
}

func newASHelpers(t testing.TB) *asHelpers {
	t.Helper()
	wasm := asHelpersWasm(t)
	ctx := context.Background()
	rt := wazero.NewRuntime(ctx)
	t.Cleanup(func() { rt.Close(ctx) })
	_, err := rt.NewHostModuleBuilder("weir_1").NewFunctionBuilder().
		WithFunc(func(_ context.Context, m api.Module, level, ptr, size uint32) int32 {
			text, _ := m.Memory().Read(ptr, size)
			t.Logf("the guest says: %s", text)
			return 0
		}).Export("log").NewFunctionBuilder().
		WithFunc(func(context.Context, uint64, uint32, uint32, uint32) int32 { return 0 }).Export("conn_send").Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := rt.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		t.Fatal(err)
	}
	h := &asHelpers{t: t, mod: mod}
	h.in, h.out = uint32(h.call("input")), uint32(h.call("output"))
	return h
}

func (h *asHelpers) call(name string, args ...uint64) uint64 {
	h.t.Helper()
	results, err := h.mod.ExportedFunction(name).Call(context.Background(), args...)
	if err != nil {
		h.t.Fatalf("%s: %v", name, err)
	}
	return results[0]
}

// give writes p where the helpers read.
func (h *asHelpers) give(p string) uint64 {
	h.mod.Memory().WriteString(h.in, p)
	return uint64(len(p))
}

// took returns what a helper has written; false if its result is negative.
func (h *asHelpers) took(result uint64) (string, bool) {
	h.t.Helper()
	n := int32(result)
	if n < 0 {
		return "", false
	}
	h.out = uint32(h.call("output")) // it may have grown
	p, _ := h.mod.Memory().Read(h.out, uint32(n))
	return string(p), true
}

func TestAssemblyScriptNumbers(t *testing.T) {
	h := newASHelpers(t)
	for _, n := range []int64{0, 1, -1, 9, 10, -10, 99, 100, 1234567890, math.MaxInt64, math.MinInt64, 1e18, 1e18 - 1} {
		want := strconv.FormatInt(n, 10)
		if got := int64(h.call("integer", h.give(want), 42)); got != n {
			t.Errorf("%s is read as %d", want, got)
		}
		got, _ := h.took(h.call("numbers", uint64(n), math.Float64bits(float64(n))))
		var list []any
		if err := json.Unmarshal([]byte(got), &list); err != nil || !strings.HasPrefix(got, "["+want+",") || list[1] != float64(n) {
			t.Errorf("%s is written as %s (%v)", want, got, err)
		}
	}
	for _, text := range []string{"", "-", "1.5", "1e3", "x", `"1"`, "9223372036854775808", "-9223372036854775809", "99999999999999999999"} {
		if got := int64(h.call("integer", h.give(text), 42)); got != 42 {
			t.Errorf("%q is read as %d", text, got)
		}
	}
	for _, text := range []string{"0", "-0", "1", "-2.5", "1e3", "123456789012345678", "0.1", "1e-7", "1.7976931348623157e308", "5e-324"} {
		want, _ := strconv.ParseFloat(text, 64)
		if got := math.Float64frombits(h.call("number", h.give(text))); got != want || math.Signbit(got) != math.Signbit(want) {
			t.Errorf("%s is read as %v", text, got)
		}
	}
	for f, want := range map[float64]string{0: "0", 3: "3", -2.5: "-2.5", 0.1: "0.1", 1e21: "1e+21", 1e-7: "1e-7", math.Inf(1): "null", math.NaN(): "null"} {
		if got, _ := h.took(h.call("numbers", 1, math.Float64bits(f))); got != "[1,"+want+`,true,false,[],{"k":1,"l":2}]` {
			t.Errorf("%v is written in %s", f, got)
		}
	}
}

func FuzzAssemblyScriptQueriesAgreeWithGo(f *testing.F) {
	for _, seed := range []string{"name=ann", "a=b&name=ann+b%C3%A9%21&name=later", "name=", "name", "names=x&xname=y", "", "name=100%&x", "na%6de=x", "name=a;b&name=c", "&&name==&", "name=%ff"} {
		f.Add(seed)
	}
	h := newASHelpers(f)
	f.Fuzz(func(t *testing.T, query string) {
		if len(query) > 1<<16 {
			return
		}
		h.t = t
		values, _ := url.ParseQuery(query) // pairs that are badly encoded are left out
		if got, _ := h.took(h.call("query", h.give(query))); got != valid(values.Get("name")) {
			t.Errorf("query %q: name %q, want %q", query, got, values.Get("name"))
		}
		want, err := url.PathUnescape(query)
		if err != nil {
			want = query
		}
		if got, _ := h.took(h.call("path", h.give(query))); got != valid(want) {
			t.Errorf("path %q is %q, want %q", query, got, want)
		}
	})
}

// valid is a text with U+FFFD for each byte that is not UTF-8.
func valid(text string) string { return string([]rune(text)) }

func FuzzAssemblyScriptStringsSurviveJSON(f *testing.F) {
	for _, seed := range []string{"", "plain", `"\`, "\x00\x1f\n\t\b\f\r\x7f", "é€😀", "\xff\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xe2\x82"} {
		f.Add(seed)
	}
	h := newASHelpers(f)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<16 {
			return
		}
		h.t = t
		if got, _ := h.took(h.call("utf8", h.give(text))); got != valid(text) {
			t.Errorf("%q becomes %q", text, got)
		}
		written, _ := h.took(h.call("quote", h.give(text)))
		var read []string
		if err := json.Unmarshal([]byte(written), &read); err != nil || len(read) != 1 || read[0] != valid(text) {
			t.Errorf("%q became %s: %v", text, written, err)
		}
	})
}

func FuzzAssemblyScriptJSONAgreesWithGo(f *testing.F) {
	for _, seed := range []string{
		`{"text":"hi"}`, ` { "a" : [ 1 , -2.5e+3, {} , [] ] , "text" : "\ud83d\ude00\u00e9\n\/" , "b":null} `, `{"text":1,"text":"two"}`,
		`{"te\u0078t":"x"}`, `{"text":"\ud83d"}`, `{"text":"\ud83dx\udc00"}`, `[{"text":[[[[1]]]]}]`, `{"text":"a","b":}`, `{"text":"a",}`, `{"text" "a"}`,
		`01`, `-`, `1.`, `1e`, `.5`, `"\x"`, `"\u12g4"`, "\"\x01\"", `nul`, `true`, `false`, `falsy`, `tru3`, `[1,]`, `[,1]`, `{`, `[`, `{}}`, `]`, ``, ` `, "\"\xff\"", `{"é":1}`,
		`{"a":{"text":"inner"},"text":{}}`,
	} {
		f.Add(seed)
	}
	h := newASHelpers(f)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 9_000 { // Go takes what is nested deeper than 10,000 for no JSON
			return
		}
		h.t = t
		var want any
		err := unmarshal(text, &want)
		written, ok := h.took(h.call("rewrite", h.give(text)))
		if ok != (err == nil) {
			t.Fatalf("%q is JSON: %v, want %v (%v)", text, ok, !ok, err)
		}
		if !ok {
			return
		}
		var got any
		if err := unmarshal(written, &got); err != nil || !reflect.DeepEqual(got, want) || !utf8.ValidString(written) {
			t.Errorf("%q becomes %q (%v)", text, written, err)
		}
		n := -1
		switch want := want.(type) {
		case map[string]any:
			value, isString := want["text"].(string)
			if got, ok := h.took(h.call("text", h.give(text))); ok != isString || got != value {
				t.Errorf("%q: text is %q, %v; want %q, %v", text, got, ok, value, isString)
			}
			n = len(want)
		case []any:
			n = len(want)
		default:
			n = 0
		}
		if got := int(h.call("values", h.give(text))); got < n {
			t.Errorf("%q has %d values, want %d", text, got, n)
		}
	})
}

func unmarshal(text string, to any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(to); err != nil {
		return err
	}
	if !json.Valid([]byte(text)) {
		return fmt.Errorf("something follows")
	}
	return nil
}
