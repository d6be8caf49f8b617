package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weir/runtime"
)

// Errors of what changes generations, to be found with errors.Is.
var (
	// ErrUnknownModule means that no module of that name was loaded before the
	// server began to listen.
	ErrUnknownModule = errors.New("host: no module of that name")
	// ErrConflict means that another generation is current than the caller has
	// expected: somebody else was faster.
	ErrConflict = errors.New("host: another generation is current")
	// ErrOlder means that the version of a signed module is lower than one that was
	// loaded before.
	ErrOlder = errors.New("host: a newer version was loaded before")
	// ErrNoCanary means that there is no canary.
	ErrNoCanary = errors.New("host: no canary runs")
	// ErrNoPrevious means that there is nothing to return to: no canary runs, and
	// the current generation has passed its probation.
	ErrNoPrevious = errors.New("host: no earlier generation is kept")
	// ErrShare means that a canary's share cannot become what was asked for.
	ErrShare = errors.New("host: a canary's share only grows, up to 100 percent")
	// ErrSelfTest means that Module.SelfTest has refused a generation.
	ErrSelfTest = errors.New("host: the self-test failed")
)

// RolloutOptions say how a new generation takes over from the one before. The
// zero value of a field means its default.
type RolloutOptions struct {
	// Canary is the share of connections, or of keys, in percent that a new
	// generation gets at first; the others get it when it is promoted. Range
	// [0, 100]; 0 means that it takes over at once.
	Canary int `koanf:"canary"`
	// Probation is how long a new generation is watched, and the one before kept,
	// after it has taken over. A canary is watched as long as it is one. 0 means
	// 10s.
	Probation time.Duration `koanf:"probation"`
	// TrapRate is the share of events in percent whose handlers may trap while a
	// generation is watched; with more the server returns to the one before. Range
	// [0, 100]; -1 never returns by itself; 0 means 10.
	TrapRate int `koanf:"trap_rate"`
	// MinEvents is how many events the judgement takes. 0 means 20.
	MinEvents int `koanf:"min_events"`
}

// WithDefaults returns o with every zero field replaced by its default.
func (o RolloutOptions) WithDefaults() RolloutOptions {
	setDefault(&o.Probation, 10*time.Second)
	setDefault(&o.TrapRate, 10)
	setDefault(&o.MinEvents, 20)
	return o
}

// Validate reports every mistake in o, each with its key.
func (o RolloutOptions) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if o.Canary < 0 || o.Canary > 100 {
		bad("canary", "%d is outside [0, 100]", o.Canary)
	}
	if o.TrapRate < -1 || o.TrapRate > 100 {
		bad("trap_rate", "%d is outside [-1, 100]", o.TrapRate)
	}
	atLeastZero(bad, "probation", o.Probation)
	atLeastZero(bad, "min_events", o.MinEvents)
	return errors.Join(errs...)
}

// Fate is what became of a generation.
type Fate string

// The fates.
const (
	FateCurrent    Fate = "current"     // serves, all but a canary's share
	FateCanary     Fate = "canary"      // serves its share
	FatePrevious   Fate = "previous"    // kept for a rollback
	FateRetired    Fate = "retired"     // was replaced; what runs on it still ends there
	FateRolledBack Fate = "rolled_back" // was given up
)

// Generation is what is known of one generation of a module.
type Generation struct {
	Number   uint64
	Digest   string // SHA-256 of the file, hexadecimal
	Fate     Fate
	Why      string // of FateRolledBack: what for
	LoadedAt int64  // ms since 1970
	Share    int    // of a canary, in percent
	Cells    int    // instances of the scopes connection, key and singleton that it has
	Busy     int    // instances of its pool that are at work
	Events   uint64 // that its instances were given
	Traps    uint64 // of these, and of starts
}

// Reloaded says what a reload brought.
type Reloaded struct {
	Generation uint64
	Digest     string        // SHA-256 of the file, hexadecimal
	Canary     bool          // it serves a share only, until Promote
	Load       time.Duration // from the file's bytes to a generation that is ready
	Swap       time.Duration // how long the switch itself took
}

// reloadResult is how a change of generations went, for the counters.
type reloadResult uint8

const (
	reloadDone reloadResult = iota
	reloadRefused
	reloadPromoted
	reloadRolledBack
	reloadResults // how many there are
)

var reloadLabels = [reloadResults]string{"loaded", "refused", "promoted", "rolled_back"}

// keptFates is how many generations that have ended are remembered.
const keptFates = 16

