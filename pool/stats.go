package pool

// Stats is what a Pool looks like at one moment. The fields belong together:
// they are read under one lock.
type Stats struct {
	// Workers is the number of goroutines started so far and not yet ended,
	// MaxWorkers how many there may be.
	Workers, MaxWorkers int
	// Busy is the number of workers inside a task's Run.
	Busy int
	// Queued is the number of tasks that wait for a worker, QueuedMax the
	// most that ever waited at the same time.
	Queued, QueuedMax int

	// Submitted counts Submit calls that returned true, Refused those that
	// returned false.
	Submitted, Refused uint64
	// Done counts turns that ended, Requeued those among them after which
	// the task went to the tail again.
	Done, Requeued uint64
	// Wakes counts workers sent from sleep to the queue. Far below Done
	// means that workers found their next task without sleeping.
	Wakes uint64
	// Overloads counts how often Overloaded turned true.
	Overloads uint64
}

// Stats returns the pool's numbers of this moment.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Workers = p.started
	s.MaxWorkers = p.workers
	s.Busy = p.busy
	s.Queued = p.queue.n
	return s
}
