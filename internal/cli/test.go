package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/scenario"
)

const testLong = `Plays scenario files: clients against a handler, in virtual time.

PATHS are files, folders (their *.scenario.yaml, and the *.yaml of a folder scenarios
in them), or FOLDER/... for everything below it; none mean ./... . Hidden folders,
node_modules and testdata are left out there. A module that is missing is built first,
as weir build does, if its source lies beside it.

The same seed plays the same scenario, bit for bit. docs/scenarios.md describes the files.

Exit codes: 0 all passed, 1 some failed, 2 a file has mistakes or there is none,
3 a module does not build.`

type testFlags struct {
	run     string
	seed    string
	build   bool
	watch   bool
	junit   string
	output  string
	verbose bool

	pattern *regexp.Regexp
	number  uint64 // of seed, when setSeed
	setSeed bool
}

func newTest(env *Env) *cobra.Command {
	var f testFlags
	cmd := &cobra.Command{
		Use:   "test [PATHS]",
		Short: "play scenarios against handlers",
		Long:  testLong,
		Example: "  weir test\n  weir test --build ./...\n" +
			"  weir test scenarios/chat.yaml -run 'reaches everyone' --seed random",
		GroupID: "start",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(); err != nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context(), env)
			defer stop()
			if f.watch {
				return f.watchPaths(ctx, env, args)
			}
			_, err := f.once(ctx, env, args)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.run, "run", "", "play only scenarios whose name matches the regular expression `RE` (-run RE does so too)")
	flags.StringVar(&f.seed, "seed", "", "`N` that decides what is left to chance, or random; default: that of the file, or 1")
	flags.BoolVar(&f.build, "build", false, "build all modules first that have source, not only those that are missing")
	flags.BoolVarP(&f.watch, "watch", "w", false, "play again whenever a file changes")
	flags.StringVar(&f.junit, "junit", "", "also write the results to `FILE`, as JUnit XML")
	flags.StringVarP(&f.output, "output", "o", "text", "`FORM` of the results: text, json or ndjson")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "show what clients and handlers said, of every scenario")
	return cmd
}

// goFlags lets weir test take -run as go test does, which the flags' library
// would take for -r -u -n.
func goFlags(args []string) []string {
	args = slices.Clone(args)
	if len(args) == 0 || args[0] != "test" {
		return args
	}
	for i, a := range args {
		if a == "--" {
			break
		}
		if a == "-run" || strings.HasPrefix(a, "-run=") {
			args[i] = "-" + a
		}
	}
	return args
}

// parse checks the flags, all of them.
func (f *testFlags) parse() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if f.run != "" {
		var err error
		if f.pattern, err = regexp.Compile(f.run); err != nil {
			bad("--run %s: %w", f.run, err)
		}
	}
	switch n, err := strconv.ParseUint(f.seed, 10, 64); {
	case f.seed == "":
	case f.seed == "random":
		f.number, f.setSeed = rand.Uint64()>>12, true
	case err != nil:
		bad("--seed %s: give a whole number from 0, or random", f.seed)
	default:
		f.number, f.setSeed = n, true
	}
	if !slices.Contains([]string{"text", "json", "ndjson"}, f.output) {
		bad("-o %s: write text, json or ndjson", f.output)
	}
	if err := errors.Join(errs...); err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

// errSomeFailed is the end of a run in which scenarios failed. They have been
// told.
var errSomeFailed = errors.New("some scenarios failed")

// seen are the contents of files, by name, as digests; what was not there has
// none.
type seen map[string][sha256.Size]byte

// once finds, builds, loads and plays. It returns the files that all this
// depended on.
func (f *testFlags) once(ctx context.Context, env *Env, args []string) (seen, error) {
	files := seen{}
	read := func(name string) ([]byte, error) {
		p, err := env.ReadFile(name)
		files.note(name, p, err)
		return p, err
	}
	paths, err := findScenarios(env, args)
	if err != nil {
		return files, err
	}
	if err := f.buildModules(ctx, env, paths, files); err != nil {
		return files, err
	}
	loaded := make([]*scenario.File, len(paths))
	var errs []error
	for i, path := range paths {
		if loaded[i], err = scenario.Load(path, read); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return files, &exitError{exitUsage, err}
	}
	return files, f.play(ctx, env, loaded)
}

