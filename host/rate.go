package host

import "time"

// Values of WebSocketOptions.InboundExcess.
const (
	excessWait  = "wait"
	excessClose = "close"
)

// rates is what a connection has sent of late, where that is bounded
// (WebSocketOptions.InboundRate, InboundBytes). Only who has the lane touches it.
type rates struct {
	messages bucket // control frames included
	bytes    bucket // of the wire
	waits    int64  // Mono ns at which the latest wait ends or ended
}

// inboundLimits are those options made ready; zero fields bound nothing.
type inboundLimits struct {
	on            bool
	perMessage    int64 // ns
	messageBurst  int64 // ns
	bytesASecond  int64
	byteBurst     int64 // ns
	closeOnExcess bool
}

func newInboundLimits(w *WebSocketOptions) inboundLimits {
	const second = int64(time.Second)
	l := inboundLimits{closeOnExcess: w.InboundExcess == excessClose}
	// A wait ends with a tick of the wheel. By so much it may end early, or the rate
	// would not be reached.
	const slack = 2 * int64(wheelTick)
	if rate := int64(w.InboundRate); rate > 0 {
		burst := int64(w.InboundBurst)
		if burst == 0 {
			burst = 2 * rate
		}
		l.on, l.perMessage, l.messageBurst = true, second/rate, second/rate*burst+slack
	}
	if rate := int64(w.InboundBytes); rate > 0 {
		l.on, l.bytesASecond, l.byteBurst = true, rate, 2*second
	}
	return l
}

// spend accounts for something that takes that much of the bucket's time. Unlike
// take it never refuses: what was read cannot be sent back.
func (b *bucket) spend(nowMono, nanos int64) { *b = bucket(max(int64(*b), nowMono) + nanos) }

// nextMessage is the time before which no further message is looked at; it has
// come when messages are not bounded.
func (r *rates) nextMessage(l *inboundLimits) int64 {
	return int64(r.messages) - l.messageBurst + l.perMessage
}

// nextRead is the time before which the socket is not read, in the same way.
func (r *rates) nextRead(l *inboundLimits) int64 { return int64(r.bytes) - l.byteBurst }

// ratesOf is where c's rates are kept; nil when they are not bounded.
func (c *Conn) ratesOf() *rates {
	if !c.srv.opts().inbound.on {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	more := c.extrasLocked()
	if more.rates == nil {
		more.rates = new(rates)
	}
	return more.rates
}

// mustWait reports that an open connection has sent too much of late: then it is
// left alone until the wheel comes by at that time, the socket's buffer fills, and
// TCP holds the peer up. Nobody else waits for it, and no goroutine does.
//
// Time that passes so is not the peer's: it counts neither as silence nor for the
// message that it is in the middle of.
func (c *Conn) mustWait(t *turn, until int64) bool {
	if until <= t.now || c.phase != phaseOpen { // an answer to our Close frame must be found
		return false
	}
	if c.srv.opts().inbound.closeOnExcess {
		c.fail(t, causeFlood)
		return true
	}
	r := t.rates
	if until > r.waits { // else it waits already
		if c.asm != nil {
			c.asm.since += until - max(t.now, r.waits)
		}
		r.waits = until
		t.stats.waits.Add(1)
	}
	c.lastHeard = max(c.lastHeard, until)
	c.srv.wheel.scheduleBefore(&c.node, until)
	return true
}
