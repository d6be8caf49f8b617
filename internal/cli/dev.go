package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"weir/host"
	"weir/internal/config"
)

type devFlags struct {
	listen   []string
	noOpen   bool
	log      logFlags
	compiler []string // flags for it
}

const devLong = `Builds the handlers in DIR, the working directory when none is given, serves them, and
builds and swaps them again whenever a file is saved, with every connection open. A
build that fails, or a module that is refused, leaves the old generation serving.

DIR holds what ` + "`weir new`" + ` writes: ` + defaultFile + ` and the source of its modules. Without
` + defaultFile + `, DIR is one handler as ` + "`weir build`" + ` finds it, and every path leads there.
What follows -- goes to the compiler as further flags. A .wasm file that somebody else
builds is swapped too.

The playground, a page with clients to try the handlers, is at /_weir/, and at / unless
a static route has that.

Save while a build runs, and it is ended and another begins. The log is text for people,
whatever log.format says. Keys: r builds and reloads,
t plays the scenarios, l changes the log level, c clears the screen, q quits, ? lists them.

Exit codes: 0 quit or drained, 1 failed or stopped at once, 2 the configuration is wrong
or there is nothing to build, 69 an address cannot be bound. A build that fails ends
nothing: it waits for the next save.`

func newDev(env *Env) *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:     "dev [DIR] [-- COMPILER FLAGS]",
		Short:   "build, serve, and swap on every save",
		Long:    devLong,
		Example: "  weir dev\n  weir dev handlers/chat --listen :9000\n  weir dev -- -tags debug",
		GroupID: "start",
		RunE: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				args, f.compiler = args[:n], args[n:]
			}
			if err := atMost(1)(cmd, args); err != nil {
				return err
			}
			folder := "."
			if len(args) == 1 {
				folder = args[0]
			}
			return newDevelopment(env, folder, f).run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.listen, "listen", "l", nil, "`ADDRESS` to bind (default that of "+defaultFile+", or "+devAddress+"; the next port when it is taken)")
	flags.BoolVar(&f.noOpen, "no-open", false, "do not open the playground in a browser")
	flags.StringVar(&f.log.level, "log-level", "", "least severe `LEVEL` to log: debug, info, warn or error")
	return cmd
}

const (
	// debounce is how long no file may change before a build begins: an editor
	// that saves everything, or a branch that is checked out, is one change.
	debounce = 50 * time.Millisecond
	// maxDebounce is how long a build waits at most while changes go on.
	maxDebounce = time.Second
	// pollPause is between looks at files whose changes gave no notice.
	pollPause = 2 * time.Second
)

// development is one `weir dev`. Its fields belong to the goroutine that runs
// it, first run's and then live's, but for info.
type development struct {
	env    *Env
	folder string
	flags  devFlags
	after  func(time.Duration) <-chan time.Time // time.After, or a test's

	logger *slog.Logger
	level  slog.LevelVar
	page   *playground

	project *config.Config               // as it is in service
	pages   atomic.Pointer[http.Handler] // answers plain requests
	builder builder
	watch   *watcher
	server  *host.Server
	modules map[string]*served // by name; the names are fixed
	tested  chan struct{}      // closed when the scenarios are played; nil when nobody plays them
	rooted  bool               // the playground is at "/" too
	keyHint string             // how to learn of the keys; empty without any
	restore func()             // makes the terminal as it was
	forced  bool               // the next build is loaded even if nothing has changed
	nothing bool               // it has been said that there is nothing to build
	busy    bool               // it has been said that files change all the time

	mu   sync.Mutex     // below
	info playgroundInfo // what the page shows
}

func newDevelopment(env *Env, folder string, f devFlags) *development {
	d := &development{env: env, folder: folder, flags: f, after: time.After, modules: map[string]*served{}}
	d.logger = newDevLogger(env.Stderr, &d.level, colours(env, env.Terminal))
	d.builder = builder{env: env, folder: folder, flags: f.compiler}
	d.page = playgroundHandler(d.playgroundInfo)
	return d
}

