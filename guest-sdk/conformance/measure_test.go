package conformance

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/runtime"
)

var measure = flag.String("measure", "", "measure the languages, some two minutes, and write the page to this `FILE`")

// mover is a guest of bench/guests/json-*, with a host that notes what it sends.
type mover struct {
	runtime.Host // panics for what a guest does not need
	t            testing.TB
	module       *runtime.Module
	instance     *runtime.Instance
	sent         []byte
	closed       int32
}

func (m *mover) ConnSend(_ uint64, kind int32, p []byte) runtime.Status {
	if kind != runtime.KindText {
		m.t.Errorf("it sends kind %d", kind)
	}
	m.sent = append(m.sent[:0], p...)
	return runtime.StatusOK
}

func (m *mover) ConnClose(_ uint64, code int32, _ []byte) runtime.Status {
	m.closed = code
	return runtime.StatusOK
}

func (m *mover) TimeUnixMs() int64 { return 1_767_225_600_000 }

func (m *mover) TimeMonoNs() int64 { return 1 }

func (m *mover) InstanceKey() ([]byte, runtime.Status) { return nil, runtime.StatusOK }

func newMover(t testing.TB, e *runtime.Engine, wasm []byte) *mover {
	t.Helper()
	module, err := e.Load(context.Background(), wasm, runtime.ModuleOptions{
		Name: "mover", Generation: 1, Capabilities: runtime.CapabilityDefault, Limits: runtime.Limits{Timeout: time.Minute},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &mover{t: t, module: module, instance: module.TryTake()}
	if module.Handles(runtime.EventInit) {
		m.event(runtime.EventInit, 0, "{}")
	}
	return m
}

func (m *mover) close() {
	m.module.Discard(m.instance)
	m.module.Retire()
}

func (m *mover) event(ev runtime.Event, conn uint64, payload string) {
	view, err := m.instance.Inbound(len(payload))
	if err != nil {
		m.t.Fatal(err)
	}
	status, err := m.instance.Call(m, ev, conn, 1, copy(view, payload))
	if err != nil || status != 0 {
		m.t.Fatalf("%s: status %d, %v", ev, status, err)
	}
}

const aMove = `{"type":"move","id":17,"player":"ann","x":3.5,"y":-2,"tags":["a","b"]}`

// TestTheMeasuredHandlersDoTheSame sees to it that what is measured is the same work.
func TestTheMeasuredHandlersDoTheSame(t *testing.T) {
	e := newEngine(t)
	for _, language := range languages {
		t.Run(language, func(t *testing.T) {
			m := newMover(t, e, buildAs(t, language, "../../bench/guests/json-"+language))
			defer m.close()
			for _, tc := range []struct{ message, want string }{
				{aMove, `{"type":"moved","id":18,"player":"ann","x":3.5,"y":-2,"tags":["a","b"]}`},
				{` { "tags" : [ ], "y":0, "x":-0.25, "player":"a\"é\n", "id":-1, "type":"move", "more":{"a":[1]} } `,
					`{"type":"moved","id":0,"player":"a\"é\n","x":-0.25,"y":0,"tags":[]}`},
			} {
				m.sent, m.closed = nil, 0
				m.event(runtime.EventText, 7, tc.message)
				if got := strings.ReplaceAll(string(m.sent), "[ ]", "[]"); got != tc.want || m.closed != 0 {
					t.Errorf("%s becomes %s, closed with %d; want %s", tc.message, got, m.closed, tc.want)
				}
			}
			for _, bad := range []string{"", "move", `{"type":"stay","id":1,"player":"a","x":1,"y":1,"tags":[]}`, aMove + "x"} {
				m.sent, m.closed = nil, 0
				m.event(runtime.EventText, 7, bad)
				if m.closed != 4400 || m.sent != nil {
					t.Errorf("%q is answered with %q and closed with %d", bad, m.sent, m.closed)
				}
			}
		})
	}
}

func newEngine(t *testing.T) *runtime.Engine {
	t.Helper()
	e, err := runtime.NewEngine(runtime.Options{Jail: "off"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// maxEcho bounds the size of the smallest handler, as `weir build` makes it.
var maxEcho = map[string]int{"go": 3500 << 10, "c": 2 << 10, "rust": 40 << 10, "assemblyscript": 10 << 10, "ts": 1 << 20}

func TestAnEchoIsSmall(t *testing.T) {
	for _, language := range languages {
		t.Run(language, func(t *testing.T) {
			if n := len(buildAs(t, language, "../../examples/echo-"+language)); n > maxEcho[language] {
				t.Errorf("it has %d bytes, %d are allowed", n, maxEcho[language])
			}
		})
	}
}

// measured is a row of the table.
type measured struct {
	language       string
	micros         []float64 // of each round, a message
	echoBytes      int
	before, after  int64 // bytes of guest memory, after the first messages and a million later
	fuelPerMessage int64
}

const (
	rounds        = 9
	roundTime     = 300 * time.Millisecond
	manyMessages  = 1_000_000
	firstMessages = 1_000_000 // a collector takes half of them to find the size of its heap
)

// TestMeasure is `make bench-languages`.
func TestMeasure(t *testing.T) {
	if *measure == "" {
		t.Skip("it measures; make bench-languages asks for it")
	}
	e := newEngine(t)
	var rows []*measured
	movers := map[string]*mover{}
	for _, language := range languages {
		wasm := buildAs(t, language, "../../bench/guests/json-"+language)
		movers[language] = newMover(t, e, wasm)
		rows = append(rows, &measured{language: language, echoBytes: len(buildAs(t, language, "../../examples/echo-"+language))})
	}
	for range rounds {
		for _, row := range rows {
			row.micros = append(row.micros, movers[row.language].round())
		}
	}
	for _, row := range rows {
		m := movers[row.language]
		row.fuelPerMessage = m.instance.Spent()
		row.before = m.memory(firstMessages)
		row.after = m.memory(manyMessages)
		m.close()
	}
	if err := os.WriteFile(*measure, []byte(page(rows)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// round is how many microseconds a message takes.
func (m *mover) round() float64 {
	const batch = 200
	n, began := 0, time.Now()
	for time.Since(began) < roundTime {
		for range batch {
			m.event(runtime.EventText, 7, aMove)
		}
		n += batch
	}
	return float64(time.Since(began).Nanoseconds()) / 1000 / float64(n)
}

// memory is the guest's after n more messages.
func (m *mover) memory(n int) int64 {
	for range n {
		m.event(runtime.EventText, 7, aMove)
	}
	m.module.Give(m.instance) // its numbers are counted when it is given back
	bytes := m.module.Stats().MemoryBytes
	m.instance = m.module.TryTake()
	return bytes
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func page(rows []*measured) string {
	var b strings.Builder
	commit, _ := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	fmt.Fprintf(&b, `# What a handler costs in each language

`+"`make bench-languages`"+` at %s, %s %s/%s, %d CPUs: the handlers of bench/guests/json-*, which parse
`+"`%s`"+`, change it and reply. A message is one call into the sandbox as a server makes it, metering on, without
a socket; median of %d rounds of %v, the languages in turn, with the fastest and the slowest round. Memory is the instance's
after %d messages and after %d more.

| language | µs a message | fastest – slowest | ratio to C | echo module | memory, then a million later |
|---|---|---|---|---|---|
`, strings.TrimSpace(string(commit)), goruntime.Version(), goruntime.GOOS, goruntime.GOARCH, goruntime.NumCPU(), aMove, rounds, roundTime, firstMessages, manyMessages)
	c := median(rows[slices.Index(languages, "c")].micros)
	for _, r := range rows {
		m := median(r.micros)
		fmt.Fprintf(&b, "| %s | %.2f | %.2f – %.2f | %.1f | %s | %s → %s |\n", r.language, m, slices.Min(r.micros), slices.Max(r.micros), m/c,
			kib(int64(r.echoBytes)), kib(r.before), kib(r.after))
	}
	return b.String()
}

func kib(n int64) string {
	if n < 10<<10 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
