package host

// The inbox of a lane: who has it, and what was posted for it. One word, so that
// posting, finding the lane free and taking it are one atomic step, and letting
// go fails when something came meanwhile. No wake-up is lost, no lane runs twice.
const (
	owned      uint32 = 1 << iota // somebody runs the lane, has queued it, or parked it
	parked                        // the lane waits for an instance; who grants it resumes the lane
	inGrant                       // the instance is there
	inRead                        // the socket may have bytes
	inHangup                      // … and perhaps its end behind them
	inFlushed                     // the sealed queue is empty: the Close frame is out
	inDeadline                    // the wheel came by
	inTimer                       // Conn.due holds guest timers
	inClose                       // Conn.asked holds a close that somebody wants
	inDrain                       // the server drains: tell the handler
	inReset                       // writing failed: the peer is gone
	inMove                        // a cell: another generation may have to serve it
	inIdle                        // a cell: it may have been idle for long enough
)

// post puts bits into the inbox and reports whether the lane was free. If so it
// is the caller's now, and the caller must run or submit it.
func (c *Conn) post(bits uint32) bool {
	return c.inbox.Or(bits|owned)&owned == 0
}

// wakeUp posts bits and hands a free lane to the pool. For everybody but the
// poller.
func (c *Conn) wakeUp(bits uint32) {
	if c.post(bits) {
		c.srv.exec.Submit(c)
	}
}

// collect takes what was posted; the lane stays owned.
func (c *Conn) collect() uint32 {
	return c.inbox.And(owned) &^ (owned | parked)
}

// letGo frees the lane, unless something was posted since collect.
func (c *Conn) letGo() bool {
	return c.inbox.CompareAndSwap(owned, 0)
}

// park leaves the lane to whoever grants the instance; false if it was granted
// already, then the caller goes on. Everything must be saved before.
func (c *Conn) park() bool {
	if c.inbox.Or(parked)&inGrant == 0 {
		return true
	}
	c.inbox.And(^parked)
	return false
}

// unpark resumes a parked lane, or makes its park fail.
func (c *Conn) unpark() {
	if c.inbox.Or(inGrant)&parked != 0 {
		c.inbox.And(^parked)
		c.srv.exec.Submit(c)
	}
}
