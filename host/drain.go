package host

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errCut means that connections were still open when a drain's time was up.
var errCut = errors.New("host: connections had to be cut")

// drainPerConn is how much of the spread one connection takes: a few clients
// need not wait for half a minute.
const drainPerConn = 2 * time.Millisecond

// Drain ends the server in good order: it stops accepting, tells handlers that
// want to know, lets messages that have come be answered, then sends Close
// frames (1001) spread over time with jitter. It returns when every connection
// is gone. At the drain's timeout, or when ctx ends, what is left is cut and an
// error returned. Close must follow.
func (s *Server) Drain(ctx context.Context) error {
	limits := &s.opts.Drain
	ctx, cancel := context.WithTimeout(ctx, limits.Timeout)
	defer cancel()
	s.drainEnds.Store(s.clock.Mono() + int64(limits.Timeout))
	s.stopAccepting()
	for _, tn := range s.tenants {
		tn.wakeUp(inDrain)
	}
	s.hub.each(func(c *Conn) { c.wakeUp(inDrain | inRead) })

	web := make(chan error, 1) // one answer
	if s.web != nil {
		go func() { web <- s.web.shutdown(ctx) }() // ends by ctx at the latest
	} else {
		web <- nil
	}
	s.sendAway(ctx)
	err := s.waitEmpty(ctx)
	if err != nil {
		s.admitMu.Lock()
		n := s.open
		s.admitMu.Unlock()
		err = fmt.Errorf("%w: %d after %v", errCut, n, limits.Timeout)
		s.cutAll()
	}
	<-web
	return err
}

// sendAway asks every connection to close, each at its own random moment of the
// spread. A connection whose handler runs is asked when that has finished and
// its replies are queued, since the request waits in its lane.
func (s *Server) sendAway(ctx context.Context) {
	var conns []*Conn
	s.hub.each(func(c *Conn) { conns = append(conns, c) })
	spread := min(s.opts.Drain.Spread, time.Duration(len(conns))*drainPerConn)
	s.random.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
	timer := time.NewTimer(0)
	defer timer.Stop()
	start := s.clock.Mono()
	for i, c := range conns {
		due := start + int64(spread)*int64(i)/int64(len(conns))
		if wait := due - s.clock.Mono(); wait > int64(time.Millisecond) {
			timer.Reset(time.Duration(wait))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		}
		c.askAndWake(causeDrain.info())
	}
	// Who was being accepted while the list was made.
	s.hub.each(func(c *Conn) { c.askAndWake(causeDrain.info()) })
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
