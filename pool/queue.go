package pool

// minQueue is the first allocation of a queue: 64 × 16 B = 1 KiB.
const minQueue = 64

// queue is a first-in-first-out ring of tasks. It doubles when full and keeps
// its room, so a steady load allocates nothing.
type queue struct {
	ring []Task // length is 0 or a power of two
	head int    // index of the oldest
	n    int    // tasks in the ring
}

func (q *queue) push(t Task) {
	if q.n == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = t
	q.n++
}

// pop wants q.n > 0.
func (q *queue) pop() Task {
	t := q.ring[q.head]
	q.ring[q.head] = nil // a finished task must not be kept alive by the ring
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	return t
}

func (q *queue) grow() {
	ring := make([]Task, max(2*len(q.ring), minQueue))
	k := copy(ring, q.ring[q.head:])
	copy(ring[k:], q.ring[:q.head])
	q.ring, q.head = ring, 0
}
