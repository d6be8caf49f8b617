package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/host"
	"weir/internal/admin"
	"weir/internal/config"
	"weir/internal/systemd"
)

const (
	// settle is between the looks at a file that has changed: it is loaded when two
	// in a row find the same.
	settle = 100 * time.Millisecond
	// maxLooks bounds the wait for the rest of a file that ends in the middle of a
	// section; after it, the load says what is wrong.
	maxLooks = 20
)

// follower keeps a server's modules, its certificate, and what else may change while
// it runs, as the files are, or as its admin API was told. Its goroutine is the site's live;
// the methods of admin.Operator are for any.
type follower struct {
	env   *Env
	site  *site
	read  func() (reading, error) // the configuration as the files are now
	after func(time.Duration) <-chan time.Time
	level slog.LevelVar
	asked chan func(live context.Context) // by do
	ended chan struct{}                   // closed when live has returned

	supervisor *systemd.Notifier // nil: none

	logger  *slog.Logger
	server  *host.Server
	watch   *watcher
	lookAll func()         // reads all files again
	files   []string       // of the configuration
	current *config.Config // as it is in service; replaced, never changed
	secrets config.Secrets // of all configurations so far
	stale   bool           // a file of the configuration has changed, and may not stand still yet
	renewed bool           // a file of a certificate has, likewise
	serving map[string]*deployment
	seen    map[string]*sighting // of modules that differ from what is served

	mu       sync.Mutex // below
	latest   reload
	shown    reading                   // current and secrets
	uploads  map[string][]string       // digests of what their files do not hold
	refusals map[string]*admin.Refusal // the last of each module; never changed
}

// reload is what came of reading the configuration again.
type reload = admin.Reload

// deployment is a module as it was loaded last.
type deployment struct {
	served
	uploaded bool    // by the API: its file holds something else
	before   *served // what a rollback returns to; nil: nothing is known of it
	wasUp    bool    // before was uploaded
}

// sighting is a module as a file was last found.
type sighting struct {
	module   host.Module
	fromFile bool // not only the settings differ
	looks    int  // that have found the same
	tried    bool // it was loaded, and refused
}

// newFollower makes the site follow its files.
func newFollower(env *Env, s *site, read func() (reading, error)) *follower {
	f := &follower{
		env: env, site: s, read: read, after: time.After, asked: make(chan func(context.Context)), ended: make(chan struct{}),
		supervisor: systemd.NewNotifier(env.Environ, env.Pid),
		files:      s.files, current: &s.config, secrets: s.secrets, serving: map[string]*deployment{}, seen: map[string]*sighting{},
		shown: reading{config: &s.config, secrets: s.secrets}, uploads: map[string][]string{}, refusals: map[string]*admin.Refusal{},
	}
	for _, m := range s.modules {
		f.serving[m.Name] = &deployment{served: served{m, 1}}
	}
	s.level, s.live, s.operator = &f.level, f.live, f
	return f
}

// live follows the files until ctx ends.
func (f *follower) live(ctx context.Context, server *host.Server, logger *slog.Logger) {
	defer close(f.ended)
	f.server, f.logger = server, logger
	f.watch = newFileWatcher(f.watched(), logger)
	defer f.watch.close()
	var quiet, again <-chan time.Time
	poll := f.after(pollPause)
	look := func(all bool) {
		quiet, again = nil, nil
		if f.consider(ctx, all) {
			again = f.after(settle)
		}
	}
	f.lookAll = func() { look(true) }
	for name := range f.serving { // what has changed since they were read
		f.seen[name] = &sighting{}
	}
	f.stale = f.current.Reload != config.ReloadOnSignal && len(f.files) > 0
	f.renewed = f.current.Reload != config.ReloadOnSignal
	look(false)
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-f.watch.events():
			if f.watch.note(e) && quiet == nil {
				quiet = f.after(debounce)
			}
		case err := <-f.watch.errors():
			logger.Debug("notices of changes were lost", "err", err)
			quiet = f.after(debounce)
		case <-f.env.Hangups:
			logger.Info("reading all files again", "signal", "hangup")
			look(true)
		case do := <-f.asked:
			do(ctx)
		case <-quiet:
			look(false)
		case <-again:
			look(false)
		case <-poll:
			poll = f.after(pollPause)
			look(false)
		}
	}
}

