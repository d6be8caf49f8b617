package host

import (
	"sync"
	"sync/atomic"

	"weir/runtime"
)

// cell is whom one set of instances serves: all connections of the scope pool,
// or one connection, the connections of a key, or those of a singleton, with one
// instance that is theirs alone and whose memory lasts as long as the cell does.
// It owns the timers that belong to no connection.
//
// Connections take turns with a cell's instance as they do with a pool's: who
// comes first is served first, one at a time, and a lane that waits reads
// nothing, which its peer feels. A turn ends behind each message while others
// wait.
//
// A cell is a lane of its own, for what concerns no connection.
type cell struct {
	tn     *tenant
	scope  scope
	number uint64 // order in which cells were made
	key    string // what instance_key answers
	draw   uint64 // decides between stable and canary

	own  atomic.Pointer[crew] // nil for the pool, where the ruling decides for each connection
	gone atomic.Bool          // it has ended: nobody is served any more

	inbox atomic.Uint32 // as Conn.inbox; only owned, parked, inGrant, inTimer, inDrain, inMove and inIdle

	told    bool          // the drain event is behind it; the lane
	stays   *generation   // it could not be moved there; the lane
	drained chan struct{} // closed when told is set; only of the pool

	mu      sync.Mutex // below
	timers  map[int64]*guestTimer
	due     []*guestTimer
	granted *runtime.Instance
	waitsOn *crew

	idle wheelNode // when it may end; its owner is the cell

	// Below: tenant.cellsMu.

	members map[*Conn]struct{}
	routes  []*route // that lead here, with cell set
}

// crew is who serves c, or what concerns no connection (nil).
func (cl *cell) crew(c *Conn) *crew {
	if own := cl.own.Load(); own != nil {
		return own
	}
	draw := cl.draw
	if c != nil {
		draw = drawOf(uint64(c.id))
	}
	return &cl.tn.rule.Load().pick(draw).pool
}

// crew is who serves c, whose route is known.
func (c *Conn) crew() *crew { return c.route.cell.crew(c) }

// Run implements pool.Task: what concerns no connection.
func (cl *cell) Run() (more bool) {
	s := cl.tn.srv
	t := s.turns.borrow(s)
	defer s.turns.giveBack(t)
	for {
		t.bits = cl.inbox.And(owned)
		t.conn, t.inline, t.skipping, t.now = nil, false, false, s.clock.Mono()
		v := cl.step(t)
		if v == vDone {
			t.returnGrant(cl, nil)
		}
		t.settleTrial(false, false)
		if t.inst != nil {
			t.crew.mod.Give(t.inst)
			t.inst, t.crew = nil, nil
		}
		switch v {
		case vMore:
			cl.inbox.Or(t.bits)
			return true
		case vWait:
			if cl.inbox.Or(t.bits|parked)&inGrant == 0 {
				return false
			}
			cl.inbox.And(^parked)
		default:
			if cl.inbox.CompareAndSwap(owned, 0) {
				return false
			}
		}
	}
}

func (cl *cell) step(t *turn) verdict {
	if cl.gone.Load() {
		return vDone
	}
	for _, do := range [...]func(*turn) verdict{cl.move, cl.tellDrain, cl.fireTimers} {
		if v := do(t); v != vDone {
			return v
		}
	}
	cl.endIdle(t)
	return vDone
}

// tellDrain tells the module once that the server goes down.
func (cl *cell) tellDrain(t *turn) verdict {
	if t.bits&inDrain == 0 || cl.told {
		return vDone
	}
	v := vFailed
	if (cl.scope != poolScope || cl.tn.pooled) && cl.crew(nil).mod.Handles(runtime.EventDrain) {
		if v = t.acquire(cl, nil); v.stops() {
			return v
		}
	}
	t.bits &^= inDrain
	cl.told = true
	if v == vDone {
		t.invokeModule(cl, runtime.EventDrain, cl.tn.srv.drainLeft(t.now))
	}
	if cl.drained != nil {
		close(cl.drained)
	}
	return vDone
}

func (cl *cell) fireTimers(t *turn) verdict {
	for range turnMessages {
		if !cl.timerWaits(nil) {
			return vDone
		}
		if v := t.acquire(cl, nil); v != vDone {
			if !v.stops() {
				cl.nextDue(t.srv, nil, t.now) // nobody can run it: the firing is lost, and counted
				continue
			}
			return v
		}
		id, ok := cl.nextDue(t.srv, nil, t.now)
		if !ok {
			return vDone
		}
		if t.crew.mod.Handles(runtime.EventTimer) {
			t.invokeModule(cl, runtime.EventTimer, id)
		}
	}
	return vMore
}

func (cl *cell) wakeUp(bits uint32) {
	if cl.inbox.Or(owned|bits)&owned == 0 {
		cl.tn.srv.exec.Submit(cl)
	}
}

// Granted implements runtime.Waiter for what concerns no connection.
func (cl *cell) Granted(inst *runtime.Instance) {
	cl.mu.Lock()
	cl.granted = inst
	cl.mu.Unlock()
	if cl.inbox.Or(inGrant)&parked != 0 {
		cl.inbox.And(^parked)
		cl.tn.srv.exec.Submit(cl)
	}
}

// Refused implements runtime.Waiter. It is never called, since a cell is patient.
func (cl *cell) Refused() {}

// Patient implements runtime.Waiter: its own events have nobody whom a refusal
// would reach.
func (cl *cell) Patient() bool { return true }

// fire is the wheel's call: perhaps it has been idle for long enough.
func (cl *cell) fire(int64) { cl.wakeUp(inIdle) }
