// Command overload finds out how many messages a second a server answers at most, offers it twice as many, and looks at
// what becomes of the answers, and how long it takes afterwards until all is as it was before.
//
//	overload -weir ../weir -out ../docs/bench
//	overload -weir ../weir -only waiting -rounds 5 -over 10s
//
// It ends with status 1 when an answer was wrong. Whether the bars are reached it reports.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"
	"time"

	"weir/bench/internal/child"
	"weir/bench/internal/proc"
	"weir/bench/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "overload:", err)
		}
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	weir, root, clang, out, only string
	conns, rounds, procs         int
	queueTimeout                 time.Duration
	over                         time.Duration
}

func parseOptions(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("overload", flag.ContinueOnError)
	f.StringVar(&o.weir, "weir", "../weir", "the weir binary")
	f.StringVar(&o.root, "root", "..", "the project's folder, where the guest's source is")
	f.StringVar(&o.clang, "clang", "clang-14", "the C compiler")
	f.StringVar(&o.out, "out", "", "folder to leave overload.md in; empty leaves none")
	f.StringVar(&o.only, "only", "", "one kind of load: waiting, pushing or dear; empty means all")
	f.IntVar(&o.conns, "conns", 500, "connections")
	f.IntVar(&o.rounds, "rounds", 2, "times that each is measured, each on a fresh server")
	f.IntVar(&o.procs, "procs", 1, "GOMAXPROCS of the server; the load needs a CPU of its own")
	f.DurationVar(&o.queueTimeout, "queue-timeout", 0, "the server's handler.queue_timeout; 0 leaves the default")
	f.DurationVar(&o.over, "over", 7*time.Second, "length of the overload")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.conns < 1 || o.rounds < 1 || o.procs < 1 || o.over < slice || o.queueTimeout < 0 || len(chosen(o.only)) == 0 {
		return o, errors.New("usage: overload [flags]; numbers are above 0, -only names a kind of load")
	}
	return o, nil
}

// kind is a kind of load.
type kind struct {
	name, text   string
	payloadBytes int
	depth        int // messages that a client leaves unanswered before it gives up the next
	peakConns    int // connections that find the peak; 0: all
}

// kinds differ in where what is too much piles up. The work for a message grows with its size.
func kinds() []kind {
	return []kind{
		{"waiting", "a handler of some 25 µs; a client gives up a message when its last one is not answered", 128, 1, 0},
		{"pushing", "the same handler; a client sends on until 2000 messages are not answered", 128, 2000, 0},
		{"dear", "a handler of some 200 µs, which runs on workers; a client gives up a message when its last one is not answered", 1024, 1, 16},
	}
}

func chosen(only string) (list []kind) {
	for _, k := range kinds() {
		if only == "" || only == k.name {
			list = append(list, k)
		}
	}
	return list
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "weir-overload-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	guest := filepath.Join(dir, "work.wasm")
	if err := buildGuest(ctx, o, guest); err != nil {
		return err
	}
	config, err := writeConfig(dir, guest, o)
	if err != nil {
		return err
	}
	r := &results{
		Command: "overload " + strings.Join(args, " "), Commit: commit(ctx), Date: time.Now(),
		CPU: proc.CPUModel(), CPUs: goruntime.NumCPU(), Go: goruntime.Version(), Procs: o.procs, Conns: o.conns, Over: o.over,
		QueueTimeout: o.queueTimeout, Kinds: chosen(o.only), Rounds: map[string][]round{},
	}
	for n := range o.rounds {
		for _, k := range r.Kinds {
			fmt.Fprintf(progress, "round %d of %d: %s\n", n+1, o.rounds, k.name)
			one, err := play(ctx, o, k, config)
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			r.Rounds[k.name] = append(r.Rounds[k.name], one)
		}
	}
	if _, err := io.WriteString(out, r.markdown()); err != nil {
		return err
	}
	if o.out == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(o.out, "overload.md"), []byte(r.markdown()), 0o644)
}

