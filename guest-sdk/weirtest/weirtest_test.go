package weirtest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

const (
	echo   = "../../examples/echo-c/echo.wasm"
	chat   = "../../internal/cli/demo/chat.wasm"
	puppet = "../../host/testdata/puppet.wasm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAMessageReachesTheOthers(t *testing.T) {
	w := New(t, Module(chat))
	ann := w.Open("ann", "/lobby?name=ann")
	ann.WantJSON(map[string]any{"type": "joined", "members": 1})
	bob := w.Open("bob", "/lobby?name=bob")
	ann.WantJSON(map[string]any{"from": "bob"})
	bob.WantMatch(`"members":2`)
	ann.SendJSON(map[string]any{"type": "say", "text": "hi"})
	bob.WantJSON(map[string]any{"type": "say", "from": "ann", "text": "hi"})
	w.Silence(time.Hour)
	if w.Now() != time.Hour {
		t.Errorf("it is %v after an hour", w.Now())
	}
}

func TestAClientDoesWhatClientsDo(t *testing.T) {
	w := New(t, Module(puppet), WithSeed(3), WithFaults("split+delay"), WithModuleConfig(`{}`))
	ann := w.Open("ann", "/", "X-Name", "ann")
	ann.SendBinary([]byte{1, 2})
	ann.WantBinary([]byte{1, 2})
	ann.Send("timer 7 15000 15000")
	for range 240 {
		ann.Within(15*time.Second + grace).Want("timer=7")
	}
	ann.Send("cancel 7")
	ann.Silence(time.Minute)
	ann.Pause()
	ann.Send("echo late")
	w.Advance(time.Second)
	ann.Resume()
	if got := string(ann.Next()); got != "late" {
		t.Errorf("got %q", got)
	}
	ann.SendRaw([]byte("\xff\x80\x00\x00\x00\x00"))
	ann.WantClose(1002)

	bob := w.Open("bob", "/")
	bob.Close(1000, "bye")
	bob.WantClose(1000)
	w.Refused("eve", "/?reject=403", 403)
	w.Open("bob", "/").Abort()
	w.Silence(time.Second)
	if st := w.Stats(); st.Open != 0 || st.Rejected != 1 {
		t.Errorf("%d are open, %d were rejected", st.Open, st.Rejected)
	}
}

func TestAReloadAndADrain(t *testing.T) {
	w := New(t, Module(echo))
	ann := w.Open("ann", "/")
	w.Reload(puppet)
	ann.Send("gen")
	ann.Want("gen=2")
	w.Drain()
	ann.Want("draining")
	ann.WantClose(1001)
}

func TestAConfigurationHasItsRoutes(t *testing.T) {
	folder := t.TempDir()
	wasm, err := filepath.Abs(chat)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "weir.yaml")
	text := fmt.Sprintf("modules: {chat: {path: %q, capabilities: [topics]}}\nroutes: [{path: '/chat/{room}', module: chat}, {path: /, static: %q}]\n", wasm, folder)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w := New(t, Config(file))
	w.Open("ann", "/chat/lobby").WantJSON(map[string]any{"type": "joined"})
	w.Refused("bob", "/elsewhere", 404)
}

// recorder is a test that only notes what is said of it.
type recorder struct {
	testing.TB
	cleanups []func()
	said     strings.Builder
}

func (r *recorder) Helper()           {}
func (r *recorder) Cleanup(f func())  { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Output() io.Writer { return io.Discard }
func (r *recorder) Fatal(args ...any) { fmt.Fprint(&r.said, args...); panic(r) }
func (r *recorder) Fatalf(format string, args ...any) {
	fmt.Fprintf(&r.said, format, args...)
	panic(r)
}
func (r *recorder) Errorf(format string, args ...any) { fmt.Fprintf(&r.said, format, args...) }

// complaint is what a test says that does f.
func complaint(t *testing.T, f func(testing.TB)) string {
	r := &recorder{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(r) {
				panic(p)
			}
		}()
		f(r)
	}()
	for _, c := range r.cleanups {
		c()
	}
	return r.said.String()
}

