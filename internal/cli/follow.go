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
// the files are. Its goroutine is the site's live.
type follower struct {
	env   *Env
	read  func() (*config.Config, error) // the configuration as the files are now
	files []string                       // of the configuration
	after func(time.Duration) <-chan time.Time
	level slog.LevelVar

	logger  *slog.Logger
	server  *host.Server
	watch   *watcher
	started *config.Config // as it was at the start
	current *config.Config // as it is in service; what needs a restart is as in started
	serving map[string]*served
	seen    map[string]*sighting // of modules that differ from what is served
}

// sighting is a module as a file was last found.
type sighting struct {
	module host.Module
	looks  int  // that have found the same
	tried  bool // it was loaded, and refused
}

// newFollower makes the site follow its files.
func newFollower(env *Env, s *site, read func() (*config.Config, error)) {
	f := &follower{
		env: env, read: read, files: s.files, after: time.After,
		started: &s.config, current: &s.config, serving: map[string]*served{}, seen: map[string]*sighting{},
	}
	for _, m := range s.modules {
		f.serving[m.Name] = &served{m, 1}
	}
	s.level, s.live = &f.level, f.live
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
	if all {
		f.reconfigure()
	}
	for _, name := range slices.Sorted(maps.Keys(f.serving)) {
		m := f.current.Modules[name]
		if all || slices.Contains(found.outputs, filepath.Clean(m.Path)) || f.seen[name] != nil {
			again = f.follow(ctx, name, m, all) || again
		}
		if ctx.Err() != nil {
			return false
		}
	}
	return again
}

// reconfigure reads the configuration. One that is wrong changes nothing.
func (f *follower) reconfigure() {
	asked, err := f.read()
	if err != nil {
		f.logger.Error("the configuration is refused; the old one stays", "problems", strings.Join(reasonsOf(err), "; "))
		return
	}
	if keys := needsRestart(f.started, asked); len(keys) > 0 {
		f.logger.Warn("some of what has changed in the configuration needs a restart", "keys", strings.Join(keys, ", "))
	}
	f.level.Set(levelNamed(asked.Log.Level))
	f.current = keptOf(f.started, asked)
	f.watch.expect(f.watched(), nil)
}

// follow loads a module if it is another than the one that is served, and its
// file is whole and stands still. It reports whether it wants to look again.
func (f *follower) follow(ctx context.Context, name string, m config.Module, forced bool) (again bool) {
	now := f.serving[name]
	asked, err := f.readModule(name, m)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		delete(f.seen, name) // it may be about to come back
		return false
	case err != nil:
		f.logger.Error("a module cannot be read; the old generation stays", "module", name, "gen", now.generation, "err", err)
		delete(f.seen, name)
		return false
	case reflect.DeepEqual(asked, now.module):
		delete(f.seen, name)
		return false
	}
	s := f.seen[name]
	if s == nil || !reflect.DeepEqual(s.module, asked) {
		f.seen[name] = &sighting{module: asked}
		return true
	}
	if s.tried && !forced {
		return false
	}
	if s.looks++; !isWhole(asked.Wasm) && s.looks < maxLooks {
		return true
	}
	s.tried = true
	if _, err := now.load(ctx, f.server, asked); err != nil && ctx.Err() == nil {
		f.logger.Error("a module is refused; the old generation stays", "module", name, "gen", now.generation,
			"digest", digestOf(asked.Wasm)[:12], "err", err)
		return false
	}
	delete(f.seen, name)
	return false
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
