package sim

import "time"

// clock is the virtual time. It stands still but for World.Advance.
type clock struct{ ns int64 }

const (
	// epoch is what the clock begins with: guests want a monotonic time above 0.
	epoch = int64(time.Hour)
	// wallEpoch is the wall time at epoch: 2026-01-01 00:00:00 UTC.
	wallEpoch = 1_767_225_600_000
)

// Mono implements host.Clock.
func (c *clock) Mono() int64 { return c.ns }

// UnixMilli implements host.Clock.
func (c *clock) UnixMilli() int64 { return wallEpoch + (c.ns-epoch)/int64(time.Millisecond) }

// happening is something that is due at a moment: a segment arrives, or f is
// called.
type happening struct {
	at   int64
	seq  uint64 // what was planned first happens first
	pipe *pipe  // whose first segment arrives
	f    func()
}

// agenda is a heap of happenings.
type agenda struct {
	heap []happening
	seq  uint64
}

func (a *agenda) before(i, j int) bool {
	x, y := &a.heap[i], &a.heap[j]
	return x.at < y.at || x.at == y.at && x.seq < y.seq
}

func (a *agenda) push(h happening) {
	a.seq++
	h.seq = a.seq
	a.heap = append(a.heap, h)
	for i := len(a.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !a.before(i, up) {
			break
		}
		a.heap[i], a.heap[up] = a.heap[up], a.heap[i]
		i = up
	}
}

func (a *agenda) pop() happening {
	first := a.heap[0]
	last := len(a.heap) - 1
	a.heap[0] = a.heap[last]
	a.heap[last] = happening{}
	a.heap = a.heap[:last]
	for i := 0; ; {
		least := i
		for _, down := range [2]int{2*i + 1, 2*i + 2} {
			if down < last && a.before(down, least) {
				least = down
			}
		}
		if least == i {
			return first
		}
		a.heap[i], a.heap[least] = a.heap[least], a.heap[i]
		i = least
	}
}

// next is when the first happening is due.
func (a *agenda) next() (at int64, ok bool) {
	if len(a.heap) == 0 {
		return 0, false
	}
	return a.heap[0].at, true
}
