package sim

import (
	"slices"

	"weir/host"
)

// watched is what a shard tells of: a socket or a listener.
type watched interface {
	// state is what an epoll set would report now: readiness within interest.
	state() host.Event
	// tell calls the handler.
	tell(host.Event)
	// queued points at the mark that says that an edge waits to be fetched.
	queued() *bool
}

// shard models an epoll set with the goroutine that waits on it, as package
// netpoll uses it.
type shard struct {
	w     *World
	ready []watched // edges since they were fetched
	batch []fetched // fetched, not told yet
	busy  bool      // the goroutine is inside a handler
}

// fetched is one event of a batch: it knows its receiver by number only.
type fetched struct {
	fd int
	ev host.Event
}

// edge notes that x has become ready for something.
func (s *shard) edge(x watched) {
	if mark := x.queued(); !*mark {
		*mark = true
		s.ready = append(s.ready, x)
	}
}

// forget takes x out of the set. What was fetched already stays in its batch.
func (s *shard) forget(x watched) {
	if mark := x.queued(); *mark {
		*mark = false
		i := slices.Index(s.ready, x)
		s.ready = slices.Delete(s.ready, i, i+1)
	}
}

func (s *shard) can() bool { return !s.busy && (len(s.batch) > 0 || len(s.ready) > 0) }

// step tells one event, fetching a batch first when the last one is done.
func (s *shard) step() {
	if len(s.batch) == 0 {
		s.fetch()
	}
	if len(s.batch) == 0 {
		return
	}
	f := s.batch[0]
	s.batch = slices.Delete(s.batch, 0, 1)
	s.deliver(f)
	if w := s.w; w.faults.Has(Spurious) && w.rng.IntN(16) == 0 && len(w.fds) > 0 {
		s.deliver(fetched{w.rng.IntN(len(w.fds)), host.Event(1 + w.rng.IntN(7))})
	}
}

// fetch looks up what the first edges are about.
func (s *shard) fetch() {
	n := 1 + s.w.rng.IntN(len(s.ready))
	for _, x := range s.ready[:n] {
		*x.queued() = false
		if ev := x.state(); ev != 0 {
			s.batch = append(s.batch, fetched{s.w.number(x), ev})
		}
	}
	s.ready = slices.Delete(s.ready, 0, n)
}

// deliver tells whoever has the number now.
func (s *shard) deliver(f fetched) {
	w := s.w
	x := w.fds[f.fd]
	if x == nil {
		w.trace.note(w.clock.ns, -1, "stale event", f.fd)
		return
	}
	s.busy = true
	x.tell(f.ev)
	s.busy = false
}
