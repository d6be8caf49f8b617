package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// errCut means that connections were still open when a drain's time was up.
var errCut = errors.New("host: connections had to be cut")

// drainPerConn is how much of the spread one connection takes: a few clients
// need not wait for half a minute.
const drainPerConn = 2 * time.Millisecond

// requestGrace is how long a drain waits for a request that is on its way over a
// connection that was accepted in time. Such a client is let in and sent away as
// the others, for it has found an open door; one that only holds a connection
// ready is answered 503 after it.
const requestGrace = time.Second

// Drain ends the server in good order: it stops accepting, tells handlers that
// want to know, lets messages that have come be answered, then sends Close
// frames (1001) spread over time with jitter. It returns when every connection
// is gone and every module was told. At the drain's timeout, or when ctx ends,
// what is left is cut and an error returned. Close must follow.
func (s *Server) Drain(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timeout := s.opts().Drain.Timeout
	start := s.clock.Mono()
	limit := s.at(start+int64(timeout), cancel)
	defer s.wheel.cancel(&limit.node)
	s.beginDrain(start)

	err := s.waitEmpty(ctx)
	for _, tn := range s.tenants {
		select {
		case <-tn.pool.drained:
		case <-ctx.Done():
		}
	}
	if s.web != nil {
		s.web.shutdown(ctx) // what it served counts as open, too, and is gone or late
	}
	if err != nil {
		s.admitMu.Lock()
		n := s.open
		s.admitMu.Unlock()
		if n > 0 {
			s.cutAll()
			return fmt.Errorf("%w: %d of them", errCut, n)
		}
	}
	return nil
}

// beginDrain is what a drain does at once, at the time start.
func (s *Server) beginDrain(start int64) {
	s.drainEnds.Store(start + int64(s.opts().Drain.Timeout))
	s.graceEnds.Store(start + int64(requestGrace))
	s.leave()
	for _, name := range slices.Sorted(maps.Keys(s.tenants)) { // in an order that repeats
		s.tenants[name].resume()
		for _, cl := range s.tenants[name].everyCell() {
			cl.wakeUp(inDrain)
		}
	}
	s.hub.each(func(c *Conn) { c.wakeUp(inDrain | inRead) })
	s.sendAway(start)
}

// leave closes the listeners. Who was accepted before is still let in.
func (s *Server) leave() {
	s.leaving.Store(true)
	s.stopAccepting()
}

// sendAway asks every connection to close, each at its own random moment of the
// spread. A connection whose handler runs closes when that has finished and its
// replies are queued, since the request waits in its lane.
func (s *Server) sendAway(start int64) {
	var conns []*Conn
	s.hub.each(func(c *Conn) { conns = append(conns, c) })
	spread := int64(min(s.opts().Drain.Spread, time.Duration(len(conns))*drainPerConn))
	s.randomMu.Lock()
	s.random.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
	s.randomMu.Unlock()
	for i, c := range conns {
		s.at(start+spread*int64(i)/int64(len(conns)), func() { c.askAndWake(causeDrain.info()) })
	}
	// Who was being accepted while the list was made, and who did not ask for
	// anything in time.
	for _, at := range []int64{spread, max(spread, int64(requestGrace))} {
		s.at(start+at, func() {
			s.hub.each(func(c *Conn) {
				c.ask(causeDrain.info())
				c.wakeUp(inClose) // also who was asked before
			})
		})
	}
}

// mayStillAsk reports whether a request that a drain finds unfinished may be on
// its way.
func (s *Server) mayStillAsk(nowMono int64) bool { return nowMono < s.graceEnds.Load() }

// moment is a function that the wheel calls.
type moment struct {
	node wheelNode
	f    func()
}

func (m *moment) fire(int64) { m.f() }

// at calls f, which must not block, at a time of the server's clock.
func (s *Server) at(monoNs int64, f func()) *moment {
	m := &moment{f: f}
	m.node.owner = m
	s.wheel.schedule(&m.node, monoNs)
	return m
}

// cutAll ends every connection without waiting for its peer.
func (s *Server) cutAll() {
	s.hub.each(func(c *Conn) {
		c.askAndWake(causeShutdown.info())
		c.wakeUp(inReset)
	})
}

// waitEmpty waits until no connection is left.
func (s *Server) waitEmpty(ctx context.Context) error {
	s.admitMu.Lock()
	if s.open == 0 {
		s.admitMu.Unlock()
		return nil
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty := s.empty
	s.admitMu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drainLeft is how many milliseconds a drain has left.
func (s *Server) drainLeft(nowMono int64) int64 {
	return max(0, s.drainEnds.Load()-nowMono) / int64(time.Millisecond)
}
