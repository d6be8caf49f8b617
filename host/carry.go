package host

import (
	"errors"
	"fmt"

	"weir/runtime"
)

// move brings the cell to the generation that the ruling says, with what its
// instance has saved. It is all or nothing: the new instance has begun and has
// taken the state over before the old one is let go, and as long as anything of
// that can fail the old one stays and serves on (docs/adr/0008). No message is
// handled meanwhile, because the move has the instance.
func (cl *cell) move(t *turn) verdict {
	if t.bits&inMove == 0 {
		return vDone
	}
	for {
		next := cl.tn.rule.Load().pick(cl.draw)
		old := cl.own.Load()
		if old.generation == next || old.sameCode(next) || cl.stays == next {
			t.bits &^= inMove
			return vDone
		}
		t.moving = true
		v := t.acquire(cl, nil)
		t.moving = false
		switch {
		case v.stops():
			return v
		case cl.gone.Load():
			return vDone
		}
		var saved []byte
		var err error
		if v == vDone { // else no instance can be made that would have anything to save
			saved, err = t.save(cl)
		}
		if cl.gone.Load() { // it has trapped
			return vDone
		}
		if t.inst == nil {
			err = nil // nothing is left to be kept
		}
		if err == nil {
			err = t.replace(cl, old, next, saved)
		}
		if errors.Is(err, runtime.ErrClosed) && cl.tn.rule.Load().pick(cl.draw) != next {
			continue // that one was given up meanwhile
		}
		if err != nil {
			cl.stays = next
			next.traps.Add(1)
			next.cellEvents.Add(1)
			if next.pool.mod.MayLog() {
				next.logger().Error("an instance stays on its generation, since it could not hand over", append([]any{"stays", old.number, "key", cl.key}, failure(err)...)...)
			}
			cl.tn.judge(next, false)
		}
	}
}

// save asks t's instance for its state; nil when it has none to hand on. One
// that traps is lost.
func (t *turn) save(cl *cell) ([]byte, error) {
	if !t.crew.mod.Handles(runtime.EventSave) {
		return nil, nil
	}
	t.inv.saved = nil
	t.inv.begin(cl, nil, runtime.EventSave)
	status, err := t.inst.Call(&t.inv, runtime.EventSave, 0, int64(t.crew.number), 0)
	saved := t.inv.saved
	t.inv.saved = nil
	t.inv.rollBack()
	switch {
	case err != nil:
		t.handlerFailed(cl, nil, runtime.EventSave, status, 0, err)
		return nil, err
	case status != 0:
		return nil, fmt.Errorf("save returned %d", status)
	default:
		return saved, nil
	}
}

// errNoRestore means that a state would be lost.
var errNoRestore = errors.New("the old code saves a state, the new code does not handle restore")

// replace makes an instance of next, begins its life with what was saved (nil:
// nothing) and puts it in the place of t's, if that has one.
func (t *turn) replace(cl *cell, old *crew, next *generation, saved []byte) error {
	inst := t.inst
	defer func() { t.crew, t.inst = old, inst }()
	own := next.crewFor(cl)
	if own == nil {
		return runtime.ErrClosed
	}
	fresh, err := own.mod.Take(cl)
	if err == nil {
		t.crew, t.inst = own, fresh
		if err = t.takeOver(cl, old.number, saved); err != nil {
			own.mod.Discard(fresh)
		}
	}
	if err != nil {
		own.mod.Retire()
		return err
	}
	own.mod.Give(fresh)
	if !cl.settle(own) {
		own.mod.Retire()
		return nil
	}
	old.mod.TurnAway()
	if inst != nil {
		old.mod.Discard(inst)
		inst = nil
	}
	return nil
}

// takeOver tells t's fresh instance init and, if something was saved, restore.
// What init asked for takes hold only when both are fine.
func (t *turn) takeOver(cl *cell, savedBy uint64, saved []byte) error {
	err := t.tellInit(cl)
	if err == nil && saved != nil {
		err = t.restore(cl, savedBy, saved)
	}
	if err != nil {
		t.inv.rollBack()
		return err
	}
	t.inv.commit()
	return nil
}

func (t *turn) restore(cl *cell, savedBy uint64, saved []byte) error {
	if !t.crew.mod.Handles(runtime.EventRestore) {
		return errNoRestore
	}
	view, err := t.inst.Inbound(len(saved))
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	copy(view, saved)
	t.inv.begin(cl, nil, runtime.EventRestore)
	status, err := t.inst.Call(&t.inv, runtime.EventRestore, 0, int64(savedBy), len(saved))
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if status != 0 {
		return fmt.Errorf("restore returned %d", status)
	}
	return nil
}

// settle makes own the cell's, unless it has ended.
func (cl *cell) settle(own *crew) bool {
	tn := cl.tn
	tn.cellsMu.Lock()
	defer tn.cellsMu.Unlock()
	if cl.gone.Load() {
		return false
	}
	cl.own.Load().cells.Add(-1)
	own.cells.Add(1)
	cl.own.Store(own)
	return true
}
