package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"

	"weir/runtime"
)

// Module is what the server needs to load a handler.
type Module struct {
	// Name is what routes call it: ^[a-z0-9][a-z0-9._-]{0,63}$.
	Name string
	// Wasm is the module in binary format.
	Wasm []byte
	// Config is JSON that the init event carries; nil means "{}".
	Config []byte
	// Capabilities are the groups of host functions it may call.
	Capabilities runtime.Capability
	// Ungranted says what becomes of a module that imports host functions which
	// Capabilities do not cover: "refuse" it, or "deny" the functions, which then
	// answer so. Empty means "refuse".
	Ungranted string
	// KeepHeaders are request header fields whose values stay with a connection,
	// for conn_attr "header:NAME"; at most 16.
	KeepHeaders []string
	// MemoryPages bounds an instance's memory in pages of 64 KiB; 0 means 512.
	MemoryPages uint32
	// Instances bounds the instances of a generation; 0 means twice GOMAXPROCS.
	Instances int
	// Limits bound its handlers.
	Limits runtime.Limits
	// OnTrap says what becomes of a connection whose handler trapped or ran out
	// of a limit: "close" (1011), or "keep", which loses the event only. Empty
	// means "close".
	OnTrap string
	// Record says whether a handler that traps leaves a tape: "on_trap", or "off". Empty means "off".
	Record string
	// Breaker says what the server does while the module traps all the time.
	Breaker BreakerOptions
}

var moduleName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

const maxKeepHeaders = 16

// Values of Module.OnTrap and Module.Ungranted.
const (
	ungrantedRefuse = "refuse"
	ungrantedDeny   = "deny"

	onTrapClose = "close"
	onTrapKeep  = "keep"
)

func (m Module) validate() error {
	var errs []error
	if !moduleName.MatchString(m.Name) {
		errs = append(errs, fmt.Errorf("module name %q: want 1 to 64 of a–z, 0–9, '.', '_', '-', the first a letter or digit", m.Name))
	}
	if len(m.KeepHeaders) > maxKeepHeaders {
		errs = append(errs, fmt.Errorf("module %q keeps %d headers; %d are allowed", m.Name, len(m.KeepHeaders), maxKeepHeaders))
	}
	if m.Ungranted != "" && m.Ungranted != ungrantedRefuse && m.Ungranted != ungrantedDeny {
		errs = append(errs, fmt.Errorf("module %q: ungranted: %q is neither %q nor %q", m.Name, m.Ungranted, ungrantedRefuse, ungrantedDeny))
	}
	if m.OnTrap != "" && m.OnTrap != onTrapClose && m.OnTrap != onTrapKeep {
		errs = append(errs, fmt.Errorf("module %q: on_trap: %q is neither %q nor %q", m.Name, m.OnTrap, onTrapClose, onTrapKeep))
	}
	if m.Record != "" && m.Record != runtime.RecordOff && m.Record != runtime.RecordOnTrap {
		errs = append(errs, fmt.Errorf("module %q: record: %q is neither %q nor %q", m.Name, m.Record, runtime.RecordOff, runtime.RecordOnTrap))
	}
	if err := m.Breaker.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("module %q: breaker: %w", m.Name, err))
	}
	for _, h := range m.KeepHeaders {
		if !isToken(h) {
			errs = append(errs, fmt.Errorf("module %q: %q is not a header name", m.Name, h))
		}
	}
	return errors.Join(errs...)
}

// tenant is a module as the server knows it, across its generations: its
// connections, topics and timers. It is a lane of its own for the events that
// belong to no connection.
type tenant struct {
	srv         *Server
	name        string
	keepHeaders []string
	topics      topicIndex
	reloading   sync.Mutex // one reload at a time
	current     atomic.Pointer[generation]
	keepOnTrap  bool
	breaker     breaker

	inbox atomic.Uint32 // as Conn.inbox; only owned, parked, inGrant, inTimer and inDrain

	told    bool          // the drain event is behind the module; the lane
	drained chan struct{} // closed when told is set

	mu      sync.Mutex // below
	timers  map[int64]*guestTimer
	due     []*guestTimer
	granted *runtime.Instance
	waitsOn *generation
}

// generation is one loaded version of a module.
type generation struct {
	srv    *Server
	mod    *runtime.Module
	config []byte // what the init event carries
	pace   pace

	// watch is set while lanes wait for an instance: when it fires, who has
	// waited too long is refused.
	watch wheelNode
}

// watchQueue sees to it that a wait which begins now ends in time.
func (gen *generation) watchQueue(nowMono int64) {
	gen.srv.wheel.scheduleBefore(&gen.watch, nowMono+gen.sweepNanos())
}

func (gen *generation) sweepNanos() int64 { return int64(gen.srv.opts.Handler.QueueTimeout) / 2 }

// fire is the wheel's call.
func (gen *generation) fire(nowMono int64) {
	if gen.mod.RefuseLate() > 0 {
		gen.watchQueue(nowMono)
	}
}

// handles reports whether the current generation wants events of that kind;
// for others no instance is needed.
func (tn *tenant) handles(ev runtime.Event) bool { return tn.current.Load().mod.Handles(ev) }

