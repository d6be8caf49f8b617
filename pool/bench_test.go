package pool

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
)

// One task at a time, from a goroutine that waits for it: what a hand-over
// costs when the worker sleeps.
func BenchmarkHandOverAsleep(b *testing.B) {
	p := New(Options{})
	defer p.Close(context.Background())
	task := &signal{ran: make(chan struct{})}
	b.ReportAllocs()
	for b.Loop() {
		p.Submit(task)
		<-task.ran
	}
	b.ReportMetric(float64(p.Stats().Wakes)/float64(p.Stats().Done), "wakes/turn")
}

// countdown releases its waiter when n turns ran.
type countdown struct {
	left atomic.Int64
	zero chan struct{}
}

type counted struct{ c *countdown }

func (t *counted) Run() bool {
	if t.c.left.Add(-1) == 0 {
		t.c.zero <- struct{}{}
	}
	return false
}

// A burst of 64 tasks from one goroutine, as one batch of a poller's events.
// The figures are per burst.
func BenchmarkHandOverBurst64(b *testing.B) {
	p := New(Options{})
	defer p.Close(context.Background())
	c := &countdown{zero: make(chan struct{})}
	tasks := make([]*counted, 64)
	for i := range tasks {
		tasks[i] = &counted{c}
	}
	b.ReportAllocs()
	for b.Loop() {
		c.left.Store(int64(len(tasks)))
		for _, t := range tasks {
			p.Submit(t)
		}
		<-c.zero
	}
	b.ReportMetric(float64(p.Stats().Wakes)/float64(p.Stats().Done), "wakes/turn")
}

// spin goes on until its turns are used up.
type spin struct {
	turns int
	wg    *sync.WaitGroup
}

func (s *spin) Run() bool {
	s.turns--
	if s.turns > 0 {
		return true
	}
	s.wg.Done()
	return false
}

// One turn when nobody sleeps: the run queue alone. 16 tasks of 1000 turns
// make one iteration.
func BenchmarkTurns16000(b *testing.B) {
	p := New(Options{})
	defer p.Close(context.Background())
	var wg sync.WaitGroup
	tasks := make([]spin, 16)
	b.ReportAllocs()
	for b.Loop() {
		wg.Add(len(tasks))
		for i := range tasks {
			tasks[i] = spin{turns: 1000, wg: &wg}
			p.Submit(&tasks[i])
		}
		wg.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(p.Stats().Done), "ns/turn")
}

func BenchmarkTakeRelease(b *testing.B) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			Take(200).Release()
		}
	})
}
