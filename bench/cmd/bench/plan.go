package main

import (
	"errors"
	"flag"
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"weir/bench/internal/report"
	"weir/bench/load"
	"weir/bench/peers"
)

// defaultWorkloads are those that the bars speak of.
const defaultWorkloads = "echo-1000x128,echo-100x4096,echo-50x128x16,deflate-100x1024,publish-1000x128,idle-15000,connect-1000"

// inBars are the servers that take part in every round, since bars depend on
// them; the others take part in fewer.
var inBars = []string{"weir", watched, "raw", "raw-publish", "gorilla", "gws", "gws-deflate"}

// watched is weir with its metrics on, held against weir without. It takes part
// only if -servers names it.
const watched = "weir-watched"

// options are the flags.
type options struct {
	weir, weirArgs        string
	echoWasm, publishWasm string
	peer, out             string
	only, servers         string
	rounds, otherRounds   int
	warmup, measure       time.Duration
	settle                time.Duration
	procs                 int
	text                  bool
}

func parseOptions(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.weir, "weir", "", "the weir binary; empty leaves weir out")
	f.StringVar(&o.weirArgs, "weir-args", "", "further arguments of weir serve, separated by blanks, such as --config FILE")
	f.StringVar(&o.echoWasm, "echo-module", "../examples/echo-c/echo.wasm", "weir's module for all but publish")
	f.StringVar(&o.publishWasm, "publish-module", "../examples/publish-c/publish.wasm", "weir's module for publish")
	f.StringVar(&o.peer, "peer", "", "the peer binary; empty builds it")
	f.StringVar(&o.out, "out", "", "folder for results.md, results.json and echo.svg; empty writes none")
	f.StringVar(&o.only, "only", "", "workloads, separated by commas (default "+defaultWorkloads+")")
	f.StringVar(&o.servers, "servers", "", "servers, separated by commas (default all)")
	f.IntVar(&o.rounds, "rounds", 5, "rounds for "+strings.Join(inBars, ", "))
	f.IntVar(&o.otherRounds, "other-rounds", 3, "rounds of echo and publish for the other servers, at most -rounds; of the rest they play one")
	f.DurationVar(&o.warmup, "warmup", 500*time.Millisecond, "load before each measurement")
	f.DurationVar(&o.measure, "time", 1500*time.Millisecond, "length of a measurement")
	f.DurationVar(&o.settle, "settle", 700*time.Millisecond, "how long idle connections rest before they are looked at")
	f.IntVar(&o.procs, "procs", goruntime.NumCPU(), "GOMAXPROCS of every server")
	f.BoolVar(&o.text, "text", false, "send text instead of binary messages")
	quick := f.Bool("quick", false, "one short round of weir, the floors, gorilla and gws, in less than a minute; decides nothing")
	if err := f.Parse(args); err != nil {
		return options{}, err
	}
	set := make(map[string]bool)
	f.Visit(func(f *flag.Flag) { set[f.Name] = true })
	unlessSet := func(name string, apply func()) {
		if !set[name] {
			apply()
		}
	}
	if *quick {
		unlessSet("rounds", func() { o.rounds = 1 })
		unlessSet("warmup", func() { o.warmup = 200 * time.Millisecond })
		unlessSet("time", func() { o.measure = 600 * time.Millisecond })
		unlessSet("settle", func() { o.settle = 300 * time.Millisecond })
		unlessSet("servers", func() {
			o.servers = strings.Join(slices.DeleteFunc(slices.Clone(inBars), func(name string) bool { return name == watched }), ",")
		})
	}
	unlessSet("only", func() { o.only = defaultWorkloads })
	var errs []error
	if f.NArg() > 0 {
		errs = append(errs, fmt.Errorf("arguments that are no flags: %q", f.Args()))
	}
	for name, ok := range map[string]bool{"rounds": o.rounds > 0, "other-rounds": o.otherRounds > 0, "warmup": o.warmup >= 0, "time": o.measure > 0, "settle": o.settle >= 0, "procs": o.procs > 0} {
		if !ok {
			errs = append(errs, fmt.Errorf("-%s is out of range", name))
		}
	}
	return o, errors.Join(errs...)
}

// server is one of those compared: weir, or a peer.
type server struct {
	report.Server
	weir bool
	args []string // of weir serve, besides what all have
	peer peers.Peer
}

// plan is what to measure.
type plan struct {
	servers     []server
	workloads   []load.Workload
	rounds      int
	otherRounds int
}

// plan makes the plan of the flags, or says everything that is wrong with them.
func (o options) plan(all []peers.Peer) (plan, error) {
	p := plan{rounds: o.rounds, otherRounds: min(o.otherRounds, o.rounds)}
	var errs []error
	for _, name := range strings.Split(o.only, ",") {
		w, err := load.ParseWorkload(strings.TrimSpace(name))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.workloads = append(p.workloads, w)
	}
	wanted := make(map[string]bool)
	if o.servers != "" {
		for _, name := range strings.Split(o.servers, ",") {
			wanted[strings.TrimSpace(name)] = true
		}
	}
	add := func(s server) {
		if o.servers == "" || wanted[s.Name] {
			p.servers = append(p.servers, s)
		}
		delete(wanted, s.Name)
	}
	if o.weir != "" {
		add(server{Server: report.Server{Name: report.Subject, About: "weir serve with a handler in C, compiled to WebAssembly"}, weir: true})
		if wanted[watched] {
			add(server{Server: report.Server{Name: watched, About: "the same, with metrics"}, weir: true, args: []string{"--set", "admin.listen=127.0.0.1:0"}})
		}
	} else {
		delete(wanted, report.Subject) // so that -quick works on the peers alone
	}
	for _, peer := range all {
		add(server{Server: report.Server{Name: peer.Name, About: peer.About, Floor: peer.Raw}, peer: peer})
	}
	for name := range wanted {
		errs = append(errs, fmt.Errorf("no server is called %q", name))
	}
	return p, errors.Join(errs...)
}

func (p plan) describe() []report.Server {
	list := make([]report.Server, len(p.servers))
	for i, s := range p.servers {
		list[i] = s.Server
	}
	return list
}

// step is one measurement.
type step struct {
	round    int // from 1
	server   server
	workload load.Workload
}

// takesPart says whether s can play w.
func (s server) takesPart(w load.Workload) bool {
	if s.weir {
		return true
	}
	switch w.Kind {
	case load.KindPublish:
		return s.peer.Publish
	case load.KindDeflate:
		return s.peer.Deflate
	}
	return !s.peer.NoEcho
}

// roundsOf is the number of rounds in which s plays w: all if a bar may depend
// on it. The others play idle and connect, which are steady, once.
func (p plan) roundsOf(s server, w load.Workload) int {
	switch {
	case slices.Contains(inBars, s.Name):
		return p.rounds
	case w.Kind == load.KindIdle || w.Kind == load.KindConnect:
		return 1
	}
	return p.otherRounds
}

// steps lists the measurements in order: round by round, in each all workloads,
// in each all servers, every round starting with another server.
func (p plan) steps() []step {
	var steps []step
	for round := 1; round <= p.rounds; round++ {
		for _, w := range p.workloads {
			var part []server
			for _, s := range p.servers {
				if s.takesPart(w) && round <= p.roundsOf(s, w) {
					part = append(part, s)
				}
			}
			for i := range part {
				steps = append(steps, step{round: round, server: part[(i+round-1)%len(part)], workload: w})
			}
		}
	}
	return steps
}
