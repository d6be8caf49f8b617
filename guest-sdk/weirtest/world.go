package weirtest

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"weir/host"
	"weir/internal/scenario"
	"weir/internal/sim"
)

// World is a server with its clients and its time. It lives as long as its test.
type World struct {
	t       testing.TB
	w       *sim.World
	engine  *scenario.Engine
	log     slog.Handler
	modules []host.Module
	clients []*Client
}

// New makes a world and loads its modules. When the test ends, every connection
// is cut and what then is left of one is an error: a close that a handler was not
// told of, bytes, sockets.
func New(t testing.TB, with ...Option) *World {
	t.Helper()
	return newWorld(t, gather(t, with))
}

func newWorld(t testing.TB, o options) *World {
	t.Helper()
	settings, modules := o.site(t)
	for i := range settings.Routes {
		settings.Routes[i].Static = "" // there is no HTTP but upgrades here
	}
	settings.Routes = slices.DeleteFunc(settings.Routes, func(r host.Route) bool { return r.Module == "" })
	w := &World{t: t, engine: theEngine(t), log: logHandler(t), modules: modules}
	var err error
	w.w, err = w.engine.World(context.Background(), sim.Options{Seed: o.seed, Faults: o.parseFaults(t), Host: settings, Modules: modules}, w.log)
	if err != nil {
		t.Fatalf("weirtest: %v", err)
	}
	t.Cleanup(func() {
		t.Helper()
		if err := w.w.Close(); err != nil {
			t.Errorf("weirtest: the server broke a promise: %v", err)
		}
	})
	return w
}

// Open connects a client and waits for the server to let it in. path may have a
// query; headers are alternately names and values of further fields of the
// request. A name may come again when its client has ended.
func (w *World) Open(name, path string, headers ...string) *Client {
	w.t.Helper()
	c := w.dial(name, path, headers)
	if c.c.Status() != 101 {
		c.fatal("it is let in (101)", c.answer())
	}
	return c
}

// Refused connects a client and wants the server to refuse it with that status.
func (w *World) Refused(name, path string, status int, headers ...string) {
	w.t.Helper()
	c := w.dial(name, path, headers)
	if c.c.Status() != status {
		c.fatal("it is refused with "+statusText(status), c.answer())
	}
}

func (w *World) dial(name, path string, headers []string) *Client {
	w.t.Helper()
	sc, err := w.w.Open(name, path, headers...)
	if err != nil {
		w.t.Fatalf("weirtest: %v", err)
	}
	c := &Client{w: w, c: sc, heard: &heard{}, within: grace}
	w.clients = append(w.clients, c)
	w.w.Await(grace, func() bool { return sc.Status() != 0 || sc.Ended() })
	return c
}

// Now is the virtual time since the world began. It begins at 2026-01-01
// 00:00:00 UTC.
func (w *World) Now() time.Duration { return w.w.Now() }

// Advance lets virtual time go by, with all that happens in it.
func (w *World) Advance(d time.Duration) {
	w.t.Helper()
	w.w.Advance(d)
	w.check()
}

// Silence lets virtual time go by in which no client may hear anything.
func (w *World) Silence(d time.Duration) {
	w.t.Helper()
	quiet(w, d, w.clients)
}

// Reload makes a file the next generation of the world's one module, with every
// connection open.
func (w *World) Reload(file string) {
	w.t.Helper()
	if len(w.modules) != 1 {
		w.t.Fatalf("weirtest: there are %d modules; say which with ReloadModule", len(w.modules))
	}
	w.ReloadModule(w.modules[0].Name, file)
}

// ReloadModule makes a file the next generation of the module of that name.
func (w *World) ReloadModule(name, file string) {
	w.t.Helper()
	i := slices.IndexFunc(w.modules, func(m host.Module) bool { return m.Name == name })
	if i < 0 {
		w.t.Fatalf("weirtest: there is no module %q", name)
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatalf("weirtest: reload: %v", err)
	}
	m := w.modules[i]
	m.Wasm = wasm
	if _, err := w.engine.Reload(context.Background(), w.w, m, w.log); err != nil {
		w.t.Fatalf("weirtest: %v", err)
	}
	w.check()
}

// Drain begins an orderly stop of the server: it accepts nobody any more and says
// goodbye (1001) to everybody.
func (w *World) Drain() {
	w.t.Helper()
	w.w.Drain()
	w.check()
}

// Stats is a snapshot of the server's counters.
func (w *World) Stats() host.Stats { return w.w.Server().Stats() }

// check ends the test if the server has broken a promise.
func (w *World) check() {
	w.t.Helper()
	if err := w.w.Err(); err != nil {
		w.t.Fatalf("weirtest: the server broke a promise: %v", err)
	}
}
