// Command secure compares weir with gorilla/websocket where both speak TLS: what a message costs the server, and what an
// idle connection holds. Both have the same certificate (ECDSA P-256), and the load speaks TLS 1.3.
//
//	secure -weir ../weir
//	secure -weir ../weir -conns 500 -bytes 128 -rounds 9 -idle 5000
//
// It ends with status 1 when an answer was wrong. Whether the bar is reached it reports.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"syscall"
	"time"

	"weir/bench/internal/child"
	"weir/bench/internal/proc"
)

// bar is what weir's CPU time for a message may be, at most, of gorilla's.
const bar = 0.95

// patience bounds one measurement, whatever happens.
const patience = 2 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "secure:", err)
		}
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	weir, peer, module         string
	conns, bytes, rounds, idle int
	warmup, measure, settle    time.Duration
	procs                      int
}

func parseOptions(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("secure", flag.ContinueOnError)
	f.StringVar(&o.weir, "weir", "../weir", "the weir binary")
	f.StringVar(&o.peer, "peer", "", "the peer binary; empty builds it")
	f.StringVar(&o.module, "module", "../examples/echo-c/echo.wasm", "weir's module")
	f.IntVar(&o.conns, "conns", 500, "connections that echo")
	f.IntVar(&o.bytes, "bytes", 128, "bytes of a message")
	f.IntVar(&o.rounds, "rounds", 5, "how often each server is measured")
	f.IntVar(&o.idle, "idle", 5000, "connections that rest; 0 leaves that out")
	f.DurationVar(&o.warmup, "warmup", 500*time.Millisecond, "load before each measurement")
	f.DurationVar(&o.measure, "time", 2*time.Second, "length of a measurement")
	f.DurationVar(&o.settle, "settle", 2*time.Second, "how long idle connections rest before they are looked at")
	f.IntVar(&o.procs, "procs", goruntime.NumCPU(), "GOMAXPROCS of the servers")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.conns < 1 || o.bytes < stampBytes || o.bytes > 65535 || o.rounds < 1 || o.idle < 0 || o.measure <= 0 {
		return o, fmt.Errorf("usage: secure [flags]; numbers are above 0, and a message has %d to 65535 bytes", stampBytes)
	}
	return o, nil
}

// subject is one of the two servers.
type subject struct {
	name      string
	path      string
	arguments func(address string) []string
	cost      []float64 // µs of CPU time for a message, by round
	idle      int64     // bytes of RSS for a connection at rest
	used      int64     // the same after each has echoed once and rests again
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "weir-secure-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.peer == "" {
		o.peer = filepath.Join(dir, "peer")
		if text, err := exec.CommandContext(ctx, "go", "build", "-o", o.peer, "weir/bench/cmd/peer").CombinedOutput(); err != nil {
			return fmt.Errorf("build the peers (run this in bench/, or say -peer): %w\n%s", err, text)
		}
	}
	pair, err := makePair(dir)
	if err != nil {
		return err
	}
	weir := &subject{name: "weir", path: o.weir, arguments: func(address string) []string {
		return []string{"serve", "--listen", address, "--set", "server.tls.cert=" + pair.cert, "--set", "server.tls.key=" + pair.key, o.module}
	}}
	gorilla := &subject{name: "gorilla", path: o.peer, arguments: func(address string) []string {
		return []string{"gorilla", "--listen", address, "--cert", pair.cert, "--key", pair.key}
	}}
	for round := range o.rounds {
		subjects := []*subject{weir, gorilla}
		if round%2 == 1 {
			slices.Reverse(subjects)
		}
		for _, s := range subjects {
			if err := s.echo(ctx, o, pair, out); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	for _, s := range []*subject{weir, gorilla} {
		if o.idle > 0 {
			if err := s.rest(ctx, o, pair); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	report(out, o, weir, gorilla)
	return nil
}

// start starts the server; stop adds what went wrong to err.
func (s *subject) start(ctx context.Context, o options) (p *child.Process, stop func(err error) error, _ error) {
	p, err := child.Start(ctx, o.procs, s.path, s.arguments)
	if err != nil {
		return nil, nil, err
	}
	return p, func(err error) error {
		if err != nil {
			err = fmt.Errorf("%w%s", err, p.LastWords())
		}
		return errors.Join(err, p.Stop())
	}, nil
}

// echo measures a message's cost on a fresh process.
func (s *subject) echo(ctx context.Context, o options, pair *pair, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p, stop, err := s.start(ctx, o)
	if err != nil {
		return err
	}
	m := proc.Meter{PID: p.PID()}
	n, elapsed, err := echo(ctx, p.Address, pair.pool, o, &m)
	if err := stop(err); err != nil {
		return err
	}
	if n == 0 {
		return errors.New("nothing was answered in the measured time")
	}
	cost := float64(m.Used().CPU.Nanoseconds()) / 1e3 / float64(n)
	s.cost = append(s.cost, cost)
	others := max(0, float64(m.Used().Others)/float64(m.Used().Wall)/float64(goruntime.NumCPU()))
	fmt.Fprintf(out, "%-8s %7.2f µs a message, %.0f/s, others used %.0f %%\n", s.name, cost, float64(n)/elapsed.Seconds(), 100*others)
	return nil
}

// rest measures what an idle connection holds.
func (s *subject) rest(ctx context.Context, o options, pair *pair) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p, stop, err := s.start(ctx, o)
	if err != nil {
		return err
	}
	rested, used, err := rest(ctx, p.Address, pair.pool, o, func() (int64, error) { return proc.RSS(p.PID()) })
	s.idle, s.used = rested/int64(o.idle), used/int64(o.idle)
	return stop(err)
}

func report(out io.Writer, o options, weir, gorilla *subject) {
	a, b := median(weir.cost), median(gorilla.cost)
	var ratios []float64
	for i := range weir.cost {
		ratios = append(ratios, weir.cost[i]/gorilla.cost[i])
	}
	verdict := "reached"
	if a/b > bar {
		verdict = "missed"
	}
	fmt.Fprintf(out, "\nTLS echo, %d connections × %d B, medians of %d rounds: weir %.2f µs, gorilla %.2f µs of the server's CPU time a message; ratio %.3f (%.3f to %.3f within a round); the bar, %.2f, is %s\n",
		o.conns, o.bytes, o.rounds, a, b, a/b, slices.Min(ratios), slices.Max(ratios), bar, verdict)
	if o.idle > 0 {
		fmt.Fprintf(out, "%d idle TLS connections, RSS for each: weir %d B after the upgrade and %d B after a message; gorilla %d B and %d B\n",
			o.idle, weir.idle, weir.used, gorilla.idle, gorilla.used)
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
