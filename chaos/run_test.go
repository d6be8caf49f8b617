package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	runAddressKiB = 16 << 20

	// What the server may have left when all hostile modules are done, compared with when it began. Instances that were
	// not stopped stay, and so do the Go runtime's threads that once were needed.
	leftDescriptors = 4
	leftThreads     = 16
	leftKiB         = 256 << 10
	// And the most that it may ever have taken.
	mostKiB = 1 << 20

	breakerTraps = 5 // that open a breaker, within ten seconds
	mostRestarts = 3
)

func TestHostileModulesAtRun(t *testing.T) {
	needBinary(t)
	var together []*hostile
	for _, h := range cases(t) {
		if !h.atLoad() && !h.alone {
			together = append(together, h)
		}
	}
	st := newStage(t, together)
	before := st.server.usage(t)
	for _, h := range together {
		t.Run(h.title(), func(t *testing.T) { st.play(t, h) })
		if st.server == nil {
			t.Fatal("the server failed too often; the other cases were not played")
		}
	}
	st.leavesNothing(t, before)
	st.close(t)
}

func TestHostileModulesThatNeedNoClient(t *testing.T) {
	needBinary(t)
	for _, h := range cases(t) {
		if h.atLoad() || !h.alone {
			continue
		}
		t.Run(h.title(), func(t *testing.T) {
			st := newStage(t, []*hostile{h})
			before := st.server.usage(t)
			st.play(t, h)
			if st.server != nil {
				st.leavesNothing(t, before)
				st.close(t)
			}
		})
	}
}

// stage is a server with hostile modules and a canary.
type stage struct {
	outer    *testing.T
	modules  []*hostile
	server   *server
	control  *server // with nothing but a canary
	watch    *watch
	restarts int
	refused  string // what the server said of modules that it did not take
}

// newStage starts a server. Modules that it does not take are left out, and their cases fail when they are played.
func newStage(t *testing.T, modules []*hostile) *stage {
	t.Helper()
	st := &stage{outer: t, modules: modules}
	st.control = launch(t, configuration(t, module{name: "canary", path: canaryPath}), runAddressKiB)
	if !st.control.start(loadWithin) {
		t.Fatalf("the control server does not start: %v\n%s", st.control.failed, st.control.said())
	}
	st.open(t)
	t.Cleanup(func() {
		if st.watch != nil {
			st.server.kill() // before the canaries, so that they do not wait
			st.watch.end()
		}
	})
	return st
}

func (st *stage) open(t *testing.T) {
	t.Helper()
	folder := t.TempDir()
	for {
		all := []module{{name: "canary", path: canaryPath}}
		for _, h := range st.modules {
			file := filepath.Join(folder, h.name)
			if err := os.WriteFile(file, h.wasm, 0o600); err != nil {
				t.Fatal(err)
			}
			all = append(all, module{name: h.name, path: file, memory: h.memory, grant: h.grant, deny: h.deny})
		}
		st.server = launch(t, configuration(t, all...), runAddressKiB)
		if st.server.start(loadWithin) {
			break
		}
		said := strings.Join(st.server.everything(), "\n")
		left := slices.DeleteFunc(slices.Clone(st.modules), func(h *hostile) bool { return names(said, h.name) })
		if len(left) == len(st.modules) {
			t.Fatalf("the server does not start: %v\n%s", st.server.failed, st.server.said())
		}
		st.modules, st.refused = left, st.server.said()
	}
	var err error
	if st.watch, err = watchOver(st.server.address(), st.control.address()); err != nil {
		t.Fatal(err)
	}
	if !st.watch.enough(moment{}) {
		t.Fatalf("the canary is not served: %v", st.watch.lost)
	}
}

// play provokes one module and judges what comes of it.
func (st *stage) play(t *testing.T, h *hostile) {
	if !slices.Contains(st.modules, h) {
		t.Fatalf("the server did not take the module, which was to be stopped at run:\n%s", st.refused)
	}
	var did performance
	for tries := 1; ; tries++ {
		did = st.perform(h)
		did.again = tries > 1
		p99, control := did.echoes.quantile(.99), did.control.quantile(.99)
		if p99 <= late || tries == 2 || did.lost != nil || control < late/5 {
			break
		}
		t.Logf("once more: a canary waited %v ms, but one of the control server %v ms", ms(p99), ms(control))
	}
	note(row{h: h, outcome: did.summary(), stop: did.longest(), echoes: did.echoes, control: did.control})

	if did.lost != nil || !st.server.alive() {
		t.Errorf("the canary is lost, the server is alive: %v: %v\n%s", st.server.alive(), did.lost, st.server.said())
		st.restart(st.outer)
		return
	}
	switch p99, control := did.echoes.quantile(.99), did.control.quantile(.99); {
	case p99 <= late:
	case did.again && control > late:
		t.Logf("not judged: a canary waited %v ms, but one of the control server %v ms, twice", ms(p99), ms(control))
	default:
		t.Errorf("one in a hundred of the canary's messages waited longer than %v ms (at most %v ms, %d samples), want %v",
			ms(p99), ms(did.echoes.quantile(1)), len(did.echoes), late)
	}
	for i, p := range did.provocations {
		if err := h.judge(p, i, did.again); err != nil {
			t.Errorf("provocation %d: %v", i+1, err)
		}
	}
	if h.breaker && !slices.ContainsFunc(did.provocations, provocation.turnedAway) {
		t.Error("the breaker did not open")
	}
	st.judgeLog(t, h, did)
}

