package guestsdk_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/runtime"
)

// engines runs a test in both of wazero's engines: they do not share their bugs.
func engines(t *testing.T, test func(t *testing.T, e *runtime.Engine)) {
	for name, interpreter := range map[string]bool{"compiler": false, "interpreter": true} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			e, err := runtime.NewEngine(runtime.Options{Interpreter: interpreter})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := e.Close(ctx); err != nil {
					t.Error(err)
				}
			})
			test(t, e)
		})
	}
}

// guest is one instance of a module, with a host that notes what it asks for.
type guest struct {
	runtime.Host // panics for what a test does not expect
	t            *testing.T
	inst         *runtime.Instance
	attrs        map[string]string
	state        []byte
	effects      []string
}

func load(t *testing.T, e *runtime.Engine, wasm []byte) *guest {
	t.Helper()
	m, err := e.Load(context.Background(), wasm, runtime.ModuleOptions{Name: "guest", Generation: 1, Capabilities: runtime.CapabilityDefault,
		Limits: runtime.Limits{Timeout: time.Minute, StartTimeout: time.Minute}}) // the race detector is slow, and so is the interpreter
	if err != nil {
		t.Fatal(err)
	}
	inst := m.TryTake()
	if inst == nil {
		t.Fatal("a loaded module has no instance")
	}
	t.Cleanup(func() { m.Discard(inst); m.Retire() })
	g := &guest{t: t, inst: inst, attrs: map[string]string{}}
	if m.Handles(runtime.EventInit) {
		g.event(runtime.EventInit, 0, 1, "{}")
	}
	return g
}

// event delivers an event, which must succeed, and returns what it asked for.
func (g *guest) event(ev runtime.Event, conn uint64, arg int64, payload string) []string {
	g.t.Helper()
	if status := g.try(ev, conn, arg, payload); status != 0 {
		g.t.Errorf("%s returns %d", ev, status)
	}
	return g.effects
}

func (g *guest) try(ev runtime.Event, conn uint64, arg int64, payload string) int32 {
	g.t.Helper()
	g.effects = nil
	view, err := g.inst.Inbound(len(payload))
	if err != nil {
		g.t.Fatal(err)
	}
	status, err := g.inst.Call(g, ev, conn, arg, copy(view, payload))
	if err != nil {
		g.t.Fatal(err)
	}
	return status
}

func (g *guest) note(format string, args ...any) runtime.Status {
	g.effects = append(g.effects, fmt.Sprintf(format, args...))
	return runtime.StatusOK
}

func (g *guest) ConnSend(conn uint64, kind int32, p []byte) runtime.Status {
	return g.note("send %d %d %s", conn, kind, p)
}

func (g *guest) ConnClose(conn uint64, code int32, reason []byte) runtime.Status {
	return g.note("close %d %d %s", conn, code, reason)
}

func (g *guest) ConnAttr(_ uint64, name []byte) ([]byte, runtime.Status) {
	value, ok := g.attrs[string(name)]
	if !ok {
		return nil, runtime.StatusNotFound
	}
	return []byte(value), runtime.StatusOK
}

func (g *guest) ConnStateGet(uint64) ([]byte, runtime.Status) { return g.state, runtime.StatusOK }

func (g *guest) ConnStateSet(_ uint64, p []byte) runtime.Status {
	g.state = slices.Clone(p)
	return runtime.StatusOK
}

func (g *guest) TopicJoin(conn uint64, topic []byte) runtime.Status {
	return g.note("join %d %s", conn, topic)
}

func (g *guest) TopicPublish(topic []byte, kind int32, p []byte, except uint64) runtime.Status {
	return g.note("publish %s %d %s except %d", topic, kind, p, except)
}

func (g *guest) TopicCount([]byte) int32 { return 3 }

func (g *guest) TimeUnixMs() int64 { return 1_767_225_600_000 }

func (g *guest) TimeMonoNs() int64 { return 1 }

func (g *guest) UpgradeHeader(name []byte) ([]byte, runtime.Status) {
	return g.ConnAttr(0, []byte("header:"+strings.ToLower(string(name))))
}

func (g *guest) UpgradeProtocol(name []byte) runtime.Status { return g.note("protocol %s", name) }

func (g *guest) UpgradeRespondHeader(name, value []byte) runtime.Status {
	return g.note("header %s: %s", name, value)
}

