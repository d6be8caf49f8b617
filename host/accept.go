package host

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"weir/netpoll"
	"weir/pool"
)

const (
	// acceptsPerTurn bounds how long accepting keeps the poller's goroutine.
	acceptsPerTurn = 64

	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// acceptor takes connections from one listener. It is a lane of its own, like a
// connection: readiness, and the end of a pause, post; whoever finds it free
// runs it.
type acceptor struct {
	srv  *Server
	ln   Listener
	node wheelNode // the end of a pause

	plain bool // no TLS here, whatever the options say

	mu      sync.Mutex // below
	running bool
	again   bool
	stopped bool

	pause time.Duration // owner: the last pause; 0 after a success
}

// Ready is the poller's call.
func (a *acceptor) Ready(netpoll.Event) { a.wakeUp() }

// fire is the wheel's call: the pause is over.
func (a *acceptor) fire(int64) { a.wakeUp() }

func (a *acceptor) wakeUp() {
	a.mu.Lock()
	start := !a.running && !a.stopped
	a.again = true
	a.running = a.running || start
	a.mu.Unlock()
	if start && a.Run() {
		a.srv.exec.Submit(a)
	}
}

// Run implements pool.Task: it accepts until the backlog is empty.
func (a *acceptor) Run() (more bool) {
	for {
		a.mu.Lock()
		if a.stopped || !a.again {
			a.running = false
			a.mu.Unlock()
			return false
		}
		a.again = false
		a.mu.Unlock()
		for range acceptsPerTurn {
			sock, err := a.ln.Accept()
			if err == nil {
				a.pause = 0
				a.srv.welcome(a.secured(a.srv.behindProxy(sock)))
				continue
			}
			if !errors.Is(err, netpoll.ErrWouldBlock) && !errors.Is(err, netpoll.ErrClosed) {
				switch helped, waits := a.turnAway(err); {
				case !helped:
					a.backOff(err)
				case waits:
					continue
				}
			}
			more = true
			break
		}
		if !more { // the backlog is longer than a turn
			a.mu.Lock()
			a.again = true
			a.mu.Unlock()
			return true
		}
		more = false
	}
}

// backOff pauses accepting after an error such as EMFILE. The connections wait
// in the backlog meanwhile; nothing spins.
func (a *acceptor) backOff(err error) {
	s := a.srv
	a.pause = min(max(2*a.pause, acceptPauseMin), acceptPauseMax)
	s.acceptErrors.Add(1)
	var errno syscall.Errno
	errors.As(err, &errno)
	s.log.Warn("cannot accept; trying again", "err", err, "errno", int(errno), "pause", a.pause)
	s.wheel.schedule(&a.node, s.clock.Mono()+int64(a.pause))
}

// stop ends accepting and closes the listener.
func (a *acceptor) stop() error {
	a.mu.Lock()
	stopped := a.stopped
	a.stopped = true
	a.mu.Unlock()
	if stopped {
		return nil
	}
	a.srv.wheel.cancel(&a.node)
	return a.ln.Close()
}

// welcome admits a new socket, or answers 503 and closes it.
func (s *Server) welcome(sock Socket) {
	addr := sock.RemoteAddr().Addr()
	c := &Conn{srv: s, sock: sock, shaking: true}
	if why := s.admit(c); why != notRejected {
		s.shed.Add(1)
		s.rejected[why].Add(1)
		s.log.Debug("connection refused", "reason", why.String(), "remote", addr)
		// The socket's buffer is empty: the answer fits or the peer is gone. A request
		// that has come is read, lest a reset overtakes the answer.
		_, _ = sock.Write(why.answer().append(nil, nil))
		_ = sock.CloseWrite()
		unread := pool.Take(4 << 10)
		_, _ = sock.Read(unread.B)
		unread.Release()
		sock.Close()
		return
	}
	now := s.clock.Mono()
	c.lastHeard = now
	c.inbox.Store(owned) // nobody else may run the lane before Start is done
	c.deadline = now + int64(s.opts().Server.HandshakeTimeout)
	c.node.owner = c
	s.hub.add(c)
	s.wheel.schedule(&c.node, c.deadline)
	sent := c.readAhead()
	if err := c.sock.Start(c); err != nil {
		s.log.Warn("connection lost: the poller refuses it", "err", err)
		c.inbox.Or(inReset)
	}
	if s.refusing.Load() { // Close may have looked at the table before c was in it
		c.inbox.Or(inReset)
	} else if s.drainEnds.Load() != 0 && c.ask(causeDrain.info()) { // likewise the drain
		c.inbox.Or(inClose)
	}
	if sent {
		c.inbox.Or(inRead)
	}
	if !c.letGo() { // something has come
		s.runInline(c)
	}
}

// readAhead takes what a client has sent by the time it is accepted, mostly its
// whole request: then the handshake is done at once, and neither a second event
// nor another goroutine is needed for it. It comes before Start, which would
// report the same bytes.
func (c *Conn) readAhead() bool {
	const requestBytes = 2 << 10 // a browser's request with some cookies
	buf := pool.Take(requestBytes)
	n, err := c.sock.Read(buf.B)
	if err != nil || n == 0 {
		buf.Release()
		return failed(err) // the poller may not tell again
	}
	buf.B = buf.B[:n]
	c.held = buf
	c.srv.inbound.Add(int64(n))
	return true
}

// admit counts a connection in, or says why not. One that comes through a
// trusted proxy is not among those of an address until it is known whose it is
// (Conn.identify).
func (s *Server) admit(c *Conn) rejection {
	o := s.opts()
	limits := &o.Server
	peer := c.sock.RemoteAddr().Addr()
	trusted := o.trust.has(peer)
	if limits.ProxyProtocol == proxyRequire && !trusted {
		return rejectedNotProxy
	}
	if s.refusing.Load() {
		return rejectedDraining
	}
	if s.exec.Overloaded() {
		return rejectedOverloaded
	}
	s.admitMu.Lock()
	defer s.admitMu.Unlock()
	switch {
	case s.open >= limits.MaxConnections:
		return rejectedMaxConnections
	case s.handshakes >= limits.MaxHandshakes:
		return rejectedMaxHandshakes
	}
	if key := limitKey(peer); limits.MaxConnectionsPerIP > 0 && !trusted && key.IsValid() {
		if s.perIP[key] >= limits.MaxConnectionsPerIP {
			return rejectedMaxPerIP
		}
		s.perIP[key]++
		c.counted = true
	}
	s.open++
	s.handshakes++
	s.accepted++
	return notRejected
}

// leaveHandshake frees c's place among the handshakes, once.
func (c *Conn) leaveHandshake() {
	if !c.shaking {
		return
	}
	c.shaking = false
	c.srv.admitMu.Lock()
	c.srv.handshakes--
	c.srv.admitMu.Unlock()
}

// closed counts a connection out.
func (s *Server) closed(c *Conn) {
	why := causeNone
	if c.end != nil {
		why = c.end.cause
	}
	s.closes[why].Add(1)
	if c.owner.Load() != nil { // it was opened
		s.byRoute.of(c.route.pattern.text).close(c.end)
		s.showClose(c)
	}
	s.admitMu.Lock()
	defer s.admitMu.Unlock()
	s.open--
	if c.counted {
		key := limitKey(c.sock.RemoteAddr().Addr())
		if s.perIP[key]--; s.perIP[key] <= 0 {
			delete(s.perIP, key)
		}
	}
	if s.open == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}