// performance is what came of one case.
type performance struct {
	from            int // mark in the log
	provocations    []provocation
	echoes, control samples
	lost            error // canary
	again           bool  // it was not the first: a breaker may be open from the last time
}

func (st *stage) perform(h *hostile) performance {
	did := performance{from: st.server.mark()}
	begun := st.watch.now()
	for range h.times {
		did.provocations = append(did.provocations, provokeAtOnce(st.server.address(), h)...)
		if _, _, lost := st.watch.since(begun); lost != nil {
			break
		}
	}
	st.watch.enough(begun)
	did.echoes, did.control, did.lost = st.watch.since(begun)
	return did
}

// summary counts how the provocations ended.
func (d *performance) summary() string {
	count := map[string]int{}
	var order []string
	for _, p := range d.provocations {
		end := p.String()
		if count[end]++; count[end] == 1 {
			order = append(order, end)
		}
	}
	for i, end := range order {
		order[i] = fmt.Sprintf("%d × %s", count[end], end)
	}
	return strings.Join(order, ", ")
}

func (d *performance) longest() time.Duration {
	var most time.Duration
	for _, p := range d.provocations {
		most = max(most, p.took)
	}
	return most
}

// provocation is what one client saw.
type provocation struct {
	status int    // of HTTP, if the upgrade was refused
	reply  string // first message
	extra  int    // messages before a Close
	code   int    // of the server's Close; 0 = the connection was fine until the client left
	took   time.Duration
	err    error // the connection broke, or nothing came in time
}

func (p provocation) String() string {
	switch {
	case p.err != nil:
		return p.err.Error()
	case p.status != 0:
		return fmt.Sprintf("HTTP %d", p.status)
	case p.code != 0:
		return fmt.Sprint(p.code)
	case p.reply != "":
		return fmt.Sprintf("%.20q", p.reply)
	default:
		return "stays"
	}
}

// turnedAway reports that no handler was there for the client.
func (p provocation) turnedAway() bool { return p.code == 1013 || p.status == 503 }

func provokeAtOnce(address string, h *hostile) []provocation {
	all := make([]provocation, h.clients)
	var clients sync.WaitGroup
	for i := range all {
		clients.Go(func() { all[i] = provoke(address, h) })
	}
	clients.Wait()
	return all
}

func provoke(address string, h *hostile) (p provocation) {
	begun := time.Now()
	defer func() { p.took = time.Since(begun) }()
	c, err := dial(address, "/"+h.name)
	if refused := refusedError(0); errors.As(err, &refused) {
		p.status = int(refused)
		return p
	}
	if err != nil {
		p.err = err
		return p
	}
	defer c.drop()
	for range h.warm {
		if p.err = c.send(opText, "x"); p.err != nil {
			return p
		}
		switch op, got, err := c.next(); {
		case err != nil:
			p.err = fmt.Errorf("while it was warmed up: %w", err)
			return p
		case op == opClose:
			p.code = closeCode(got)
			return p
		}
	}
	begun = time.Now()
	switch {
	case h.provoke == "text":
		p.err = c.send(opText, "x")
	case h.provoke == "close", h.outcome == served && h.reply == "":
		p.err = c.goodbye()
		return p
	}
	for p.err == nil {
		op, payload, err := c.next()
		switch {
		case err != nil:
			p.err = err
		case op == opClose:
			p.code = closeCode(payload)
			return p
		case h.outcome == served:
			p.reply = payload
			p.err = c.goodbye()
			return p
		default:
			p.extra++
		}
	}
	return p
}

