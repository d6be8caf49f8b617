package weirtest

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"weir/host"
	"weir/internal/config"
	"weir/internal/scenario"
	"weir/internal/sim"
	"weir/runtime"
)

// Option says what a world or server is made of. One of Module and Config is
// needed.
type Option func(*options)

type options struct {
	module       string
	config       string
	capabilities []string
	moduleConfig string
	seed         uint64
	faults       string
	messages     []string
	path         string
	traps        bool
}

// Module serves one module at every path, as weir serve MODULE.wasm does: it may
// use topics and timers. The file is relative to the test's folder.
func Module(file string) Option { return func(o *options) { o.module = file } }

// Config serves what a configuration file says: its modules, routes and limits.
// The environment has no say in it.
func Config(file string) Option { return func(o *options) { o.config = file } }

// WithCapabilities says what the module of Module may use, instead of topics and
// timers.
func WithCapabilities(names ...string) Option {
	return func(o *options) { o.capabilities = append([]string{}, names...) }
}

// WithModuleConfig is what the module of Module is given as it starts: JSON.
// Without it {}.
func WithModuleConfig(json string) Option { return func(o *options) { o.moduleConfig = json } }

// WithSeed decides what is left to chance; without it 1.
func WithSeed(seed uint64) Option { return func(o *options) { o.seed = seed } }

// WithFaults are what goes wrong in a world from the start, as "split+delay" or
// "none"; docs/scenarios.md lists them.
func WithFaults(names string) Option { return func(o *options) { o.faults = names } }

// WithMessages are text messages that mean something to the handler: what Fuzz
// sends beside random bytes.
func WithMessages(messages ...string) Option {
	return func(o *options) { o.messages = append([]string{}, messages...) }
}

// WithPath is where the clients of Fuzz and Bench connect; without it /.
func WithPath(path string) Option { return func(o *options) { o.path = path } }

// AllowTraps lets Fuzz pass when a handler traps, returns an error or runs out of
// a limit. Its connection must still end with 1011.
func AllowTraps() Option { return func(o *options) { o.traps = true } }

func gather(t testing.TB, all []Option) options {
	t.Helper()
	o := options{seed: 1, faults: "none", path: "/"}
	for _, one := range all {
		one(&o)
	}
	if (o.module == "") == (o.config == "") {
		t.Fatal("weirtest: give Module or Config, and not both")
	}
	return o
}

// site is what is served.
func (o options) site(t testing.TB) (host.Options, []host.Module) {
	t.Helper()
	settings, modules, err := o.read()
	if err != nil {
		t.Fatalf("weirtest: %v", err)
	}
	return settings, modules
}

func (o options) read() (host.Options, []host.Module, error) {
	if o.config != "" {
		c, err := config.Load(config.Source{Files: []string{o.config}, ReadFile: os.ReadFile})
		if err != nil {
			return host.Options{}, nil, err
		}
		var modules []host.Module
		var errs []error
		for _, name := range slices.Sorted(maps.Keys(c.Modules)) {
			m, err := hostModule(c.Modules[name], name)
			modules, errs = append(modules, m), append(errs, err)
		}
		return c.Options, modules, errors.Join(errs...)
	}
	m := config.Module{Path: o.module, Capabilities: o.capabilities}
	if o.capabilities == nil {
		m.Capabilities = runtime.CapabilityDefault.Names()
	}
	for _, name := range m.Capabilities {
		if _, known := runtime.ParseCapability(name); !known {
			return host.Options{}, nil, fmt.Errorf("%q is not a capability; there are %s", name, strings.Join(config.Capabilities(), ", "))
		}
	}
	name := moduleName(o.module)
	module, err := hostModule(m, name)
	if o.moduleConfig != "" {
		module.Config = []byte(o.moduleConfig)
	}
	return host.Options{Routes: []host.Route{{Path: "/{path...}", Module: name}}}, []host.Module{module}, err
}

func hostModule(m config.Module, name string) (host.Module, error) {
	wasm, err := os.ReadFile(m.Path)
	if errors.Is(err, os.ErrNotExist) {
		return host.Module{}, fmt.Errorf("module %s: %w", name, &scenario.MissingError{Path: m.Path})
	} else if err != nil {
		return host.Module{}, fmt.Errorf("module %s: %w", name, err)
	}
	return m.Host(name, wasm)
}

var notInNames = regexp.MustCompile(`[^a-z0-9-]+`)

// moduleName makes a module's name from its file's.
func moduleName(file string) string {
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(file)), ".wasm")
	if name = strings.Trim(notInNames.ReplaceAllString(name, "-"), "-"); name == "" {
		return "module"
	}
	return name[:min(len(name), 64)]
}

// parseFaults reads WithFaults.
func (o options) parseFaults(t testing.TB) sim.Faults {
	t.Helper()
	f, err := sim.ParseFaults(o.faults)
	if err != nil {
		t.Fatalf("weirtest: %v", err)
	}
	return f
}

// engine is shared by all worlds of the process and keeps what it has compiled.
var engine = sync.OnceValues(func() (*scenario.Engine, error) { return scenario.NewEngine(scenario.EngineOptions{}) })

func theEngine(t testing.TB) *scenario.Engine {
	t.Helper()
	e, err := engine()
	if err != nil {
		t.Fatalf("weirtest: start the engine: %v", err)
	}
	return e
}

// logHandler writes into the test's log, without the time, which is not that of
// the world.
func logHandler(t testing.TB) slog.Handler {
	return slog.NewTextHandler(t.Output(), &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{}
		}
		return a
	}})
}
