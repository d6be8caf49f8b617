package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/config"
)

const buildLong = `Compiles the handler in DIR, the working directory when none is given, to WebAssembly.

A module of DIR/weir.yaml that says how it is built (modules.NAME.build) is built so.
Otherwise DIR holds Go (go.mod or *.go) or C (*.c), and what follows -- goes to the
compiler as further flags. The result is the module that weir.yaml names, or DIR.wasm;
it takes its place whole, so that a server never reads half of it.

Exit codes: 0 built, 2 there is nothing to build or weir.yaml is wrong, 3 the compiler
is missing or failed.`

func newBuild(env *Env) *cobra.Command {
	var o buildOptions
	cmd := &cobra.Command{
		Use:     "build [DIR] [-o FILE] [-- COMPILER FLAGS]",
		Short:   "compile a handler",
		Long:    buildLong,
		Example: "  weir build\n  weir build handlers/chat -o chat.wasm\n  weir build -- -tags debug",
		GroupID: "start",
		RunE: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				args, o.Flags = args[:n], args[n:]
			}
			if err := atMost(1)(cmd, args); err != nil {
				return err
			}
			folder := "."
			if len(args) == 1 {
				folder = args[0]
			}
			ctx, stop := untilSignal(cmd.Context(), env)
			defer stop()
			result, err := build(ctx, env, folder, o)
			for _, m := range result.Modules {
				fmt.Fprintf(env.Stdout, "%s: %s in %s\n", m.Path, sizeText(m.Bytes), durationText(m.Took))
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&o.Output, "output", "o", "", "`FILE` to write (default the module of weir.yaml, or DIR.wasm)")
	return cmd
}

// buildOptions say how build differs from its defaults.
type buildOptions struct {
	Output string   // file to write, relative to the working directory; empty = the module of weir.yaml, or DIR.wasm
	Flags  []string // further flags of the compiler
}

// buildResult is what a build has made.
type buildResult struct {
	Modules []builtModule // in the order of their names
}

// builtModule is one file that a build has made.
type builtModule struct {
	Name  string // in weir.yaml; without one, what the file's name gives
	Path  string
	Bytes int
	Took  time.Duration
}

// buildError is a compiler that is missing or failed; its exit code is
// exitBuild.
type buildError struct {
	Module  string
	Command string // as a shell takes it
	Output  string // what the compiler said, at most maxCompilerText of it; env.Stderr had all
	err     error
}

func (e *buildError) Error() string { return fmt.Sprintf("build %s: %v", e.Module, e.err) }
func (e *buildError) Unwrap() error { return e.err }

// maxCompilerText bounds what is kept of a compiler's words.
const maxCompilerText = 64 << 10

// build compiles what is in folder. The command and the compiler's words go to
// env.Stderr as they come. When one module fails, those before it are in the
// result, and the error is a *buildError inside an *exitError; ctx ends the
// compiler.
func build(ctx context.Context, env *Env, folder string, o buildOptions) (buildResult, error) {
	tasks, err := buildTasks(env, folder, o)
	if err != nil {
		return buildResult{}, err
	}
	var result buildResult
	for _, t := range tasks {
		built, err := t.run(ctx, env)
		if err != nil {
			if ctx.Err() != nil {
				return result, context.Cause(ctx)
			}
			return result, &exitError{exitBuild, err}
		}
		result.Modules = append(result.Modules, built)
	}
	return result, nil
}

// buildTask is one compiler to run.
type buildTask struct {
	module   string
	folder   string // to run it in
	target   string // file to make, relative to the working directory or absolute
	programs []string
	missing  string // what to do when there is none of the programs
	// args are the arguments; the program makes the file out, which it finds
	// relative to folder or absolute. nil: it makes target by itself.
	args    func(out string) []string
	command string   // what a shell shall run instead of programs
	environ []string // added to the environment
}

// wasip1 is what the go command compiles for.
var wasip1 = []string{"GOOS=wasip1", "GOARCH=wasm"}

