package host

import (
	"strings"
	"sync"
	"testing"
	"time"

	"weir/netpoll"
	"weir/pool"
	"weir/runtime"
)

// proven is a pace whose generation runs on the poller's goroutine.
func proven() *pace {
	p := new(pace)
	p.proveAt(0)
	return p
}

func (p *pace) proveAt(now int64) {
	for range paceProof {
		p.note(1000, false, 1, false, now)
	}
}

func TestAGenerationIsProvedByQuickTurnsInARow(t *testing.T) {
	p := new(pace)
	for range paceProof - 1 {
		p.note(1000, false, 1, false, 0)
	}
	if p.quick.Load() {
		t.Fatal("proved too early")
	}
	p.note(int64(time.Millisecond), false, 1, false, 0) // a slow one: all over again
	for range paceProof - 1 {
		p.note(1000, false, 1, false, 0)
	}
	if p.quick.Load() {
		t.Error("proved although a turn in between was slow")
	}
	p.note(0, false, 0, false, 0) // no handler ran: it proves nothing
	if p.quick.Load() {
		t.Error("proved by turns that called no handler")
	}
	p.note(int64(4*time.Millisecond), false, 100, false, 0) // 40 µs a call
	if !p.quick.Load() {
		t.Error("not proved by a long turn of many quick calls")
	}
	if p.slow() {
		t.Error("it was never sent back")
	}
}

func TestAGenerationThatTurnsSlowIsSentBack(t *testing.T) {
	p := proven()
	turns := 0
	for ; p.quick.Load(); turns++ {
		if turns > 1000 {
			t.Fatal("never sent back")
		}
		p.note(int64(5*time.Millisecond), true, 1, true, 0)
	}
	if held := time.Duration(turns) * 5 * time.Millisecond; held > 2*paceDebt {
		t.Errorf("it held up its neighbours for %v before", held)
	}
	if !p.slow() || p.moves.Load() != 1 {
		t.Errorf("slow %v, sent back %d times", p.slow(), p.moves.Load())
	}
}

func TestOneLongTurnIsForgiven(t *testing.T) {
	p := proven()
	for range 100 {
		p.note(int64(paceBudget)+int64(paceDebt)/2, true, 1, true, 0)
		for p.debt.Load() > 0 {
			p.note(1000, true, 1, true, 0)
		}
	}
	if !p.quick.Load() {
		t.Error("sent back although it was quick nearly all the time")
	}
}

func TestALongTurnThatMayHaveWaitedForACoreIsOnlySuspect(t *testing.T) {
	if !threadCPUKnown {
		t.Skip("the system does not tell the CPU time of a thread")
	}
	p := proven()
	if w := p.start(0); w.cpu >= 0 {
		t.Error("a generation that is not suspect is measured closely")
	}
	p.note(int64(time.Second), false, 1, true, 0)
	if !p.quick.Load() || p.debt.Load() != 0 {
		t.Error("sent back for a turn that may have waited")
	}
	if w := p.start(0); w.cpu < 0 {
		t.Error("the next turn is not measured closely")
	}
	// Measured: a second on the wall clock, next to nothing of CPU.
	w := p.start(0)
	nanos, sure := w.stop(int64(time.Second))
	if !sure || nanos >= int64(time.Second) {
		t.Errorf("a turn that waited counts as %v, sure %v", time.Duration(nanos), sure)
	}
	for range 2 * paceSuspect {
		p.note(1000, p.start(0).cpu >= 0, 1, true, 0)
	}
	if w := p.start(0); w.cpu >= 0 {
		t.Error("suspect for ever")
	}
}

func TestTheBackOffDoublesAndIsForgiven(t *testing.T) {
	p := proven()
	now := int64(time.Hour)
	sendBack := func() {
		t.Helper()
		p.note(int64(time.Second), true, 1, true, now)
		if p.quick.Load() {
			t.Fatal("not sent back")
		}
	}
	for want := paceBackOffMin; ; want = min(2*want, paceBackOffMax) {
		sendBack()
		if got := time.Duration(p.backOff.Load()); got != want {
			t.Fatalf("the back-off is %v, want %v", got, want)
		}
		retry := now + int64(time.Second) + int64(want)
		if p.proveAt(retry - 1); p.quick.Load() {
			t.Fatal("proved before the back-off is over")
		}
		if p.proveAt(retry); !p.quick.Load() {
			t.Fatal("not proved after the back-off")
		}
		now = retry
		if want == paceBackOffMax {
			break
		}
	}
	now += int64(2 * paceForgive)
	sendBack()
	if got := time.Duration(p.backOff.Load()); got != paceBackOffMin {
		t.Errorf("after a good time the back-off is %v", got)
	}
}

