package host

import (
	"errors"

	"weir/runtime"
)

// verdict is how a step of a lane ended.
type verdict uint8

const (
	vDone   verdict = iota // nothing left to do now
	vMore                  // the turn is spent, or needs a worker: to the tail of the run queue
	vWait                  // every instance is busy: park until one is granted
	vFailed                // no instance can be had; the connection was told
	vSkip                  // the event is to be left out: the breaker is open, and fails open
)

// stops reports that the turn must end and the lane come back.
func (v verdict) stops() bool { return v == vMore || v == vWait }

// waiting locks and returns where a lane keeps what its wait for an instance
// brings: that of c, or a cell's own.
func (cl *cell) waiting(c *Conn) (granted **runtime.Instance, waitsOn **crew) {
	if c == nil {
		cl.mu.Lock()
		return &cl.granted, &cl.waitsOn
	}
	c.mu.Lock()
	more := c.extrasLocked()
	return &more.granted, &more.waitsOn
}

func (cl *cell) doneWaiting(c *Conn) {
	if c == nil {
		cl.mu.Unlock()
	} else {
		c.mu.Unlock()
	}
}

// acquire gets t an instance that serves the lane of c, or the cell's own (nil).
// vDone: t.inst is set. On the poller's goroutine it takes only what is warm and
// proved quick.
func (t *turn) acquire(cl *cell, c *Conn) verdict {
	if t.inst != nil {
		return vDone
	}
	if t.bits&inGrant != 0 {
		return t.takeGranted(cl, c)
	}
	if v := t.mayPass(cl, c); v != vDone {
		return v
	}
	for {
		if cl.gone.Load() {
			return cl.refuse(t, c)
		}
		w := cl.crew(c)
		if !t.inline || t.srv.opts().inline && w.pace.quick.Load() {
			if inst := w.mod.TryTake(); inst != nil {
				t.crew, t.inst = w, inst
				return vDone
			}
		}
		if t.inline {
			return vMore
		}
		_, waitsOn := cl.waiting(c)
		*waitsOn = w
		cl.doneWaiting(c)
		inst, err := w.mod.Take(cl.waiter(c))
		if err == nil && inst == nil {
			w.watchQueue(t.now)
			return vWait
		}
		t.forgetWait(cl, c)
		if err != nil && (cl.gone.Load() || cl.crew(c) != w) {
			continue // replaced meanwhile
		}
		return t.use(cl, c, w, inst, err)
	}
}

// mayPass holds an event back while the module is paused, or its breaker open.
func (t *turn) mayPass(cl *cell, c *Conn) verdict {
	if t.moving {
		return vDone
	}
	if cl.tn.rule.Load().paused {
		if c != nil && c.phase == phaseHandshake {
			c.fail(t, causeBusy)
			return vFailed
		}
		if cl.tn.hold(cl.waiter(c)) {
			return vWait
		}
	}
	if c != nil && c.phase >= phaseLingering {
		return vDone // a close is told in any case
	}
	if t.skipping {
		return vSkip // the rest of the turn too, lest a message comes where its open was left out
	}
	gen := cl.crew(c).generation
	switch gen.breaker.ask(t.now) {
	case passNone:
		return t.breakerOpen(gen, c)
	case passTrial:
		t.trial = &gen.breaker
	}
	return vDone
}

func (cl *cell) waiter(c *Conn) runtime.Waiter {
	if c == nil {
		return cl
	}
	return c
}

// refuse is for who finds that its cell has ended under it.
func (cl *cell) refuse(t *turn, c *Conn) verdict {
	if c != nil {
		c.fail(t, causeHandlerFailed)
	}
	return vFailed
}

// takeGranted uses the instance, or the place for one, that the lane waited for.
func (t *turn) takeGranted(cl *cell, c *Conn) verdict {
	inst, w, refused := t.collectGrant(cl, c)
	switch {
	case refused:
		c.fail(t, causeBusy)
		return vFailed
	case w == nil: // a pause is over
		return t.acquire(cl, c)
	}
	var err error
	if inst == nil {
		if inst, err = w.mod.TakeReserved(); errors.Is(err, runtime.ErrClosed) && (cl.gone.Load() || cl.crew(c) != w) {
			return t.acquire(cl, c) // replaced meanwhile
		}
	}
	return t.use(cl, c, w, inst, err)
}

// collectGrant takes what the lane's wait brought: an instance, or a place for
// one (nil), or neither; w is nil when no instance was waited for.
func (t *turn) collectGrant(cl *cell, c *Conn) (inst *runtime.Instance, w *crew, refused bool) {
	t.bits &^= inGrant
	granted, waitsOn := cl.waiting(c)
	defer cl.doneWaiting(c)
	inst, w = *granted, *waitsOn
	*granted, *waitsOn = nil, nil
	return inst, w, c != nil && c.takeRefusalLocked()
}

// returnGrant gives back what a lane waited for and no longer wants.
func (t *turn) returnGrant(cl *cell, c *Conn) {
	if t.bits&inGrant == 0 {
		return
	}
	switch inst, w, refused := t.collectGrant(cl, c); {
	case refused || w == nil:
	case inst != nil:
		w.mod.Give(inst)
	default:
		w.mod.DropReserved()
	}
}

// takeRefusalLocked reports that the wait ended with nothing.
func (c *Conn) takeRefusalLocked() bool {
	refused := c.more.refused
	c.more.refused = false
	return refused
}

