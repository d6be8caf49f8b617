package pool

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Task is work that is done in bounded turns.
type Task interface {
	// Run does one turn on a worker and reports whether there is more to do,
	// in which case the pool queues the task again, behind all others.
	//
	// The owner sees to it that a task is in the pool at most once: queued,
	// running, or going back to the queue. Run therefore never overlaps with
	// itself, and what one turn wrote the next turn sees. A turn that takes
	// long delays the tasks behind it, so it ends itself by a budget.
	Run() (more bool)
}

// Pool runs tasks on at most Options.Workers goroutines.
type Pool struct {
	workers   int // constant
	queueHigh int // constant

	overloaded atomic.Bool // written under mu

	mu        sync.Mutex
	queue     queue
	idle      *worker // asleep; who fell asleep last comes first
	started   int     // workers that live
	busy      int     // of these, how many are inside Run
	searching bool    // a worker is on its way to the queue and has no task yet
	closed    bool    // Close began
	stats     Stats   // the counters; the rest is filled in by Stats

	done chan struct{} // closed when Close began, the queue is empty and the last worker left
}

// worker is the place where one goroutine sleeps.
type worker struct {
	wake chan struct{} // capacity 1: one token per time that it was taken off the idle list
	next *worker       // below it in the idle list; under Pool.mu
}

// New returns a pool that has no goroutine yet. Values of o that Validate
// would refuse count as 0. The caller ends the pool with Close.
func New(o Options) *Pool {
	o = o.withDefaults()
	return &Pool{
		workers:   o.Workers,
		queueHigh: o.QueueHigh,
		done:      make(chan struct{}),
	}
}

// Submit queues t for its next turn and reports whether it did: false means
// that Close has begun and t will not run. It never blocks.
//
// Hot path, 0 allocs once the pool has seen its load (TestSubmitAllocs).
func (p *Pool) Submit(t Task) bool {
	p.mu.Lock()
	if p.closed {
		p.stats.Refused++
		p.mu.Unlock()
		return false
	}
	p.stats.Submitted++
	p.pushLocked(t)
	w := p.searchLocked()
	p.mu.Unlock()
	if w != nil {
		w.wake <- struct{}{}
	}
	return true
}

// Overloaded reports whether more tasks wait than Options.QueueHigh, and from
// then on until fewer than half of that wait. It costs one atomic load.
func (p *Pool) Overloaded() bool { return p.overloaded.Load() }

// Close refuses new tasks, lets the queued ones run until none of them has
// more to do, and waits for the workers to end. When ctx ends first it returns
// an error that wraps ctx's, and the workers go on by themselves; Close may
// then be called again. It must not be called from a task.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		if p.started == 0 {
			close(p.done) // without workers nothing was ever queued
		}
		for w := p.idle; w != nil; w = w.next {
			w.wake <- struct{}{}
		}
		p.idle = nil
	}
	p.mu.Unlock()

	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		s := p.Stats()
		return fmt.Errorf("pool: close with %d tasks queued and %d running: %w", s.Queued, s.Busy, context.Cause(ctx))
	}
}

// pushLocked puts t at the tail.
func (p *Pool) pushLocked(t Task) {
	p.queue.push(t)
	if n := p.queue.n; n > p.stats.QueuedMax {
		p.stats.QueuedMax = n
	}
	if p.queue.n > p.queueHigh && !p.overloaded.Load() {
		p.overloaded.Store(true)
		p.stats.Overloads++
	}
}

// popLocked takes the head; there is one.
func (p *Pool) popLocked() Task {
	t := p.queue.pop()
	// Written with 2n so that a QueueHigh of 1 has an "off" too.
	if 2*p.queue.n < p.queueHigh && p.overloaded.Load() {
		p.overloaded.Store(false)
	}
	return t
}

// searchLocked sends one worker towards the queue, unless one is on its way
// already or none is left. It starts a new worker itself; a sleeping one it
// returns, for the caller to wake after unlocking.
func (p *Pool) searchLocked() *worker {
	if p.searching || p.queue.n == 0 {
		return nil
	}
	if w := p.idle; w != nil {
		p.idle, w.next = w.next, nil
		p.searching = true
		p.stats.Wakes++
		return w
	}
	if p.started < p.workers {
		p.started++
		p.searching = true
		go p.work(&worker{wake: make(chan struct{}, 1)}) // ends after Close; counted in started
	}
	return nil
}

// work is the life of one worker. It is born searching.
func (p *Pool) work(w *worker) {
	p.mu.Lock()
	p.searching = false
	for {
		for p.queue.n == 0 {
			if p.closed {
				p.leaveLocked()
				p.mu.Unlock()
				return
			}
			w.next, p.idle = p.idle, w
			p.mu.Unlock()
			<-w.wake
			p.mu.Lock()
			p.searching = false // whoever woke us set it; Close did not, then it does not matter
		}
		t := p.popLocked()
		p.busy++
		next := p.searchLocked()
		p.mu.Unlock()
		if next != nil {
			next.wake <- struct{}{}
		}

		more := t.Run()

		p.mu.Lock()
		p.busy--
		p.stats.Done++
		if more {
			p.stats.Requeued++
			p.pushLocked(t)
		}
	}
}

// leaveLocked ends a worker after Close. Tasks that still run and want more
// are served by the worker that runs them.
func (p *Pool) leaveLocked() {
	p.started--
	if p.started == 0 {
		close(p.done)
	}
}
