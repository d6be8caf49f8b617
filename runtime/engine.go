package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Options configure an Engine. The zero value is good.
type Options struct {
	// CacheDir keeps compiled code between starts. It is created with mode 0700, and must not be writable by others:
	// what lies there is run as machine code. Empty keeps compiled code in memory only.
	CacheDir string `koanf:"cache_dir"`

	// Interpreter runs guests in the interpreter, some ten to a hundred times slower than compiled. Where there is no
	// compiler for the processor, that is done anyway.
	Interpreter bool `koanf:"interpreter"`

	// DebugInfo reads DWARF from modules that carry it, so that stacks name source lines. It costs time and memory at
	// load.
	DebugInfo bool `koanf:"debug_info"`

	// MaxModuleBytes bounds the size of a module's file. Range [1, 64<<20]; 0 means 8<<20.
	MaxModuleBytes int `koanf:"max_module_bytes"`

	// Logger receives what guests log and print, with the attributes module, gen, and conn when a connection's event
	// is handled. nil discards it.
	Logger *slog.Logger `koanf:"-"`
}

// Validate reports every mistake in the options.
func (o Options) Validate() error {
	if o.MaxModuleBytes < 0 || o.MaxModuleBytes > 64<<20 {
		return fmt.Errorf("max_module_bytes: %d is not within [1, %d]", o.MaxModuleBytes, 64<<20)
	}
	return nil
}

// Engine loads modules. Any goroutine may use it.
type Engine struct {
	options Options
	logger  *slog.Logger
	cache   wazero.CompilationCache

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
	if e.logger == nil {
		e.logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheDir == "" {
		e.cache = wazero.NewCompilationCache()
		return e, nil
	}
	var err error
	if e.cache, err = openCache(o.CacheDir); err != nil {
		return nil, fmt.Errorf("cache_dir: %w", err)
	}
	return e, nil
}

// openCache prepares the folder of compiled code. wazero maps its files as code behind a checksum only.
func openCache(dir string) (wazero.CompilationCache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if others := info.Mode().Perm() & 0o022; others != 0 && goruntime.GOOS != "windows" {
		return nil, fmt.Errorf("%s has mode %04o: others could replace the code that runs; chmod 0700 it", dir, info.Mode().Perm())
	}
	return wazero.NewCompilationCacheWithDir(dir)
}

// Load compiles a file, checks it against ABI 1 and the options, and starts one instance, which has not been given
// EventInit. The module is in use by nobody; whoever replaces it calls Retire.
//
// wasm is not kept. ctx is looked at between the steps, of which compiling is the longest (a second for a large
// module). What is wrong with the module is a *LoadError with every reason.
func (e *Engine) Load(ctx context.Context, wasm []byte, o ModuleOptions) (*Module, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("load module %q: %w", o.Name, err)
	}
	admitted, err := e.admit(wasm)
	if err != nil {
		return nil, &LoadError{Module: o.Name, Reasons: strings.Split(err.Error(), "\n")}
	}
	digest := sha256.Sum256(wasm)
	m := newModule(e, hex.EncodeToString(digest[:]), o)
	m.Retain() // so that Close waits until m is built
	if !e.remember(m) {
		return nil, fmt.Errorf("load module %q: %w", o.Name, ErrClosed)
	}
	if err := m.build(ctx, admitted, o); err != nil {
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

// admit decides what wazero gets to see of a file: here modules are bounded, and may be rewritten, before they are
// compiled. Its error has a line for every reason.
func (e *Engine) admit(wasm []byte) ([]byte, error) {
	const magic, version, componentLayer = "\x00asm", "\x01\x00\x00\x00", "\x01\x00"
	head := string(wasm[:min(len(wasm), len(magic)+len(version))])
	text := strings.TrimSpace(string(wasm[:min(len(wasm), 64)]))
	switch {
	case len(wasm) > e.options.MaxModuleBytes:
		return nil, fmt.Errorf("the file has %d bytes; at most %d are allowed (max_module_bytes)",
			len(wasm), e.options.MaxModuleBytes)
	case head == magic+version:
		return wasm, nil
	case strings.HasPrefix(head, magic) && strings.HasSuffix(head, componentLayer):
		return nil, errors.New("the file is a WebAssembly component; weir runs core modules")
	case strings.HasPrefix(text, "(module"), strings.HasPrefix(text, ";;"), strings.HasPrefix(text, "(;"):
		return nil, errors.New("the file is WebAssembly text; compile it to a binary first")
	default:
		return nil, errors.New("the file is not a WebAssembly module")
	}
}

// Close retires every module and waits until the last user of each has left, at most until ctx ends: then the error
// names the modules that are still in use, and Close may be called again. Load fails from the first Close on.
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
	}
	if labels := e.open(); len(labels) > 0 {
		return fmt.Errorf("runtime: still in use: %s: %w", strings.Join(labels, ", "), ctx.Err())
	}
	return e.cache.Close(context.WithoutCancel(ctx))
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

// runtimeConfig is what one generation's wazero.Runtime is made with.
func (e *Engine) runtimeConfig(memoryPages uint32) wazero.RuntimeConfig {
	config := wazero.NewRuntimeConfig()
	if e.options.Interpreter {
		config = wazero.NewRuntimeConfigInterpreter()
	}
	return config.
		WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(memoryPages).
		WithDebugInfoEnabled(e.options.DebugInfo)
}
