package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"time"

	"weir/internal/sim"
)

// Options say how a file is played.
type Options struct {
	// Engine runs the modules. Required.
	Engine *Engine
	// Seed is instead of the file's, when SetSeed says so.
	Seed    uint64
	SetSeed bool
	// Run picks scenarios by name; nil all. What it leaves out is not in the
	// report.
	Run *regexp.Regexp
	// Verbose puts traffic and log into every result, failed or not.
	Verbose bool
}

// seed is the one that is used for f.
func (o Options) seed(f *File) uint64 {
	if o.SetSeed {
		return o.Seed
	}
	return f.Seed
}

// Run plays the file's scenarios, one after the other, each in a world of its
// own. When ctx ends, what is left counts as failed. The same file, seed and
// modules make the same report, but for the real time.
func (f *File) Run(ctx context.Context, o Options) Report {
	r := Report{File: f.Path, Seed: o.seed(f)}
	only := slices.ContainsFunc(f.Scenarios, func(s *Scenario) bool { return s.Only })
	for _, s := range f.Scenarios {
		if o.Run != nil && !o.Run.MatchString(s.Name) {
			continue
		}
		one := Result{Name: s.Name, Line: s.Line}
		switch {
		case s.Skip != "":
			one.Skipped = s.Skip
		case only && !s.Only:
			one.Skipped = "another scenario says only"
		default:
			f.play(ctx, s, o, &one)
		}
		r.Results = append(r.Results, one)
	}
	return r
}

// play plays one scenario.
func (f *File) play(ctx context.Context, s *Scenario, o Options, result *Result) {
	began := time.Now()
	defer func() { result.Real = time.Since(began) }()
	r := &runner{
		ctx: ctx, file: f, seed: o.seed(f), engine: o.Engine, log: new(logTail),
		rng:   rand.New(rand.NewPCG(o.seed(f), 0x7363656E)),
		peers: map[string]*peer{},
	}
	at := &placed{line: s.Line}
	w, err := o.Engine.World(ctx, sim.Options{Seed: r.seed, Host: f.options, Modules: f.modules, Fault: r.fault}, r.log)
	if err != nil {
		result.Failure = r.fail(at, "the modules load", err.Error())
		r.finish(s, result)
		return
	}
	r.w = w
	result.Failure = r.steps(s.steps)
	result.Virtual = w.Now()
	if o.Verbose || result.Failure != nil {
		result.Log = r.log.lines
		result.Traffic = r.traffic()
	}
	if err := w.Close(); err != nil && result.Failure == nil {
		result.Failure = r.fail(at, "nothing is left when the scenario is over", err.Error())
	}
	result.Hash = w.Hash()
	r.finish(s, result)
}

// runner plays one scenario.
type runner struct {
	ctx    context.Context
	file   *File
	seed   uint64
	engine *Engine
	w      *sim.World
	rng    *rand.Rand
	log    *logTail
	peers  map[string]*peer
	names  []string // of peers, in the order of their first appearance

	callFaults []callFault // that are on
}

// peer is a client, with what it has heard and nothing was expected of yet.
type peer struct {
	*sim.Client
	heard []sim.Message
	ended bool // an expect has taken its end
	left  bool // it has said goodbye itself
}

// pull takes what has come.
func (p *peer) pull() { p.heard = append(p.heard, p.Take()...) }

// finish completes a failure.
func (r *runner) finish(s *Scenario, result *Result) {
	if result.Failure == nil {
		return
	}
	result.Failure.Repeat = fmt.Sprintf("weir test %s -run %s --seed %d", quote(r.file.Path), quote("^"+regexp.QuoteMeta(s.Name)+"$"), r.seed)
}

// steps does some steps, and ends with the first that fails.
func (r *runner) steps(all []placed) *Failure {
	for i := range all {
		at := &all[i]
		if r.ctx.Err() != nil {
			return r.fail(at, "the step is done", "the run was cut short")
		}
		if f := at.do(r, at); f != nil {
			return f
		}
		r.w.Settle()
		if err := r.w.Err(); err != nil {
			return r.fail(at, "the server keeps its promises", err.Error())
		}
	}
	return nil
}

// fail makes a failure of a step, with the traffic of the clients that are
// concerned.
func (r *runner) fail(at *placed, expected, got string, clients ...string) *Failure {
	f := &Failure{File: r.file.Path, Line: at.line, Column: at.column, Step: at.source, Expected: expected, Got: got}
	for _, name := range clients {
		if p := r.peers[name]; p != nil {
			f.Traffic = append(f.Traffic, Traffic{name, p.Client.Traffic()})
		}
	}
	if r.w != nil {
		f.At = r.w.Now()
	}
	return f
}

// traffic is that of all clients.
func (r *runner) traffic() []Traffic {
	var all []Traffic
	for _, name := range r.names {
		all = append(all, Traffic{name, r.peers[name].Client.Traffic()})
	}
	return all
}

// pass lets virtual time go by, in pieces, so that ctx is looked at.
func (r *runner) pass(d time.Duration) {
	const piece = 10 * time.Minute
	for ; d > piece && r.ctx.Err() == nil; d -= piece {
		r.w.Advance(piece)
	}
	if r.ctx.Err() == nil {
		r.w.Advance(d)
	}
}
