package scenario

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"sync"

	"weir/host"
	"weir/internal/sim"
	"weir/runtime"
)

// Engine compiles modules, each once, and runs them for any number of scenarios
// at a time. Any goroutine may use it.
//
// Its clock stands still, so that what stops a handler is its fuel and never how
// busy the machine is.
type Engine struct {
	engine *runtime.Engine
	route  *router

	mu   sync.Mutex
	kept map[string]*sync.Once // by digest: modules that stay loaded, so that their code does
}

// EngineOptions say how modules are compiled. The zero value is good.
type EngineOptions struct {
	// CacheDir keeps compiled code for the next time (runtime.Options.DefaultCacheDir).
	// Empty keeps it in memory only.
	CacheDir string
	// Interpreter runs modules in the slower of the two engines, which shares no
	// bugs with the other.
	Interpreter bool
}

// NewEngine makes an Engine. The caller ends it with Close.
func NewEngine(o EngineOptions) (*Engine, error) {
	route := &router{}
	engine, err := runtime.NewEngine(runtime.Options{
		DefaultCacheDir: o.CacheDir,
		Interpreter:     o.Interpreter,
		Jail:            "off", // the modules are the caller's own
		Now:             func() int64 { return 1 },
		Logger:          slog.New(route),
	})
	if err != nil {
		return nil, err
	}
	return &Engine{engine: engine, route: route, kept: map[string]*sync.Once{}}, nil
}

// Close frees everything. No scenario may be under way.
func (e *Engine) Close() error { return e.engine.Close(context.Background()) }

// keep loads m beside everything else, once.
func (e *Engine) keep(ctx context.Context, m host.Module) {
	digest := sha256.Sum256(m.Wasm)
	key := hex.EncodeToString(digest[:])
	e.mu.Lock()
	k := e.kept[key]
	if k == nil {
		k = new(sync.Once)
		e.kept[key] = k
	}
	e.mu.Unlock()
	k.Do(func() {
		e.route.during(nil, func() {
			// What is wrong with it, the load of a world says.
			_, _ = e.engine.Load(context.WithoutCancel(ctx), m.Wasm, runtime.ModuleOptions{
				Name: m.Name, Generation: 1, Capabilities: ^runtime.Capability(0), Deny: true,
				MemoryPages: m.MemoryPages, Instances: 1, Limits: m.Limits,
			})
		})
	})
}

// World makes a world whose handlers log into h, and keeps their code for the
// next one. o.Engine is the engine's own.
func (e *Engine) World(ctx context.Context, o sim.Options, h slog.Handler) (w *sim.World, err error) {
	for _, m := range o.Modules {
		e.keep(ctx, m)
	}
	o.Engine = e.engine
	o.Logger = slog.New(h)
	e.route.during(h, func() { w, err = sim.New(o) })
	return w, err
}

// Reload is sim.World.Reload for a world of the engine's.
func (e *Engine) Reload(ctx context.Context, w *sim.World, m host.Module, h slog.Handler) (r host.Reloaded, err error) {
	e.keep(ctx, m)
	e.route.during(h, func() { r, err = w.Reload(m) })
	return r, err
}

// router is the engine's log handler. A module takes its logger while it is
// loaded, so whoever loads one says where its lines go, one after the other.
type router struct {
	mu sync.Mutex
	to slog.Handler // while during runs; nil discards
}

func (r *router) during(h slog.Handler, f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = h
	f()
	r.to = nil
}

// Enabled implements slog.Handler.
func (r *router) Enabled(context.Context, slog.Level) bool { return false }

// Handle implements slog.Handler.
func (r *router) Handle(context.Context, slog.Record) error { return nil }

// WithAttrs implements slog.Handler: it is called by Load.
func (r *router) WithAttrs(attrs []slog.Attr) slog.Handler {
	if r.to == nil {
		return slog.DiscardHandler
	}
	return r.to.WithAttrs(attrs)
}

// WithGroup implements slog.Handler.
func (r *router) WithGroup(string) slog.Handler { return r }