// watched are the files whose change is acted upon by itself.
func (f *follower) watched() []string {
	var paths []string
	if f.current.Reload != config.ReloadOnSignal {
		paths = append(append(paths, f.files...), f.current.Server.TLS.Files()...)
	}
	for _, name := range slices.Sorted(maps.Keys(f.current.Modules)) {
		if m := f.current.Modules[name]; m.Reload != config.ReloadOnSignal {
			paths = append(paths, m.Path)
		}
	}
	return paths
}

// consider loads what has changed, all of it or what is watched. It reports
// whether it wants to look again soon.
func (f *follower) consider(ctx context.Context, all bool) (again bool) {
	found := f.watch.scan()
	isFound := func(file string) bool { return slices.Contains(found.outputs, filepath.Clean(file)) }
	changed := map[string]bool{} // modules whose settings have
	switch {
	case !all && slices.ContainsFunc(f.files, isFound):
		f.stale, again = true, true // until a look finds them as they are now
	case all || f.stale:
		f.stale = false
		changed = f.reconfigure(all)
	}
	switch {
	case !all && slices.ContainsFunc(f.current.Server.TLS.Files(), isFound): // the other half of a pair may follow
		f.renewed, again = true, true
	case all || f.renewed:
		f.renewed = false
		f.renew()
	}
	for _, name := range slices.Sorted(maps.Keys(f.serving)) {
		m := f.current.Modules[name]
		f.serving[name].settle(f.server, name)
		if all || changed[name] || isFound(m.Path) || f.seen[name] != nil {
			again = f.follow(ctx, name, m, all, isFound(m.Path)) || again
		}
		if ctx.Err() != nil {
			return false
		}
	}
	return again
}

// reconfigure reads the configuration and gives the server what it can take of it.
// One that is wrong changes nothing. It returns the modules whose settings have
// changed.
func (f *follower) reconfigure(asked bool) (modules map[string]bool) {
	next, err := f.read()
	var merged *config.Config
	var changes []config.Change
	if err == nil {
		merged, changes = config.Merge(f.current, next.config)
	}
	if asked || err != nil || len(changes) > 0 {
		_ = f.supervisor.Reloading() // who cannot be told misses nothing that matters
		defer func() { _ = f.supervisor.Notify(systemd.Ready) }()
	}
	if err == nil {
		err = f.server.Reconfigure(merged.Options)
	}
	if err == nil {
		f.files, f.current, f.secrets = next.files, merged, f.secrets.With(next.secrets)
		f.level.Set(levelNamed(merged.Log.Level))
		if f.site.admin != nil {
			f.site.admin.SetToken(merged.Admin.Token)
		}
		f.mu.Lock()
		f.shown = reading{config: f.current, secrets: f.secrets}
		f.mu.Unlock()
	} else { // what is missing now may come back
		f.files = slices.Compact(slices.Sorted(slices.Values(slices.Concat(f.files, next.files))))
	}
	f.watch.refocus(f.watched())

	done := reload{
		Time:    time.Now(),
		Changed: config.InClass(changes, config.ClassHot, config.ClassConnections, config.ClassGeneration),
		Kept:    config.InClass(changes, config.ClassRestart),
	}
	if err != nil {
		done.Problems, done.Changed, done.Kept = reasonsOf(err), nil, nil
	}
	f.note(done, asked)
	modules = map[string]bool{}
	for _, key := range done.Changed {
		for name := range f.serving {
			modules[name] = modules[name] || strings.HasPrefix(key, "modules."+name+".")
		}
	}
	return modules
}

// renew gives the server what the files of its certificate hold. Those that cannot
// be used change nothing.
func (f *follower) renew() {
	changed, err := f.server.ReloadCertificates()
	switch {
	case err != nil:
		f.logger.Error("the certificate's files cannot be used; the old ones stay", "problems", strings.Join(reasonsOf(err), "; "))
	case changed:
		f.logger.Info("certificate files reloaded; new connections see them")
	}
}

