package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
)

// Options configure an Engine. The zero value is good.
type Options struct {
	// CacheDir keeps compiled code between starts, at most some 512 MiB of it. It is created with mode 0700, and must not
	// be writable by others: what lies there is run as machine code. "none" keeps compiled code in memory only. Empty
	// means the folder weir in the user's own cache folder, where there is one.
	CacheDir string `koanf:"cache_dir"`

	// DefaultCacheDir is what an empty CacheDir means. Empty means "none".
	DefaultCacheDir string `koanf:"-"`

	// Interpreter runs guests in the interpreter, some ten to a hundred times slower than compiled. Where there is no
	// compiler for the processor, that is done anyway.
	Interpreter bool `koanf:"interpreter"`

	// MaxModuleBytes bounds the size of a module's file. Range [1, 64<<20]; 0 means 8<<20.
	MaxModuleBytes int `koanf:"max_module_bytes" over:"the module is refused"`

	// GuestBudgetBytes bounds the linear memory of all instances together. A guest that would exceed it gets no more
	// memory; an instance that cannot start for want of it is refused. Range [64<<10, 1<<46]; 0 means 40 % of the least
	// of the machine's memory, the control group's limit and GOMEMLIMIT.
	GuestBudgetBytes int64 `koanf:"guest_budget_bytes" over:"memory.grow answers -1"`

	// Jail says whether a module is first compiled in a process of its own, with bounded memory and time, so that a
	// file made to hurt the compiler cannot hurt the server: "on" needs that, "off" does without, "auto" does it where the
	// system can. Empty means "auto".
	Jail string `koanf:"jail" oneof:"on,off,auto"`

	// Metering says whether modules are rewritten so that they can be stopped: "on", or "off" to run modules that you
	// trust not to loop a little faster. With "off" neither time nor work nor stack of a handler is bounded, and one that
	// loops stalls the whole process. Empty means "on".
	Metering string `koanf:"metering" oneof:"on,off"`

	// TapeDir is where tapes are kept of instances that have trapped, of modules that record (modules.NAME.record), beside
	// the modules' files. At most 32 tapes of together 256 MiB, the oldest go. They hold what clients sent, in clear: the
	// folder is created with mode 0700. Empty means weir/tapes in the user's own cache folder where a module records and
	// there is such a folder, else none are kept.
	TapeDir string `koanf:"tape_dir"`

	// Now is the clock of deadlines and log rates, in nanoseconds since any moment; it never goes back. nil means the
	// system's.
	Now func() int64 `koanf:"-"`

	// Logger receives what guests log and print, with the attributes module, gen, and conn when a connection's event
	// is handled. nil discards it.
	Logger *slog.Logger `koanf:"-"`
}

// Validate reports every mistake in the options.
func (o Options) Validate() error {
	var mistakes []error
	if o.MaxModuleBytes < 0 || o.MaxModuleBytes > 64<<20 {
		mistakes = append(mistakes, fmt.Errorf("max_module_bytes: %d is not within [1, %d]", o.MaxModuleBytes, 64<<20))
	}
	if o.Metering != "" && o.Metering != meteringOn && o.Metering != meteringOff {
		mistakes = append(mistakes, fmt.Errorf("metering: %q is neither %q nor %q", o.Metering, meteringOn, meteringOff))
	}
	if b := o.GuestBudgetBytes; b != 0 && (b < wasmPageBytes || b > maxGuestBudgetBytes) {
		mistakes = append(mistakes, fmt.Errorf("guest_budget_bytes: %d is not within [%d, %d]", b, wasmPageBytes, int64(maxGuestBudgetBytes)))
	}
	switch o.Jail {
	case "", jailAuto, jailOn, jailOff:
	default:
		mistakes = append(mistakes, fmt.Errorf("jail: %q is not one of %q, %q, %q", o.Jail, jailAuto, jailOn, jailOff))
	}
	return errors.Join(mistakes...)
}

const (
	meteringOn  = "on"
	meteringOff = "off"

	jailAuto = "auto"
	jailOn   = "on"
	jailOff  = "off"
)

// Engine loads modules. Any goroutine may use it.
type Engine struct {
	options Options
	logger  *slog.Logger
	now     func() int64
	arena   *arena
	tapes   *tapeFolder // nil: none are kept
	jail    *jail       // nil: modules are compiled here at once

	cache    wazero.CompilationCache
	cacheDir string // empty: in memory only
	tempDir  bool   // cacheDir goes with the engine

	// compiling makes compilations wait for one another. wazero shows a module that comes from the cache's folder to
	// others before it is complete (v1.12.0, engine_cache.go, getCompiledModule); and one module may keep one
	// processor from its clients, not all of them.
	compiling sync.Mutex

	mu      sync.Mutex
	modules map[*Module]struct{} // not closed yet
	closing bool
	empty   chan struct{} // closed when closing and modules is empty
}

