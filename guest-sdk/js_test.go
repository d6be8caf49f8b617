package guestsdk_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	guestsdk "weir/guest-sdk"
	"weir/internal/bundle"
	"weir/runtime"
)

// buildScript builds a handler in TypeScript, given its file or, behind a line break, its text.
func buildScript(t testing.TB, source string) []byte {
	t.Helper()
	engine, ok := guestsdk.Engine()
	if !ok {
		if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
			t.Fatal("needs the engine for JavaScript: make js-engine")
		}
		t.Skip("needs the engine for JavaScript: make js-engine")
	}
	if strings.HasPrefix(source, "\n") {
		file := filepath.Join(t.TempDir(), "handler.ts")
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		source = file
	}
	sdk, err := guestsdk.SDK("ts")
	if err != nil {
		t.Fatal(err)
	}
	script, err := bundle.Handler(source, sdk, nil)
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := bundle.Place(engine, script)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func TestEchoInTypeScript(t *testing.T) {
	wasm := buildScript(t, "../examples/echo-ts/echo.ts")
	if len(wasm) > 1<<20 {
		t.Errorf("an echo has %d bytes, want 1 MiB at most", len(wasm))
	}
	testEcho(t, wasm)
}

func TestChatInTypeScript(t *testing.T) { testChat(t, buildScript(t, "../examples/chat-ts/chat.ts")) }

// scripted is a guest whose log is kept.
type scripted struct {
	*guest
	logs *strings.Builder
}