// Reload loads m as the next generation of the module of that name, with every
// socket open, and lets it take over as m.Rollout says: at once, or as a canary.
//
// The new one is compiled, checked, warmed, tested and given its init event
// first; an error of any of these leaves the old one serving. Then one atomic
// swap makes it current: a message that has begun ends on its own generation, and
// no connection ever goes back to an older one. Instances of the scopes
// connection, key and singleton hand their state on, each when it is free.
// Topics, timers and the state of connections stay. A canary that runs is rolled
// back first. Name, Cells and IdleAfter stay what they were.
//
// Any goroutine; reloads of one module wait for each other.
func (s *Server) Reload(ctx context.Context, m Module) (Reloaded, error) {
	tn, err := s.find("reload", m.Name)
	if err != nil {
		return Reloaded{}, err
	}
	if err := m.validate(); err != nil {
		return Reloaded{}, err
	}
	tn.reloading.Lock()
	defer tn.reloading.Unlock()
	start := s.clock.Mono()
	gen, err := tn.prepare(ctx, m)
	if err != nil {
		tn.count(reloadRefused)
		return Reloaded{}, fmt.Errorf("reload module %q: %w", m.Name, err)
	}
	ready := s.clock.Mono()
	if gen, err = tn.install(gen, m); err != nil {
		tn.count(reloadRefused)
		return Reloaded{}, fmt.Errorf("reload module %q: %w", m.Name, err)
	}
	done := Reloaded{
		Generation: gen.number, Digest: gen.pool.mod.Digest(), Canary: gen.rollout.Canary > 0,
		Load: time.Duration(ready - start), Swap: time.Duration(s.clock.Mono() - ready),
	}
	s.log.Info("module reloaded", append([]any{"module", m.Name, "gen", done.Generation, "digest", done.Digest[:12],
		"canary", gen.rollout.Canary, "load", done.Load, "swap", done.Swap}, m.vouched()...)...)
	return done, nil
}

// prepare loads m as the generation behind the latest, with everything done that
// can fail.
func (tn *tenant) prepare(ctx context.Context, m Module) (*generation, error) {
	tn.changing.Lock()
	err := tn.expectLocked(m)
	tn.changing.Unlock()
	if err != nil {
		return nil, err
	}
	gen, err := tn.srv.loadGeneration(ctx, tn, m, tn.nextNumber())
	if err != nil {
		return nil, err
	}
	if m.SelfTest != nil {
		if err := m.SelfTest(ctx); err != nil {
			gen.pool.mod.Retire()
			return nil, fmt.Errorf("%w: %w", ErrSelfTest, err)
		}
	}
	return gen, tn.initialise(gen)
}

// expectLocked reports why m may not follow on what is there.
func (tn *tenant) expectLocked(m Module) error {
	if current := tn.rule.Load().stable.number; m.Replaces != 0 && m.Replaces != current {
		return fmt.Errorf("%w: %d, not %d", ErrConflict, current, m.Replaces)
	}
	if m.Signer != "" && m.Version < tn.newest {
		return fmt.Errorf("%w: %d, and this is %d", ErrOlder, tn.newest, m.Version)
	}
	return nil
}

// loadGeneration makes one generation of tn, which serves nobody and has heard
// of nothing.
func (s *Server) loadGeneration(ctx context.Context, tn *tenant, m Module, number uint64) (*generation, error) {
	mod, err := s.engine.Load(ctx, m.Wasm, runtime.ModuleOptions{
		Name: m.Name, Generation: number, Capabilities: m.Capabilities, Deny: m.Ungranted == ungrantedDeny,
		MemoryPages: m.MemoryPages, Instances: m.Instances, Limits: m.Limits, Seed: s.seed(), Record: m.Record, Fault: s.fault,
	})
	if err != nil {
		return nil, err
	}
	gen := &generation{
		tn: tn, number: number, config: m.Config, keepHeaders: m.KeepHeaders, keepOnTrap: m.OnTrap == onTrapKeep, policies: newPolicies(m.Topics),
		rollout: m.Rollout.WithDefaults(), breaker: breaker{options: m.Breaker.WithDefaults()}, loadedAt: s.clock.UnixMilli(),
		metrics: tn.metrics.declare(m.Metrics),
	}
	if gen.config == nil {
		gen.config = []byte("{}")
	}
	gen.pool.init(gen, mod)
	return gen, nil
}

