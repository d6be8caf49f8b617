package sim

import (
	"slices"

	"weir/host"
)

// workers is how many goroutines the executor stands for: that many tasks can be
// under way, and so far the order of tasks can differ from the order of the
// queue.
const workers = 4

// executor implements host.Executor: a queue that the world works off.
type executor struct {
	w       *World
	queue   []host.Task
	running []host.Task
	busy    bool // what Overloaded says
}

// Submit implements host.Executor.
func (e *executor) Submit(t host.Task) bool {
	if slices.Contains(e.queue, t) {
		e.w.violate("one lane, one owner", "a task was queued twice")
	}
	e.queue = append(e.queue, t)
	return true
}

// Overloaded implements host.Executor.
func (e *executor) Overloaded() bool { return e.busy }

// can reports that a task could be run now.
func (e *executor) can() bool { return len(e.queue) > 0 && len(e.running) < workers }

// step runs one turn of one of the tasks that free workers would have taken.
func (e *executor) step() {
	i := e.w.rng.IntN(min(len(e.queue), workers-len(e.running)))
	t := e.queue[i]
	e.queue = slices.Delete(e.queue, i, i+1)
	if slices.Contains(e.running, t) {
		e.w.violate("one lane, one owner", "a task was started while it ran")
	}
	e.running = append(e.running, t)
	more := t.Run()
	e.running = e.running[:len(e.running)-1]
	if more {
		e.Submit(t)
	}
}
