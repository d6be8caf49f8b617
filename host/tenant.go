package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	// Metrics are those that its handlers may add to, by name; at most 64. Their
	// values outlive generations.
	Metrics map[string]Metric
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
	// Topics say what becomes of publishes to readers that are too slow; at most 64.
	// The first whose pattern matches a topic counts. A publish goes by those of the
	// generation that publishes.
	Topics []TopicPolicy
	// Breaker says what the server does while the module traps all the time.
	Breaker BreakerOptions
	// Rollout says how a new generation takes over. The first one just does.
	Rollout RolloutOptions
	// Cells bounds the instances of the scopes connection, key and singleton
	// together; a connection that would need one more is answered 503. 0 means
	// 10,000.
	Cells int
	// IdleAfter is how long the instance of a key stays when it has neither
	// connections nor timers; what it has in memory goes with it. 0 means 60s.
	IdleAfter time.Duration
	// SelfTest is asked of a new generation before it takes over, when it is
	// compiled and before its init event; an error keeps the old one. It may take
	// its time. nil asks nothing. The first generation is not tested.
	SelfTest func(context.Context) error
	// Replaces is the generation that a reload must find current, else it fails
	// with ErrConflict. 0 means any.
	Replaces uint64
	// Signer is who vouches for Wasm and Version; empty means that nobody is asked to.
	Signer string
	// Version is what Signer calls this version: a reload with a lower one than any
	// that was loaded before fails with ErrOlder. 0 is the lowest.
	Version uint64
}

var moduleName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

const (
	maxKeepHeaders   = 16
	defaultCells     = 10_000
	defaultIdleAfter = time.Minute
)

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
	if err := m.Rollout.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("module %q: rollout: %w", m.Name, err))
	}
	if len(m.Topics) > maxTopicPolicies {
		errs = append(errs, fmt.Errorf("module %q has %d topic policies; %d are allowed", m.Name, len(m.Topics), maxTopicPolicies))
	}
	for i, p := range m.Topics {
		if err := p.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("module %q: topics[%d].%w", m.Name, i, err))
		}
	}
	if m.Cells < 0 || m.IdleAfter < 0 {
		errs = append(errs, fmt.Errorf("module %q: cells and idle_after must not be negative", m.Name))
	}
	if err := ValidateMetrics(m.Metrics); err != nil {
		errs = append(errs, fmt.Errorf("module %q: metrics: %w", m.Name, err))
	}
	for _, h := range m.KeepHeaders {
		if !isToken(h) {
			errs = append(errs, fmt.Errorf("module %q: %q is not a header name", m.Name, h))
		}
	}
	return errors.Join(errs...)
}

// tenant is a module as the server knows it, across its generations: its
// connections, topics, cells and timers.
type tenant struct {
	srv       *Server
	name      string
	pooled    bool // it serves the scope pool, if only because no route names it yet
	maxCells  int
	idleAfter time.Duration
	topics    topicIndex
	metrics   guestMetrics
	pool      cell // whom the scope pool serves
	rule      atomic.Pointer[ruling]
	gaps      atomic.Uint64 // notices of messages that slow readers have lost
	lost      atomic.Uint64 // those messages

	reloading sync.Mutex // one load at a time; taken before changing

	changing  sync.Mutex    // below; held briefly, by whoever replaces rule
	last      uint64        // number of the latest generation
	newest    uint64        // the highest Module.Version that was loaded
	probation *moment       // ends that of rule.stable; nil: it is over
	former    []*generation // that serve nobody new, but are not over
	ended     []Generation  // the latest that are over, oldest first
	results   [reloadResults]uint64

	heldMu sync.Mutex       // below
	held   []runtime.Waiter // lanes that wait for the end of a pause

	cellsMu   sync.Mutex         // below
	cells     map[*cell]struct{} // all but pool
	keyed     map[string]*cell   // of the scope key, by key
	only      *cell              // of the scope singleton
	cellsMade uint64
}

