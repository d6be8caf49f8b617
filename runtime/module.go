package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	goruntime "runtime"
	"sync/atomic"

	"github.com/tetratelabs/wazero"
)

// ModuleOptions are what one generation is loaded with.
type ModuleOptions struct {
	// Name is what the module is called in routes, logs and metrics. Not empty.
	Name string
	// Generation counts the loads under that name.
	Generation uint64
	// Capabilities are the groups of host functions that the operator grants.
	Capabilities Capability
	// Deny links host functions that Capabilities do not cover: they answer denied. Otherwise a module that imports one is
	// refused.
	Deny bool
	// MemoryPages bounds an instance's memory, in pages of 64 KiB. Range [1, 8192]; 0 means 512 (32 MiB).
	MemoryPages uint32
	// Instances bounds the instances that exist at once. Range [1, 65536]; 0 means 2×GOMAXPROCS.
	Instances int
	// Limits bound what its guests may spend.
	Limits Limits
	// Fault makes host functions fail, in tests. nil means that none does.
	Fault Fault
	// Seed is what the instances' random bytes are derived from, together with name, generation and the instance's
	// number. Any value; one that others can guess makes the bytes guessable.
	Seed uint64
	// Record says whether each instance keeps a tape of its events, so that a trap can be repeated: "on_trap", or "off".
	// An instance's tape takes up to twice its memory, from 1 to 16 MiB for the events. Empty means "off".
	Record string
	// Tapes is given the tape of an instance that has stopped, on the goroutine that had it, and returns what it is called
	// from now on; empty if it was not kept. It must not take long. nil keeps tapes in the engine's TapeDir, if it has one.
	Tapes func(*Tape) string

	replay *replay // set when a tape is played
}

// Validate reports every mistake in the options.
func (o ModuleOptions) Validate() error {
	var mistakes []error
	if o.Name == "" {
		mistakes = append(mistakes, errors.New("name: is empty"))
	}
	if o.MemoryPages > maxMemoryPages {
		mistakes = append(mistakes, fmt.Errorf("memory_pages: %d is not within [1, %d]", o.MemoryPages, maxMemoryPages))
	}
	if o.Instances < 0 || o.Instances > maxInstances {
		mistakes = append(mistakes, fmt.Errorf("instances: %d is not within [1, %d]", o.Instances, maxInstances))
	}
	if o.Record != "" && o.Record != RecordOff && o.Record != RecordOnTrap {
		mistakes = append(mistakes, fmt.Errorf("record: %q is neither %q nor %q", o.Record, RecordOff, RecordOnTrap))
	}
	return errors.Join(append(mistakes, o.Limits.Validate())...)
}

// Module is one loaded generation of a module: its code, its limits and its instances. Any goroutine may use it.
//
// Users are counted. Whoever takes instances, or waits for one, has called [Module.Retain] and calls [Module.Release]
// when done. After [Module.Retire] the module closes as its last user leaves, on that user's goroutine.
type Module struct {
	// Constant after Load.
	engine      *Engine
	name        string
	generation  uint64
	digest      string
	label       string // name@digest, shortened
	seed        uint64
	fault       Fault
	limits      Limits
	budgets     budgets
	metered     bool
	minBytes    uint64 // memory of an instance at its start
	maxBytes    uint64 // and at most
	memoryPages uint32 // ModuleOptions.MemoryPages
	events      uint64 // set of events that the guest handles
	usesWASI    bool
	logger      *slog.Logger
	config      wazero.ModuleConfig
	*code

	// What recording needs, if record is set.
	record     bool
	granted    Capability
	noSnapshot string   // why there can be no snapshot; empty if there can
	globals    []uint32 // what a snapshot holds beside memory
	keepTapes  func(*Tape) string
	file       []byte // the module's; nil without a folder that it could be written to
	replay     *replay

	tapesKept, tapesDropped atomic.Uint64

	kill  atomic.Bool  // what still runs must end
	users atomic.Int64 // Retain minus Release; retiredBit is set by Retire
	pool  pool
}