// buildTasks finds out what there is to do.
func buildTasks(env *Env, folder string, o buildOptions) ([]buildTask, error) {
	entries, err := env.ReadDir(folder)
	if err != nil {
		return nil, usage("%s: %w", folder, reasonOf(err))
	}
	var modules map[string]config.Module
	if has(entries, defaultFile) {
		c, err := loadConfig(config.Source{Files: []string{filepath.Join(folder, defaultFile)}, ReadFile: env.ReadFile, Environ: env.Environ})
		if err != nil {
			return nil, err
		}
		modules = c.Modules
	}

	var tasks []buildTask
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		if m := modules[name]; m.Build != "" {
			tasks = append(tasks, buildTask{module: name, folder: folder, target: m.Path, command: m.Build, environ: wasip1})
		}
	}
	if len(tasks) > 0 {
		if o.Output != "" || len(o.Flags) > 0 {
			return nil, usage("%s says how %s is built; it takes neither -o nor flags for the compiler",
				filepath.Join(folder, defaultFile), tasks[0].module)
		}
		return tasks, nil
	}

	t := buildTask{folder: folder}
	switch {
	case o.Output != "":
		t.target = o.Output
		t.module = nameOf(o.Output)
	case len(modules) == 1:
		for name, m := range modules {
			t.module, t.target = name, m.Path
		}
	case len(modules) > 1:
		return nil, usage("%s names %d modules; say which file to make with -o, or how each is built with modules.NAME.build",
			filepath.Join(folder, defaultFile), len(modules))
	default:
		absolute, err := filepath.Abs(folder)
		if err != nil {
			return nil, err
		}
		t.module = nameOf(filepath.Base(absolute))
		t.target = filepath.Join(folder, t.module+".wasm")
	}

	switch sources := withEnding(entries, ".c"); {
	case has(entries, "go.mod") || len(withEnding(entries, ".go")) > 0:
		t.goCompiler(o.Flags)
	case len(sources) > 0:
		t.cCompiler(entries, sources, o.Flags)
	default:
		hint := ""
		for file, language := range map[string]string{"Cargo.toml": "Rust", "package.json": "AssemblyScript"} {
			if has(entries, file) {
				hint = "; for " + language + ", say how in modules.NAME.build of " + defaultFile
			}
		}
		return nil, usage("%s: there is nothing to build: no go.mod, no *.go, no *.c%s; `weir new` starts a handler", folder, hint)
	}
	return []buildTask{t}, nil
}

