package host

import (
	"sync"
	"sync/atomic"
	"time"

	"weir/runtime"
)

// TimeBounds are the upper bounds of the buckets of Times. A handler is expected
// to take microseconds, and cut off after some tens of milliseconds.
var TimeBounds = [...]time.Duration{
	5 * time.Microsecond, 10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second,
}

// Times is how long events took in the sandbox, those that failed included. Of
// many messages that come at once some are timed, and count for the others.
type Times struct {
	// Buckets counts those that took no longer than the bound of TimeBounds with
	// the same index, and longer than the one before. The last has no bound.
	Buckets [len(TimeBounds) + 1]uint64
	// Sum is the time of all of them.
	Sum time.Duration
}

// Add adds what o has counted.
func (ts *Times) Add(o Times) {
	for i, n := range o.Buckets {
		ts.Buckets[i] += n
	}
	ts.Sum += o.Sum
}

// turnTimes are what one turn has counted of one generation: written by the
// goroutine that has the turn, read by Server.Stats.
type turnTimes struct {
	buckets [len(TimeBounds) + 1]atomic.Uint64
	nanos   atomic.Int64
	_       [64]byte // the next turn's counters are on another line
}

// note counts n events that took d each.
func (tt *turnTimes) note(d time.Duration, n uint64) {
	i := 0
	for i < len(TimeBounds) && d > TimeBounds[i] {
		i++
	}
	tt.buckets[i].Add(n)
	tt.nanos.Add(int64(d) * int64(n))
}

// timesOfTurns are the times of one generation.
type timesOfTurns struct {
	mu sync.Mutex // below
	by map[*turn]*turnTimes
}

func (tt *timesOfTurns) of(t *turn) *turnTimes {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	own := tt.by[t]
	if own == nil {
		if tt.by == nil {
			tt.by = make(map[*turn]*turnTimes)
		}
		own = new(turnTimes)
		tt.by[t] = own
	}
	return own
}

func (tt *timesOfTurns) sum() Times {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	var all Times
	for _, own := range tt.by {
		for i := range own.buckets {
			all.Buckets[i] += own.buckets[i].Load()
		}
		all.Sum += time.Duration(own.nanos.Load())
	}
	return all
}

// timedOf is of how many events in one turn one is timed, besides the first:
// two looks at the clock take 80 ns, which is much for who gets many messages at
// once. It counts for those before it too.
const timedOf = 8

// call delivers an event to the turn's instance, and takes the time if somebody
// wants to know. Hot path, 0 allocs (TestTimedMessageAllocs).
func (t *turn) call(ev runtime.Event, conn uint64, arg int64, payloadBytes int) (int32, error) {
	if !t.srv.timed {
		return t.inst.Call(&t.inv, ev, conn, arg, payloadBytes)
	}
	gen := t.crew.generation
	if t.timed != gen {
		t.timed, t.times, t.untimed = gen, gen.times.of(t), 0
	}
	t.untimed++
	if t.calls > 1 && t.untimed < timedOf {
		return t.inst.Call(&t.inv, ev, conn, arg, payloadBytes)
	}
	start := t.srv.clock.Mono()
	status, err := t.inst.Call(&t.inv, ev, conn, arg, payloadBytes)
	t.times.note(time.Duration(t.srv.clock.Mono()-start), t.untimed)
	t.untimed = 0
	return status, err
}
