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
Otherwise DIR holds one of the languages that ` + "`weir doctor`" + ` lists, and what follows --
goes to the compiler as further flags. DIR may also be one file: *.c, *.ts, *.js. The result is the module that weir.yaml names, or DIR.wasm;
it takes its place whole, so that a server never reads half of it.

Exit codes: 0 built, 2 there is nothing to build or weir.yaml is wrong, 3 the compiler
is missing or failed.`

func newBuild(env *Env) *cobra.Command {
	var o buildOptions
	cmd := &cobra.Command{
		Use:     "build [DIR|FILE] [-o FILE] [-- COMPILER FLAGS]",
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

// buildTask is one module to make.
type buildTask struct {
	module  string
	folder  string // where the compiler runs
	target  string // file to make, relative to the working directory or absolute
	lang    *language
	project sourceTree

	// command is what a shell shall run instead of a compiler that we know; it
	// makes target by itself.
	command string
	environ []string // added to the environment

	// What the language's plan has said: what runs first, in folder, and then either
	// a program with arguments, or make.
	before  []buildCommand
	program string // as it is shown
	path    string // as it is run
	// args are the arguments; the program makes the file out, which it finds
	// relative to folder or absolute.
	args func(out string) []string
	// made is the file that the program makes, if it cannot be told: nil, it is out.
	made func(ctx context.Context) (string, error)
	// make makes the file out by itself, which is relative to the working directory
	// or absolute; shown is what people are told instead of a command.
	make  func(ctx context.Context, out string) error
	shown string
}

// buildCommand is a program to run with its arguments.
type buildCommand struct {
	program string // as it is shown
	path    string // as it is run
	args    []string
}

// buildTasks finds out what there is to do.
func buildTasks(env *Env, folder string, o buildOptions) ([]buildTask, error) {
	entries, err := env.ReadDir(folder)
	file := ""
	if err != nil {
		// It may be one file of a folder.
		if entries, _ = env.ReadDir(filepath.Dir(folder)); !has(entries, filepath.Base(folder)) {
			return nil, usage("%s: %w", folder, reasonOf(err))
		}
		folder, file = filepath.Dir(folder), filepath.Base(folder)
	}
	var modules map[string]config.Module
	if file == "" && has(entries, defaultFile) {
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

	p := sourceTree{folder: folder, entries: entries, file: file, flags: o.Flags}
	lang, err := languageOf(p)
	if err != nil {
		return nil, err
	}
	t := buildTask{folder: folder, lang: lang, project: p}
	switch {
	case o.Output != "":
		t.target = o.Output
		t.module = nameOf(o.Output)
	case file != "":
		t.module = nameOf(strings.TrimSuffix(file, filepath.Ext(file)))
		t.target = filepath.Join(folder, t.module+".wasm")
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
	return []buildTask{t}, nil
}

// run makes the module. Unless a command of the configuration makes the target,
// the result is a neighbour of it first, and is renamed when it is whole.
func (t *buildTask) run(ctx context.Context, env *Env) (builtModule, error) {
	if err := t.plan(ctx, env); err != nil {
		return builtModule{}, err
	}
	made := t.target
	if t.command == "" {
		made = filepath.Join(filepath.Dir(t.target), fmt.Sprintf(".%s.%08x.tmp", filepath.Base(t.target), rand.Uint32()))
		defer env.Remove(made) // after the rename there is none
	}
	said := &firstBytes{room: maxCompilerText}
	shown, err := t.words()
	if err != nil {
		return builtModule{}, err
	}
	fail := func(err error) (builtModule, error) {
		return builtModule{}, &buildError{Module: t.module, Command: shown, Output: said.String(), err: err}
	}
	for _, c := range t.before {
		if err := t.prepare(ctx, env, c, said); err != nil {
			return fail(err)
		}
	}
	fmt.Fprintln(env.Stderr, shown)
	began := time.Now()
	if err := t.compile(ctx, env, made, said); err != nil {
		return fail(err)
	}
	took := time.Since(began)
	wasm, err := env.ReadFile(made)
	if errors.Is(err, fs.ErrNotExist) {
		return fail(fmt.Errorf("the command has succeeded and there is no %s", t.target))
	} else if err != nil {
		return fail(err)
	}
	if !bytes.HasPrefix(wasm, []byte("\x00asm")) {
		return fail(fmt.Errorf("what the command has made for %s is not WebAssembly", t.target))
	}
	if made != t.target {
		if err := env.Rename(made, t.target); err != nil {
			return fail(err)
		}
	}
	return builtModule{Name: t.module, Path: t.target, Bytes: len(wasm), Took: took}, nil
}

// plan finds out how: what the command of the configuration needs, or what the
// language says.
func (t *buildTask) plan(ctx context.Context, env *Env) error {
	if t.command == "" {
		return t.lang.plan(ctx, env, t, t.project)
	}
	shell, flag := "sh", "-c"
	if goruntime.GOOS == "windows" {
		shell, flag = "cmd", "/C"
	}
	path, err := env.LookPath(shell)
	if err != nil {
		return &buildError{Module: t.module, Command: t.command, err: err}
	}
	t.path, t.args = path, func(string) []string { return []string{flag, t.command} }
	return nil
}

// words are the command as people type it, with the target, not with the file
// that becomes it.
func (t *buildTask) words() (string, error) {
	switch {
	case t.command != "":
		return t.inFolder(t.command), nil
	case t.make != nil:
		return t.shown, nil
	}
	final, err := seenFrom(t.folder, t.target)
	if err != nil {
		return "", err
	}
	words := append(slices.Clone(t.environ), t.program)
	for _, a := range t.args(final) {
		words = append(words, quoteArgument(a))
	}
	return t.inFolder(strings.Join(words, " ")), nil
}

// prepare runs a command that comes before the compiler.
func (t *buildTask) prepare(ctx context.Context, env *Env, c buildCommand, said io.Writer) error {
	words := []string{c.program}
	for _, a := range c.args {
		words = append(words, quoteArgument(a))
	}
	fmt.Fprintln(env.Stderr, t.inFolder(strings.Join(words, " ")))
	return t.exec(ctx, env, c.path, c.args, said)
}

// compile makes the file made; what the compiler says goes to said too.
func (t *buildTask) compile(ctx context.Context, env *Env, made string, said io.Writer) error {
	if t.make != nil {
		err := t.make(ctx, made)
		if err != nil {
			fmt.Fprintln(said, err)
		}
		return err
	}
	out, err := seenFrom(t.folder, made)
	if err != nil {
		return err
	}
	if err := t.exec(ctx, env, t.path, t.args(out), said); err != nil {
		return err
	}
	if t.made == nil {
		return nil
	}
	from, err := t.made(ctx)
	if err != nil {
		return err
	}
	wasm, err := env.ReadFile(from)
	if err != nil {
		return err
	}
	return env.WriteFile(made, wasm, 0o644)
}

// exec runs a program in the folder; what it says goes to said too.
func (t *buildTask) exec(ctx context.Context, env *Env, path string, args []string, said io.Writer) error {
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
	if err := env.Exec(cmd); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
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

// sizeText is a size for people: 512 B, 1.9 KiB, 2.1 MiB, 3.0 GiB.
func sizeText(n int) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
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
