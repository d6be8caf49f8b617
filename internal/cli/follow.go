package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/host"
	"weir/internal/config"
)

const (
	// settle is between the looks at a file that has changed: it is loaded when two
	// in a row find the same.
	settle = 100 * time.Millisecond
	// maxLooks bounds the wait for the rest of a file that ends in the middle of a
	// section; after it, the load says what is wrong.
	maxLooks = 20
)

// follower keeps a server's modules, and what else may change while it runs, as
// the files are. Its goroutine is the site's live; reload and last are for any.
type follower struct {
	env   *Env
	read  func() (*config.Config, []string, error) // the configuration as the files are now, and these
	after func(time.Duration) <-chan time.Time
	level slog.LevelVar
	asked chan chan<- reload // by reload

	logger  *slog.Logger
	server  *host.Server
	watch   *watcher
	files   []string       // of the configuration
	current *config.Config // as it is in service
	stale   bool           // a file of the configuration has changed, and may not stand still yet
	serving map[string]*served
	seen    map[string]*sighting // of modules that differ from what is served

	mu     sync.Mutex // below
	latest reload
}

// reload is what came of reading the configuration again, for people and programs:
// the keys of its JSON stay as they are.
type reload struct {
	Time     time.Time `json:"time"`
	Problems []string  `json:"problems,omitempty"` // why it was refused; nil when it was taken
	Changed  []string  `json:"changed,omitempty"`  // keys that have another value since
	Kept     []string  `json:"kept,omitempty"`     // keys whose new value waits for a restart
	Count    uint64    `json:"count"`              // reloads since the start, this one included
	Refused  uint64    `json:"refused"`            // how many of them were
}

// sighting is a module as a file was last found.
type sighting struct {
	module   host.Module
	fromFile bool // not only the settings differ
	looks    int  // that have found the same
	tried    bool // it was loaded, and refused
}

// newFollower makes the site follow its files.
func newFollower(env *Env, s *site, read func() (*config.Config, []string, error)) *follower {
	f := &follower{
		env: env, read: read, after: time.After, asked: make(chan chan<- reload),
		files: s.files, current: &s.config, serving: map[string]*served{}, seen: map[string]*sighting{},
	}
	for _, m := range s.modules {
		f.serving[m.Name] = &served{m, 1}
	}
	s.level, s.live = &f.level, f.live
	return f
}

// reload reads all files again, as a hang-up asks for, and returns what came of the
// configuration. Modules may still be loading then. It fails with ctx, and waits for
// a server that runs.
func (f *follower) reload(ctx context.Context) (reload, error) {
	answer := make(chan reload, 1)
	select {
	case f.asked <- answer:
		return <-answer, nil
	case <-ctx.Done():
		return reload{}, ctx.Err()
	}
}

// last is the latest reload of the configuration; its Count is 0 when there was none.
func (f *follower) last() reload {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest
}

// live follows the files until ctx ends.
func (f *follower) live(ctx context.Context, server *host.Server, logger *slog.Logger) {
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
	for name := range f.serving { // what has changed since they were read
		f.seen[name] = &sighting{}
	}
	f.stale = f.current.Reload != config.ReloadOnSignal && len(f.files) > 0
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
		case answer := <-f.asked:
			logger.Info("reading all files again", "signal", "admin")
			look(true)
			answer <- f.last()
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
		paths = append(paths, f.files...)
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
	for _, name := range slices.Sorted(maps.Keys(f.serving)) {
		m := f.current.Modules[name]
		if all || changed[name] || isFound(m.Path) || f.seen[name] != nil {
			again = f.follow(ctx, name, m, all) || again
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
	next, files, err := f.read()
	var merged *config.Config
	var changes []config.Change
	if err == nil {
		merged, changes = config.Merge(f.current, next)
		err = f.server.Reconfigure(merged.Options)
	}
	if err == nil {
		f.files, f.current = files, merged
		f.level.Set(levelNamed(merged.Log.Level))
	} else { // what is missing now may come back
		f.files = slices.Compact(slices.Sorted(slices.Values(slices.Concat(f.files, files))))
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
func (f *follower) follow(ctx context.Context, name string, m config.Module, forced bool) (again bool) {
	now, s := f.serving[name], f.seen[name]
	fromFile := forced || m.Reload != config.ReloadOnSignal || s != nil && s.fromFile
	var asked host.Module
	var err error
	if fromFile {
		asked, err = f.readModule(name, m)
	} else {
		asked, err = m.Host(name, now.module.Wasm)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		delete(f.seen, name) // it may be about to come back
		return false
	case err != nil:
		f.logger.Error("a module cannot be read; the old generation stays", "module", name, "gen", now.generation, "err", err)
		delete(f.seen, name)
		return false
	case sameModule(asked, now.module):
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
		return false
	}
	delete(f.seen, name)
	return false
}

// sameModule reports whether two modules are made of the same bytes and settings.
func sameModule(a, b host.Module) bool {
	a.SelfTest, b.SelfTest = nil, nil                       // functions do not compare; what they test is the same
	a.Signer, b.Signer, a.Version, b.Version = "", "", 0, 0 // what the bytes say, once they were looked at
	return reflect.DeepEqual(a, b)
}

// readModule reads a module's file: only regular files, so that nothing waits
// for a pipe.
func (f *follower) readModule(name string, m config.Module) (host.Module, error) {
	info, err := os.Stat(m.Path)
	if err != nil {
		return host.Module{}, err
	}
	if !info.Mode().IsRegular() {
		return host.Module{}, &fs.PathError{Op: "read", Path: m.Path, Err: errors.New("it is not a regular file")}
	}
	wasm, err := f.env.ReadFile(m.Path)
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
