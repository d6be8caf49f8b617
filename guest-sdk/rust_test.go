package guestsdk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"weir/runtime"
)

const rustTarget = "wasm32-unknown-unknown"

// cargoTargets keeps what cargo has made for a test out of the repository, and for its parts together.
func cargoTargets(t testing.TB) string {
	t.Helper()
	if testing.Short() || underRace {
		t.Skip("cargo takes seconds, and what the race detector looks for is elsewhere")
	}
	return t.TempDir()
}

// rustNeeds skips a test that lacks a tool, unless the tools have to be there.
func rustNeeds(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
		t.Fatalf("needs %s: make tools", what)
	}
	t.Skipf("needs %s: make tools", what)
}

// cargo runs cargo in a folder relative to this one, without a network.
func cargo(t testing.TB, program, folder, targets string, environ []string, args ...string) {
	t.Helper()
	for _, sources := range []string{"rust", folder} {
		noteSources(t, sources)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = folder
	cmd.Env = slices.Concat(os.Environ(), environ, []string{"CARGO_NET_OFFLINE=true", "CARGO_TARGET_DIR=" + targets})
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s in %s: %v\n%s", cmd, folder, err, out)
	}
}

// noteSources reads what cargo will read: go test takes an old result for as long as nothing that this process has read
// has changed.
func noteSources(t testing.TB, folder string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "target":
			return fs.SkipDir
		case !d.IsDir() && (filepath.Ext(path) == ".rs" || d.Name() == "Cargo.toml"):
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// buildRust builds a module of a folder with the first toolchain that has the target, as `weir build` does.
func buildRust(t testing.TB, folder, name, targets string) []byte {
	t.Helper()
	for _, bin := range []string{"", "/usr/bin/"} {
		rustc, err := exec.LookPath(bin + "rustc")
		if err != nil {
			continue
		}
		libraries, err := exec.Command(rustc, "--print", "target-libdir", "--target", rustTarget).Output()
		if err != nil {
			continue
		}
		if _, err := os.Stat(strings.TrimSpace(string(libraries))); err != nil {
			continue
		}
		cargo(t, bin+"cargo", folder, targets, []string{"RUSTC=" + rustc, "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=-Clink-arg=-zstack-size=65536"},
			"build", "--release", "--target", rustTarget)
		wasm, err := os.ReadFile(filepath.Join(targets, rustTarget, "release", name+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		return wasm
	}
	rustNeeds(t, "cargo and rustc with the standard library for "+rustTarget)
	return nil
}

func TestEchoInRust(t *testing.T) {
	t.Parallel()
	wasm := buildRust(t, "../examples/echo-rust", "echo", cargoTargets(t))
	if len(wasm) > 40<<10 {
		t.Errorf("an echo has %d bytes, want 40 KiB at most", len(wasm))
	}
	testEcho(t, wasm)
}

func TestChatInRust(t *testing.T) {
	t.Parallel()
	testChat(t, buildRust(t, "../examples/chat-rust", "chat", cargoTargets(t)))
}

// The memory of an instance does not grow with the messages that it has handled.
func TestMemoryInRustIsFlat(t *testing.T) {
	t.Parallel()
	wasm := buildRust(t, "../bench/guests/json-rust", "json", cargoTargets(t))
	e, err := runtime.NewEngine(runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	g := load(t, e, wasm)
	const move = `{"type":"move","id":17,"player":"ann","x":3.5,"y":-2,"tags":["a","b"]}`
	g.wants(g.event(runtime.EventText, 7, 0, move), `send 7 1 {"type":"moved","id":18,"player":"ann","x":3.5,"y":-2,"tags":["a","b"]}`)
	g.wants(g.event(runtime.EventText, 7, 0, `{"tags": [ "\u0061" ] , "y":1e2,"x":0, "player":"\"","id":-1,"type":"move"}`),
		`send 7 1 {"type":"moved","id":0,"player":"\"","x":0,"y":1e2,"tags":["a"]}`)
	g.wants(g.event(runtime.EventText, 7, 0, `{"type":"stay"}`), "close 7 4400 not a move")

	const messages = 1_000_000
	before := memoryOf(g)
	began := time.Now()
	for range messages {
		view, err := g.inst.Inbound(len(move))
		if err != nil {
			t.Fatal(err)
		}
		if status, err := g.inst.Call(deaf{g}, runtime.EventText, 7, 0, copy(view, move)); status != 0 || err != nil {
			t.Fatal(status, err)
		}
	}
	after := memoryOf(g)
	t.Logf("%v a message; an instance has %d bytes", time.Since(began)/messages, after)
	if after != before {
		t.Errorf("memory grew from %d to %d bytes in %d messages", before, after, messages)
	}
}

// A handler that keeps its buffers allocates nothing for a message, whatever it does with it.
func TestRustAllocatesNothingForAMessage(t *testing.T) {
	t.Parallel()
	wasm := buildRust(t, "testdata/frugal-rust", "frugal", cargoTargets(t))
	engines(t, func(t *testing.T, e *runtime.Engine) {
		g := load(t, e, wasm)
		g.attrs["path"] = "/chat/" + strings.Repeat("x", 200)
		allocations := func() string { return g.event(runtime.EventText, 7, 0, "how many?")[0] }
		use := func() {
			g.wants(g.event(runtime.EventText, 7, 0, `{"number": 5}`), "join 7 "+g.attrs["path"],
				"publish "+g.attrs["path"]+` 1 {"name":"ann","number":5} except 7`, `send 7 1 {"number": 5}`)
			g.event(runtime.EventBinary, 7, 0, strings.Repeat("x", 3000))
		}
		use() // the buffers grow once
		allocations()
		first := allocations()
		one := allocations() // what asking costs
		for range 100 {
			use()
		}
		if last := allocations(); difference(t, first, one) != difference(t, one, last) {
			t.Errorf("%s, %s, and after 200 messages %s", first, one, last)
		}
	})
}

// difference is by how much the numbers at the end of two effects differ.
func difference(t *testing.T, before, after string) int {
	t.Helper()
	number := func(effect string) int {
		n, err := strconv.Atoi(effect[strings.LastIndexByte(effect, ' ')+1:])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return number(after) - number(before)
}

// memoryOf is how many bytes of memory a guest has. It is counted when an instance is given back.
func memoryOf(g *guest) int64 {
	m := g.inst.Module()
	m.Give(g.inst)
	if g.inst != m.TryTake() {
		g.t.Fatal("a module of one instance has another")
	}
	return m.Stats().MemoryBytes
}

// deaf is a guest whose messages nobody notes.
type deaf struct{ *guest }

func (deaf) ConnSend(uint64, int32, []byte) runtime.Status { return runtime.StatusOK }

// The crate's own tests, those of what is written with it, and the vectors that hold its fake server to a real one.
func TestRustNatively(t *testing.T) {
	t.Parallel()
	targets := cargoTargets(t)
	if _, err := exec.LookPath("cargo"); err != nil {
		rustNeeds(t, "cargo")
	}
	for _, folder := range []string{"rust", "conformance/rust", "../examples/echo-rust", "../examples/chat-rust", "../bench/guests/json-rust"} {
		t.Run(filepath.Base(filepath.Dir(folder))+"/"+filepath.Base(folder), func(t *testing.T) {
			cargo(t, "cargo", folder, targets, nil, "test")
		})
	}
	if exec.Command("cargo", "clippy", "--version").Run() == nil {
		t.Run("clippy", func(t *testing.T) {
			cargo(t, "cargo", "rust", targets, nil, "clippy", "--all-targets", "--", "--deny=warnings")
		})
	}
}

// Documents that encoding/json takes are read and written as they are, and others are refused.
func FuzzRustJSONAgreesWithGo(f *testing.F) {
	for _, seed := range []string{
		`{"text":"hi"}`, ` { "a" : [ 1 , -2.5e+3, {} , [] ] , "text" : "\ud83d\ude00\u00e9\n\/" , "b":null} `, `{"a":1,"a":"two"}`, `[[["\ud800x"]],true]`,
		`"\u0000\""`, "-0.5", "nul", `{"a":}`, `[1,]`, "01", "\"\x01\"", `{"a" 1}`, `[]]`, "", `"\x"`, strings.Repeat("[", 32) + strings.Repeat("]", 32), `{"\u0061":1}`,
	} {
		f.Add(seed)
	}
	wasm := buildRust(f, "testdata/json-rust", "json", cargoTargets(f))
	e, err := runtime.NewEngine(runtime.Options{})
	if err != nil {
		f.Fatal(err)
	}
	m, err := e.Load(context.Background(), wasm, runtime.ModuleOptions{Name: "json", Generation: 1, Limits: runtime.Limits{Timeout: time.Minute}})
	if err != nil {
		f.Fatal(err)
	}
	g := &guest{inst: m.TryTake()}
	f.Cleanup(func() {
		m.Discard(g.inst)
		m.Retire()
		if err := e.Close(context.Background()); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, document string) {
		if !utf8.ValidString(document) || strings.Count(document, "[")+strings.Count(document, "{") > 32 {
			return // a text message is UTF-8; and the SDK reads no deeper
		}
		g.t = t
		asked := g.event(runtime.EventText, 7, 0, document)
		if !json.Valid([]byte(document)) {
			g.wants(asked, "close 7 4400 not JSON")
			return
		}
		copied, ok := strings.CutPrefix(strings.Join(asked, ""), "send 7 1 ")
		if !ok {
			t.Fatalf("%q is refused: %q", document, asked)
		}
		if got, want := decode(t, copied), decode(t, document); !reflect.DeepEqual(got, want) {
			t.Errorf("%q became %q", document, copied)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(copied)); err != nil || compact.String() != copied {
			t.Errorf("%q is written with white space: %q, %v", document, copied, err)
		}
	})
}

// decode reads JSON, and numbers as they are written.
func decode(t *testing.T, document string) (value any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(document))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		t.Errorf("%q: %v", document, err)
	}
	return value
}
