package host

import (
	"time"

	"weir/runtime"
)

const (
	// lingerTimeout is how long input is thrown away after the end, waiting for
	// the peer's FIN.
	lingerTimeout = time.Second
	// laneRounds is how often a lane starts over, when something new was posted,
	// before it goes to the tail.
	laneRounds = 4
)

// Run implements pool.Task: a turn on a worker.
func (c *Conn) Run() (more bool) { return c.take(false) }

// runInline runs a free lane on the poller's goroutine. Only what needs a
// handler that has not proved quick goes to a worker: at once if the handler is
// known to be slow, else when it turns out that one is needed (turn.acquire).
func (s *Server) runInline(c *Conn) {
	if c.phase == phaseOpen && (!s.opts().inline || c.crew().pace.slow()) {
		s.exec.Submit(c)
		return
	}
	if c.take(true) {
		s.exec.Submit(c)
	}
}

// take runs the lane, which is the caller's, and reports whether it wants to be
// put at the tail of the run queue.
func (c *Conn) take(inline bool) (more bool) {
	s := c.srv
	t := s.turns.borrow(s)
	defer s.turns.giveBack(t)
	for range laneRounds {
		t.begin(c, inline)
		t.bits = c.collect()
		v := c.step(t)
		if v == vDone && c.route != nil {
			t.returnGrant(c.route.cell, c)
		}
		t.end()
		c.sendFIN()
		switch v {
		case vMore:
			c.inbox.Or(t.bits | inRead) // what was posted and not used up must not be lost
			return true
		case vWait:
			c.inbox.Or(t.bits | inRead)
			if c.park() {
				return false
			}
		default:
			if c.phase == phaseDead || c.letGo() {
				return false // a dead connection keeps its lane: nobody runs it again
			}
		}
	}
	return true
}

// step does what the lane has to do, in the order in which events must be told.
func (c *Conn) step(t *turn) verdict {
	if t.bits&inReset != 0 {
		c.peerGone, c.cut = true, true
	}
	if t.bits&inFlushed != 0 && c.phase == phaseLingering {
		c.await(t, t.now+int64(lingerTimeout)) // only now can the peer have heard us
	}
	if t.bits&inHangup != 0 {
		c.sawHangup = true
	}
	if t.bits&inDeadline != 0 {
		t.bits |= inRead // what came in time counts, however late the server is
	}
	if v := c.shake(t); v.stops() {
		return v
	}
	if v := c.tellOpen(t); v.stops() {
		return v
	}
	c.obeyClose(t)
	if v := c.fireTimers(t); v.stops() {
		return v
	}
	if v := c.tellDrain(t); v.stops() {
		return v
	}
	v := c.listen(t)
	if t.bits&inDeadline != 0 && !c.peerGone && v != vWait { // who waits for us has time
		t.bits &^= inDeadline
		c.checkDeadline(t)
	}
	if v.stops() {
		return v
	}
	if c.peerGone && c.phase != phaseDead {
		c.lost(t)
	}
	if v := c.tellClose(t); v.stops() {
		return v
	}
	if c.phase == phaseLingering && c.lingered(t) {
		c.tearDown(t)
	}
	return vDone
}

// lingered reports that a lingering connection is over: its peer is gone or had
// its time, and what was queued is out. A peer that has closed its side may still
// read; as long as it does, it gets all of it.
func (c *Conn) lingered(t *turn) bool {
	waits, stalledAt := c.backlog()
	switch {
	case c.cut:
		return true
	case !waits:
		return c.peerGone || t.now >= c.deadline
	case stalledAt != 0:
		return t.now-stalledAt >= int64(t.srv.opts().WebSocket.WriteTimeout)
	default:
		return false // somebody writes, and posts how it went
	}
}

// tellOpen delivers the open event, once.
func (c *Conn) tellOpen(t *turn) verdict {
	if c.phase != phaseOpen || c.told&toldOpen != 0 {
		return vDone
	}
	if !c.crew().mod.Handles(runtime.EventOpen) {
		c.told |= toldOpen
		return vDone
	}
	switch v := t.acquire(c.route.cell, c); v {
	case vDone:
	case vSkip: // a connection that was never told open is not told close either
		return vDone
	default:
		return v
	}
	c.told |= toldOpen
	t.invoke(c, runtime.EventOpen, 0, 0)
	return vDone
}

// tellDrain delivers the drain event, once.
func (c *Conn) tellDrain(t *turn) verdict {
	if t.bits&inDrain == 0 || c.phase != phaseOpen || c.told&toldDrain != 0 || !c.crew().mod.Handles(runtime.EventDrain) {
		return vDone
	}
	v := t.acquire(c.route.cell, c)
	if v.stops() {
		return v
	}
	c.told |= toldDrain
	if v != vDone {
		return vDone
	}
	t.invoke(c, runtime.EventDrain, c.srv.drainLeft(t.now), 0)
	return vDone
}

