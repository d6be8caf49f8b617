package runtime

import (
	"errors"
	"sync"
)

// Waiter is who waits for an instance; it must be comparable, such as a pointer, and can wait once at a time.
type Waiter interface {
	// Granted ends the wait, on the goroutine of whoever gave an instance back, without locks held. It should only
	// hand over. With i nil a place has become free instead, which is reserved for the waiter: it must call
	// [Module.TakeReserved], which may take milliseconds, or [Module.DropReserved].
	Granted(i *Instance)
	// Refused ends the wait with nothing, as [Module.RefuseLate] does, on its caller's goroutine and without locks.
	Refused()
	// Patient reports that the waiter is not to be refused. It is asked once, when the wait begins.
	Patient() bool
}

// pool bounds and keeps the instances of one module. A place is the right to have one instance: it is idle, out (with
// who took it), or reserved (being made, or granted to a waiter that will make it).
//
// While waiters queue, no instance is idle and no place is free, because both go straight to the first waiter.
type pool struct {
	mu     sync.Mutex
	max    int         // places there may be
	places int         // places in use
	idle   []*Instance // the one used last comes last and is taken first: its memory is warm
	queue  queue

	sweeps uint32 // calls of RefuseLate, modulo 2³²
	late   uint64 // waiters that it has refused

	leaving bool // retired and without users: nobody takes any more, what is out comes back
	turned  bool // and who waited was turned away: no instance is made any more
	closed  bool // and everything is back

	ordinal   uint64 // of the next instance
	discarded uint64
	traps     [Reasons]uint64
	memBytes  int64
	total     counters
}

// TryTake returns an idle instance, or nil: at once, without making one, and never before a waiter. The caller counts
// as a user (Retain). It allocates nothing.
func (m *Module) TryTake() *Instance {
	p := &m.pool
	p.mu.Lock()
	i := p.takeIdleLocked()
	p.mu.Unlock()
	return i
}

// Take returns an idle instance; else makes one while there are fewer than the maximum, which may take milliseconds;
// else queues w, first come first served, and returns nil and no error. The caller counts as a user (Retain) until it
// has given back what it got, or has cancelled. The error is a *TrapError if the guest's start code failed, or
// ErrClosed.
func (m *Module) Take(w Waiter) (*Instance, error) {
	p := &m.pool
	p.mu.Lock()
	if i := p.takeIdleLocked(); i != nil {
		p.mu.Unlock()
		return i, nil
	}
	switch {
	case p.leaving:
		p.mu.Unlock()
		return nil, ErrClosed
	case p.places < p.max:
		p.places++
		p.mu.Unlock()
		return m.TakeReserved()
	default:
		ok := p.queue.push(w, p.sweeps)
		p.mu.Unlock()
		if !ok {
			panic("runtime: a Waiter is nil, or waits twice")
		}
		return nil, nil
	}
}

func (p *pool) takeIdleLocked() *Instance {
	last := len(p.idle) - 1
	if last < 0 || p.leaving {
		return nil
	}
	i := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	i.out = true
	return i
}

// TakeReserved makes the instance for which Granted(nil) has reserved a place. When it fails the place goes to the
// next waiter. After [Module.TurnAway] it fails with ErrClosed.
func (m *Module) TakeReserved() (*Instance, error) {
	p := &m.pool
	p.mu.Lock()
	turned, ordinal := p.turned, p.ordinal
	p.ordinal++
	p.mu.Unlock()
	if turned {
		m.freePlace()
		return nil, ErrClosed
	}

	i, err := m.newInstance(ordinal)
	if err != nil {
		if trap, ok := errors.AsType[*TrapError](err); ok {
			p.mu.Lock()
			p.traps[trap.Reason]++
			p.mu.Unlock()
		}
		m.freePlace()
		return nil, err
	}

	p.mu.Lock()
	i.out = true
	p.countLocked(i)
	p.mu.Unlock()
	return i, nil
}

// DropReserved gives up the place that Granted(nil) has reserved; it goes to the next waiter.
func (m *Module) DropReserved() { m.freePlace() }

// Give ends the caller's use of i: it goes straight to the first waiter, else back to the free list. One whose guest
// has stopped is discarded. It allocates nothing.
func (m *Module) Give(i *Instance) {
	if i.err != nil {
		m.Discard(i)
		return
	}
	m.lockBack(i)
	p := &m.pool
	if w := p.queue.pop(); w != nil {
		i.out = true
		p.mu.Unlock()
		w.Granted(i)
		return
	}
	p.idle = append(p.idle, i) // within its capacity
	m.unlockAndClose()
}

// Discard ends the caller's use of i and closes it, as must be done after a trap. The freed place goes to the first
// waiter.
func (m *Module) Discard(i *Instance) {
	m.lockBack(i)
	p := &m.pool
	p.discarded++
	if i.err != nil {
		p.traps[i.err.Reason]++
	}
	p.memBytes -= i.memBytes
	p.mu.Unlock()
	_ = i.close() // before somebody makes another: the maximum holds for memory too
	m.freePlace()
}

