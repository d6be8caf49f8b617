package cli

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// builder compiles the handlers of a project, one build at a time.
type builder struct {
	env    *Env
	folder string
	flags  []string // of the user, for the compiler

	// resident compiles what is in a language that has such a compiler; nil until
	// the first build needs it. The goroutine of the running build.
	resident residentCompiler

	running  *runningBuild // nil: none
	restarts int           // how many builds in a row did not end, because a source changed
}

// maxRestarts bounds the builds in a row that are ended by a change, so that one
// gets done however fast the files change, be it by the build itself.
const maxRestarts = 3

// runningBuild is a compiler at work. It is one goroutine, which ends with it.
type runningBuild struct {
	cancel    context.CancelFunc
	done      chan buildOutcome // capacity 1
	stale     bool              // its source has changed since: another must follow
	cancelled bool              // and it was ended for that
}

// buildOutcome is how a build went.
type buildOutcome struct {
	result buildResult
	took   time.Duration
	err    error
}

// start begins a build. One that runs is ended first, or else done: either way
// another has to follow it.
func (b *builder) start(ctx context.Context) {
	if r := b.running; r != nil {
		if !r.stale && b.restarts < maxRestarts {
			b.restarts++
			r.cancelled = true
			r.cancel()
		}
		r.stale = true
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	b.running = &runningBuild{cancel: cancel, done: make(chan buildOutcome, 1)}
	go func(r *runningBuild) { // ends with the compiler
		defer cancel()
		r.done <- b.build(ctx)
	}(b.running)
}

// outcome delivers the running build's; finish must follow. nil when none runs.
func (b *builder) outcome() <-chan buildOutcome {
	if b.running == nil {
		return nil
	}
	return b.running.done
}

// finish forgets the build that has delivered, and reports whether its source
// has changed in the meantime, and whether it was ended for that.
func (b *builder) finish() (stale, cancelled bool) {
	stale, cancelled = b.running.stale, b.running.cancelled
	if b.running = nil; !cancelled {
		b.restarts = 0
	}
	return stale, cancelled
}

// stop ends the build that runs and waits for it.
func (b *builder) stop() {
	if b.running != nil {
		b.running.cancel()
		<-b.running.done
		b.running = nil
	}
}

// build compiles everything. It is what `weir build` does, but a Go module keeps
// the names of its functions, for the stacks of traps.
func (b *builder) build(ctx context.Context) buildOutcome {
	began := time.Now()
	words := &compilerWords{w: b.env.Stderr}
	env := *b.env
	env.Stderr = words
	tasks, err := b.tasks()
	if err != nil {
		return buildOutcome{err: err}
	}
	var out buildOutcome
	for _, t := range tasks {
		env.Exec = func(cmd *exec.Cmd) error {
			words.on.Store(true)
			defer words.on.Store(false)
			return b.exec(ctx, t.lang, cmd)
		}
		built, err := t.run(ctx, &env)
		if err != nil {
			out.err = &exitError{exitBuild, err}
			break
		}
		out.result.Modules = append(out.result.Modules, built)
	}
	out.took = time.Since(began)
	return out
}

// exec runs a program of a build, or lets the language's resident compiler do
// what it would.
func (b *builder) exec(ctx context.Context, lang *language, cmd *exec.Cmd) error {
	if lang != nil && lang.resident != nil {
		if b.resident == nil {
			b.resident = lang.resident(b.env)
		}
		if done, err := b.resident.run(ctx, cmd); done {
			return err
		}
	}
	end := inGroup(cmd)
	defer end()
	return b.env.Exec(cmd)
}

// close ends the resident compiler. No build runs.
func (b *builder) close() {
	if b.resident != nil {
		b.resident.close()
	}
}

func (b *builder) tasks() ([]buildTask, error) {
	tasks, err := buildTasks(b.env, b.folder, buildOptions{Flags: b.flags})
	if err != nil {
		return nil, err
	}
	for i := range tasks {
		if t := &tasks[i]; t.lang != nil {
			t.project.flags = slices.Concat(t.lang.debug, b.flags)
		}
	}
	return tasks, nil
}

// compilerWords lets through what a compiler says, and not the command before
// it: that is only worth reading when it fails, and then it is told.
type compilerWords struct {
	w  io.Writer
	on atomic.Bool
}

func (c *compilerWords) Write(p []byte) (int, error) {
	if !c.on.Load() {
		return len(p), nil
	}
	return c.w.Write(p)
}

// problemOf is what a failed build or a refused module has to say to whoever
// wrote it.
func problemOf(err error) string {
	if failed, ok := errors.AsType[*buildError](err); ok && failed.Output != "" {
		return failed.Output
	}
	return strings.Join(reasonsOf(err), "\n")
}
