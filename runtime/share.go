package runtime

import (
	"context"
	"sync/atomic"

	"github.com/tetratelabs/wazero"
)

// code is what a file became, compiled and linked, and what all modules that run it have in common. The last of them
// to close frees it.
type code struct {
	rt       wazero.Runtime // one for each code: memory limits are per runtime
	compiled wazero.CompiledModule
	sharers  atomic.Int64 // modules that are not closed; 0 is the end

	logs  logGate // of what guests log and print
	about logGate // of what is logged about the module
}

// join adds a sharer, unless the code is freed.
func (c *code) join() bool {
	for {
		n := c.sharers.Load()
		if n == 0 {
			return false
		}
		if c.sharers.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// drop takes a sharer away.
func (c *code) drop() {
	if c.sharers.Add(-1) > 0 {
		return
	}
	background := context.Background()
	_ = c.rt.Close(background)
	_ = c.compiled.Close(background)
}

// ShareOptions are what a module may have of its own beside the code that it shares.
type ShareOptions struct {
	// Generation is what [EventInit], log records and traps tell. 0 means that of the module that shares.
	Generation uint64
	// Instances bounds the instances that exist at once, as [ModuleOptions.Instances] does. 0 means as many as the module
	// that shares may have.
	Instances int
	// Seed is what its instances' random bytes are derived from, as [ModuleOptions.Seed] is.
	Seed uint64
}

// Share returns another module of m's code that has its own instances, none at first, and its own count of users. It
// takes microseconds and little memory: nothing is compiled. The error is ErrClosed if m has closed, which cannot be
// while the caller uses it.
func (m *Module) Share(o ShareOptions) (*Module, error) {
	if !m.code.join() {
		return nil, ErrClosed
	}
	if o.Generation == 0 {
		o.Generation = m.generation
	}
	if o.Instances == 0 {
		o.Instances = m.pool.max
	}
	twin := &Module{
		engine: m.engine, name: m.name, generation: o.Generation, digest: m.digest, label: m.label, seed: o.Seed, fault: m.fault,
		limits: m.limits, budgets: m.budgets, metered: m.metered, minBytes: m.minBytes, maxBytes: m.maxBytes,
		memoryPages: m.memoryPages, events: m.events, usesWASI: m.usesWASI,
		logger: m.logger, config: m.config, code: m.code,
		record: m.record, granted: m.granted, noSnapshot: m.noSnapshot, globals: m.globals, keepTapes: m.keepTapes, file: m.file, replay: m.replay,
		// The first instance of a file tells which events it handles. That has been told.
		pool: pool{max: o.Instances, ordinal: 1, idle: make([]*Instance, 0, o.Instances)},
	}
	if o.Generation != m.generation {
		twin.logger = m.engine.logger.With("module", m.name, "gen", o.Generation)
	}
	if !m.engine.remember(twin) {
		m.code.drop()
		return nil, ErrClosed
	}
	return twin, nil
}

// SharesCode reports whether both run the same code: one was made from the other, or both from a third, by Share.
func (m *Module) SharesCode(other *Module) bool { return m.code == other.code }

// Closed reports that the module is retired and all its instances are gone.
func (m *Module) Closed() bool {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	return m.pool.closed
}

// Waited reports whether anybody waits for an instance.
func (m *Module) Waited() bool {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	return m.pool.queue.first != nil
}

// TurnAway retires the module at once, whoever uses it, and ends every wait: who waits is granted a place where no
// instance can be made, so that its [Module.TakeReserved] answers ErrClosed. Instances that are out stay good until they
// are given back.
func (m *Module) TurnAway() {
	m.Retire()
	p := &m.pool
	p.mu.Lock()
	p.leaving, p.turned = true, true
	var away []Waiter
	for w := p.queue.pop(); w != nil; w = p.queue.pop() {
		away = append(away, w)
		p.places++
	}
	m.unlockAndClose()
	for _, w := range away {
		w.Granted(nil)
	}
}