// run builds, serves, and follows the source until a signal, ctx or the user
// ends it.
func (d *development) run(ctx context.Context) error {
	project, err := d.readProject()
	if err != nil {
		return err
	}
	if len(d.flags.compiler) > 0 {
		if _, err := d.builder.tasks(); err != nil {
			return err // they have no place
		}
	}
	d.project = project
	d.setLevel(project.Log.Level)
	d.watch = newWatcher(d.folder, d.outputs(), d.staticFolders(), d.logger)
	defer d.watch.close()

	defer d.builder.close()
	building, stop := untilSignal(ctx, d.env)
	d.builder.start(building)
	out := <-d.builder.outcome()
	d.builder.finish()
	ended := context.Cause(building)
	stop()
	if ended != nil {
		return ended
	}

	site := &site{logger: d.logger, standIn: d.standIn, ready: d.ready, live: d.live}
	site.config = *project
	site.config.Server.Listen = d.listenAddresses(project)
	site.config.Server.TLS = host.TLSOptions{} // its certificate is for another name
	if site.config.Runtime.Jail == "" {
		site.config.Runtime.Jail = "off" // whoever wrote the module runs it, and waits
	}
	if site.config.Runtime.TapeDir == "" {
		site.config.Runtime.TapeDir = filepath.Join(d.folder, ".weir", "tapes")
	}
	web, rooted := d.web(&site.config.Options)
	d.pages.Store(&web)
	d.rooted = rooted
	site.http = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*d.pages.Load()).ServeHTTP(w, r) })
	d.describe()
	site.modules = d.firstModules(out)
	d.restore = d.grab()
	defer d.restore() // live may not get there when it is stopped at once
	return run(ctx, d.env, site)
}

// firstModules are the modules that the first build has made, and stand-ins for
// the others.
func (d *development) firstModules(out buildOutcome) []host.Module {
	out.err = d.allowNothing(out.err)
	problem := out.err
	var modules []host.Module
	for _, name := range slices.Sorted(maps.Keys(d.project.Modules)) {
		m, err := d.readModule(name)
		if err == nil && (out.err == nil || d.isBuilt(name, out)) {
			d.modules[name] = &served{m, 1}
			modules = append(modules, m)
			continue
		}
		if err != nil && problem == nil {
			problem = err
		}
		m, err = d.project.Modules[name].Host(name, nil)
		if err != nil {
			m = host.Module{Name: name}
		}
		d.modules[name] = &served{module: unbuilt(m)}
		modules = append(modules, unbuilt(m))
	}
	d.watch.settle()
	d.tellBuild(out, problem)
	if problem != nil {
		d.logger.Error(d.failure(out, problem))
	}
	return modules
}

// isBuilt reports whether a build that failed later has made that module, or has
// nothing to do with it.
func (d *development) isBuilt(name string, out buildOutcome) bool {
	if slices.ContainsFunc(out.result.Modules, func(b builtModule) bool { return b.Name == name }) {
		return true
	}
	tasks, err := d.builder.tasks()
	return err == nil && !slices.ContainsFunc(tasks, func(t buildTask) bool { return t.module == name })
}

// standIn is start's call: the module is refused.
func (d *development) standIn(refused host.Module, err error) host.Module {
	d.modules[refused.Name] = &served{module: unbuilt(refused)}
	d.tellBuild(buildOutcome{}, err)
	d.logger.Error(d.failure(buildOutcome{}, err))
	return unbuilt(refused)
}

// allowNothing forgives that there is nothing to build, if every module is there
// already: somebody else builds them.
func (d *development) allowNothing(err error) error {
	if err == nil {
		return nil
	}
	if failed, ok := errors.AsType[*exitError](err); !ok || failed.code != exitUsage {
		return err
	}
	for _, m := range d.project.Modules {
		if _, missing := os.Stat(m.Path); missing != nil {
			return err
		}
	}
	if !d.nothing {
		d.nothing = true
		d.logger.Info("nothing is built here (" + strings.Join(reasonsOf(err), "; ") + "); waiting for modules to change")
	}
	return nil
}

// ready is run's call: the server listens.
func (d *development) ready(urls []string) {
	d.page.changed()
	page := urls[0] + playgroundPath
	if d.rooted {
		page = urls[0] + "/"
	}
	fmt.Fprintf(d.env.Stdout, "Playground: %s\n", page)
	var paths []string
	for _, r := range d.project.Routes {
		if r.Module != "" {
			paths = append(paths, "ws"+strings.TrimPrefix(urls[0], "http")+r.Path)
		}
	}
	if len(paths) > 0 {
		d.logger.Info("handlers are at " + strings.Join(paths, ", "))
	}
	if d.env.Browse == nil || !d.env.Terminal || d.flags.noOpen {
		return
	}
	if err := d.env.Browse(page); err != nil {
		d.logger.Warn("no browser was opened", "err", err)
	}
}