func TestFailuresSayWhatWasExpectedAndWhatCame(t *testing.T) {
	open := func(t testing.TB) *Client { return New(t, Module(puppet)).Open("ann", "/") }
	for _, tc := range []struct {
		name string
		do   func(testing.TB)
		want []string
	}{
		{"another text", func(t testing.TB) { c := open(t); c.Send("echo a"); c.Want("b") },
			[]string{`ann at 0s:`, `expected text "b"`, `got      text "a"`, `> text "echo a"`}},
		{"nothing", func(t testing.TB) { open(t).Within(time.Second).Want("b") }, []string{`got      nothing within 1s`}},
		{"binary instead of text", func(t testing.TB) { c := open(t); c.SendBinary([]byte("a")); c.Want("a") }, []string{`got      binary 61`}},
		{"JSON that differs", func(t testing.TB) { c := open(t); c.Send(`echo {"a":1}`); c.WantJSON(map[string]int{"a": 2}) },
			[]string{`expected json with {"a":2}`, `a: expected 2, got 1`}},
		{"no match", func(t testing.TB) { c := open(t); c.Send(`echo a`); c.WantMatch("^b") }, []string{`text that matches ^b`}},
		{"another code", func(t testing.TB) { c := open(t); c.Send(`close 4000 bye`); c.WantClose(4001) }, []string{`expected close 4001`, `got      close 4000 "bye"`}},
		{"noise", func(t testing.TB) { c := open(t); c.Send(`timer 1 500 0`); c.Silence(time.Second) }, []string{`expected nothing for 1s`, `got      text "timer=1" after 5`}},
		{"an end is noise", func(t testing.TB) { c := open(t); c.Send(`close 4000 bye`); c.w.Silence(time.Second) }, []string{`got      close 4000`}},
		{"a message of who has gone", func(t testing.TB) { c := open(t); c.Abort(); c.Send("x") }, []string{`expected it is connected`}},
		{"refused", func(t testing.TB) { New(t, Module(puppet)).Open("ann", "/?reject=403") }, []string{`expected it is let in (101)`, `got      403 Forbidden`}},
		{"let in", func(t testing.TB) { New(t, Module(puppet)).Refused("ann", "/", 403) }, []string{`expected it is refused with 403 Forbidden`, `got      101 Switching Protocols`}},
		{"no module", func(t testing.TB) { New(t) }, []string{`give Module or Config, and not both`}},
		{"a module that is not there", func(t testing.TB) { New(t, Module("no/chat.wasm")) }, []string{"there is no no/chat.wasm; build it with `weir build no`"}},
		{"a module that is none", func(t testing.TB) { New(t, Module("doc.go")) }, []string{`module "doc-go"`}},
		{"an unknown capability", func(t testing.TB) { New(t, Module(puppet), WithCapabilities("topic")) }, []string{`"topic" is not a capability; there are topics`}},
		{"an unknown fault", func(t testing.TB) { New(t, Module(puppet), WithFaults("splat")) }, []string{`unknown fault "splat"`}},
		{"a reload of nothing", func(t testing.TB) { New(t, Module(puppet)).ReloadModule("x", echo) }, []string{`there is no module "x"`}},
		{"a reload that is refused", func(t testing.TB) { New(t, Module(puppet)).Reload("doc.go") }, []string{`reload module "puppet"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := complaint(t, tc.do)
			for _, want := range tc.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is missing in\n%s", want, got)
				}
			}
		})
	}
}

// Worlds of parallel tests share the engine. With the race detector this is its
// hammer.
func TestWorldsSideBySide(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			w := New(t, Module(echo), WithSeed(uint64(i)))
			c := w.Open("ann", "/")
			for range 50 {
				c.Send("hi")
				c.Want("hi")
			}
		})
	}
	wg.Wait()
}

func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	c, response, err := websocket.Dial(context.Background(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}
	return c
}

func TestARealServerServesAndLeavesNothing(t *testing.T) {
	got := complaint(t, func(tb testing.TB) {
		c := dial(t, Serve(tb, Module(echo)))
		defer c.CloseNow()
		if err := c.Write(context.Background(), websocket.MessageText, []byte("hi")); err != nil {
			t.Fatal(err)
		}
		if _, p, err := c.Read(context.Background()); err != nil || string(p) != "hi" {
			t.Errorf("%q, %v", p, err)
		}
	})
	if got != "" {
		t.Error(got)
	}
}

func TestALeakIsTold(t *testing.T) {
	defer func(d time.Duration) { leakPatience = d }(leakPatience)
	leakPatience = 0
	var left net.Listener
	got := complaint(t, func(tb testing.TB) {
		Serve(tb, Module(echo))
		var err error
		if left, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	})
	defer left.Close()
	if descriptors() != nil && !strings.Contains(got, "descriptor ") {
		t.Errorf("a socket that was left open was not told: %q", got)
	}
}

func FuzzEcho(f *testing.F) { Fuzz(f, Module(echo), WithMessages("hello")) }

func FuzzChat(f *testing.F) {
	Fuzz(f, Module(chat), WithPath("/lobby"), WithMessages(`{"type":"say","text":"hi"}`, `{"type":"say"}`, `{`))
}

func FuzzPuppet(f *testing.F) {
	Fuzz(f, Module(puppet), AllowTraps(), WithMessages("trap", "fail 3", "join x", "publish x y", "close 4000 z", "timer 1 10 10", "blob 60000"))
}

func TestAHandlerThatTrapsFailsAFuzz(t *testing.T) {
	got := complaint(t, func(tb testing.TB) {
		o := gather(tb, []Option{Module(puppet), WithMessages("trap")})
		w := newWorld(tb, o)
		if _, err := w.w.Open("c0", "/"); err != nil {
			t.Fatal(err)
		}
		w.w.Settle()
		w.w.Client("c0").SendText("trap")
		w.finishEvents(o, [fuzzClients]bool{})
	})
	if !strings.Contains(got, "the handler failed 1 times") || !strings.Contains(got, "c0 was closed with 1011") {
		t.Errorf("got %q", got)
	}
}

func BenchmarkEcho(b *testing.B) { Bench(b, "hello", Module(echo)) }

// The examples' own scenarios. Handlers in C and in text are committed; the others
// are built here, as `weir test` would.
func TestScenariosOfTheExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/scenarios/*.yaml")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	weir := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.Command("go", "build", "-o", weir, "weir").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range files {
		folder := filepath.Dir(filepath.Dir(name))
		t.Run(filepath.Base(folder), func(t *testing.T) {
			_, language, _ := strings.Cut(filepath.Base(folder), "-")
			if language != "c" && language != "wat" {
				if raceDetector {
					t.Skip("ten times slower, and nothing else than the others")
				}
				buildExample(t, weir, folder)
			}
			RunScenarios(t, name)
		})
	}
}

// buildExample builds an example where its scenarios look for it.
func buildExample(t *testing.T, weir, folder string) {
	t.Helper()
	name, _, _ := strings.Cut(filepath.Base(folder), "-")
	cmd := exec.CommandContext(t.Context(), weir, "build", folder, "-o", filepath.Join(folder, name+".wasm"))
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WEIR_") })
	if out, err := cmd.CombinedOutput(); err != nil {
		if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
			t.Fatalf("%s: %v\n%s", folder, err, out)
		}
		t.Skipf("its toolchain is missing or has failed (make tools): %s", out)
	}
}