func (t *buildTask) goCompiler(flags []string) {
	t.programs = []string{"go"}
	t.missing = "install Go 1.24 or later (https://go.dev/dl)"
	t.environ = wasip1
	t.args = func(out string) []string {
		return slices.Concat([]string{"build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out}, flags, []string{"."})
	}
}

func (t *buildTask) cCompiler(entries []fs.DirEntry, sources, flags []string) {
	t.programs = []string{"clang-14", "clang"}
	for version := 22; version > 14; version-- {
		t.programs = append(t.programs, fmt.Sprintf("clang-%d", version))
	}
	t.missing = "install clang 14 or later with wasm-ld (Debian, Ubuntu: apt install clang lld; macOS: brew install llvm lld)"
	if has(entries, "sdk") {
		flags = append([]string{"-I", "sdk"}, flags...)
	}
	t.args = func(out string) []string {
		return slices.Concat([]string{"--target=wasm32", "-std=c11", "-O2", "-nostdlib", "-fno-ident", "-Wall", "-Wextra",
			"-Wl,--no-entry", "-Wl,-z,stack-size=65536", "-Wl,--stack-first", "-Wl,--strip-debug", "-Wl,--compress-relocations"},
			flags, []string{"-o", out}, sources)
	}
}

// run runs the compiler. Unless a command of the configuration makes the target,
// the result is a neighbour of it first, and is renamed when it is whole.
func (t *buildTask) run(ctx context.Context, env *Env) (builtModule, error) {
	path, shown, args, temporary, err := t.invocation(env)
	if err != nil {
		return builtModule{}, err
	}
	if temporary != "" {
		defer env.Remove(temporary) // after the rename there is none
	}
	fmt.Fprintln(env.Stderr, shown)

	said := &firstBytes{room: maxCompilerText}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = t.folder
	cmd.Env = slices.Concat(env.Environ, t.environ)
	cmd.Stdout = io.MultiWriter(env.Stderr, said)
	cmd.Stderr = cmd.Stdout
	cmd.Cancel = func() error {
		if err := cmd.Process.Signal(os.Interrupt); err != nil { // Windows has none
			return cmd.Process.Kill()
		}
		return nil
	}
	cmd.WaitDelay = 5 * time.Second // for a compiler that does not listen, and for what it started
	fail := func(err error) (builtModule, error) {
		return builtModule{}, &buildError{Module: t.module, Command: shown, Output: said.String(), err: err}
	}

	began := time.Now()
	if err := env.Exec(cmd); err != nil {
		return fail(fmt.Errorf("%s: %w", filepath.Base(path), err))
	}
	took := time.Since(began)
	made := t.target
	if temporary != "" {
		made = temporary
	}
	wasm, err := env.ReadFile(made)
	if errors.Is(err, fs.ErrNotExist) {
		return fail(fmt.Errorf("the command has succeeded and there is no %s", t.target))
	} else if err != nil {
		return fail(err)
	}
	if !bytes.HasPrefix(wasm, []byte("\x00asm")) {
		return fail(fmt.Errorf("what the command has made for %s is not WebAssembly", t.target))
	}
	if temporary != "" {
		if err := env.Rename(temporary, t.target); err != nil {
			return fail(err)
		}
	}
	return builtModule{Name: t.module, Path: t.target, Bytes: len(wasm), Took: took}, nil
}

// invocation is the program, the command as people type it (with the target,
// not with the file that becomes it), the arguments, and that file, which is
// empty when the program makes the target by itself.
func (t *buildTask) invocation(env *Env) (path, shown string, args []string, temporary string, err error) {
	if t.command != "" {
		shell, flag := "sh", "-c"
		if goruntime.GOOS == "windows" {
			shell, flag = "cmd", "/C"
		}
		if path, err = env.LookPath(shell); err != nil {
			return "", "", nil, "", &buildError{Module: t.module, Command: t.command, err: err}
		}
		return path, t.inFolder(t.command), []string{flag, t.command}, "", nil
	}

	program := ""
	for _, program = range t.programs {
		if path, err = env.LookPath(program); err == nil {
			break
		}
	}
	if err != nil {
		err = fmt.Errorf("there is no %s in the PATH; %s", t.programs[0], t.missing)
		return "", "", nil, "", &buildError{Module: t.module, err: err}
	}
	temporary = filepath.Join(filepath.Dir(t.target), fmt.Sprintf(".%s.%08x.tmp", filepath.Base(t.target), rand.Uint32()))
	out, err := seenFrom(t.folder, temporary)
	if err != nil {
		return "", "", nil, "", err
	}
	final, err := seenFrom(t.folder, t.target)
	if err != nil {
		return "", "", nil, "", err
	}
	words := append(slices.Clone(t.environ), program)
	for _, a := range t.args(final) {
		words = append(words, quoteArgument(a))
	}
	return path, t.inFolder(strings.Join(words, " ")), t.args(out), temporary, nil
}

// inFolder is a command line that first goes to where it runs.
func (t *buildTask) inFolder(command string) string {
	if filepath.Clean(t.folder) == "." {
		return command
	}
	return "cd " + quoteArgument(t.folder) + " && " + command
}

// seenFrom turns a path that is relative to the working directory into one that
// is relative to folder.
func seenFrom(folder, path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	if relative, err := filepath.Rel(folder, path); err == nil && !strings.HasPrefix(relative, "..") {
		return relative, nil
	}
	return filepath.Abs(path)
}

func has(entries []fs.DirEntry, name string) bool {
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name })
}

// withEnding lists the files that end so, but for hidden ones.
func withEnding(entries []fs.DirEntry, ending string) []string {
	var names []string
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ending) && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// firstBytes keeps what is written to it until its room is used up.
type firstBytes struct {
	bytes.Buffer
	room int
}

func (b *firstBytes) Write(p []byte) (int, error) {
	n := min(len(p), b.room)
	b.room -= n
	b.Buffer.Write(p[:n])
	return len(p), nil
}

// untilSignal is a context that also ends with the next signal; its cause is
// errStopped then. Call stop when signals are somebody else's again.
func untilSignal(parent context.Context, env *Env) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	done := make(chan struct{})
	go func() { // ends with a signal, ctx or stop, which waits for it
		defer close(done)
		select {
		case <-env.Signals:
			cancel(errStopped)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}

// sizeText is a size for people: 512 B, 1.9 KiB, 2.1 MiB.
func sizeText(n int) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// durationText is d with about three digits: 812µs, 1.25ms, 3.1s.
func durationText(d time.Duration) string {
	for unit := time.Nanosecond; unit <= time.Hour; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
	return d.String()
}