// judge holds what a client saw against what must happen. Once a module has trapped often enough its clients may be
// turned away.
func (h *hostile) judge(p provocation, nth int, again bool) error {
	if p.err != nil {
		return p.err
	}
	if p.extra > 0 {
		return fmt.Errorf("%d messages of an event that must be undone", p.extra)
	}
	mayBeTurnedAway := again || nth >= breakerTraps || h.stop != nil && h.stop.MatchString("busy")
	if p.turnedAway() && (h.outcome == stopped || h.outcome == closed) && mayBeTurnedAway {
		return nil
	}
	switch h.outcome {
	case served:
		if p.code != 0 || p.status != 0 || p.reply != h.reply {
			return fmt.Errorf("%v, want the reply %q", p, h.reply)
		}
	case stopped:
		switch h.provoke {
		case "close": // nobody is told
		case "upgrade":
			if p.status != 500 {
				return fmt.Errorf("%v, want HTTP 500", p)
			}
		default:
			if p.code != 1011 {
				return fmt.Errorf("%v, want 1011", p)
			}
		}
	case closed:
		if !slices.Contains(h.codes, p.code) && !(p.status == 503 && slices.Contains(h.codes, 1013)) {
			return fmt.Errorf("%v, want one of %v", p, h.codes)
		}
	case answered:
		if !slices.Contains(h.codes, p.status) {
			return fmt.Errorf("%v, want HTTP %v", p, h.codes)
		}
	}
	return nil
}

// judgeLog looks for the reason of each stop, and for what the module may and may not have logged.
func (st *stage) judgeLog(t *testing.T, h *hostile, did performance) {
	t.Helper()
	reason := h.stop
	if reason == nil {
		reason = h.logReason
	}
	if reason != nil && !did.again {
		from := did.from
		if h.logReason != nil {
			from = 0
		}
		var reasons []string
		found := eventually(func() bool {
			reasons = nil
			for _, r := range st.server.records(h.name, from) {
				if r.Reason != "" {
					reasons = append(reasons, r.Reason)
				}
			}
			return len(reasons) > 0
		})
		for _, r := range reasons {
			if !reason.MatchString(r) {
				t.Errorf("the log gives the reason %q, want %v", r, reason)
			}
		}
		if !found {
			t.Errorf("the log gives no reason, want %v\n%s", reason, st.server.said())
		}
	}
	logged := func(of func(string) bool) bool {
		return slices.ContainsFunc(st.server.records(h.name, did.from), func(r record) bool { return of(r.Message) })
	}
	if h.log != nil && !eventually(func() bool { return logged(h.log.MatchString) }) {
		t.Errorf("it has not logged %v\n%s", h.log, st.server.said())
	}
	if h.neverLog != nil && logged(h.neverLog.MatchString) {
		t.Errorf("it has logged %v", h.neverLog)
	}
	lines := len(st.server.records(h.name, did.from))
	if h.mostLines > 0 && lines > h.mostLines {
		t.Errorf("it has caused %d lines of log, want %d at most", lines, h.mostLines)
	}
}

// restart replaces a server that has failed, for the cases that are left.
func (st *stage) restart(t *testing.T) {
	st.server.kill()
	st.watch.end()
	st.server, st.watch = nil, nil
	if st.restarts++; st.restarts <= mostRestarts {
		st.open(t)
	}
}

// leavesNothing expects the server to have given back what the modules took.
func (st *stage) leavesNothing(t *testing.T, before usage) {
	t.Helper()
	if st.restarts > 0 {
		return // it is another one, and the failure is known
	}
	var after usage
	back := eventually(func() bool {
		after = st.server.usage(t)
		return after.descriptors <= before.descriptors+leftDescriptors && after.threads <= before.threads+leftThreads &&
			after.residentKiB <= before.residentKiB+leftKiB
	})
	t.Logf("before: %v; after: %v", before, after)
	if !back {
		t.Errorf("the server has kept too much: before %v, after %v", before, after)
	}
	if after.peakKiB > mostKiB {
		t.Errorf("the server has taken %d MiB, want %d at most", after.peakKiB>>10, mostKiB>>10)
	}
	for i, line := range st.server.everything() {
		if len(line) > maxLineBytes {
			t.Errorf("line %d of the log has %d bytes", i, len(line))
		}
		if strings.Contains(line, "goroutine ") && strings.Contains(line, "panic") {
			t.Errorf("the log tells of a panic: %.300s", line)
		}
	}
}

// close ends the server in order, which every connection must survive until its Close frame.
func (st *stage) close(t *testing.T) {
	t.Helper()
	st.watch.end()
	if lost := st.watch.lost; lost != nil {
		t.Errorf("canary: %v", lost)
	}
	st.watch = nil
	if err := st.server.stop(3 * patience); err != nil {
		t.Error(err)
	}
}