func TestPaceIsNotedFromManyGoroutines(t *testing.T) {
	p := proven()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range int64(5000) {
				w := p.start(i)
				inline := p.quick.Load()
				nanos := int64(1000)
				if (i+int64(g))%97 < 3 {
					nanos = int64(20 * time.Millisecond)
				}
				p.note(nanos, w.cpu >= 0, 1, inline, i*int64(time.Millisecond))
				p.slow()
			}
		})
	}
	wg.Wait()
	if p.debt.Load() < 0 {
		t.Errorf("the debt is %d", p.debt.Load())
	}
}

// tick is a clock that each look moves on by some step, as if everything took
// that long.
type tick struct {
	labClock
	step time.Duration
}

func (c *tick) Mono() int64 { return c.ns.Add(int64(c.step)) }

func TestAGenerationMovesBetweenWorkersAndThePoller(t *testing.T) {
	l := newLab(t, withoutPings)
	clock := &tick{step: time.Microsecond}
	clock.ns.Store(l.clock.ns.Load())
	l.srv.clock = clock
	stats := func() ModuleStats { return l.srv.Stats().Modules["puppet"] }
	c := l.connect("/")
	n, heard := 0, 0
	say := func() {
		t.Helper()
		c.say("echo " + strings.Repeat("x", n%50))
		n++
		l.settle()
		heard += len(c.texts())
		if heard != n {
			t.Fatalf("%d of %d replies came", heard, n)
		}
	}
	if stats().Inline {
		t.Error("a new generation runs on the poller's goroutine")
	}
	for range paceProof + 1 {
		say()
	}
	if !stats().Inline {
		t.Error("a quick generation stays on workers")
	}
	before := len(l.tasks.queue)
	c.say("echo inline")
	c.tell()
	if c.want("echo inline"[5:]); len(l.tasks.queue) != before {
		t.Error("a quick generation's message went over a worker")
	}
	clock.step = 10 * time.Millisecond // the handler turns slow
	for range 20 * paceSuspect {
		say()
		if !stats().Inline {
			break
		}
	}
	// By the CPU time of this thread it may still be quick: it is.
	if threadCPUKnown != stats().Inline {
		t.Errorf("inline: %v, although only the wall clock says that it is slow", stats().Inline)
	}
	l.quick(false)
	l.close()
}

func TestInlineNeverMeansNever(t *testing.T) {
	l := newLab(t, func(s *setup) { s.opts.Handler.Inline = inlineNever })
	l.quick(true)
	c := l.connect("/")
	for range 100 {
		c.say("echo x")
		c.tell()
		c.want()
		l.settle()
		c.want("x")
	}
	l.close()
}

func TestAHandlerThatIsSlowAndThenTrapsIsSentBackToo(t *testing.T) {
	w := start(t, func(s *setup) { s.pool.Workers = 2 })
	gen := w.srv.tenants["puppet"].rule.Load().stable
	quick := func() {
		gen.pace.debt.Store(0)
		gen.pace.quick.Store(true)
	}
	quick()
	for n := 0; gen.pace.moves.Load() == 0; n++ {
		if n == 200 {
			t.Fatal("200 slow handlers that trapped ran on the poller's goroutine")
		}
		c := w.dial("/")
		c.say("spin 20000000;trap")
		c.wantClose(codeInternal)
		c.ws.Close()
	}
}

// TestASlowGenerationDoesNotHoldUpItsNeighbour is about two modules: one turns
// slow after it was proved quick, and keeps the poller's goroutine only so long.
func TestASlowGenerationDoesNotHoldUpItsNeighbour(t *testing.T) {
	w := start(t, func(s *setup) {
		s.pool = pool.Options{Workers: 4}
		s.modules[0].Limits = runtime.Limits{Timeout: time.Minute, Fuel: 1 << 40}
		other := s.modules[0]
		other.Name = "neighbour"
		s.modules = append(s.modules, other)
		s.opts.Routes = []Route{{Path: "/slow", Module: "puppet"}, {Path: "/good", Module: "neighbour"}}
	})
	slow, good := w.dial("/slow"), w.dial("/good")
	gen := w.srv.tenants["puppet"].rule.Load().stable
	gen.pace.quick.Store(true)
	w.srv.tenants["neighbour"].rule.Load().stable.pace.quick.Store(true)
	var wg sync.WaitGroup
	wg.Go(func() {
		for gen.pace.moves.Load() == 0 {
			slow.say("spin 5000000;echo done")
			slow.want("done")
		}
	})
	answered := 0
	eventually(t, "the slow generation to be sent back", func() bool {
		good.want(good.echo("still here"))
		answered++
		return gen.pace.moves.Load() > 0
	})
	wg.Wait()
	// Now it is on workers, however long it takes.
	wg.Go(func() {
		slow.say("spin 50000000;echo done")
		slow.want("done")
	})
	for range 20 {
		good.want(good.echo("still here"))
	}
	wg.Wait()
	if st := w.srv.Stats().Modules["puppet"]; st.SentBack == 0 {
		t.Errorf("%+v", st)
	}
}

// echo says that text is to come back, and returns it.
func (c *client) echo(text string) string {
	c.t.Helper()
	c.say("echo " + text)
	return text
}

var _ = netpoll.Readable