// again is gen under another number: the same code and settings, with instances
// of its own.
func (gen *generation) again(code *runtime.Module, number uint64) (*generation, error) {
	mod, err := code.Share(runtime.ShareOptions{Generation: number, Seed: gen.tn.srv.seed()})
	if err != nil {
		return nil, err
	}
	twin := &generation{
		tn: gen.tn, number: number, config: gen.config, keepHeaders: gen.keepHeaders, keepOnTrap: gen.keepOnTrap, policies: gen.policies,
		rollout: gen.rollout, breaker: breaker{options: gen.breaker.options}, loadedAt: gen.tn.srv.clock.UnixMilli(),
		metrics: gen.metrics,
	}
	twin.pool.init(twin, mod)
	return twin, nil
}

// install lets gen, or its twin under a later number, take over or begin as a
// canary.
func (tn *tenant) install(gen *generation, m Module) (*generation, error) {
	for {
		done, err := tn.tryInstall(gen, m)
		if err == nil && done {
			return gen, nil
		}
		var twin *generation
		if err == nil { // its number was given to the return of an older one meanwhile
			twin, err = gen.again(gen.pool.mod, tn.nextNumber())
		}
		gen.pool.mod.Retire()
		if err == nil {
			err = tn.initialise(twin)
		}
		if err != nil {
			return nil, err
		}
		gen = twin
	}
}

// tryInstall is install; not done when gen's number is not the latest.
func (tn *tenant) tryInstall(gen *generation, m Module) (done bool, _ error) {
	tn.changing.Lock()
	defer tn.changing.Unlock()
	if err := tn.expectLocked(m); err != nil {
		return false, err
	}
	if tn.rule.Load().canary != nil {
		if err := tn.rollBackLocked("another generation came"); err != nil {
			return false, err
		}
	}
	if gen.number <= tn.last {
		return false, nil
	}
	tn.last, tn.newest = gen.number, max(tn.newest, m.Version)
	tn.results[reloadDone]++
	if percent := gen.rollout.Canary; percent > 0 {
		rule := *tn.rule.Load()
		gen.fate = FateCanary
		rule.canary, rule.share = gen, shareOf(percent)
		tn.ruleLocked(rule)
		return true, nil
	}
	return true, tn.succeedLocked(gen)
}

// nextNumber is what the next load is called: a canary's return comes before it.
func (tn *tenant) nextNumber() uint64 {
	tn.changing.Lock()
	defer tn.changing.Unlock()
	if tn.rule.Load().canary != nil {
		return tn.last + 2
	}
	return tn.last + 1
}

// ruleLocked makes rule hold. Instances of cells follow by themselves.
// tenant.changing is held, as with every function of that ending here.
func (tn *tenant) ruleLocked(rule ruling) {
	tn.rule.Store(&rule)
	for _, cl := range tn.everyCell()[1:] {
		cl.wakeUp(inMove)
	}
}

// succeedLocked makes gen current. The code of the one before is kept until gen
// has passed its probation, unless that one is on probation itself: then what it
// could return to is kept.
func (tn *tenant) succeedLocked(gen *generation) error {
	rule := *tn.rule.Load()
	old := rule.stable
	if old.previous != nil {
		gen.previous, old.previous = old.previous, nil
		old.fate = FateRetired
	} else {
		spare, err := old.pool.mod.Share(runtime.ShareOptions{})
		if err != nil {
			return err
		}
		old.spare, old.fate = spare, FatePrevious
		gen.previous = old
	}
	gen.fate = FateCurrent
	rule.stable, rule.canary, rule.share = gen, nil, 0
	tn.ruleLocked(rule)
	tn.leaveLocked(old)
	tn.watchLocked(gen)
	return nil
}

// watchLocked begins the probation of the current generation.
func (tn *tenant) watchLocked(gen *generation) {
	s := tn.srv
	tn.unwatchLocked()
	tn.probation = s.at(s.clock.Mono()+int64(gen.rollout.Probation), func() {
		tn.changing.Lock()
		defer tn.changing.Unlock()
		if tn.rule.Load().stable == gen {
			tn.forgetPreviousLocked(gen)
		}
	})
}

func (tn *tenant) unwatchLocked() {
	if tn.probation != nil {
		tn.srv.wheel.cancel(&tn.probation.node)
		tn.probation = nil
	}
}

// forgetPreviousLocked gives up what gen could return to.
func (tn *tenant) forgetPreviousLocked(gen *generation) {
	if old := gen.previous; old != nil {
		old.spare.Retire()
		old.spare, old.fate, gen.previous = nil, FateRetired, nil
	}
}