// loadScripted loads a module that has passed its init event, or not: status says so.
func loadScripted(t *testing.T, interpreter bool, wasm []byte) (s *scripted, status int32) {
	t.Helper()
	s = &scripted{logs: &strings.Builder{}}
	e, err := runtime.NewEngine(runtime.Options{Interpreter: interpreter, Logger: slog.New(slog.NewTextHandler(s.logs, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	m, err := e.Load(t.Context(), wasm, runtime.ModuleOptions{Name: "guest", Generation: 1, Capabilities: runtime.CapabilityDefault,
		Limits: runtime.Limits{Timeout: time.Minute, StartTimeout: time.Minute, Fuel: 1 << 40}})
	if err != nil {
		t.Fatal(err)
	}
	inst := m.TryTake()
	t.Cleanup(func() { m.Discard(inst); m.Retire() })
	s.guest = &guest{t: t, inst: inst}
	return s, s.deliver(runtime.EventInit, 0, 1, "{}")
}

// deliver delivers an event and returns its status.
func (s *scripted) deliver(ev runtime.Event, conn uint64, arg int64, payload string) int32 {
	s.t.Helper()
	s.effects = nil
	if ev != runtime.EventInit { // before that one scripts have started, and may have failed
		s.logs.Reset()
	}
	view, err := s.inst.Inbound(len(payload))
	if err != nil {
		s.t.Fatal(err)
	}
	status, err := s.inst.Call(s, ev, conn, arg, copy(view, payload))
	if err != nil {
		s.t.Fatalf("%s %q: %v", ev, payload, err)
	}
	return status
}

// logged is what the guest has said since the last event, as it said it.
func (s *scripted) logged() string {
	return strings.NewReplacer(`\n`, "\n", `\"`, `"`).Replace(s.logs.String())
}

func (s *scripted) ConnClose(uint64, int32, []byte) runtime.Status { return runtime.StatusInvalid }

const failing = `
import { type Conn } from "weir";

interface Order { id: number }

class Shop {
  // What comes before the place does not confuse it: é😀.
  take(order: Order): void {
    if (order.id > 3) throw new RangeError("sold out", { cause: new Error("no stock") });
  }
}

const deep = (n: number): number => 1 + deep(n + 1);

export default {
  async message(conn: Conn, data: string | Uint8Array) {
    switch (data) {
      case "throw": return new Shop().take({ id: 7 });
      case "deep": return void deep(0);
      case "reject": return await Promise.reject(new Error("rejected"));
      case "nobody looks": return void Promise.reject(new Error("dropped"));
      case "never": return await new Promise<void>(() => {});
      case "no error": throw { some: "thing" };
      case "memory": for (const all = []; ; ) all.push(new Uint8Array(1 << 20));
      case "refused": return conn.close(17);
      case "await": await null; await Promise.resolve(); return conn.send("awaited");
      case "globals": return conn.send([Math.random() !== Math.random(), Date.now(), typeof setTimeout, new TextDecoder().decode(new TextEncoder().encode("é"))].join(" "));
    }
  },
};
`

func TestScriptsFailInTheirOwnWords(t *testing.T) {
	wasm := buildScript(t, failing)
	for name, interpreter := range map[string]bool{"compiler": false, "interpreter": true} {
		t.Run(name, func(t *testing.T) {
			s, _ := loadScripted(t, interpreter, wasm)
			for _, tc := range []struct {
				message string
				want    []string // parts of what is logged
			}{
				{"throw", []string{"message: RangeError: sold out\n    at take (handler.ts:9:", "\n    at message (handler.ts:18:", "caused by Error: no stock\n"}},
				{"deep", []string{"RangeError: stack overflow\n    at deep (handler.ts:13:", "\n    and "}},
				{"reject", []string{"message: Error: rejected\n    at message (handler.ts:20:"}},
				{"nobody looks", []string{"message: Error: dropped\n    at message (handler.ts:21:"}},
				{"never", []string{"waits for something that does not come within its event"}},
				{"no error", []string{`message: thrown: {"some":"thing"}`}},
				{"memory", []string{"out of memory"}},
				{"refused", []string{"HostError: conn_close: invalid argument\n"}},
			} {
				if s.deliver(runtime.EventText, 7, 0, tc.message) == 0 {
					t.Errorf("%s: it commits", tc.message)
				}
				for _, want := range tc.want {
					if logged := s.logged(); !strings.Contains(logged, want) || strings.Count(logged, "level=") != 1 {
						t.Errorf("%s: logged %s, want one line with %q in it", tc.message, logged, want)
					}
				}
			}
			// A server would discard the instance, which works all the same.
			for message, want := range map[string]string{"await": "awaited", "globals": "true 1767225600000 undefined é"} {
				if status := s.deliver(runtime.EventText, 7, 0, message); status != 0 {
					t.Errorf("%s: status %d, logged %s", message, status, s.logged())
				}
				s.wants(s.effects, "send 7 1 "+want)
			}
		})
	}
}

func TestAScriptThatCannotStartIsRefused(t *testing.T) {
	for name, tc := range map[string]struct{ source, want string }{
		"it throws":           {"\nexport default {};\nthrow new Error(\"not today\");\n", "the script: Error: not today\n    at"},
		"an unknown event":    {"\nexport default { massage() {} };\n", "the handler has massage, and the events are init, upgrade, open, message, close, timer, drain, save, restore"},
		"no object":           {"\nexport default 7;\n", "the module must export its handler"},
		"its init throws":     {"\nexport default { init(config) { throw new Error(\"no \" + config.x); } };\n", "init: Error: no undefined\n    at init (handler.ts:2:"},
		"its init never ends": {"\nexport default { async init() { await new Promise(() => {}); } };\n", "waits for something"},
	} {
		t.Run(name, func(t *testing.T) {
			s, status := loadScripted(t, false, buildScript(t, tc.source))
			if logged := s.logged(); status == 0 || !strings.Contains(logged, tc.want) {
				t.Errorf("init returns %d and the log is %s; want %q in it", status, logged, tc.want)
			}
		})
	}
}

// JSON.parse and JSON.stringify are partly the engine's own, see js/engine/json.c. These texts and values have been
// compared with those of Node.
func TestJSONIsThatOfTheLanguage(t *testing.T) {
	wasm := buildScript(t, "testdata/json.ts")
	want := strings.Split(strings.TrimSpace(string(read(t, "testdata/json.txt"))), "\n")
	for name, interpreter := range map[string]bool{"compiler": false, "interpreter": true} {
		t.Run(name, func(t *testing.T) {
			s, _ := loadScripted(t, interpreter, wasm)
			if status := s.deliver(runtime.EventText, 7, 0, "go"); status != 0 || len(s.effects) != 1 {
				t.Fatalf("status %d, logged %s", status, s.logged())
			}
			got := strings.Split(strings.TrimPrefix(s.effects[0], "send 7 1 "), "\n")
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || got[i] != want[i] {
					t.Fatalf("line %d is not as in testdata/json.txt:\n%s", i+1, strings.Join(got[i:min(i+1, len(got))], ""))
				}
			}
		})
	}
}

// The memory of an instance does not grow with what it has handled: neither with messages nor with cycles of garbage.
func TestMemoryInTypeScriptIsFlat(t *testing.T) {
	messages := 100_000
	if underRace || testing.Short() {
		messages = 5_000
	}
	for name, wasm := range map[string][]byte{
		"messages": buildScript(t, "../bench/guests/json-ts/json.ts"),
		"cycles": buildScript(t, `
export default {
  message(conn, data) {
    const a = { data: data.repeat(10) }, b = { a };
    a.b = b;
  },
};
`),
	} {
		t.Run(name, func(t *testing.T) {
			e, err := runtime.NewEngine(runtime.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := e.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
			g := load(t, e, wasm)
			const text = `{"type":"move","id":17,"player":"ann","x":3.5,"y":-2,"tags":["a","b"]}`
			run := func(n int) int64 {
				for range n {
					view, err := g.inst.Inbound(len(text))
					if err != nil {
						t.Fatal(err)
					}
					if status, err := g.inst.Call(quiet{g}, runtime.EventText, 7, 0, copy(view, text)); status != 0 || err != nil {
						t.Fatal(status, err)
					}
				}
				return g.inst.Module().Stats().MemoryBytes
			}
			early := run(messages / 10)
			if late := run(messages); late > early {
				t.Errorf("after %d messages it has %d bytes, after %d more %d", messages/10, early, messages, late)
			}
		})
	}
}
