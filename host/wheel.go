package host

import (
	"sync"
	"time"
)

// wheel is a hierarchical timing wheel: many deadlines, most of which move or
// vanish before they are due, at constant cost each. It starts no timer and
// reads no clock: its driver asks next when to come back and calls advance.
//
// Level l has 64 slots of 64^l ticks. A node sits in the coarsest level whose
// slot still separates it from now, and moves down as its time comes near.
type wheel struct {
	mu    sync.Mutex
	now   int64 // the tick up to which everything has fired
	slots [wheelLevels][wheelSlots]wheelNode
	used  [wheelLevels]uint64 // bit s: slot s holds something
	// kick is told when a deadline earlier than all others arrives, so that a
	// sleeping driver wakes. Called without mu.
	kick func()
	wake int64 // the tick that the driver sleeps until
}

const (
	// wheelTick is the resolution of every deadline and timer; the shortest
	// guest timer is as long.
	wheelTick = 10 * time.Millisecond

	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	wheelLevels = 4 // 64⁴ ticks are 46 hours; later ones wait in the top level

	neverTick = int64(1)<<62 - 1
)

// firer is what a wheelNode belongs to. fire is called without locks, on the
// driver's goroutine, and must not block.
type firer interface{ fire(now int64) }

// wheelNode is one deadline, embedded in what it belongs to. The wheel's lock
// guards it.
type wheelNode struct {
	prev, next *wheelNode // in a slot's ring; nil when not scheduled
	due        int64      // tick
	owner      firer
}

func newWheel(nowNs int64, kick func()) *wheel {
	w := &wheel{now: nowNs / int64(wheelTick), kick: kick, wake: neverTick}
	for l := range w.slots {
		for s := range w.slots[l] {
			head := &w.slots[l][s]
			head.prev, head.next = head, head
		}
	}
	return w
}

// schedule makes n fire at atNs or up to one tick later, whatever it was set to
// before.
func (w *wheel) schedule(n *wheelNode, atNs int64) { w.set(n, atNs, false) }

// scheduleBefore is schedule, unless n is set to an earlier time already.
func (w *wheel) scheduleBefore(n *wheelNode, atNs int64) { w.set(n, atNs, true) }

func (w *wheel) set(n *wheelNode, atNs int64, onlyEarlier bool) {
	due := (atNs + int64(wheelTick) - 1) / int64(wheelTick)
	w.mu.Lock()
	if onlyEarlier && n.next != nil && n.due <= due {
		w.mu.Unlock()
		return
	}
	w.removeLocked(n)
	n.due = due
	w.insertLocked(n)
	kick := n.due < w.wake
	if kick {
		w.wake = n.due
	}
	w.mu.Unlock()
	if kick && w.kick != nil {
		w.kick()
	}
}

// cancel forgets n. It may still fire once if the driver has just taken it.
func (w *wheel) cancel(n *wheelNode) {
	w.mu.Lock()
	w.removeLocked(n)
	w.mu.Unlock()
}

func (w *wheel) insertLocked(n *wheelNode) {
	at := max(n.due, w.now+1)
	level := 0
	for level < wheelLevels-1 && (at>>(wheelBits*level))-(w.now>>(wheelBits*level)) >= wheelSlots {
		level++
	}
	// The top level's horizon is finite: a node beyond it waits in the last slot
	// and is placed again when that comes.
	if horizon := (w.now>>(wheelBits*level) + wheelSlots - 1) << (wheelBits * level); level == wheelLevels-1 && at > horizon {
		at = horizon
	}
	slot := int(at>>(wheelBits*level)) & (wheelSlots - 1)
	head := &w.slots[level][slot]
	n.prev, n.next = head.prev, head
	head.prev.next = n
	head.prev = n
	w.used[level] |= 1 << slot
}

func (w *wheel) removeLocked(n *wheelNode) {
	if n.next == nil {
		return
	}
	n.prev.next, n.next.prev = n.next, n.prev
	n.prev, n.next = nil, nil
}

// advance fires everything that is due at nowNs. One goroutine drives.
func (w *wheel) advance(nowNs int64) {
	target := nowNs / int64(wheelTick)
	var batch [64]firer
	for {
		n := 0
		w.mu.Lock()
		n = w.collectLocked(target, batch[:])
		w.mu.Unlock()
		for i := range n {
			batch[i].fire(nowNs)
			batch[i] = nil
		}
		if n < len(batch) {
			return
		}
	}
}

// collectLocked moves the wheel towards target and takes due nodes until into
// is full.
func (w *wheel) collectLocked(target int64, into []firer) int {
	n := 0
	for {
		n += w.takeLocked(0, w.now, into[n:])
		if n == len(into) || w.now >= target {
			return n
		}
		step := w.nextLocked()
		if step > target {
			w.now = target // nothing between here and target: no slot is passed
			w.cascadeLocked()
			continue
		}
		w.now = max(step, w.now+1)
		w.cascadeLocked()
	}
}

// takeLocked empties the level-0 slot of tick at, as far as into reaches.
func (w *wheel) takeLocked(level int, at int64, into []firer) int {
	slot := int(at) & (wheelSlots - 1)
	if w.used[level]&(1<<slot) == 0 {
		return 0
	}
	head := &w.slots[level][slot]
	n := 0
	for head.next != head {
		if n == len(into) {
			return n
		}
		node := head.next
		w.removeLocked(node)
		into[n] = node.owner
		n++
	}
	w.used[level] &^= 1 << slot
	return n
}

// cascadeLocked moves nodes of every coarser slot that now has come to down to
// the level where they belong.
func (w *wheel) cascadeLocked() {
	for level := 1; level < wheelLevels; level++ {
		slot := int(w.now>>(wheelBits*level)) & (wheelSlots - 1)
		if w.used[level]&(1<<slot) == 0 {
			continue
		}
		head := &w.slots[level][slot]
		w.used[level] &^= 1 << slot
		first, last := head.next, head.prev
		if first == head {
			continue
		}
		head.prev, head.next = head, head
		last.next = nil
		for node := first; node != nil; {
			next := node.next
			node.prev, node.next = nil, nil
			w.placeLocked(node)
			node = next
		}
	}
}

// placeLocked is insertLocked for a node whose tick may be now itself.
func (w *wheel) placeLocked(n *wheelNode) {
	if n.due > w.now {
		w.insertLocked(n)
		return
	}
	slot := int(w.now) & (wheelSlots - 1)
	head := &w.slots[0][slot]
	n.prev, n.next = head.prev, head
	head.prev.next = n
	head.prev = n
	w.used[0] |= 1 << slot
}

// nextLocked is the first tick after now at which a slot must be looked at, or
// neverTick.
func (w *wheel) nextLocked() int64 {
	best := neverTick
	for level := range wheelLevels {
		used := w.used[level]
		if used == 0 {
			continue
		}
		base := w.now >> (wheelBits * level)
		for d := int64(1); d <= wheelSlots; d++ {
			if used&(1<<((base+d)&(wheelSlots-1))) != 0 {
				best = min(best, (base+d)<<(wheelBits*level))
				break
			}
		}
	}
	return best
}

// next is the time at which advance should be called again, or false when
// nothing is scheduled. The driver must sleep no longer: an earlier deadline
// that arrives meanwhile calls kick.
func (w *wheel) next() (atNs int64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wake = w.nextLocked()
	if w.used[0]&(1<<(w.now&(wheelSlots-1))) != 0 {
		w.wake = w.now
	}
	return w.wake * int64(wheelTick), w.wake != neverTick
}
