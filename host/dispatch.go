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

// waiterState is where a lane keeps what its wait for an instance brings.
func (tn *tenant) waiting(c *Conn) (granted **runtime.Instance, waitsOn **generation) {
	if c == nil {
		tn.mu.Lock()
		return &tn.granted, &tn.waitsOn
	}
	c.mu.Lock()
	more := c.extrasLocked()
	return &more.granted, &more.waitsOn
}

func (tn *tenant) doneWaiting(c *Conn) {
	if c == nil {
		tn.mu.Unlock()
	} else {
		c.mu.Unlock()
	}
}

// acquire gets t an instance of tn's current generation for the lane of c (nil:
// the module's own). vDone: t.inst is set. On the poller's goroutine it takes
// only what is warm and proved quick.
func (t *turn) acquire(tn *tenant, c *Conn) verdict {
	if t.inst != nil {
		return vDone
	}
	if t.bits&inGrant != 0 {
		return t.takeGranted(tn, c)
	}
	if c == nil || c.phase < phaseLingering { // a close is told in any case
		if t.skipping {
			return vSkip // the rest of the turn too, lest a message comes where its open was left out
		}
		switch tn.breaker.ask(t.now) {
		case passNone:
			return t.breakerOpen(tn, c)
		case passTrial:
			t.trial = tn
		}
	}
	for {
		gen := tn.current.Load()
		if !t.inline || t.srv.inline && gen.pace.quick.Load() {
			if inst := gen.mod.TryTake(); inst != nil {
				t.gen, t.inst = gen, inst
				return vDone
			}
		}
		if t.inline {
			return vMore
		}
		var waiter runtime.Waiter = tn
		if c != nil {
			waiter = c
		}
		_, waitsOn := tn.waiting(c)
		*waitsOn = gen
		tn.doneWaiting(c)
		inst, err := gen.mod.Take(waiter)
		if err == nil && inst == nil {
			gen.watchQueue(t.now)
			return vWait
		}
		t.forgetWait(tn, c)
		if err != nil && tn.current.Load() != gen {
			continue // replaced meanwhile
		}
		return t.use(tn, c, gen, inst, err)
	}
}

// takeGranted uses the instance, or the place for one, that the lane waited for.
func (t *turn) takeGranted(tn *tenant, c *Conn) verdict {
	t.bits &^= inGrant
	granted, waitsOn := tn.waiting(c)
	inst, gen := *granted, *waitsOn
	*granted, *waitsOn = nil, nil
	refused := c != nil && c.takeRefusalLocked()
	tn.doneWaiting(c)
	if refused {
		c.fail(t, causeBusy)
		return vFailed
	}
	var err error
	if inst == nil {
		inst, err = gen.mod.TakeReserved()
	}
	return t.use(tn, c, gen, inst, err)
}

// returnGrant gives back what a lane waited for and no longer wants.
func (t *turn) returnGrant(tn *tenant, c *Conn) {
	if t.bits&inGrant == 0 {
		return
	}
	t.bits &^= inGrant
	granted, waitsOn := tn.waiting(c)
	inst, gen := *granted, *waitsOn
	*granted, *waitsOn = nil, nil
	refused := c != nil && c.takeRefusalLocked()
	tn.doneWaiting(c)
	switch {
	case refused:
	case inst != nil:
		gen.mod.Give(inst)
	default:
		gen.mod.DropReserved()
	}
}

// takeRefusalLocked reports that the wait ended with nothing.
func (c *Conn) takeRefusalLocked() bool {
	refused := c.more.refused
	c.more.refused = false
	return refused
}

// breakerOpen does what the module's breaker says of an event while it is open.
func (t *turn) breakerOpen(tn *tenant, c *Conn) verdict {
	t.stats.broken.Add(1)
	if tn.breaker.options.Fail == failOpen {
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
	t.trial.breaker.settle(done, trapped, t.srv.clock.Mono())
	t.trial = nil
}

// countTrap tells the breaker of a trap.
func (t *turn) countTrap(tn *tenant, gen *generation) {
	if t.trial == tn {
		t.settleTrial(true, true)
		return
	}
	if tn.breaker.trapped(t.srv.clock.Mono()) {
		tn.logger(gen).Error("the module traps again and again: it rests", "fail", tn.breaker.options.Fail)
	}
}

func (t *turn) forgetWait(tn *tenant, c *Conn) {
	_, waitsOn := tn.waiting(c)
	*waitsOn = nil
	tn.doneWaiting(c)
}

// use makes inst the turn's, initialised if it is fresh.
func (t *turn) use(tn *tenant, c *Conn, gen *generation, inst *runtime.Instance, err error) verdict {
	if err == nil {
		t.gen, t.inst = gen, inst
		if !inst.Fresh() {
			return vDone
		}
		if err = t.initInstance(tn, false); err == nil {
			return vDone
		}
	}
	t.stats.unavailable.Add(1)
	t.countTrap(tn, gen)
	if gen.mod.MayLog() {
		tn.logger(gen).Error("no instance of the module can be made", failure(err)...)
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
	t.inv.begin(c.route.tenant, c, ev)
	status, err := t.inst.Call(&t.inv, ev, uint64(c.id), arg, payloadBytes)
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
	t.handlerFailed(c.route.tenant, c, ev, status, payloadBytes, err)
	if err != nil {
		status = -1
	}
	if ev != runtime.EventUpgrade && ev != runtime.EventClose {
		c.failedHandler(t, err)
	}
	return status
}

// failedHandler ends a connection whose handler failed, unless the module's
// policy is to keep those whose handler trapped.
func (c *Conn) failedHandler(t *turn, err error) {
	if err == nil || !c.route.tenant.keepOnTrap {
		c.fail(t, causeHandlerFailed)
	}
}

// invokeModule is invoke for an event that belongs to no connection.
func (t *turn) invokeModule(tn *tenant, ev runtime.Event, arg int64) {
	t.inv.begin(tn, nil, ev)
	status, err := t.inst.Call(&t.inv, ev, 0, arg, 0)
	if err == nil {
		t.settleTrial(true, false)
	}
	if err == nil && status == 0 {
		t.inv.commit()
		return
	}
	t.inv.rollBack()
	t.handlerFailed(tn, nil, ev, status, 0, err)
}

// handlerFailed discards the instance, whose memory nobody can trust, and says
// what happened.
func (t *turn) handlerFailed(tn *tenant, c *Conn, ev runtime.Event, status int32, payloadBytes int, err error) {
	gen := t.gen
	if t.conn != nil {
		t.judgeNow()
	}
	gen.mod.Discard(t.inst)
	t.inst, t.gen = nil, nil
	t.stats.failures.Add(1)
	if err != nil {
		t.countTrap(tn, gen)
	}
	if !gen.mod.MayLog() {
		return
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
	tn.logger(gen).Error("handler failed; its effects are undone", record...)
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
