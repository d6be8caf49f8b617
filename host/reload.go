package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weir/runtime"
)

// ErrUnknownModule means that no module of that name was loaded before the
// server began to listen.
var ErrUnknownModule = errors.New("host: no module of that name")

// Reloaded says what a reload brought.
type Reloaded struct {
	Generation uint64
	Digest     string        // SHA-256 of the file, hexadecimal
	Load       time.Duration // from the file's bytes to a generation that is ready
	Swap       time.Duration // how long the switch itself took
}

// Reload loads m as the next generation of the module of that name and makes it
// current, with every socket open. The new one is compiled, checked, warmed and
// given its init event first; an error of any of these leaves the old one
// serving. Then one atomic swap makes it current: a message that has begun ends
// on its own generation, and no connection ever goes back to an older one.
// Topics, timers and the state of connections stay. Of m, only Wasm, Config,
// Capabilities, Ungranted, MemoryPages, Instances, Limits and Record may change.
//
// Any goroutine; reloads of one module wait for each other.
func (s *Server) Reload(ctx context.Context, m Module) (Reloaded, error) {
	if err := m.validate(); err != nil {
		return Reloaded{}, err
	}
	tn := s.tenants[m.Name]
	if tn == nil {
		return Reloaded{}, fmt.Errorf("reload module %q: %w", m.Name, ErrUnknownModule)
	}
	tn.reloading.Lock()
	defer tn.reloading.Unlock()
	start := s.clock.Mono()
	old := tn.current.Load()
	gen, err := s.loadGeneration(ctx, tn, m, old.mod.Generation()+1)
	if err != nil {
		return Reloaded{}, fmt.Errorf("reload module %q: %w", m.Name, err)
	}
	ready := s.clock.Mono()
	tn.current.Store(gen)
	tn.breaker.reset()
	old.mod.Retire() // closes when its last instance is back and its last waiter served
	done := Reloaded{
		Generation: gen.mod.Generation(), Digest: gen.mod.Digest(),
		Load: time.Duration(ready - start), Swap: time.Duration(s.clock.Mono() - ready),
	}
	s.log.Info("module reloaded", "module", m.Name, "gen", done.Generation, "digest", done.Digest[:12], "load", done.Load, "swap", done.Swap)
	return done, nil
}

// loadGeneration makes one generation of tn, initialised and current for nobody.
func (s *Server) loadGeneration(ctx context.Context, tn *tenant, m Module, number uint64) (*generation, error) {
	mod, err := s.engine.Load(ctx, m.Wasm, runtime.ModuleOptions{
		Name: m.Name, Generation: number, Capabilities: m.Capabilities, Deny: m.Ungranted == ungrantedDeny,
		MemoryPages: m.MemoryPages, Instances: m.Instances, Limits: m.Limits, Seed: s.seed(), Record: m.Record, Fault: s.fault,
	})
	if err != nil {
		return nil, err
	}
	gen := &generation{srv: s, mod: mod, config: m.Config}
	if gen.config == nil {
		gen.config = []byte("{}")
	}
	gen.watch.owner = gen
	if err := tn.initialise(gen); err != nil {
		mod.Retire()
		return nil, err
	}
	return gen, nil
}