// live follows the source until ctx ends or the user quits.
func (d *development) live(ctx context.Context, server *host.Server, _ *slog.Logger) {
	d.server = server
	defer d.page.close()
	defer func() {
		if d.builder.stop(); d.tested != nil {
			<-d.tested
		}
	}()
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	defer d.restore() // of a panic here, run hears nothing
	keys := d.keys(ctx)
	var quiet, late <-chan time.Time // when changes are looked at
	poll := d.after(pollPause)
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-d.watch.events():
			if d.watch.note(e) {
				quiet = d.after(debounce)
				if late == nil {
					late = d.after(maxDebounce)
				}
			}
		case err := <-d.watch.errors():
			d.logger.Debug("notices of changes were lost", "err", err)
			quiet = d.after(debounce)
		case <-quiet:
			quiet, late = nil, nil
			d.consider(ctx)
		case <-late:
			quiet, late = nil, nil
			d.consider(ctx)
		case <-poll:
			poll = d.after(pollPause)
			if quiet == nil {
				d.consider(ctx)
			}
		case out := <-d.builder.outcome():
			d.built(ctx, out)
		case <-d.tested:
			d.tested = nil
		case key, open := <-keys:
			if !open {
				keys = nil
			} else if d.press(ctx, key) {
				return
			}
		}
	}
}

// consider looks at the files and does what their changes ask for. It reports
// whether a build has begun.
func (d *development) consider(ctx context.Context) (building bool) {
	found := d.watch.scan()
	if found.none() {
		return false
	}
	d.logger.Debug("files have changed", "sources", len(found.sources), "modules", len(found.outputs))
	file := filepath.Join(d.folder, defaultFile)
	if slices.Contains(found.sources, file) && !d.reconfigure() {
		return false
	}
	switch {
	case len(found.sources) > 0:
		if d.builder.restarts == maxRestarts && !d.busy {
			d.busy = true
			d.logger.Warn("files change faster than a build takes; if the build itself writes it, let it write the same every time", "file", found.sources[0])
		}
		d.build(ctx)
		return true
	case d.builder.running == nil: // else the build has made them
		d.swap(ctx, buildOutcome{})
	}
	return false
}

// reconfigure reads weir.yaml again and reports whether it is right.
func (d *development) reconfigure() bool {
	asked, err := d.readProject()
	if err != nil {
		d.tellBuild(buildOutcome{}, err)
		d.logger.Error(d.failure(buildOutcome{}, err))
		return false
	}
	merged, changes := config.Merge(d.project, asked)
	options := merged.Options
	web, rooted := d.web(&options)
	if err := d.server.Reconfigure(options); err != nil {
		d.tellBuild(buildOutcome{}, err)
		d.logger.Error(d.failure(buildOutcome{}, err))
		return false
	}
	d.pages.Store(&web)
	d.rooted = rooted
	if keys := config.InClass(changes, config.ClassRestart); len(keys) > 0 {
		d.logger.Warn("restart weir dev for what has changed in " + defaultFile + ": " + strings.Join(keys, ", "))
	}
	if merged.Log.Level != d.project.Log.Level {
		d.setLevel(merged.Log.Level)
	}
	d.project = merged
	d.describe()
	d.watch.expect(d.outputs(), d.staticFolders())
	return true
}

// build begins a build, or lets one follow that which runs.
func (d *development) build(ctx context.Context) {
	d.builder.start(ctx)
	d.mu.Lock()
	d.info.Build.State = buildRunning // what failed before is still to be read
	d.mu.Unlock()
	d.page.changed()
}

// built takes the outcome of a build.
func (d *development) built(ctx context.Context, out buildOutcome) {
	stale, cancelled := d.builder.finish()
	if ctx.Err() != nil {
		return
	}
	if stale {
		defer d.build(ctx)
	}
	if cancelled {
		return
	}
	if out.err = d.allowNothing(out.err); out.err != nil {
		d.watch.settle()
		d.tellBuild(out, out.err)
		d.logger.Error(d.failure(out, out.err))
		return
	}
	d.swap(ctx, out)
}