// breakerOpen does what the generation's breaker says of an event while it is open.
func (t *turn) breakerOpen(gen *generation, c *Conn) verdict {
	t.stats.broken.Add(1)
	if gen.breaker.options.Fail == failOpen {
		t.skipping = true
		return vSkip
	}
	if c != nil {
		c.fail(t, causeBreaker)
	}
	return vFailed
}

// settleTrial tells the breaker how the event went that it has let through.
func (t *turn) settleTrial(done, trapped bool) {
	if t.trial == nil {
		return
	}
	t.trial.settle(done, trapped, t.srv.clock.Mono())
	t.trial = nil
}

// countTrap counts a trap against its generation, which may end it.
func (t *turn) countTrap(gen *generation) {
	gen.traps.Add(1)
	opened := false
	if t.trial == &gen.breaker {
		t.settleTrial(true, true)
	} else if opened = gen.breaker.trapped(t.srv.clock.Mono()); opened {
		gen.logger().Error("the module traps again and again: it rests", "fail", gen.breaker.options.Fail)
	}
	gen.tn.judge(gen, opened)
}

func (t *turn) forgetWait(cl *cell, c *Conn) {
	_, waitsOn := cl.waiting(c)
	*waitsOn = nil
	cl.doneWaiting(c)
}

// use makes inst the turn's, initialised if it is fresh.
func (t *turn) use(cl *cell, c *Conn, w *crew, inst *runtime.Instance, err error) verdict {
	if err == nil {
		t.crew, t.inst = w, inst
		if !inst.Fresh() {
			return vDone
		}
		if err = t.initInstance(cl, w.ofCell()); err == nil {
			return vDone
		}
	}
	t.stats.unavailable.Add(1)
	if t.tails != nil {
		t.showFailure(w.generation, c, 0, err)
	}
	t.countTrap(w.generation)
	if w.mod.MayLog() {
		w.logger().Error("no instance of the module can be made", failure(err)...)
	}
	if c != nil {
		c.fail(t, causeUnavailable)
	}
	return vFailed
}

// invoke calls c's handler for one event whose payload, if any, is in the
// instance's inbound buffer. It commits or rolls back; a handler that fails
// costs its instance and the connection, nothing else. The result is the
// handler's status, or -1 after a trap.
func (t *turn) invoke(c *Conn, ev runtime.Event, arg int64, payloadBytes int) int32 {
	t.calls++
	cl := c.route.cell
	t.inv.begin(cl, c, ev)
	t.crew.countEvent()
	status, err := t.call(ev, uint64(c.id), arg, payloadBytes)
	if t.picks != 0 {
		t.showMessage(c)
	}
	if err == nil {
		t.settleTrial(true, false)
	}
	if err == nil && status == 0 {
		t.inv.commit()
		return 0
	}
	t.inv.rollBack()
	if err == nil && ev == runtime.EventUpgrade && status >= 400 && status <= 599 {
		return status // a refusal, not a failure
	}
	if err == nil && t.inv.ownGone {
		// The handler gave up because its peer has gone, which the lane is about to
		// hear: no fault of its own, so the instance stays.
		return status
	}
	if err == nil && t.inv.ownFull {
		// The same where its peer does not read.
		c.fail(t, causeSlowConsumer)
		return status
	}
	keep := t.handlerFailed(cl, c, ev, status, payloadBytes, err)
	if err != nil {
		status = -1
	}
	if !keep && ev != runtime.EventUpgrade && ev != runtime.EventClose {
		c.fail(t, causeHandlerFailed)
	}
	return status
}

// invokeModule is invoke for an event that belongs to no connection.
func (t *turn) invokeModule(cl *cell, ev runtime.Event, arg int64) {
	t.inv.begin(cl, nil, ev)
	t.crew.countEvent()
	status, err := t.call(ev, 0, arg, 0)
	if err == nil {
		t.settleTrial(true, false)
	}
	if err == nil && status == 0 {
		t.inv.commit()
		return
	}
	t.inv.rollBack()
	t.handlerFailed(cl, nil, ev, status, 0, err)
}

// handlerFailed discards the instance, whose memory nobody can trust, and says
// what happened. keep is the module's policy for connections whose handler has
// trapped: they lose the event only. Otherwise a cell that loses its instance
// ends with all its connections.
func (t *turn) handlerFailed(cl *cell, c *Conn, ev runtime.Event, status int32, payloadBytes int, err error) (keep bool) {
	w := t.crew
	keep = err != nil && w.keepOnTrap
	if t.conn != nil {
		t.judgeNow()
	}
	if w.ofCell() && !keep {
		cl.fell()
	}
	w.mod.Discard(t.inst)
	t.inst, t.crew = nil, nil
	t.stats.failures.Add(1)
	if t.tails != nil {
		t.showFailure(w.generation, c, status, err)
	}
	if err != nil {
		t.countTrap(w.generation)
	}
	if !w.mod.MayLog() {
		return keep
	}
	record := []any{"event", ev.String(), "bytes", payloadBytes}
	if c != nil {
		record = append(record, "conn", uint64(c.id), "route", c.route.pattern.String())
	}
	if err != nil {
		record = append(record, failure(err)...)
	} else {
		record = append(record, "status", status)
	}
	w.logger().Error("handler failed; its effects are undone", record...)
	return keep
}

// failure is what a log record says of an error of the sandbox.
func failure(err error) []any {
	record := []any{"err", err}
	if trap, ok := errors.AsType[*runtime.TrapError](err); ok {
		record = append(record, "reason", trap.Reason.String())
		if trap.Stack != "" {
			record = append(record, "stack", trap.Stack)
		}
		if trap.Tape != "" {
			record = append(record, "tape", trap.Tape)
		}
	}
	return record
}