// note remembers a reload and tells of it.
func (f *follower) note(done reload, asked bool) {
	if !asked && len(done.Problems)+len(done.Changed)+len(done.Kept) == 0 {
		return // somebody has saved what was there
	}
	f.mu.Lock()
	done.Count, done.Refused = f.latest.Count+1, f.latest.Refused
	if done.Problems != nil {
		done.Refused++
	}
	f.latest = done
	f.mu.Unlock()
	if done.Problems != nil {
		f.logger.Error("the configuration is refused; the old one stays", "problems", strings.Join(done.Problems, "; "))
		return
	}
	f.logger.Info("configuration reloaded", "changed", strings.Join(done.Changed, ", "))
	if len(done.Kept) > 0 {
		f.logger.Warn("some of what has changed in the configuration needs a restart", "keys", strings.Join(done.Kept, ", "))
	}
}

// follow loads a module if it is another than the one that is served, and its
// file is whole and stands still. It reports whether it wants to look again.
func (f *follower) follow(ctx context.Context, name string, m config.Module, forced, found bool) (again bool) {
	now, s := f.serving[name], f.seen[name]
	fromFile := forced || s != nil && s.fromFile || m.Reload != config.ReloadOnSignal && (found || !now.uploaded)
	var asked host.Module
	var err error
	uploaded := false
	if fromFile {
		asked, err = f.readModule(name, m)
	} else {
		var wasm []byte
		wasm, uploaded = now.code(f.server, name)
		asked, err = m.Host(name, wasm)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		delete(f.seen, name) // it may be about to come back
		return false
	case err != nil:
		f.logger.Error("a module cannot be read; the old generation stays", "module", name, "gen", now.generation, "err", err)
		f.refuse(name, "file", "", &admin.RefusedError{Stage: "read", Problems: []string{err.Error()}})
		delete(f.seen, name)
		return false
	case sameModule(asked, now.module):
		if fromFile {
			f.holds(name, now, false)
		}
		delete(f.seen, name)
		return false
	}
	if s == nil || !sameModule(s.module, asked) {
		f.seen[name] = &sighting{module: asked, fromFile: fromFile}
		return true
	}
	if s.tried && !forced {
		return false
	}
	if s.looks++; !isWhole(asked.Wasm) && s.looks < maxLooks {
		return true
	}
	s.tried = true
	asked, err = m.Trusted(name, asked.Wasm)
	if err == nil {
		asked.SelfTest = selfTest(f.env, m, asked)
		_, err = now.load(ctx, f.server, asked)
	}
	if err != nil && ctx.Err() == nil {
		f.logger.Error("a module is refused; the old generation stays", "module", name, "gen", now.generation,
			"digest", digestOf(s.module.Wasm)[:12], "err", err)
		f.refuse(name, "file", digestOf(s.module.Wasm), refusalOf(err))
		return false
	}
	f.holds(name, now, uploaded)
	delete(f.seen, name)
	return false
}

// sameModule reports whether two modules are made of the same bytes and settings.
func sameModule(a, b host.Module) bool {
	a.SelfTest, b.SelfTest = nil, nil                       // functions do not compare; what they test is the same
	a.Signer, b.Signer, a.Version, b.Version = "", "", 0, 0 // what the bytes say, once they were looked at
	return reflect.DeepEqual(a, b)
}

// readModule reads a module's file.
func (f *follower) readModule(name string, m config.Module) (host.Module, error) {
	wasm, err := readModuleFile(f.env, m.Path)
	if err != nil {
		return host.Module{}, err
	}
	return m.Host(name, wasm)
}

// isWhole reports whether a file ends where its last section does (WebAssembly
// core specification, §5.5.2), which one that is still being written seldom
// does. What the sections hold, the load looks at.
func isWhole(wasm []byte) bool {
	const preamble = 8
	if len(wasm) < preamble {
		return false
	}
	rest := wasm[preamble:]
	for len(rest) > 0 {
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return false
		}
		rest = rest[1+n+int(size):]
	}
	return true
}