// retiredBit in Module.users marks a retired module. Without it, having no users means nothing.
const retiredBit = 1 << 62

func newModule(e *Engine, digest string, o ModuleOptions) *Module {
	o.Limits = o.Limits.WithDefaults()
	instances := o.Instances
	if instances == 0 {
		instances = 2 * goruntime.GOMAXPROCS(0)
	}
	m := &Module{
		engine:     e,
		name:       o.Name,
		generation: o.Generation,
		digest:     digest,
		label:      o.Name + "@" + digest[:12],
		seed:       o.Seed,
		fault:      o.Fault,
		limits:     o.Limits,
		budgets:    newBudgets(o.Limits),
		logger:     e.logger.With("module", o.Name, "gen", o.Generation),
		// Anonymous, because instances of one module live side by side; and started by us, in newInstance.
		// Without a source of its own, wazero seeds one for each instance, which takes longer than all the rest.
		config:    wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(noRandom{}),
		record:    o.records(),
		keepTapes: o.Tapes,
		replay:    o.replay,
		code:      new(code),
		pool:      pool{max: instances, idle: make([]*Instance, 0, instances)},
	}
	m.sharers.Store(1)
	m.logs.init(o.Limits.LogRate, e.now)
	m.about.init(aboutLogRate, e.now)
	return m
}

// build compiles, links and warms the module. After an error nothing is left open.
func (m *Module) build(ctx context.Context, a *admitted, granted Capability) (err error) {
	m.metered, m.usesWASI = a.metered, a.usesWASI
	m.minBytes, m.maxBytes = a.minBytes, a.maxBytes
	m.granted, m.noSnapshot, m.globals = granted, a.noSnapshot, a.globals
	m.memoryPages = a.memoryPages
	if err := m.compile(ctx, a); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("load module %q: %w", m.name, err)
	}
	if err := m.link(a, granted); err != nil {
		return fmt.Errorf("load module %q: %w", m.name, err)
	}
	m.pool.places = 1
	m.pool.ordinal = 1
	warm, err := m.newInstance(0)
	if err != nil {
		return m.refuseStart(err)
	}
	m.pool.countLocked(warm) // nobody else knows of m yet
	m.pool.idle = append(m.pool.idle, warm)
	return nil
}

// compile makes the generation's runtime and compiles the module in it.
func (m *Module) compile(ctx context.Context, a *admitted) error {
	e := m.engine
	e.compiling.Lock()
	defer e.compiling.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("load module %q: %w", m.name, err)
	}
	spec := jailSpec{MemoryPages: a.memoryPages, Interpreter: e.options.Interpreter, CacheDir: e.cacheDir}
	if e.jail != nil {
		if err := e.jail.compile(ctx, a.code, spec); err != nil {
			if refused, ok := errors.AsType[*jailError](err); ok {
				return &LoadError{Module: m.name, Reasons: []string{refused.Error()}}
			}
			return fmt.Errorf("load module %q: %w", m.name, err)
		}
	}

	// What wazero keeps of a context, it keeps for as long as the engine lives; so it gets none of the caller's.
	background := context.Background()
	config := spec.config()
	m.rt = wazero.NewRuntimeWithConfig(background, config.WithCompilationCache(e.cache))
	var err error
	if m.compiled, err = m.rt.CompileModule(background, a.code); err == nil {
		return nil
	}
	_ = m.rt.Close(background)

	// Without the cache: that tells a bad module from a bad cache.
	cacheErr := err
	m.rt = wazero.NewRuntimeWithConfig(background, config)
	if m.compiled, err = m.rt.CompileModule(background, a.code); err != nil {
		_ = m.rt.Close(background)
		return &LoadError{Module: m.name, Reasons: []string{"compile: " + printable(err.Error(), maxMessageBytes)}}
	}
	m.logger.Warn("compile cache unusable", "error", cacheErr)
	return nil
}

