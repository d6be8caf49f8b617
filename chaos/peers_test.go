package chaos

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fault is something that a peer does to the server, by the number that it has in docs/faults.md.
type fault struct {
	id    string
	tries string // what the peer does
	// play does it and returns what came of it, with its figures, for the list. It fails t if that is not what must come
	// of it.
	play func(t *testing.T, w *wire) string
}

func wireFaults() []fault { return slices.Concat(handshakeFaults(), frameFaults()) }

// Limits of the server under attack. They are short, so that a test that waits for one of them does not take the
// defaults' 5, 30 and 5 seconds; and small, so that few connections reach them.
const (
	handshakeTimeout = 2 * time.Second
	messageTimeout   = 2 * time.Second
	closeTimeout     = time.Second
	inboundBudget    = 8 << 20
	maxHandshakes    = 1024     // the default
	messageLimit     = 64 << 10 // the default
)

// wire is the real binary under attack by peers, with an echo, a puppet and the canary, and the control server.
type wire struct {
	server, control *server
	watch           *watch
	admin           string // where its figures are
}

const puppetPath = "../host/testdata/puppet.wasm"

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{control: launch(t, configuration(t, module{name: "canary", path: canaryPath}), runAddressKiB)}
	w.server = launch(t, wireConfiguration(t), runAddressKiB)
	for _, s := range []*server{w.control, w.server} {
		if !s.start(loadWithin) {
			t.Fatalf("a server does not start: %v\n%s", s.failed, s.said())
		}
	}
	w.admin = w.server.adminURL(t)
	var err error
	if w.watch, err = watchOver(w.server.address(), w.control.address()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if w.watch != nil {
			w.server.kill() // before the canaries, so that they do not wait
			w.watch.end()
		}
	})
	if !w.watch.enough(moment{}) {
		t.Fatalf("the canary is not served: %v", w.watch.lost)
	}
	return w
}

func wireConfiguration(t *testing.T) string {
	t.Helper()
	echo, err := filepath.Abs(canaryPath)
	if err != nil {
		t.Fatal(err)
	}
	puppet, err := filepath.Abs(puppetPath)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`
server: {listen: ["127.0.0.1:0"], handshake_timeout: %v, inbound_budget: %dB}
websocket: {message_timeout: %v, close_timeout: %v}
admin: {listen: "127.0.0.1:0"}
log: {format: json, level: info}
drain: {spread: 1s, timeout: 8s}
modules:
  canary: {path: %q}
  echo: {path: %q}
  puppet: {path: %q, capabilities: [topics, timers]}
routes:
  - {path: /canary, module: canary}
  - {path: /echo, module: echo, protocols: [a]}
  - {path: /puppet, module: puppet}
`, handshakeTimeout, inboundBudget, messageTimeout, closeTimeout, echo, echo, puppet)
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// figures are a scrape: the value of each series.
type figures map[string]float64

// scrapes go over connections of their own, none of which stays.
var scrapes = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

func (w *wire) figures(t *testing.T) figures {
	t.Helper()
	resp, err := scrapes.Get(w.admin + "/metrics")
	if err != nil {
		t.Fatalf("the server does not tell its figures: %v\n%s", err, w.server.said())
	}
	defer resp.Body.Close()
	all := figures{}
	for lines := bufio.NewScanner(io.LimitReader(resp.Body, 1<<20)); lines.Scan(); {
		if series, value, ok := strings.Cut(lines.Text(), " "); ok && series != "#" {
			if all[series], err = strconv.ParseFloat(value, 64); err != nil {
				t.Fatalf("%s: %v", series, err)
			}
		}
	}
	return all
}

// sum adds up the series of a metric.
func (f figures) sum(name string) (total float64) {
	for series, value := range f {
		if of, _, _ := strings.Cut(series, "{"); of == name {
			total += value
		}
	}
	return total
}

// ended is how many connections ended for that cause.
func (f figures) ended(cause string) float64 {
	return f[`weir_connections_ended_total{cause="`+cause+`"}`]
}

func (f figures) rejected(reason string) float64 {
	return f[`weir_handshakes_rejected_total{reason="`+reason+`"}`]
}

