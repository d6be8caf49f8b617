package host

import (
	goruntime "runtime"
	"sync"
	"testing"
	"time"
)

// shard is a poller's goroutine for wires: it tells each what happened to it.
type shard struct {
	mu    sync.Mutex // below
	wake  *sync.Cond
	ready []*wire // have edges, in order of arrival
	in    map[*wire]bool
	done  bool

	wg sync.WaitGroup
}

func newShard() *shard {
	s := &shard{in: make(map[*wire]bool)}
	s.wake = sync.NewCond(&s.mu)
	s.wg.Go(s.run) // ends with stop
	return s
}

// watch begins to tell w. Edges of before are told too.
func (s *shard) watch(w *wire) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notify = func() { s.add(w) }
	if w.edges != 0 {
		s.add(w)
	}
}

func (s *shard) add(w *wire) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.in[w] {
		s.in[w] = true
		s.ready = append(s.ready, w)
		s.wake.Signal()
	}
}

func (s *shard) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.ready) == 0 {
			if s.done {
				return
			}
			s.wake.Wait()
		}
		w := s.ready[0]
		s.ready = s.ready[1:]
		delete(s.in, w)
		s.mu.Unlock()
		w.tell()
		s.mu.Lock()
	}
}

// stop ends the goroutine once all is told, and waits for it.
func (s *shard) stop() {
	s.mu.Lock()
	s.done = true
	s.wake.Signal()
	s.mu.Unlock()
	s.wg.Wait()
}

// eventually waits until something that other goroutines do has happened. The
// bound is for a test that would otherwise hang; how long it takes decides
// nothing.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !happened(); goruntime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("still waiting for %s", what)
		}
	}
}
