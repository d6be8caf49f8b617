package host

import (
	"sync/atomic"
	"time"
)

// pace decides where a generation's handlers run. A hand-over to a worker costs
// 3 to 6 µs a message when both sides sleep, as much as everything else the
// server does for it; a slow handler on the poller's goroutine holds up every
// connection of that shard. So a generation starts on workers, moves to the
// poller's goroutine once it has proved quick, and moves back as soon as it is
// not (docs/adr/0002). Any goroutine.
//
// A turn that took long on the wall clock may only have waited for a core, which
// a worker would have done too. So it makes the generation suspect, and while it
// is, turns are judged by the CPU time of their thread where the system tells.
type pace struct {
	quick   atomic.Bool
	streak  atomic.Int32 // quick turns in a row while on workers
	debt    atomic.Int64 // ns by which turns were too long lately
	suspect atomic.Int32 // how many more turns to measure closely
	retryAt atomic.Int64 // Mono ns before which the generation stays on workers
	backOff atomic.Int64 // ns; doubles each time it is sent back
	moves   atomic.Int64 // how often it was sent back
}

const (
	paceProof = 32 // quick turns that prove a generation
	// paceQuick is what a call may take on average to prove quick, paceDear what
	// it may take to stay: a dearer one gains more from another core than the
	// hand-over costs.
	paceQuick  = 50 * time.Microsecond
	paceDear   = 100 * time.Microsecond
	paceBudget = time.Millisecond // what a turn on the poller may take at most
	// A turn that is too long adds its excess to the debt, a good one pays some
	// back. The bound is about the longest that a generation which turns slow
	// holds up its neighbours, once.
	paceDebt    = 24 * time.Millisecond
	pacePayback = 100 * time.Microsecond
	paceSuspect = 32 // turns that are measured closely after a long one
	// paceSureFuel is work of a guest in one call, some 2.5 ms, that leaves no
	// doubt why the turn was long.
	paceSureFuel = 1_000_000

	paceBackOffMin = 100 * time.Millisecond
	paceBackOffMax = 10 * time.Second
	paceForgive    = time.Minute // good for so long, and the back-off starts anew
)

// slow reports that the generation was sent back to workers and is there still.
func (p *pace) slow() bool { return !p.quick.Load() && p.moves.Load() > 0 }

// stopwatch measures one turn on the poller's goroutine.
type stopwatch struct {
	wall int64 // Mono ns
	cpu  int64 // the thread's, ns; -1 when it is not measured
}

// start begins to measure a turn at wall time nowMono.
func (p *pace) start(nowMono int64) stopwatch {
	w := stopwatch{wall: nowMono, cpu: -1}
	if p.suspect.Load() > 0 {
		p.suspect.Add(-1)
		w.cpu = threadCPU()
	}
	return w
}

// stop returns how long the turn took, and whether that is its own doing.
func (w stopwatch) stop(nowMono int64) (nanos int64, sure bool) {
	nanos = nowMono - w.wall
	if w.cpu < 0 {
		return nanos, false
	}
	// A goroutine that was moved to another thread brings nonsense.
	if cpu := threadCPU() - w.cpu; cpu >= 0 && cpu < nanos {
		nanos = cpu
	}
	return nanos, true
}

// note records a turn of nanos with that many handler calls.
func (p *pace) note(nanos int64, sure bool, calls int, inline bool, nowMono int64) {
	if calls == 0 {
		return
	}
	if inline {
		p.noteInline(nanos, sure, calls, nowMono)
		return
	}
	if p.quick.Load() {
		return
	}
	if nanos > int64(calls)*int64(paceQuick) {
		p.streak.Store(0)
		return
	}
	if p.streak.Add(1) >= paceProof && nowMono >= p.retryAt.Load() {
		p.debt.Store(0)
		p.quick.Store(true)
	}
}

func (p *pace) noteInline(nanos int64, sure bool, calls int, nowMono int64) {
	if excess := nanos - min(int64(paceBudget), int64(calls)*int64(paceDear)); excess > 0 {
		p.suspect.Store(paceSuspect)
		if !sure && threadCPUKnown {
			return
		}
		if p.debt.Add(excess) > int64(paceDebt) && p.quick.CompareAndSwap(true, false) {
			p.streak.Store(0)
			pause := int64(paceBackOffMin)
			if last := p.retryAt.Load(); last != 0 && nowMono-last < int64(paceForgive) {
				pause = min(2*p.backOff.Load(), int64(paceBackOffMax))
			}
			p.backOff.Store(pause)
			p.retryAt.Store(nowMono + nanos + pause)
			p.moves.Add(1)
		}
		return
	}
	if d := p.debt.Load(); d > 0 {
		p.debt.CompareAndSwap(d, max(0, d-int64(pacePayback)))
	}
}
