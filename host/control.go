package host

import (
	"encoding/binary"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"weir/pool"
)

// controlFrame answers a ping, a pong or a Close frame (RFC 6455 §5.5). payload
// is the reader's, lent.
func (c *Conn) controlFrame(t *turn, op ws.OpCode, payload []byte) {
	if op == ws.OpClose {
		c.peerCloses(t, payload)
		return
	}
	if !c.control.take(t.now, c.srv.opts().WebSocket.ControlRate) {
		c.fail(t, causeControlFlood)
		return
	}
	if op == ws.OpPing && c.phase == phaseOpen {
		c.sendControl(t, ws.OpPong, payload)
	}
}

// sendControl writes a ping or pong with the turn's other frames. While the
// socket is full none is queued: a peer that does not read gains nothing by
// asking more often (§5.5.3 lets us answer only the latest ping).
func (c *Conn) sendControl(t *turn, op ws.OpCode, payload []byte) {
	if t.claim() {
		t.own = appendFrame(t.own[:t.ownDone], op, payload)
		t.ownDone = len(t.own)
		return
	}
	c.mu.Lock()
	full := c.blocked
	c.mu.Unlock()
	if full {
		return
	}
	frame := pool.Take(frameBytes(len(payload)))
	appendFrame(frame.B[:0], op, payload)
	if t.deliver(c, frame) == queuedFull {
		c.tooSlow()
	}
	frame.Release()
}

// peerCloses handles the peer's Close frame: the answer to ours, or the first.
func (c *Conn) peerCloses(t *turn, payload []byte) {
	code, reason := uint16(0), ""
	switch {
	case len(payload) == 1:
		c.fail(t, causeProtocol)
		return
	case len(payload) >= 2:
		code = binary.BigEndian.Uint16(payload)
		if !mayReceive(code) {
			c.fail(t, causeProtocol)
			return
		}
		if !utf8.Valid(payload[2:]) {
			c.fail(t, causeInvalidUTF8)
			return
		}
		reason = string(payload[2:])
	}
	if c.phase == phaseClosing {
		c.end.clean = true
		c.linger(t)
		return
	}
	end := closeInfo{code: code, clean: true, reason: reason, cause: causePeerClosed}
	if code == 0 {
		end.code = codeNoStatus
	}
	c.seal(t, code, "", false) // the code goes back as it came (§5.5.1)
	c.settle(end)
	c.linger(t)
}

// fail ends a connection for a reason of ours. After a violation by the peer
// nothing it sends can be trusted, so no answer is awaited (§7.1.7).
func (c *Conn) fail(t *turn, why cause) {
	switch {
	case c.phase >= phaseLingering:
	case c.phase == phaseHandshake:
		c.answer(t, answers[http.StatusServiceUnavailable], why)
	case c.phase == phaseClosing:
		c.linger(t)
	default:
		t.stats.failed[why].Add(1)
		end := why.info()
		if end.code == codeAbnormal {
			c.finish(t, end)
			return
		}
		c.close(t, end)
		if why.fatal() {
			c.linger(t)
		}
	}
}

// fatal reports that the peer broke the protocol or its limits: the rest of its
// bytes mean nothing.
func (c cause) fatal() bool {
	switch c {
	case causeProtocol, causeInvalidUTF8, causeBadDeflate, causeTooBig, causeInflateRatio, causeTooManyFragments, causeSlowMessage, causeControlFlood, causeFlood, causeInboundBudget:
		return true
	default:
		return false
	}
}

// close sends our Close frame and waits for the peer's. A message that the peer
// is in the middle of goes on, since its end must be found, but reaches nobody.
func (c *Conn) close(t *turn, end closeInfo) {
	if c.phase != phaseOpen {
		return
	}
	c.seal(t, end.code, end.reason, end.cause == causeSlowConsumer || end.cause == causeOutboundBudget)
	c.settle(end)
	c.phase = phaseClosing
	if c.srv.opts().inbound.on {
		c.inbox.Or(inRead) // what it was kept from reading must be read now
	}
	c.deadline = t.now + int64(c.srv.opts().WebSocket.CloseTimeout)
	c.srv.wheel.schedule(&c.node, c.deadline)
}

// seal queues a Close frame behind everything sent so far.
func (c *Conn) seal(t *turn, code uint16, reason string, dropRest bool) {
	c.mu.Lock()
	if t.claimLocked() {
		c.sealed = true // in one step with the claim: what comes between would follow the Close frame
		c.mu.Unlock()
		t.own = appendClose(t.own[:t.ownDone], code, reason)
		t.ownDone = len(t.own)
		return
	}
	if c.sealed || c.dead {
		c.mu.Unlock()
		return
	}
	size := len(appendClose(t.own[t.ownDone:t.ownDone], code, reason))
	frame := pool.Take(size)
	appendClose(frame.B[:0], code, reason)
	c.sealLocked(frame, dropRest)
	c.mu.Unlock()
	c.flush()
}

// obeyClose does what a handler or the server has asked for.
func (c *Conn) obeyClose(t *turn) {
	if t.bits&inClose == 0 || c.phase > phaseOpen {
		return
	}
	c.mu.Lock()
	end := c.extrasLocked().asked
	c.mu.Unlock()
	if end.cause == causeNone {
		return
	}
	if c.phase == phaseHandshake { // nobody but the server asks so early
		if end.cause == causeDrain && c.srv.mayStillAsk(t.now) {
			return // accept obeys it, or the drain comes back
		}
		c.answer(t, answers[http.StatusServiceUnavailable], end.cause)
		return
	}
	c.close(t, end)
}

// bucket limits a rate without a timer (GCRA): it holds the time at which a
// peer that keeps exactly to the rate would have sent what it has sent.
type bucket int64

// take accounts for one event; false when it comes too fast. The burst is two
// seconds' worth.
func (b *bucket) take(nowMono int64, perSecond int) bool {
	const burst = int64(2 * time.Second)
	at := max(int64(*b), nowMono)
	if at-nowMono >= burst {
		return false
	}
	*b = bucket(at + int64(time.Second)/int64(perSecond))
	return true
}