// Load makes m's first generation: compiled, checked, one instance warm and
// initialised. Its init event's effects hold. It must be called before Listen.
// Errors of the module itself match *runtime.LoadError.
func (s *Server) Load(ctx context.Context, m Module) error {
	if err := m.validate(); err != nil {
		return err
	}
	if s.tenants[m.Name] != nil {
		return fmt.Errorf("module %q is loaded already", m.Name)
	}
	tn := &tenant{
		srv: s, name: m.Name, keepHeaders: m.KeepHeaders, keepOnTrap: m.OnTrap == onTrapKeep,
		breaker: breaker{options: m.Breaker.WithDefaults()}, drained: make(chan struct{}),
	}
	const first = 1
	gen, err := s.loadGeneration(ctx, tn, m, first)
	if err != nil {
		return fmt.Errorf("load module %q: %w", m.Name, err)
	}
	tn.current.Store(gen)
	s.tenants[m.Name] = tn
	s.log.Info("module loaded", "module", m.Name, "gen", first, "digest", gen.mod.Digest()[:12])
	return nil
}

// initialise sends the init event to a generation's first instance and commits
// what it asked for.
func (tn *tenant) initialise(gen *generation) error {
	inst := gen.mod.TryTake()
	if inst == nil {
		return errors.New("no instance is ready")
	}
	t := tn.srv.turns.borrow(tn.srv)
	defer tn.srv.turns.giveBack(t)
	t.now = tn.srv.clock.Mono()
	t.gen, t.inst = gen, inst
	err := t.initInstance(tn, true)
	if t.inst != nil {
		gen.mod.Give(inst)
	}
	t.inst, t.gen = nil, nil
	return err
}

// initInstance sends the init event to t's fresh instance. Only a generation's
// first instance may have effects; those of later ones repeat the same wishes.
// An instance that refuses is discarded.
func (t *turn) initInstance(tn *tenant, keepEffects bool) error {
	inst, gen := t.inst, t.gen
	if !gen.mod.Handles(runtime.EventInit) {
		return nil
	}
	discard := func(err error) error {
		gen.mod.Discard(inst)
		t.inst, t.gen = nil, nil
		return err
	}
	view, err := inst.Inbound(len(gen.config))
	if err != nil {
		return discard(fmt.Errorf("init: %w", err))
	}
	copy(view, gen.config)
	t.inv.begin(tn, nil, runtime.EventInit)
	status, err := inst.Call(&t.inv, runtime.EventInit, 0, int64(gen.mod.Generation()), len(gen.config))
	if err != nil || status != 0 || !keepEffects {
		t.inv.rollBack()
	} else {
		t.inv.commit()
	}
	if err != nil {
		return discard(fmt.Errorf("init: %w", err))
	}
	if status != 0 {
		return discard(fmt.Errorf("init returned %d: the module refuses its configuration", status))
	}
	return nil
}

// Run implements pool.Task: the module's own timers.
func (tn *tenant) Run() (more bool) {
	t := tn.srv.turns.borrow(tn.srv)
	defer tn.srv.turns.giveBack(t)
	for {
		t.bits = tn.inbox.And(owned)
		v := tn.tellDrain(t)
		if v == vDone {
			v = tn.fireTimers(t)
		}
		if v == vDone {
			t.returnGrant(tn, nil)
		}
		t.settleTrial(false, false)
		if t.inst != nil {
			t.gen.mod.Give(t.inst)
			t.inst, t.gen = nil, nil
		}
		switch v {
		case vMore:
			tn.inbox.Or(t.bits)
			return true
		case vWait:
			if tn.inbox.Or(t.bits|parked)&inGrant == 0 {
				return false
			}
			tn.inbox.And(^parked)
		default:
			if tn.inbox.CompareAndSwap(owned, 0) {
				return false
			}
		}
	}
}

// tellDrain tells the module once that the server goes down.
func (tn *tenant) tellDrain(t *turn) verdict {
	t.conn, t.inline, t.skipping, t.now = nil, false, false, tn.srv.clock.Mono()
	if t.bits&inDrain == 0 || tn.told {
		return vDone
	}
	v := vFailed
	if tn.handles(runtime.EventDrain) {
		if v = t.acquire(tn, nil); v.stops() {
			return v
		}
	}
	t.bits &^= inDrain
	tn.told = true
	if v == vDone {
		t.invokeModule(tn, runtime.EventDrain, tn.srv.drainLeft(t.now))
	}
	close(tn.drained)
	return vDone
}

func (tn *tenant) fireTimers(t *turn) verdict {
	for range turnMessages {
		if !tn.timerWaits(nil) {
			return vDone
		}
		if v := t.acquire(tn, nil); v != vDone {
			if !v.stops() {
				tn.nextDue(t.srv, nil, t.now) // nobody can run it: the firing is lost, and counted
				continue
			}
			return v
		}
		id, ok := tn.nextDue(t.srv, nil, t.now)
		if !ok {
			return vDone
		}
		if t.gen.mod.Handles(runtime.EventTimer) {
			t.invokeModule(tn, runtime.EventTimer, id)
		}
	}
	return vMore
}

func (tn *tenant) wakeUp(bits uint32) {
	if tn.inbox.Or(owned|bits)&owned == 0 {
		tn.srv.exec.Submit(tn)
	}
}

// Granted implements runtime.Waiter for the module's own events.
func (tn *tenant) Granted(inst *runtime.Instance) {
	tn.mu.Lock()
	tn.granted = inst
	tn.mu.Unlock()
	if tn.inbox.Or(inGrant)&parked != 0 {
		tn.inbox.And(^parked)
		tn.srv.exec.Submit(tn)
	}
}

// Refused implements runtime.Waiter. It is never called, since tn is patient.
func (tn *tenant) Refused() {}

// Patient implements runtime.Waiter: a module's own events have nobody whom a
// refusal would reach.
func (tn *tenant) Patient() bool { return true }

func (tn *tenant) logger(gen *generation) *slog.Logger {
	return tn.srv.log.With("module", tn.name, "gen", gen.mod.Generation())
}