// swap loads every module that is another than the one in service.
func (d *development) swap(ctx context.Context, out buildOutcome) {
	forced := d.forced
	d.forced = false
	var problem error
	same := true
	for _, name := range slices.Sorted(maps.Keys(d.modules)) {
		now := d.modules[name]
		m, err := d.readModule(name)
		if err == nil && !forced && reflect.DeepEqual(m, now.module) {
			continue
		}
		same = false
		var done host.Reloaded
		if err == nil {
			done, err = now.load(ctx, d.server, m)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			problem = err
			d.logger.Error(d.failure(out, err))
			continue
		}
		d.logger.Info(d.swapped(name, out, done))
	}
	d.watch.settle()
	if problem == nil && same && out.took > 0 {
		d.logger.Info("build " + millis(out.took) + " · nothing has changed")
	}
	d.tellBuild(out, problem)
}

// swapped is the line about a new generation.
func (d *development) swapped(name string, out buildOutcome, done host.Reloaded) string {
	parts := []string{fmt.Sprintf("generation %d", done.Generation)}
	if len(d.modules) > 1 {
		parts[0] = name + ": " + parts[0]
	}
	for _, b := range out.result.Modules {
		if b.Name == name {
			parts = append(parts, "build "+millis(b.Took))
		}
	}
	kept := count(int(openWebSockets(d.server.Stats())), "connection")
	parts = append(parts, "compile "+millis(done.Load), "swap "+millis(done.Swap), kept+" kept")
	return strings.Join(parts, " · ")
}

// failure is the line about a build that failed or a module that was refused.
// What a compiler has said is on the terminal already.
func (d *development) failure(out buildOutcome, err error) string {
	what := strings.Join(reasonsOf(err), "; ")
	if out.took > 0 {
		what += " after " + millis(out.took)
	}
	var serving []string
	for _, name := range slices.Sorted(maps.Keys(d.modules)) {
		if g := d.modules[name].generation; g > 0 {
			serving = append(serving, fmt.Sprintf("%s generation %d", name, g))
		}
	}
	if len(serving) == 0 {
		return what + "; nothing serves yet, save a file to try again"
	}
	return what + "; still serving " + strings.Join(serving, ", ")
}

// tellBuild shows the outcome of a build on the page; err is what is wrong with
// it, or with a module that it made.
func (d *development) tellBuild(out buildOutcome, err error) {
	d.mu.Lock()
	d.info.Build = playgroundBuild{State: buildOK, Millis: out.took.Milliseconds()}
	if err != nil {
		d.info.Build.State, d.info.Build.Message = buildFailed, problemOf(err)
	}
	d.info.Modules = nil
	for _, name := range slices.Sorted(maps.Keys(d.modules)) {
		if s := d.modules[name]; s.generation > 0 {
			d.info.Modules = append(d.info.Modules,
				playgroundModule{name, s.generation, digestOf(s.module.Wasm), int64(len(s.module.Wasm))})
		}
	}
	d.mu.Unlock()
	d.page.changed()
}

// describe tells the page what the configuration says.
func (d *development) describe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.info.Subject, d.info.Routes = "../"+defaultFile, nil
	for _, r := range d.project.Routes {
		if r.Module != "" {
			d.info.Routes = append(d.info.Routes, playgroundRoute{r.Path, r.Module, r.Protocols})
		}
	}
}

// playgroundInfo is the page's call. Any goroutine.
func (d *development) playgroundInfo() playgroundInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.info // its slices are replaced, never changed
}

// outputs are the files of the modules.
func (d *development) outputs() []string {
	var all []string
	for _, m := range d.project.Modules {
		all = append(all, m.Path)
	}
	return all
}

// staticFolders are served as they are: what changes there needs no build.
func (d *development) staticFolders() []string {
	var all []string
	for _, r := range d.project.Routes {
		if r.Static != "" {
			all = append(all, r.Static)
		}
	}
	return all
}

func (d *development) setLevel(name string) {
	level := slog.LevelInfo
	if name != "" {
		if err := level.UnmarshalText([]byte(name)); err != nil {
			panic(fmt.Sprintf("cli: log level %q was not validated", name))
		}
	}
	d.level.Set(level)
}

// millis is a duration in milliseconds, for people: 0.1 ms, 35 ms, 12.3 s.
func millis(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case ms < 9.95:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 9999.5:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
