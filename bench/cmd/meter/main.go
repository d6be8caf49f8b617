// Command meter measures what metering costs: what it adds to the CPU time of a message, how late it stops a handler
// that does not return, and what a discarded instance costs to replace.
//
//	meter -weir ../weir -out ../docs/bench
//	meter -weir ../weir -only sha256-C,json-Go -rounds 3 -tries 0 -instances=false
//
// It builds its guests itself, with clang and go. Each of them answers what plain Go computes, too; a wrong answer
// fails the measurement, and the command then ends with status 1. It ends with 0 whether or not the bars are reached:
// those it reports.
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

	"golang.org/x/sys/unix"

	"weir/bench/internal/proc"
	"weir/bench/internal/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "meter:", err)
		}
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	weir, root, guests, clang string
	only, out                 string
	rounds, tries, procs      int
	warmup, measure           time.Duration
	instance                  bool
}

func parseOptions(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("meter", flag.ContinueOnError)
	f.StringVar(&o.weir, "weir", "../weir", "the weir binary")
	f.StringVar(&o.root, "root", "..", "the project's folder, where the sources of the guests are")
	f.StringVar(&o.guests, "guests", "../bin/guests", "folder to build the guests in")
	f.StringVar(&o.clang, "clang", "clang-14", "the compiler of the guests in C")
	f.StringVar(&o.only, "only", "", "what to measure the cost of, as NAME-GUEST separated by commas (default all)")
	f.StringVar(&o.out, "out", "", "folder for metering.md and metering.json; empty writes none")
	f.IntVar(&o.rounds, "rounds", 7, "rounds")
	f.IntVar(&o.tries, "tries", 40, "how often each handler that does not return is stopped; 0 leaves that out")
	f.IntVar(&o.procs, "procs", goruntime.NumCPU(), "GOMAXPROCS of every server")
	f.DurationVar(&o.warmup, "warmup", 150*time.Millisecond, "load before each measurement")
	f.DurationVar(&o.measure, "time", 600*time.Millisecond, "length of each measurement, for either side")
	f.BoolVar(&o.instance, "instances", true, "run the runtime's benchmark of replacing an instance")
	if err := f.Parse(args); err != nil {
		return options{}, err
	}
	var errs []error
	if f.NArg() > 0 {
		errs = append(errs, fmt.Errorf("arguments that are no flags: %q", f.Args()))
	}
	for name, ok := range map[string]bool{
		"rounds": o.rounds > 0, "tries": o.tries >= 0, "procs": o.procs > 0,
		"warmup": o.warmup >= 0, "time": o.measure >= turns,
	} {
		if !ok {
			errs = append(errs, fmt.Errorf("-%s is out of range", name))
		}
	}
	return o, errors.Join(errs...)
}

// label is how -only names a subject.
func (s subject) label() string { return s.Name + "-" + s.Guest }

// choose returns the subjects that -only names, in their order.
func (o options) choose(all []subject) ([]subject, error) {
	if o.only == "" {
		return all, nil
	}
	wanted := make(map[string]bool)
	for _, name := range strings.Split(o.only, ",") {
		wanted[strings.TrimSpace(name)] = true
	}
	var chosen []subject
	var labels []string
	for _, s := range all {
		labels = append(labels, s.label())
		if wanted[s.label()] {
			chosen = append(chosen, s)
			delete(wanted, s.label())
		}
	}
	var errs []error
	for name := range wanted {
		errs = append(errs, fmt.Errorf("-only: there is no %q; there are %s", name, strings.Join(labels, ", ")))
	}
	return chosen, errors.Join(errs...)
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if _, err := o.choose(subjects(guests{})); err != nil {
		return err
	}
	g, err := buildGuests(ctx, o.root, o.guests, o.clang)
	if err != nil {
		return err
	}
	chosen, err := o.choose(subjects(g))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "weir-meter-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &results{
		Command:  "meter " + strings.Join(args, " "),
		Commit:   commit(ctx),
		Date:     time.Now(),
		Machine:  machine(o.procs),
		Rounds:   o.rounds,
		Warmup:   o.warmup,
		Measure:  o.measure,
		Subjects: chosen,
		Deadline: overrunDeadline,
	}
	if err := o.measureAll(ctx, dir, g, r, progress); err != nil {
		return err
	}
	if _, err := io.WriteString(out, r.markdown()); err != nil {
		return err
	}
	if o.out != "" {
		if err := write(o.out, r); err != nil {
			return err
		}
	}
	if n := len(r.Failures); n > 0 {
		return fmt.Errorf("%d measurements failed", n)
	}
	return nil
}

// measureAll fills r. Its error is that of ctx; a measurement that fails is put down in r.
func (o options) measureAll(ctx context.Context, dir string, g guests, r *results, progress io.Writer) error {
	fail := func(what string, err error) {
		fmt.Fprintln(progress, "FAILED:", what+":", err)
		r.Failures = append(r.Failures, failure{what, err.Error()})
	}
	for round := 1; round <= o.rounds; round++ {
		for _, s := range r.Subjects {
			x, err := o.cost(ctx, dir, s, round)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				fail(fmt.Sprintf("%s, round %d", s.label(), round), err)
				continue
			}
			fmt.Fprintf(progress, "round %d  %-20s plain %9.2f µs  metered %9.2f µs  ratio %.3f\n",
				round, s.label(), x.Plain.CPU, x.Metered.CPU, x.Metered.CPU/x.Plain.CPU)
			r.Samples = append(r.Samples, x)
		}
	}
	if o.tries > 0 {
		err := o.overruns(ctx, dir, g.deadline, func(x overrun) {
			r.Overruns = append(r.Overruns, x)
			s := r.late(x.Way, x.Company)
			fmt.Fprintf(progress, "overrun  %-6s %-17s median %6.2f ms  worst %6.2f ms\n", x.Way, x.Company, s.Median, s.Max)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fail("overrun", err)
		}
	}
	if o.instance {
		var err error
		r.Instances, err = o.instances(ctx, o.root)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fail("instances", err)
		}
	}
	return nil
}

// write leaves the results in dir, which is made if it is missing.
func write(dir string, r *results) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	js, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "metering.md"), []byte(r.markdown()), 0o644),
		os.WriteFile(filepath.Join(dir, "metering.json"), append(js, '\n'), 0o644),
	)
}

// commit names the state of the repository that the working directory is in.
func commit(ctx context.Context) string {
	text, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

func machine(procs int) report.Machine {
	m := report.Machine{CPU: proc.CPUModel(), CPUs: goruntime.NumCPU(), Kernel: "unknown", Go: goruntime.Version(), GOMAXPROCS: procs}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return m
}