// leaveLocked retires a generation that serves nobody new: it closes when its
// last instance is back and its last waiter served.
func (tn *tenant) leaveLocked(gen *generation) {
	gen.pool.mod.Retire()
	tn.former = append(tn.former, gen)
	tn.pruneLocked()
}

// pruneLocked keeps of generations that are over no more than what is told of
// them, and that of the latest.
func (tn *tenant) pruneLocked() {
	tn.former = slices.DeleteFunc(tn.former, func(gen *generation) bool {
		over := gen.spare == nil && gen.cells.Load() == 0 && gen.pool.mod.Closed()
		if over {
			tn.ended = append(tn.ended, gen.infoLocked())
		}
		return over
	})
	if n := len(tn.ended) - keptFates; n > 0 {
		tn.ended = slices.Delete(tn.ended, 0, n)
	}
}

// rollBackLocked ends the canary, or else the current generation, in favour of
// the code before. That comes back under a new number, above all that any
// connection has seen.
func (tn *tenant) rollBackLocked(why string) error {
	rule := *tn.rule.Load()
	failed, old := rule.canary, rule.stable
	code := old.pool.mod
	if failed == nil {
		if failed, old = old, old.previous; old == nil {
			return ErrNoPrevious
		}
		code = old.spare
	}
	back, err := old.again(code, tn.last+1)
	if err != nil {
		return err
	}
	tn.last = back.number
	tn.results[reloadRolledBack]++
	back.fate, failed.fate, failed.why = FateCurrent, FateRolledBack, why
	canary := rule.canary != nil
	rule.stable, rule.canary, rule.share = back, nil, 0
	tn.ruleLocked(rule)
	old.fate = FateRetired
	if canary {
		back.previous, old.previous = old.previous, nil
		tn.leaveLocked(old)
		if tn.probation != nil {
			tn.watchLocked(back)
		}
	} else {
		failed.previous = nil
		old.spare.Retire()
		old.spare = nil
		tn.unwatchLocked()
	}
	tn.leaveLocked(failed)
	tn.srv.log.Warn("module rolled back", "module", tn.name, "gen", back.number, "failed", failed.number, "digest", back.pool.mod.Digest()[:12], "why", why)
	return nil
}

// judge ends a generation on probation that traps too often, or whose breaker
// has just opened and fails to the previous one.
func (tn *tenant) judge(gen *generation, opened bool) {
	if !tn.watches(gen) {
		return
	}
	o := &gen.rollout
	traps := gen.traps.Load()
	events := max(gen.events(), traps)
	var why string
	switch {
	case opened && gen.breaker.options.Fail == failPrevious:
		why = "its breaker opened"
	case o.TrapRate >= 0 && events >= uint64(o.MinEvents) && traps*100 > uint64(o.TrapRate)*events:
		why = fmt.Sprintf("%d of %d events trapped", traps, events)
	default:
		return
	}
	tn.changing.Lock()
	defer tn.changing.Unlock()
	if tn.watches(gen) {
		_ = tn.rollBackLocked(why) // without a previous one it stays
	}
}

// watches reports whether gen is who would be rolled back.
func (tn *tenant) watches(gen *generation) bool {
	rule := tn.rule.Load()
	return rule != nil && (gen == rule.canary || gen == rule.stable && rule.canary == nil)
}

func (tn *tenant) count(result reloadResult) {
	tn.changing.Lock()
	tn.results[result]++
	tn.changing.Unlock()
}

// shareOf is how many draws a share in percent is.
func shareOf(percent int) uint64 { return uint64(percent) * draws / 100 }

// find is the module that somebody wants to do something to.
func (s *Server) find(what, module string) (*tenant, error) {
	if tn := s.tenants[module]; tn != nil {
		return tn, nil
	}
	return nil, fmt.Errorf("%s module %q: %w", what, module, ErrUnknownModule)
}

// change does something to a module while nobody else changes its generations.
func (s *Server) change(what, module string, f func(tn *tenant, rule ruling) error) error {
	tn, err := s.find(what, module)
	if err != nil {
		return err
	}
	tn.changing.Lock()
	defer tn.changing.Unlock()
	if err := f(tn, *tn.rule.Load()); err != nil {
		return fmt.Errorf("%s module %q: %w", what, module, err)
	}
	return nil
}