// NewEngine returns an engine with its cache ready.
func NewEngine(o Options) (*Engine, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.MaxModuleBytes == 0 {
		o.MaxModuleBytes = defaultMaxModuleBytes
	}
	e := &Engine{
		options: o,
		logger:  o.Logger,
		modules: make(map[*Module]struct{}),
		empty:   make(chan struct{}),
	}
	if e.now = o.Now; e.now == nil {
		start := time.Now()
		e.now = func() int64 { return int64(time.Since(start)) }
	}
	if e.logger == nil {
		e.logger = slog.New(slog.DiscardHandler)
	}
	if err := e.openJail(); err != nil {
		return nil, err
	}
	if err := e.openCache(); err != nil {
		return nil, fmt.Errorf("cache_dir: %w", err)
	}
	if o.TapeDir != "" {
		var err error
		if e.tapes, err = openTapeFolder(o.TapeDir, e.logger); err != nil {
			return nil, errors.Join(fmt.Errorf("tape_dir: %w", err), e.closeCache(context.Background()))
		}
	}
	e.arena = newArena(o.GuestBudgetBytes)
	return e, nil
}

// openJail makes the compile jail if there is to be one.
func (e *Engine) openJail() (err error) {
	if e.options.Jail == jailOff {
		return nil
	}
	e.jail, err = newJail()
	switch {
	case err == nil:
		return nil
	case e.options.Jail == jailOn:
		return fmt.Errorf("jail: %w", err)
	default:
		e.logger.Info("modules are compiled in this process", "why", err)
		return nil
	}
}

// openCache prepares the folder of compiled code, or the memory where none is configured. A jail needs a folder to hand
// the code over.
func (e *Engine) openCache() (err error) {
	if e.cacheDir = e.options.CacheDir; e.cacheDir == "" {
		e.cacheDir = e.options.DefaultCacheDir
	}
	if e.cacheDir == noCache {
		e.cacheDir = ""
	}
	if e.cacheDir == "" && e.jail != nil {
		if e.cacheDir, err = os.MkdirTemp("", "weir-compiled-"); err != nil {
			return err
		}
		e.tempDir = true
	}
	if e.cacheDir == "" {
		e.cache = wazero.NewCompilationCache()
		return nil
	}
	if err := prepareCache(e.cacheDir); err != nil {
		return err
	}
	e.cache, err = wazero.NewCompilationCacheWithDir(e.cacheDir)
	return err
}

// closeCache ends what openCache began.
func (e *Engine) closeCache(ctx context.Context) error {
	err := e.cache.Close(ctx)
	if e.tempDir {
		err = errors.Join(err, os.RemoveAll(e.cacheDir))
	}
	return err
}

// Load compiles a file, checks it against ABI 1 and the options, and starts one instance, which has not been given
// EventInit. The module is in use by nobody; whoever replaces it calls Retire.
//
// file is not kept, but for a copy where the module records and there is a TapeDir. ctx is looked at between the steps,
// of which compiling is the longest (a second for a large module). What is wrong with the module is a *LoadError with
// every reason.
func (e *Engine) Load(ctx context.Context, file []byte, o ModuleOptions) (*Module, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("load module %q: %w", o.Name, err)
	}
	admitted, err := e.admit(file, o)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(file)
	m := newModule(e, hex.EncodeToString(digest[:]), o)
	if m.record && e.tapes != nil {
		m.file = bytes.Clone(file)
	}
	m.Retain() // so that Close waits until m is built
	if !e.remember(m) {
		return nil, fmt.Errorf("load module %q: %w", o.Name, ErrClosed)
	}
	if err := m.build(ctx, admitted, o.Capabilities); err != nil {
		e.forget(m)
		return nil, err
	}
	m.Release()
	return m, nil
}

// remember adds m to the modules that are open, unless the engine closes.
func (e *Engine) remember(m *Module) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return false
	}
	e.modules[m] = struct{}{}
	return true
}

// forget is called when m has closed.
func (e *Engine) forget(m *Module) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.modules[m]; !known {
		return
	}
	delete(e.modules, m)
	if e.closing && len(e.modules) == 0 {
		close(e.empty)
	}
}

// Close retires every module and waits until the last user of each has left, at most until ctx ends: then what
// still runs is killed, the error names the modules that are in use, and Close may be called again. Load fails from the first Close on.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	modules := slices.Collect(maps.Keys(e.modules))
	if !e.closing && len(modules) == 0 {
		close(e.empty)
	}
	e.closing = true
	e.mu.Unlock()

	for _, m := range modules {
		m.Retire()
	}
	select {
	case <-e.empty:
	case <-ctx.Done():
		for _, m := range modules {
			m.Kill()
		}
	}
	if labels := e.open(); len(labels) > 0 {
		return fmt.Errorf("runtime: still in use: %s: %w", strings.Join(labels, ", "), ctx.Err())
	}
	e.arena.close()
	if e.tapes != nil {
		e.tapes.close()
	}
	return e.closeCache(context.WithoutCancel(ctx))
}

// open names the modules that are not closed yet.
func (e *Engine) open() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var labels []string
	for m := range e.modules {
		labels = append(labels, fmt.Sprintf("%s generation %d", m.label, m.generation))
	}
	slices.Sort(labels)
	return labels
}

// Memory returns a snapshot of what the guests of all modules have.
func (e *Engine) Memory() MemoryStats { return e.arena.stats() }
