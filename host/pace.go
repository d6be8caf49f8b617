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
// not (docs/adr/0002). Any goroutine; times are wall time, since a handler that
// waits for a core holds the poller up just the same.
type pace struct {
	quick   atomic.Bool
	streak  atomic.Int32 // quick turns in a row while on workers
	debt    atomic.Int64 // ns by which turns were too long lately
	retryAt atomic.Int64 // Mono ns before which the generation stays on workers
	backOff atomic.Int64 // ns; doubles each time it is sent back
	moves   atomic.Int64 // how often it was sent back
}

const (
	paceProof  = 32                     // quick turns that prove a generation
	paceQuick  = 200 * time.Microsecond // what a quick turn's calls take on average
	paceBudget = time.Millisecond       // what a turn on the poller may take
	// A turn that is too long adds its excess to the debt, a good one pays some
	// back. The bound lets through what the operating system's own scheduling
	// does to a crowded machine: goroutines that lose their core for 10 ms now
	// and then. It is also about the longest that a generation which turns slow
	// holds up its neighbours, once.
	paceDebt    = 24 * time.Millisecond
	pacePayback = 100 * time.Microsecond

	paceBackOffMin = 100 * time.Millisecond
	paceBackOffMax = 10 * time.Second
	paceForgive    = time.Minute // good for so long, and the back-off starts anew
)

// note records a turn of nanos with that many handler calls.
func (p *pace) note(nanos int64, calls int, inline bool, nowMono int64) {
	if calls == 0 {
		return
	}
	if inline {
		p.noteInline(nanos, nowMono)
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

func (p *pace) noteInline(nanos, nowMono int64) {
	if excess := nanos - int64(paceBudget); excess > 0 {
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