// Canary makes the share of the module's canary as large as that, in percent.
// It only grows: who has been served by it stays with it. Any goroutine.
func (s *Server) Canary(module string, percent int) error {
	return s.change("canary of", module, func(tn *tenant, rule ruling) error {
		share := shareOf(percent)
		switch {
		case rule.canary == nil:
			return ErrNoCanary
		case percent > 100 || percent < 1 || share < rule.share:
			return fmt.Errorf("%w: it has %d, not %d", ErrShare, percentOf(rule.share), percent)
		}
		rule.share = share
		tn.ruleLocked(rule)
		s.log.Info("canary's share", "module", module, "gen", rule.canary.number, "percent", percent)
		return nil
	})
}

func percentOf(share uint64) int { return int((share*100 + draws/2) / draws) }

// Promote lets the module's canary take over. Any goroutine.
func (s *Server) Promote(module string) error {
	return s.change("promote", module, func(tn *tenant, rule ruling) error {
		if rule.canary == nil {
			return ErrNoCanary
		}
		tn.results[reloadPromoted]++
		s.log.Info("canary promoted", "module", module, "gen", rule.canary.number)
		return tn.succeedLocked(rule.canary)
	})
}

// Rollback ends the module's canary, or, while it is on probation, its current
// generation, and lets the code before serve everybody at once. It does so as a
// new generation, since no connection goes back to an older number. Any goroutine.
func (s *Server) Rollback(module string) error {
	return s.change("roll back", module, func(tn *tenant, _ ruling) error { return tn.rollBackLocked("it was asked for") })
}

// Pause holds the module's events back: connections stay, their messages wait
// where they are, upgrades are answered 503. Changes of generations go on. A
// drain ends it. Any goroutine.
func (s *Server) Pause(module string) error {
	return s.change("pause", module, func(tn *tenant, rule ruling) error {
		rule.paused = true
		tn.rule.Store(&rule)
		s.log.Info("module paused", "module", module)
		return nil
	})
}

// Resume ends a pause. Any goroutine.
func (s *Server) Resume(module string) error {
	tn, err := s.find("resume", module)
	if err == nil {
		tn.resume()
	}
	return err
}

func (tn *tenant) resume() {
	tn.changing.Lock()
	rule := *tn.rule.Load()
	was := rule.paused
	rule.paused = false
	tn.rule.Store(&rule)
	tn.changing.Unlock()
	tn.letGo()
	if was {
		tn.srv.log.Info("module resumed", "module", tn.name)
	}
}

// Paused reports whether the module is paused; false for one that is not there.
// Any goroutine.
func (s *Server) Paused(module string) bool {
	tn := s.tenants[module]
	return tn != nil && tn.rule.Load().paused
}

// Generations lists a module's generations, the latest first: those that serve
// or are kept, and the last that are over. nil for a module that is not there.
// Any goroutine.
func (s *Server) Generations(module string) []Generation {
	tn := s.tenants[module]
	if tn == nil {
		return nil
	}
	tn.changing.Lock()
	defer tn.changing.Unlock()
	tn.pruneLocked()
	rule := tn.rule.Load()
	all := append([]Generation{rule.stable.infoLocked()}, tn.ended...)
	if rule.canary != nil {
		info := rule.canary.infoLocked()
		info.Share = percentOf(rule.share)
		all = append(all, info)
	}
	for _, gen := range tn.former {
		all = append(all, gen.infoLocked())
	}
	slices.SortFunc(all, func(a, b Generation) int { return cmp.Compare(b.Number, a.Number) })
	return all
}

func (gen *generation) infoLocked() Generation {
	st := gen.pool.mod.Stats()
	return Generation{
		Number: gen.number, Digest: st.Digest, Fate: gen.fate, Why: gen.why, LoadedAt: gen.loadedAt,
		Cells: int(gen.cells.Load()), Busy: st.Instances - st.Idle,
		Events: st.Calls + gen.cellEvents.Load(), Traps: gen.traps.Load(),
	}
}

// close retires everything of a server that ends. No connection is left.
func (tn *tenant) close() {
	tn.changing.Lock()
	defer tn.changing.Unlock()
	tn.unwatchLocked()
	rule := tn.rule.Load()
	tn.forgetPreviousLocked(rule.stable)
	rule.stable.pool.mod.Retire()
	if rule.canary != nil {
		rule.canary.pool.mod.Retire()
	}
	for _, cl := range tn.everyCell()[1:] {
		tn.cellsMu.Lock()
		was := cl.forgetLocked()
		tn.cellsMu.Unlock()
		if was {
			cl.end()
		}
	}
}