// tellClose delivers the close event, exactly once to whom open was told.
func (c *Conn) tellClose(t *turn) verdict {
	if c.phase < phaseLingering || c.told&toldOpen == 0 || c.told&toldClose != 0 {
		return vDone
	}
	if !c.crew().mod.Handles(runtime.EventClose) {
		c.told |= toldClose
		return vDone
	}
	v := t.acquire(c.route.cell, c)
	if v.stops() {
		return v
	}
	c.told |= toldClose
	if v != vDone {
		return vDone
	}
	end := c.end
	view, ok := c.inbound(t, runtime.EventClose, len(end.reason))
	if !ok {
		return vDone
	}
	arg := int64(end.code)
	if end.clean {
		arg |= 1 << 16
	}
	t.invoke(c, runtime.EventClose, arg, copy(view, end.reason))
	return vDone
}

// listen reads what the socket has, according to the phase.
func (c *Conn) listen(t *turn) verdict {
	if t.bits&inRead == 0 && c.held == nil && t.reader.Buffered() == 0 {
		return vDone
	}
	switch c.phase {
	case phaseOpen, phaseClosing:
		t.rates = c.ratesOf()
		if v := c.readFrames(t); v.stops() {
			return v
		}
	}
	if c.phase == phaseLingering { // perhaps only now
		return c.throwAway(t)
	}
	return vDone
}

// lost ends a connection whose peer is gone.
func (c *Conn) lost(t *turn) {
	switch c.phase {
	case phaseHandshake:
		c.finish(t, closeInfo{cause: causePeerLost})
	case phaseOpen:
		c.finish(t, causePeerLost.info())
	case phaseClosing: // our Close frame was not answered
		c.linger(t)
	}
}

// finish ends a connection without a (further) Close frame.
func (c *Conn) finish(t *turn, end closeInfo) {
	c.mu.Lock()
	c.sealed = true
	c.mu.Unlock()
	c.settle(end)
	c.linger(t)
}

// settle notes how the connection ends; the first answer stands.
func (c *Conn) settle(end closeInfo) {
	if c.end == nil {
		c.end = &end
		c.leaveAll()
	}
}

// leaveAll takes a connection that is closing out of its topics and timers.
// It must be sealed already.
func (c *Conn) leaveAll() {
	if c.route != nil && c.route.tenant != nil {
		c.route.tenant.topics.leaveAll(c)
		c.cancelTimers()
	}
}

// linger throws input away until the peer's FIN, so that what we sent last
// arrives.
func (c *Conn) linger(t *turn) {
	if c.phase >= phaseLingering {
		return
	}
	c.leaveHandshake()
	c.phase = phaseLingering
	c.dropAssembly()
	c.await(t, t.now+int64(lingerTimeout))
}

// await sets the end of a phase that is about to end, and has the wheel look.
func (c *Conn) await(t *turn, deadline int64) {
	c.deadline = deadline
	next := deadline
	if _, stalledAt := c.backlog(); stalledAt != 0 {
		next = stalledAt + int64(t.srv.opts().WebSocket.WriteTimeout)
	}
	c.srv.wheel.schedule(&c.node, next)
}

// sendFIN half-closes a lingering connection once its queue is out.
func (c *Conn) sendFIN() {
	if c.phase != phaseLingering || c.finSent {
		return
	}
	c.mu.Lock()
	out := c.out == nil && !c.writing
	c.mu.Unlock()
	if out {
		c.finSent = true
		_ = c.sock.CloseWrite() // an error means the peer is gone, which reading tells too
	}
}

// tearDown gives back everything that c holds. Its lane stays taken for ever.
func (c *Conn) tearDown(t *turn) {
	s := c.srv
	c.leaveHandshake()
	c.phase = phaseDead
	s.wheel.cancel(&c.node)
	s.hub.remove(c)
	c.leaveAll()
	c.detach()
	c.dropAssembly()
	t.reader.Reset(&t.src)
	if c.held != nil {
		s.inbound.Add(-int64(len(c.held.B)))
		c.held.Release()
		c.held = nil
	}
	if c.agreed.keeps() {
		s.compression.kept.Add(-c.agreed.keepsBytes())
	}
	c.mu.Lock()
	c.dead, c.sealed = true, true
	writing := c.writing
	if !writing {
		c.dropQueueLocked()
	}
	c.mu.Unlock()
	if !writing { // else the writer closes it
		c.sock.Close()
	}
	s.closed(c)
}
