package host

import "weir/runtime"

// guestTimer is one timer of a handler: on a connection, or (conn nil) of the
// module itself, as far as a cell is concerned. Its map and due list are guarded
// by the connection's mu, or the cell's.
type guestTimer struct {
	node       wheelNode
	srv        *Server
	cell       *cell
	conn       *Conn
	id         int64
	dueMono    int64 // Mono ns
	everyNanos int64 // 0 once
	pending    bool  // in the due list, not delivered yet
	off        bool  // cancelled or replaced
}

// maxModuleTimers bounds the timers of a module that no connection owns.
const maxModuleTimers = 10_000

func (s *Server) maxTimers(c *Conn) int {
	if c == nil {
		return maxModuleTimers
	}
	return s.opts().WebSocket.MaxTimers
}

// lockTimers locks and returns the timers of c, or the cell's own when c is nil.
func (cl *cell) lockTimers(c *Conn) (timers *map[int64]*guestTimer, due *[]*guestTimer) {
	if c == nil {
		cl.mu.Lock()
		return &cl.timers, &cl.due
	}
	c.mu.Lock()
	more := c.extrasLocked()
	return &more.timers, &more.due
}

func (cl *cell) unlockTimers(c *Conn) {
	if c == nil {
		cl.mu.Unlock()
	} else {
		c.mu.Unlock()
	}
}

// setTimer sets or replaces a timer.
func (cl *cell) setTimer(s *Server, c *Conn, id, dueMono, everyNanos int64) {
	g := &guestTimer{srv: s, cell: cl, conn: c, id: id, dueMono: dueMono, everyNanos: everyNanos}
	g.node.owner = g
	timers, _ := cl.lockTimers(c)
	if c != nil && (c.dead || c.sealed) || c == nil && cl.gone.Load() {
		cl.unlockTimers(c)
		return
	}
	if old := (*timers)[id]; old != nil {
		old.off = true
		s.wheel.cancel(&old.node)
	}
	if *timers == nil {
		*timers = make(map[int64]*guestTimer)
	}
	(*timers)[id] = g
	// Under the lock: nobody may cancel it in between, or the wheel would keep it,
	// and a connection that is gone, until it is due.
	s.wheel.schedule(&g.node, dueMono)
	cl.unlockTimers(c)
}

// cancelTimer forgets a timer; a firing that waits to be delivered is forgotten
// too.
func (cl *cell) cancelTimer(s *Server, c *Conn, id int64) {
	timers, _ := cl.lockTimers(c)
	g := (*timers)[id]
	if g != nil {
		g.off = true
		delete(*timers, id)
	}
	cl.unlockTimers(c)
	if g != nil {
		s.wheel.cancel(&g.node)
	}
}

// cancelTimers forgets all timers of a connection that is closing.
func (c *Conn) cancelTimers() {
	c.mu.Lock()
	var timers map[int64]*guestTimer
	if c.more != nil {
		timers = c.more.timers
		c.more.timers, c.more.due = nil, nil
		for _, g := range timers {
			g.off = true
		}
	}
	c.mu.Unlock()
	for _, g := range timers {
		c.srv.wheel.cancel(&g.node)
	}
}

// cancelTimers forgets all timers of a cell that has ended.
func (cl *cell) cancelTimers() {
	cl.mu.Lock()
	timers := cl.timers
	cl.timers, cl.due = nil, nil
	for _, g := range timers {
		g.off = true
	}
	cl.mu.Unlock()
	for _, g := range timers {
		cl.tn.srv.wheel.cancel(&g.node)
	}
}

func (cl *cell) hasTimer(c *Conn, id int64) bool {
	timers, _ := cl.lockTimers(c)
	defer cl.unlockTimers(c)
	return (*timers)[id] != nil
}

func (cl *cell) countTimers(c *Conn) int {
	timers, _ := cl.lockTimers(c)
	defer cl.unlockTimers(c)
	return len(*timers)
}

// fire is the wheel's call: the timer joins its lane's due list.
func (g *guestTimer) fire(int64) {
	_, due := g.cell.lockTimers(g.conn)
	deliver := !g.off && !g.pending
	if deliver {
		g.pending = true
		*due = append(*due, g)
	}
	g.cell.unlockTimers(g.conn)
	if !deliver {
		return
	}
	if g.conn != nil {
		g.conn.wakeUp(inTimer)
	} else {
		g.cell.wakeUp(inTimer)
	}
}

// nextDue takes the oldest firing that is still wanted and sets a repeating
// timer again. A timer that was late by several periods fires once: ticks
// coalesce.
func (cl *cell) nextDue(s *Server, c *Conn, nowMono int64) (id int64, ok bool) {
	timers, due := cl.lockTimers(c)
	for len(*due) > 0 && !ok {
		g := (*due)[0]
		(*due)[0] = nil
		*due = (*due)[1:]
		g.pending = false
		if g.off {
			continue
		}
		id, ok = g.id, true
		if g.everyNanos == 0 {
			g.off = true
			delete(*timers, g.id)
			continue
		}
		g.dueMono += g.everyNanos
		if late := nowMono - g.dueMono; late >= 0 {
			g.dueMono += (late/g.everyNanos + 1) * g.everyNanos
		}
		s.wheel.schedule(&g.node, g.dueMono) // under the lock, as in setTimer
	}
	if len(*due) == 0 {
		*due = nil
	}
	cl.unlockTimers(c)
	return id, ok
}

// fireTimers delivers what is due on an open connection.
func (c *Conn) fireTimers(t *turn) verdict {
	if t.bits&inTimer == 0 {
		return vDone
	}
	cl := c.route.cell
	for c.phase == phaseOpen {
		if !cl.timerWaits(c) {
			return vDone
		}
		if t.spent() {
			return vMore
		}
		// The instance first: waiting for one must not lose the firing.
		v := t.acquire(cl, c)
		if v != vDone && v != vSkip {
			return v
		}
		id, ok := cl.nextDue(t.srv, c, t.now)
		if !ok {
			return vDone
		}
		t.messages++
		if v == vDone && t.crew.mod.Handles(runtime.EventTimer) {
			t.invoke(c, runtime.EventTimer, id, 0)
		}
	}
	return vDone
}

func (cl *cell) timerWaits(c *Conn) bool {
	_, due := cl.lockTimers(c)
	defer cl.unlockTimers(c)
	return len(*due) > 0
}