func (s seen) note(name string, p []byte, err error) {
	if err != nil {
		s[name] = [sha256.Size]byte{}
		return
	}
	s[name] = sha256.Sum256(p)
}

// play plays the files side by side and tells of each in their order.
func (f *testFlags) play(ctx context.Context, env *Env, files []*scenario.File) error {
	cache := ""
	if env.CacheDir != "" {
		cache = filepath.Join(env.CacheDir, "weir")
	}
	engine, err := scenario.NewEngine(scenario.EngineOptions{CacheDir: cache})
	if err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	out := newTestOutput(env, f)
	began := time.Now()
	options := scenario.Options{Engine: engine, Seed: f.number, SetSeed: f.setSeed, Run: f.pattern, Verbose: f.verbose}
	playAll(ctx, files, options, out.file)
	err = errors.Join(engine.Close(), out.end(time.Since(began)))
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case out.totals.Failed > 0:
		return &exitError{exitFailed, errSomeFailed}
	case out.totals.Passed+out.totals.Skipped == 0 && f.pattern != nil:
		return usage("--run %s: no scenario has such a name", f.run)
	}
	return nil
}

// playAll plays files on as many goroutines as there are processors, and calls
// done for each in the order of files.
func playAll(ctx context.Context, files []*scenario.File, o scenario.Options, done func(scenario.Report)) {
	reports := make([]chan scenario.Report, len(files))
	for i := range reports {
		reports[i] = make(chan scenario.Report, 1) // its one report
	}
	var next sync.Mutex
	at := 0
	var workers sync.WaitGroup
	for range min(goruntime.GOMAXPROCS(0), len(files)) {
		workers.Go(func() { // ends when no file is left
			for {
				next.Lock()
				i := at
				at++
				next.Unlock()
				if i >= len(files) {
					return
				}
				reports[i] <- files[i].Run(ctx, o)
			}
		})
	}
	for _, r := range reports {
		done(<-r)
	}
	workers.Wait()
}

// findScenarios turns arguments into scenario files, in the order of the
// arguments, those of a folder by name, none twice.
func findScenarios(env *Env, args []string) ([]string, error) {
	if len(args) == 0 {
		args = []string{"./..."}
	}
	var found []string
	for _, arg := range args {
		before := len(found)
		folder, deep := strings.CutSuffix(filepath.ToSlash(arg), "...")
		switch {
		case deep && (folder == "" || strings.HasSuffix(folder, "/")):
			if err := searchFolder(env, filepath.Clean(filepath.FromSlash(folder+".")), true, &found); err != nil {
				return nil, err
			}
		default:
			if _, err := env.ReadDir(arg); err != nil {
				found = append(found, filepath.Clean(arg)) // Load tells if it is not there
				continue
			}
			if err := searchFolder(env, filepath.Clean(arg), false, &found); err != nil {
				return nil, err
			}
		}
		if len(found) == before {
			return nil, usage("%s: there are no scenario files: *.yaml in a folder scenarios, or *.scenario.yaml; docs/scenarios.md describes them", arg)
		}
	}
	known := map[string]bool{}
	return slices.DeleteFunc(found, func(name string) bool {
		was := known[name]
		known[name] = true
		return was
	}), nil
}

const scenarioFolder = "scenarios"

// searchFolder adds the scenario files of a folder; without deep only its own and
// those of its folder scenarios.
func searchFolder(env *Env, folder string, deep bool, found *[]string) error {
	entries, err := env.ReadDir(folder)
	if err != nil {
		return usage("%s: %w", folder, reasonOf(err))
	}
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	ours := filepath.Base(absolute) == scenarioFolder
	for _, e := range entries {
		name := e.Name()
		switch ending := filepath.Ext(name); {
		case strings.HasPrefix(name, "."):
		case e.IsDir():
			skip := name == "node_modules" || name == "testdata" || !deep && name != scenarioFolder
			if !skip {
				if err := searchFolder(env, filepath.Join(folder, name), deep, found); err != nil {
					return err
				}
			}
		case ending != ".yaml" && ending != ".yml":
		case ours || strings.HasSuffix(strings.TrimSuffix(name, ending), ".scenario"):
			*found = append(*found, filepath.Join(folder, name))
		}
	}
	return nil
}