// wants compares what an event asked for.
func (g *guest) wants(got []string, want ...string) {
	g.t.Helper()
	if !slices.Equal(got, want) {
		g.t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	wasm, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// buildGo builds an example for the sandbox.
func buildGo(t *testing.T, name string) []byte {
	t.Helper()
	if testing.Short() || underRace {
		t.Skip("compiling a Go guest takes seconds, and under the race detector a minute")
	}
	wasm := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", wasm, ".")
	cmd.Dir = filepath.Join("../examples", name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", name, err, out)
	}
	return read(t, wasm)
}

func testEcho(t *testing.T, wasm []byte) {
	engines(t, func(t *testing.T, e *runtime.Engine) {
		g := load(t, e, wasm)
		g.wants(g.event(runtime.EventText, 7, 0, "héllo"), "send 7 1 héllo")
		g.wants(g.event(runtime.EventBinary, 7, 0, "\x00\xff"), "send 7 2 \x00\xff")
		g.wants(g.event(runtime.EventText, 7, 0, ""), "send 7 1 ")
		for _, size := range []int{1 << 10, 1 << 16, 1<<16 + 1, 1 << 20, 3} {
			large := strings.Repeat("x", size)
			g.wants(g.event(runtime.EventText, 1<<40+9, 0, large), "send 1099511627785 1 "+large)
		}
	})
}

func TestEchoInC(t *testing.T) { testEcho(t, read(t, "../examples/echo-c/echo.wasm")) }

func TestEchoInGo(t *testing.T) { testEcho(t, buildGo(t, "echo-go")) }

func TestPublishInC(t *testing.T) {
	wasm := read(t, "../examples/publish-c/publish.wasm")
	engines(t, func(t *testing.T, e *runtime.Engine) {
		g := load(t, e, wasm)
		g.wants(g.event(runtime.EventOpen, 7, 0, ""), "join 7 all")
		g.wants(g.event(runtime.EventBinary, 7, 0, "news"), "publish all 2 news except 0")
	})
}

func testChat(t *testing.T, wasm []byte) {
	engines(t, func(t *testing.T, e *runtime.Engine) {
		g := load(t, e, wasm)
		g.attrs["path"] = "/chat/lobby"
		g.attrs["param:room"] = "lobby"
		g.attrs["query"] = "x=1&name=b%C3%B6b+x"
		g.wants(g.event(runtime.EventOpen, 7, 0, ""), "join 7 lobby", `publish lobby 1 {"type":"joined","from":"böb x","members":3} except 0`)
		g.wants(g.event(runtime.EventText, 7, 0, ` {"text":"a \"b\" \ud83d\ude00","type":"say"} `),
			`publish lobby 1 {"type":"say","from":"böb x","text":"a \"b\" 😀"} except 7`)
		g.wants(g.event(runtime.EventText, 7, 0, `{"type":"say"}`), "close 7 4400 not a chat message")
		g.wants(g.event(runtime.EventBinary, 7, 0, `{"type":"say","text":"x"}`), "close 7 4400 not a chat message")
		g.wants(g.event(runtime.EventText, 7, 0, `{"type":"say","text":"`+strings.Repeat("x", 8001)+`"}`), "close 7 4400 not a chat message")
		g.wants(g.event(runtime.EventClose, 7, 1<<16|1000, "bye"), `publish lobby 1 {"type":"left","from":"böb x","members":3} except 0`)

		g.state = nil
		delete(g.attrs, "param:room")
		g.attrs["query"] = ""
		g.wants(g.event(runtime.EventOpen, 8, 0, ""), "join 8 /chat/lobby", `publish /chat/lobby 1 {"type":"joined","from":"guest","members":3} except 0`)
		g.attrs["query"] = "name=" + strings.Repeat("z", 65)
		g.wants(g.event(runtime.EventOpen, 9, 0, ""), "close 9 4400 bad name or room")
	})
}

func TestChatInC(t *testing.T) { testChat(t, read(t, "../internal/cli/demo/chat.wasm")) }

func TestChatInGo(t *testing.T) { testChat(t, buildGo(t, "chat-go")) }

func TestAuthInGo(t *testing.T) {
	wasm := buildGo(t, "auth-go")
	engines(t, func(t *testing.T, e *runtime.Engine) {
		g := load(t, e, wasm)
		if status := g.try(runtime.EventUpgrade, 7, 0, ""); status != 401 {
			t.Errorf("without a token the upgrade returns %d, want 401", status)
		}
		g.wants(g.effects, `header WWW-Authenticate: Bearer realm="notes"`)
		g.attrs["header:authorization"] = "Bearer open-sesame"
		g.attrs["header:sec-websocket-protocol"] = "other, notes.v1"
		g.wants(g.event(runtime.EventUpgrade, 7, 0, ""), "protocol notes.v1")
		g.attrs["protocol"] = "notes.v1"
		g.wants(g.event(runtime.EventOpen, 7, 0, ""), `send 7 1 hello guest, protocol "notes.v1"`)
	})
}

// TestEchoByHand holds the page for languages without an SDK to a module that works.
func TestEchoByHand(t *testing.T) {
	text := read(t, "../examples/echo-wat/echo.wat")
	page := read(t, "../docs/abi.md")
	if !bytes.Contains(page, append([]byte("```wat\n"), text...)) {
		t.Error("docs/abi.md does not show examples/echo-wat/echo.wat as it is")
	}
	wasm := read(t, "../examples/echo-wat/echo.wasm")
	testEcho(t, wasm)

	wat2wasm, err := exec.LookPath("wat2wasm")
	if err != nil {
		if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
			t.Fatal("needs wat2wasm: make tools")
		}
		t.Skip("needs wat2wasm: make tools")
	}
	out := filepath.Join(t.TempDir(), "echo.wasm")
	if said, err := exec.Command(wat2wasm, "../examples/echo-wat/echo.wat", "-o", out).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if !bytes.Equal(read(t, out), wasm) {
		t.Error("echo.wasm is not what its text compiles to; wat2wasm echo.wat -o echo.wasm")
	}
}