// Cancel ends the wait of w and reports true, or false if w does not wait: then it never did, or Granted was called or
// is about to be, and what that brings must be given back.
func (m *Module) Cancel(w Waiter) bool {
	p := &m.pool
	p.mu.Lock()
	found := p.queue.remove(w)
	m.unlockAndClose()
	return found
}

// lateSweeps is how many calls of RefuseLate a waiter sees before it is refused: the first may come right behind it.
const lateSweeps = 3

// RefuseLate refuses the waiters that were there at its last two calls already, patient ones excepted, and returns how
// many of the others still wait. Called every n milliseconds, it bounds a wait to between 2n and 3n. Counting calls
// rather than time spares whoever waits because the whole process was held up.
func (m *Module) RefuseLate() (waiting int) {
	p := &m.pool
	p.mu.Lock()
	p.sweeps++
	var late []Waiter
	for node := p.queue.first; node != nil; {
		next := node.next
		switch {
		case node.patient:
		case p.sweeps-node.sweep >= lateSweeps:
			late = append(late, node.w)
			p.queue.unlink(node)
		default:
			waiting++
		}
		node = next
	}
	p.late += uint64(len(late))
	m.unlockAndClose()
	for _, w := range late {
		w.Refused()
	}
	return waiting
}

// lockBack locks the pool and takes note that i comes back from who had it.
func (m *Module) lockBack(i *Instance) {
	if i.module != m {
		panic("runtime: an Instance was given to another module")
	}
	if i.busy {
		panic(errBusy)
	}
	p := &m.pool
	p.mu.Lock()
	if !i.out {
		p.mu.Unlock()
		panic("runtime: an Instance was given back twice")
	}
	i.out = false
	i.returnLent()
	p.countLocked(i)
}

// countLocked gathers what i has counted since it was here last.
func (p *pool) countLocked(i *Instance) {
	i.call.count.addTo(&p.total)
	now := int64(i.call.mem.Size())
	p.memBytes += now - i.memBytes
	i.memBytes = now
}

// freePlace hands a place on to the first waiter, or frees it.
func (m *Module) freePlace() {
	p := &m.pool
	p.mu.Lock()
	if w := p.queue.pop(); w != nil {
		p.mu.Unlock()
		w.Granted(nil)
		return
	}
	p.places--
	m.unlockAndClose()
}

// leave is called once, when the module is retired and its last user has left.
func (m *Module) leave() {
	m.pool.mu.Lock()
	m.pool.leaving = true
	m.unlockAndClose()
}

// unlockAndClose unlocks the pool, and closes the module if it was left and the last of its instances came back. Who
// took one, or waits, should have been a user all the time; this keeps a mistake there from pulling memory away under
// a running guest.
func (m *Module) unlockAndClose() {
	p := &m.pool
	last := p.leaving && !p.closed && len(p.idle) == p.places && p.queue.len() == 0
	if last {
		p.closed = true
		p.places, p.idle = 0, nil
		p.memBytes = 0
	}
	p.mu.Unlock()
	if last {
		m.close()
	}
}

// queue is first in, first out, and forgets anybody in constant time. An empty one holds no memory worth naming.
type queue struct {
	first, last *queued
	find        map[Waiter]*queued
	spare       *queued // one node is kept, for the pool that is a little too small
}

type queued struct {
	w          Waiter
	sweep      uint32 // pool.sweeps when it came
	patient    bool
	prev, next *queued
}

func (q *queue) len() int { return len(q.find) }

// push reports false if w is nil or in the queue.
func (q *queue) push(w Waiter, sweep uint32) bool {
	if w == nil || q.find[w] != nil {
		return false
	}
	if q.find == nil {
		q.find = make(map[Waiter]*queued)
	}
	node := q.spare
	if node == nil {
		node = new(queued)
	}
	q.spare = nil
	*node = queued{w: w, sweep: sweep, patient: w.Patient(), prev: q.last}
	if q.last != nil {
		q.last.next = node
	} else {
		q.first = node
	}
	q.last = node
	q.find[w] = node
	return true
}

// pop returns nil if nobody waits.
func (q *queue) pop() Waiter {
	if q.first == nil {
		return nil
	}
	w := q.first.w
	q.unlink(q.first)
	return w
}

func (q *queue) remove(w Waiter) bool {
	node := q.find[w]
	if node == nil {
		return false
	}
	q.unlink(node)
	return true
}

func (q *queue) unlink(node *queued) {
	delete(q.find, node.w)
	if node.prev != nil {
		node.prev.next = node.next
	} else {
		q.first = node.next
	}
	if node.next != nil {
		node.next.prev = node.prev
	} else {
		q.last = node.prev
	}
	*node = queued{}
	q.spare = node
}