// link instantiates the host functions that the module imports from.
func (m *Module) link(a *admitted, granted Capability) error {
	background := context.Background()
	if a.usesHost {
		if err := linkHost(background, m.rt, granted, m.fault); err != nil {
			return err
		}
	}
	if a.usesWASI {
		if err := linkWASI(background, m.rt); err != nil {
			return err
		}
	}
	if a.metered {
		return linkMeter(background, m.rt)
	}
	return nil
}

// refuseStart turns the failure of the first instance into reasons.
func (m *Module) refuseStart(err error) error {
	trap, ok := errors.AsType[*TrapError](err)
	if !ok {
		return fmt.Errorf("load module %q: %w", m.name, err)
	}
	reasons := []string{trap.Export + ": " + trap.Message}
	exports := m.compiled.ExportedFunctions()
	if exports["_start"] != nil && exports[exportInitialize] == nil {
		reasons = append(reasons, "it exports _start but not _initialize: it was built as a command, not as a reactor or library")
	}
	return &LoadError{Module: m.name, Reasons: reasons}
}

// Name returns the name that the module was loaded under.
func (m *Module) Name() string { return m.name }

// Generation returns the generation that the module was loaded as.
func (m *Module) Generation() uint64 { return m.generation }

// Digest returns the SHA-256 of the file, in hexadecimal.
func (m *Module) Digest() string { return m.digest }

// Handles reports whether the guest wants to be given events of that kind; it is given no others.
func (m *Module) Handles(ev Event) bool { return ev < 64 && m.events&(1<<ev) != 0 }

// Retain makes the caller a user, who keeps the module open until Release. It reports false if the module was retired
// and its last user has left: then there is a newer one.
func (m *Module) Retain() bool {
	for {
		users := m.users.Load()
		if users == retiredBit {
			return false
		}
		if m.users.CompareAndSwap(users, users+1) {
			return true
		}
	}
}

// Release ends a Retain. The last one of a retired module closes it.
func (m *Module) Release() {
	switch users := m.users.Add(-1); {
	case users == retiredBit:
		m.leave()
	case users&^retiredBit < 0 || users == retiredBit-1:
		panic("runtime: Release without Retain")
	}
}

// Retire marks the module as replaced: it closes as soon as nobody uses it, at once if nobody does. It may be called
// more than once, by whoever owns the module's name.
func (m *Module) Retire() {
	for {
		users := m.users.Load()
		if users&retiredBit != 0 {
			return
		}
		if m.users.CompareAndSwap(users, users|retiredBit) {
			if users == 0 {
				m.leave()
			}
			return
		}
	}
}

// Kill ends what the module's guests are doing, and whatever they are asked to do next, as soon as their fuel is looked
// at. It is for a process that must end; without metering it does nothing.
func (m *Module) Kill() { m.kill.Store(true) }

// close frees the module with its instances. Nobody uses it.
func (m *Module) close() {
	m.code.drop()
	m.engine.forget(m)
}

// MayLog reports whether a line about the module may be logged now: a module that fails all the time must not flood the
// log by way of us. What its guests log does not count here, so that they cannot hide a failure either.
func (m *Module) MayLog() bool { return m.about.pass() }

// Stats returns a snapshot.
func (m *Module) Stats() ModuleStats {
	p := &m.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	return ModuleStats{
		Name:         m.name,
		Generation:   m.generation,
		Digest:       m.digest,
		Users:        m.users.Load() &^ retiredBit,
		MaxInstances: p.max,
		Instances:    p.places,
		Idle:         len(p.idle),
		Waiting:      p.queue.len(),
		Late:         p.late,
		MemoryBytes:  p.memBytes,
		Created:      p.ordinal,
		Discarded:    p.discarded,
		Calls:        p.total.calls,
		Refused:      p.total.refused,
		Traps:        p.traps,
		LogLines:     p.total.logLines,
		LogsDropped:  p.total.logsDropped,
		Tapes:        m.tapesKept.Load(),
		TapesDropped: m.tapesDropped.Load(),
	}
}
