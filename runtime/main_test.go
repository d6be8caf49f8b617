package runtime

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// The guests in testdata are written in WebAssembly text; `go generate` compiles them with wabt.
//
//go:generate sh -c "cd testdata && ls *.wat | sed s/.wat$// | xargs -I{} wat2wasm --debug-names {}.wat -o {}.wasm"

func TestMain(m *testing.M) {
	if code, jailed := JailMain(os.Args, os.Environ(), os.Stdin, os.Stdout); jailed {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

func TestGuestsAreCompiledFromTheirText(t *testing.T) {
	wat2wasm, err := exec.LookPath("wat2wasm")
	if err != nil {
		t.Skip("wat2wasm (wabt) is not installed")
	}
	texts, err := filepath.Glob("testdata/*.wat")
	if err != nil || len(texts) == 0 {
		t.Fatalf("no guests: %v", err)
	}
	for _, text := range texts {
		out := filepath.Join(t.TempDir(), "out.wasm")
		if said, err := exec.Command(wat2wasm, "--debug-names", text, "-o", out).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", text, err, said)
			continue
		}
		want, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(strings.TrimSuffix(text, ".wat") + ".wasm")
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s is not what its text compiles to (%v); run go generate", text, err)
		}
	}
}

// guest reads a compiled guest.
func guest(t testing.TB, name string) []byte {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join("testdata", name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// onBothEngines runs f with the compiler and with the interpreter.
func onBothEngines(t *testing.T, f func(t *testing.T, o Options)) {
	t.Run("compiler", func(t *testing.T) { f(t, Options{}) })
	t.Run("interpreter", func(t *testing.T) { f(t, Options{Interpreter: true}) })
}

// newEngine returns an engine that the test closes. It fails if a module is still in use by then. It has no jail unless
// the test wants one, which costs a process a module.
func newEngine(t testing.TB, o Options) *Engine {
	t.Helper()
	if o.Jail == "" {
		o.Jail = jailOff
	}
	e, err := NewEngine(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if err := e.Close(ended); err != nil && !t.Failed() {
			t.Error(err)
		}
	})
	return e
}

// load loads a guest that must be good. What it is not granted, it is denied.
func load(t testing.TB, e *Engine, name string, o ModuleOptions) *Module {
	t.Helper()
	if o.Name == "" {
		o.Name = name
	}
	if o.Generation == 0 {
		o.Generation = 1
	}
	o.Deny = true
	m, err := e.Load(context.Background(), guest(t, name), o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// take takes an instance that must be there.
func take(t testing.TB, m *Module) *Instance {
	t.Helper()
	i, err := m.Take(new(waiter))
	if err != nil {
		t.Fatal(err)
	}
	if i == nil {
		t.Fatal("no instance is free")
	}
	return i
}

// only loads a guest and takes its one instance.
func only(t testing.TB, o Options, name string, mo ModuleOptions) *Instance {
	t.Helper()
	if mo.Instances == 0 {
		mo.Instances = 1
	}
	m := load(t, newEngine(t, o), name, mo)
	i := take(t, m)
	t.Cleanup(func() { m.Give(i) })
	return i
}

// send delivers payload as an event.
func send(i *Instance, h Host, ev Event, conn uint64, arg int64, payload string) (int32, error) {
	p, err := i.Inbound(len(payload))
	if err != nil {
		return 0, err
	}
	copy(p, payload)
	return i.Call(h, ev, conn, arg, len(payload))
}

// waiter records what it was granted.
type waiter struct {
	name    string
	granted []*Instance
	refused int
	patient bool
	on      func(*Instance)
}

func (w *waiter) Granted(i *Instance) {
	w.granted = append(w.granted, i)
	if w.on != nil {
		w.on(i)
	}
}

func (w *waiter) Refused()      { w.refused++ }
func (w *waiter) Patient() bool { return w.patient }

// fakeHost writes down what it is asked for, and answers as it is told to.
type fakeHost struct {
	calls  []string
	value  []byte
	status Status
	number int64
	unixMs int64
	monoNs int64
	on     func() // runs in every method, if set
}

func (h *fakeHost) note(format string, args ...any) Status {
	h.calls = append(h.calls, fmt.Sprintf(format, args...))
	if h.on != nil {
		h.on()
	}
	return h.status
}

func (h *fakeHost) ConnSend(conn uint64, kind int32, p []byte) Status {
	return h.note("conn_send %d %d %q", conn, kind, p)
}
func (h *fakeHost) ConnClose(conn uint64, code int32, reason []byte) Status {
	return h.note("conn_close %d %d %q", conn, code, reason)
}
func (h *fakeHost) ConnAttr(conn uint64, name []byte) ([]byte, Status) {
	return h.value, h.note("conn_attr %d %q", conn, name)
}
func (h *fakeHost) ConnStateGet(conn uint64) ([]byte, Status) {
	return h.value, h.note("conn_state_get %d", conn)
}
func (h *fakeHost) ConnStateSet(conn uint64, p []byte) Status {
	return h.note("conn_state_set %d %q", conn, p)
}
func (h *fakeHost) ConnQueued(conn uint64) int64 {
	h.note("conn_queued %d", conn)
	return h.number
}
func (h *fakeHost) TopicJoin(conn uint64, topic []byte) Status {
	return h.note("topic_join %d %q", conn, topic)
}
func (h *fakeHost) TopicLeave(conn uint64, topic []byte) Status {
	return h.note("topic_leave %d %q", conn, topic)
}
func (h *fakeHost) TopicPublish(topic []byte, kind int32, p []byte, except uint64) Status {
	return h.note("topic_publish %q %d %q %d", topic, kind, p, except)
}
func (h *fakeHost) TopicCount(topic []byte) int32 {
	h.note("topic_count %q", topic)
	return int32(h.number)
}
func (h *fakeHost) TimerSet(conn uint64, id, afterMs, everyMs int64) Status {
	return h.note("timer_set %d %d %d %d", conn, id, afterMs, everyMs)
}
func (h *fakeHost) TimerCancel(conn uint64, id int64) Status {
	return h.note("timer_cancel %d %d", conn, id)
}
func (h *fakeHost) TimeUnixMs() int64 { return h.unixMs }
func (h *fakeHost) TimeMonoNs() int64 { return h.monoNs }
func (h *fakeHost) MetricAdd(name []byte, delta int64) Status {
	return h.note("metric_add %q %d", name, delta)
}
func (h *fakeHost) UpgradeURI() ([]byte, Status) { return h.value, h.note("upgrade_uri") }
func (h *fakeHost) UpgradeHeader(name []byte) ([]byte, Status) {
	return h.value, h.note("upgrade_header %q", name)
}
func (h *fakeHost) UpgradeProtocol(name []byte) Status { return h.note("upgrade_protocol %q", name) }
func (h *fakeHost) UpgradeRespondHeader(name, value []byte) Status {
	return h.note("upgrade_respond_header %q %q", name, value)
}
func (h *fakeHost) StateSave(p []byte) Status     { return h.note("state_save %q", p) }
func (h *fakeHost) InstanceKey() ([]byte, Status) { return h.value, h.note("instance_key") }

// logged gathers log records as text, without their times.
func logged() (*slog.Logger, func() string) {
	var buf bytes.Buffer
	handler := slog.NewTextHandler(&buf, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	return slog.New(handler), func() string {
		defer buf.Reset()
		return buf.String()
	}
}

// unlimitedLogs lets every line pass.
func unlimitedLogs() *logGate {
	now := int64(0)
	g := new(logGate)
	g.init(maxLogRate, func() int64 { now += 1e9; return now })
	return g
}