// buildModules builds the modules of the scenario files that there is source
// for: those that are missing, and with --build the others too: where a go.mod, Go files or weir.yaml say how, since the go command
// knows what is up to date; where there is C, when the module is missing or older.
func (f *testFlags) buildModules(ctx context.Context, env *Env, paths []string, files seen) error {
	var modules []string
	for _, path := range paths {
		for _, m := range scenario.Modules(path, env.ReadFile) {
			if !slices.Contains(modules, m) {
				modules = append(modules, m)
			}
		}
	}
	slices.Sort(modules)
	built := map[string]bool{}
	for _, module := range modules {
		folder := filepath.Dir(module)
		entries, err := env.ReadDir(folder)
		if err != nil || built[module] {
			continue // Load tells that it is not there
		}
		for _, e := range entries {
			if isSource(e.Name()) {
				name := filepath.Join(folder, e.Name())
				p, err := env.ReadFile(name)
				files.note(name, p, err)
			}
		}
		o, needed := buildFor(env, module, entries)
		if !needed || !f.build && has(entries, filepath.Base(module)) {
			continue
		}
		result, err := build(ctx, env, folder, o)
		if err != nil {
			return err
		}
		for _, m := range result.Modules {
			built[filepath.Clean(m.Path)] = true
		}
	}
	return nil
}

// isSource reports that a file of that name may change what is built.
func isSource(name string) bool {
	return slices.Contains([]string{".go", ".mod", ".sum", ".c", ".h", ".rs", ".toml", ".ts", ".js", ".mjs", ".json"}, filepath.Ext(name)) || name == defaultFile
}

// buildFor says how the module is built from what lies beside it, and whether it
// has to be.
func buildFor(env *Env, module string, entries []fs.DirEntry) (o buildOptions, needed bool) {
	o.Output = module
	if has(entries, defaultFile) {
		tasks, err := buildTasks(env, filepath.Dir(module), buildOptions{})
		if err == nil && slices.ContainsFunc(tasks, func(t buildTask) bool { return filepath.Clean(t.target) == module }) {
			o.Output = ""
			if tasks[0].command != "" {
				return o, true
			}
		}
	}
	lang, err := languageOf(sourceTree{folder: filepath.Dir(module), entries: entries})
	if err != nil || lang != languageC {
		return o, err == nil // other compilers know what is up to date
	}
	at := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return e.Name() == filepath.Base(module) })
	if at < 0 {
		return o, true
	}
	made := modified(entries[at])
	return o, slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return isSource(e.Name()) && modified(e).After(made)
	})
}

func modified(e fs.DirEntry) time.Time {
	info, err := e.Info()
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// watchEvery is how often files are looked at.
const watchEvery = 300 * time.Millisecond

// watchPaths plays again whenever a file changes that the last time depended on,
// or scenario files come and go. It ends with ctx.
func (f *testFlags) watchPaths(ctx context.Context, env *Env, args []string) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		files, err := f.once(ctx, env, args)
		if ctx.Err() != nil {
			return watchEnd(ctx)
		}
		if err != nil && !errors.Is(err, errSomeFailed) {
			report(env.Stderr, err)
		}
		paths, _ := findScenarios(env, args)
		fmt.Fprintf(env.Stderr, "watching %d files; Ctrl-C ends it\n", len(files))
		for changed := false; !changed; {
			select {
			case <-ctx.Done():
				return watchEnd(ctx)
			case <-ticker.C:
			}
			now, _ := findScenarios(env, args)
			changed = !slices.Equal(now, paths) || files.changed(env)
		}
	}
}

// watchEnd is how a watch ends: a signal is the way to end it, not a failure.
func watchEnd(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errStopped) {
		return nil
	}
	return context.Cause(ctx)
}

// changed reports that a file is not what it was.
func (s seen) changed(env *Env) bool {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		now := seen{}
		p, err := env.ReadFile(name)
		if now.note(name, p, err); now[name] != s[name] {
			return true
		}
	}
	return false
}
