package host

import (
	"net/http"

	"github.com/gobwas/ws"
)

// checkDeadline does what time demands: it ends what took too long, pings who
// is silent, and sets the wheel for the next look. Deadlines only ever move
// later while messages flow, so a busy connection never touches the wheel.
func (c *Conn) checkDeadline(t *turn) {
	limits := &c.srv.opts().WebSocket
	switch c.phase {
	case phaseHandshake:
		if t.now >= c.deadline {
			c.answer(t, answers[http.StatusRequestTimeout], causeHandshakeTimeout)
			return
		}
		c.srv.wheel.schedule(&c.node, c.deadline)
		return
	case phaseClosing:
		if t.now >= c.deadline {
			c.linger(t)
			c.cut = true
			return
		}
		c.srv.wheel.schedule(&c.node, c.deadline) // a stalled write had set it
		return
	case phaseLingering:
		if !c.lingered(t) { // else step ends it
			c.await(t, c.deadline)
		}
		return
	case phaseDead:
		return
	}

	if at := c.stalledSince(); at != 0 && t.now-at >= int64(limits.WriteTimeout) {
		c.fail(t, causeSlowConsumer)
		return
	}
	if c.asm != nil && !c.asm.ready && t.now-c.asm.since >= int64(limits.MessageTimeout) {
		c.fail(t, causeSlowMessage)
		return
	}
	if t.now-c.lastHeard >= int64(limits.IdleTimeout) {
		c.fail(t, causeIdle)
		return
	}
	if c.pinged && t.now >= c.deadline {
		c.fail(t, causePingTimeout)
		return
	}
	if !c.pinged && t.now-c.lastHeard >= int64(limits.PingInterval) {
		c.pinged = true
		c.deadline = t.now + int64(limits.PongTimeout)
		c.sendControl(t, ws.OpPing, nil)
		t.stats.pings.Add(1)
	}
	next := c.nextDeadline()
	if t.rates != nil && t.rates.waits > t.now {
		next = min(next, t.rates.waits)
	}
	c.srv.wheel.schedule(&c.node, next)
}

// nextDeadline is when an open connection must be looked at again.
func (c *Conn) nextDeadline() int64 {
	limits := &c.srv.opts().WebSocket
	next := c.lastHeard + int64(min(limits.PingInterval, limits.IdleTimeout))
	if c.pinged {
		next = min(c.deadline, c.lastHeard+int64(limits.IdleTimeout))
	}
	if c.asm != nil && !c.asm.ready {
		next = min(next, c.asm.since+int64(limits.MessageTimeout))
	}
	if at := c.stalledSince(); at != 0 {
		next = min(next, at+int64(limits.WriteTimeout))
	}
	return next
}

// stalledSince is since when the frame at the head of the queue has waited for
// a full socket; 0 when it does not, or when all that waits may be dropped.
func (c *Conn) stalledSince() int64 {
	_, at := c.backlog()
	return at
}

// backlog reports whether anything that was sent is not out yet, and what
// stalledSince says.
func (c *Conn) backlog() (waits bool, stalledAt int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q := c.out; q != nil && c.blocked && (c.sealed || !q.tagged || q.firm > 0) {
		stalledAt = c.out.stalledAt
	}
	return c.out != nil || c.writing, stalledAt
}