const (
	// deadline is how old an answer may be to be good for something.
	deadline = time.Second
	// stayAway is after how long a client whose connection was closed comes again.
	stayAway = time.Second
	// slice is the time over which a p99 is taken.
	slice = 250 * time.Millisecond

	peakWarm, peakTime    = 500 * time.Millisecond, 2 * time.Second
	settleTime            = 500 * time.Millisecond // at half the peak, before that is measured
	beforeTime, afterTime = 2 * time.Second, 6 * time.Second
)

// play measures one kind of load once.
func play(ctx context.Context, o options, k kind, config string) (one round, err error) {
	server, err := child.Start(ctx, o.procs, o.weir, func(address string) []string {
		return []string{"serve", "--config", config, "--listen", address}
	})
	if err != nil {
		return one, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w%s", err, server.LastWords())
		}
		err = errors.Join(err, server.Stop())
	}()
	shape := load.Options{Address: server.Address, Conns: o.conns, PayloadBytes: k.payloadBytes, Depth: 1}
	peak, peakMeter := shape, proc.Meter{PID: server.PID()}
	if k.peakConns > 0 {
		peak.Conns = k.peakConns
	}
	peak.Warmup, peak.Measure, peak.Begin, peak.End = peakWarm, peakTime, peakMeter.Begin, peakMeter.End
	best, err := load.Echo(ctx, peak)
	if err != nil {
		return one, fmt.Errorf("find the peak: %w", err)
	}
	one.Peak = float64(best.Messages) / best.Elapsed.Seconds()
	shape.Depth = k.depth
	half := max(1, int(one.Peak/2))
	meter := proc.Meter{PID: server.PID()}
	all, err := load.Offer(ctx, shape, load.Offering{
		Stretches: []load.Stretch{
			{Rate: half, For: settleTime}, {Rate: half, For: beforeTime},
			{Rate: 4 * half, For: o.over, Begin: meter.Begin}, {Rate: half, For: afterTime, Begin: meter.End},
		},
		Slice: slice, Deadline: deadline, Return: stayAway,
	})
	if err != nil {
		return one, err
	}
	used := peakMeter.Used()
	one.PeakCPU = float64(used.CPU) / float64(used.Wall)
	one.Others = float64(used.Others) / float64(used.Wall) / float64(goruntime.NumCPU())
	used = meter.Used()
	one.OverCPU = float64(used.CPU) / float64(used.Wall)
	one.Others = max(one.Others, float64(used.Others)/float64(used.Wall)/float64(goruntime.NumCPU()))
	one.judge(all[1], all[2], all[3], o.over)
	return one, nil
}

// buildGuest compiles the guest with the flags of the project's C guests (Makefile, GUEST_CFLAGS).
func buildGuest(ctx context.Context, o options, to string) error {
	cmd := exec.CommandContext(ctx, o.clang, "--target=wasm32", "-std=c11", "-O2", "-nostdlib", "-Wall", "-Wextra", "-Werror",
		"-I", filepath.Join(o.root, "guest-sdk", "c"), "-Wl,--no-entry", "-Wl,-z,stack-size=65536", "-Wl,--stack-first",
		"-o", to, filepath.Join(o.root, "bench", "guests", "work-c", "work.c"))
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the guest: %w\n%s", err, text)
	}
	return nil
}

// writeConfig writes a configuration for weir serve into dir and returns its file.
func writeConfig(dir, guest string, o options) (string, error) {
	type object = map[string]any
	handler := object{}
	if o.queueTimeout > 0 {
		handler["queue_timeout"] = o.queueTimeout.String()
	}
	text, err := json.MarshalIndent(object{ // which is YAML, too
		// A call may wait long for its CPU on a crowded machine, and that is not what is asked here.
		"modules": object{"work": object{"path": guest, "limits": object{"timeout": "5s"}}},
		"routes":  []object{{"path": "/{path...}", "module": "work"}},
		"handler": handler,
		"runtime": object{"cache_dir": filepath.Join(dir, "cache")},
		"log":     object{"level": "warn"},
	}, "", "\t")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "weir.yaml")
	return file, os.WriteFile(file, text, 0o644)
}

// commit names the state of the repository that the working directory is in.
func commit(ctx context.Context) string {
	text, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}