// wantEnds expects n more connections than before to have ended for that cause. They are counted when their sockets are
// closed, which a client may see a little earlier.
func (w *wire) wantEnds(t *testing.T, before figures, cause string, n int) {
	t.Helper()
	var counted float64
	if !eventually(func() bool { counted = w.figures(t).ended(cause) - before.ended(cause); return counted == float64(n) }) {
		t.Errorf("%v ends by %s are counted, want %d", counted, cause, n)
	}
}

// open is how many connections there must be, if none was lost from the count.
func (f figures) open() float64 {
	return f.sum("weir_connections_accepted_total") - f.sum("weir_connections_ended_total")
}

func TestWhatPeersDoToTheServer(t *testing.T) {
	needBinary(t)
	w := newWire(t)
	before, usageBefore := w.figures(t), w.server.usage(t)
	for _, f := range wireFaults() {
		t.Run(f.id+" "+f.tries, func(t *testing.T) { w.play(t, f) })
		if !w.server.alive() {
			t.Fatalf("the server has ended: %v\n%s", w.server.failed, w.server.said())
		}
	}
	usageAfter := w.server.usage(t)
	t.Logf("before: %v; after: %v", usageBefore, usageAfter)
	if usageAfter.residentKiB > usageBefore.residentKiB+leftKiB {
		t.Errorf("the server has kept too much: before %v, after %v", usageBefore, usageAfter)
	}
	for i, line := range w.server.everything() {
		if strings.Contains(line, "panic") || strings.Contains(line, "after it was checked") {
			t.Errorf("line %d of the log: %.300s", i, line)
		}
	}
	if n := w.figures(t)["weir_accept_errors_total"] - before["weir_accept_errors_total"]; n != 0 {
		t.Errorf("%v connections could not be accepted", n)
	}
	w.watch.end()
	if lost := w.watch.lost; lost != nil {
		t.Errorf("canary: %v", lost)
	}
	w.watch = nil
	if err := w.server.stop(3 * patience); err != nil {
		t.Error(err)
	}
}

// What a fault may leave: threads of Go's that once were needed, and the sockets of scrapes.
const (
	leftGoroutines = 16
	leftWireFDs    = 4
)

// play does one fault and holds the server against what holds for all of them: the canary loses nothing and does not
// wait, every connection is counted once when it comes and once when it ends, and nothing stays.
func (w *wire) play(t *testing.T, f fault) {
	before := w.figures(t)
	var r faultRow
	for tries := 1; ; tries++ {
		begun := w.watch.now()
		r = faultRow{id: f.id, tries: f.tries, happened: f.play(t, w)}
		w.watch.enough(begun)
		var lost error
		if r.canary, r.control, lost = w.watch.since(begun); lost != nil || !w.server.alive() {
			t.Fatalf("the canary is lost, the server is alive: %v: %v\n%s", w.server.alive(), lost, w.server.said())
		}
		// The canaries' clients share the machine, and a process, with those of the fault: what they have to wait for at the
		// control server they would wait for without a fault.
		p99, without := r.canary.quantile(.99), r.control.quantile(.99)
		if p99 <= late+without || t.Failed() {
			break
		}
		said := fmt.Sprintf("one in a hundred of the canary's messages waited longer than %v ms (the control server's %v ms), want %v", ms(p99), ms(without), late)
		if tries == 2 {
			t.Error(said)
			break
		}
		t.Log("once more: " + said)
	}
	if t.Failed() {
		r.happened = "FAILED: " + r.happened
	}
	noteFault(r)
	var after figures
	back := eventually(func() bool {
		after = w.figures(t)
		return after.open() == before.open() && after.sum("weir_connections") == before.sum("weir_connections") &&
			after["weir_handshakes"] == 0 && after["weir_inbound_bytes"] <= before["weir_inbound_bytes"]+1024 &&
			after["go_goroutines"] <= before["go_goroutines"]+leftGoroutines && after["process_open_fds"] <= before["process_open_fds"]+leftWireFDs
	})
	if !back {
		for _, name := range []string{"weir_handshakes", "weir_inbound_bytes", "weir_outbound_bytes", "go_goroutines", "process_open_fds"} {
			t.Errorf("%s: %v before, %v after", name, before[name], after[name])
		}
		t.Errorf("accepted and not ended: %v before, %v after; WebSockets %v and %v", before.open(), after.open(), before.sum("weir_connections"), after.sum("weir_connections"))
	}
}