// Load makes m's first generation: compiled, checked, one instance warm and
// initialised. Its init event's effects hold, unless every route that leads to m
// has a scope whose instances have their own. It must be called before Listen.
// Errors of the module itself match *runtime.LoadError.
func (s *Server) Load(ctx context.Context, m Module) error {
	if err := m.validate(); err != nil {
		return err
	}
	if s.tenants[m.Name] != nil {
		return fmt.Errorf("module %q is loaded already", m.Name)
	}
	tn := &tenant{
		srv: s, name: m.Name, pooled: ServesPool(s.opts().Routes, m.Name), maxCells: m.Cells, idleAfter: m.IdleAfter,
		cells: make(map[*cell]struct{}), keyed: make(map[string]*cell),
	}
	setDefault(&tn.maxCells, defaultCells)
	setDefault(&tn.idleAfter, defaultIdleAfter)
	tn.pool.tn, tn.pool.draw, tn.pool.drained = tn, lastDraw, make(chan struct{})
	gen, err := s.loadGeneration(ctx, tn, m, tn.last+1)
	if err == nil {
		err = tn.initialise(gen)
	}
	if err != nil {
		return fmt.Errorf("load module %q: %w", m.Name, err)
	}
	tn.last, tn.newest = gen.number, m.Version
	gen.fate = FateCurrent
	tn.rule.Store(&ruling{stable: gen})
	s.tenants[m.Name] = tn
	s.log.Info("module loaded", append([]any{"module", m.Name, "gen", gen.number, "digest", gen.pool.mod.Digest()[:12]}, m.vouched()...)...)
	return nil
}

// vouched is what a log line says of a signature.
func (m Module) vouched() []any {
	if m.Signer == "" {
		return nil
	}
	return []any{"signer", m.Signer, "version", m.Version}
}

// initialise sends the init event to a generation's first instance and commits
// what it asked for, if that is for the scope pool. When it fails the generation
// is retired.
func (tn *tenant) initialise(gen *generation) error {
	t := tn.srv.turns.borrow(tn.srv)
	defer tn.srv.turns.giveBack(t)
	t.now = tn.srv.clock.Mono()
	inst, err := gen.pool.mod.Take(&tn.pool) // is there, or is made: nobody else has heard of gen
	if err == nil {
		t.crew, t.inst = &gen.pool, inst
		err = t.initInstance(&tn.pool, tn.pooled)
	}
	if t.inst != nil {
		gen.pool.mod.Give(inst)
	}
	t.inst, t.crew = nil, nil
	if err != nil {
		gen.pool.mod.Retire()
	}
	return err
}

// initInstance sends the init event to t's fresh instance. In a pool only a
// generation's first instance may have effects; those of later ones repeat the
// same wishes. An instance that refuses is discarded.
func (t *turn) initInstance(cl *cell, keepEffects bool) error {
	err := t.tellInit(cl)
	if err != nil || !keepEffects {
		t.inv.rollBack()
	} else {
		t.inv.commit()
	}
	if err != nil {
		t.crew.mod.Discard(t.inst)
		t.crew, t.inst = nil, nil
	}
	return err
}

// tellInit sends the init event and leaves open what becomes of its effects.
func (t *turn) tellInit(cl *cell) error {
	gen := t.crew.generation
	if !t.crew.mod.Handles(runtime.EventInit) {
		return nil
	}
	view, err := t.inst.Inbound(len(gen.config))
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	copy(view, gen.config)
	t.inv.begin(cl, nil, runtime.EventInit)
	status, err := t.inst.Call(&t.inv, runtime.EventInit, 0, int64(gen.number), len(gen.config))
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if status != 0 {
		return fmt.Errorf("init returned %d: the module refuses its configuration", status)
	}
	return nil
}

// hold makes a lane wait for the end of a pause; false when there is none.
func (tn *tenant) hold(w runtime.Waiter) bool {
	tn.heldMu.Lock()
	defer tn.heldMu.Unlock()
	if !tn.rule.Load().paused {
		return false
	}
	tn.held = append(tn.held, w)
	return true
}

// letGo ends the waits of hold. The ruling says so already.
func (tn *tenant) letGo() {
	tn.heldMu.Lock()
	held := tn.held
	tn.held = nil
	tn.heldMu.Unlock()
	for _, w := range held {
		w.Granted(nil)
	}
}

// everyCell lists pool and the cells there are.
func (tn *tenant) everyCell() []*cell {
	tn.cellsMu.Lock()
	defer tn.cellsMu.Unlock()
	all := []*cell{&tn.pool}
	for cl := range tn.cells {
		all = append(all, cl)
	}
	slices.SortFunc(all[1:], func(a, b *cell) int { return cmp.Compare(a.number, b.number) }) // in an order that repeats
	return all
}
