// Command bench compares weir with its peers. It starts each server afresh for
// each measurement, plays a workload against it, measures what that cost the
// server, and prints Markdown.
//
//	bench -weir ../weir -out ../docs/bench
//	bench -weir ../weir -only echo-1000x128,publish-1000x128 -servers weir,raw,gws
//	bench -weir ../weir -quick
//
// It ends with status 1 if a measurement failed, such as by a wrong answer, and
// with 0 whether or not weir reaches its bars: those it reports.
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
	"weir/bench/peers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	plan, err := o.plan(peers.All())
	if err != nil {
		return err
	}
	if o.peer == "" {
		dir, err := os.MkdirTemp("", "weir-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if o.peer, err = buildPeer(ctx, dir); err != nil {
			return err
		}
	}
	r := &report.Results{
		Command:   "bench " + strings.Join(args, " "),
		Commit:    commit(ctx),
		Date:      time.Now(),
		Machine:   machine(o.procs),
		Rounds:    o.rounds,
		Warmup:    o.warmup,
		Measure:   o.measure,
		Workloads: plan.workloads,
		Servers:   plan.describe(),
	}
	start := time.Now()
	steps := plan.steps()
	for i, s := range steps {
		fmt.Fprintf(progress, "%4d/%d  round %d  %-18s %-18s ", i+1, len(steps), s.round, s.workload, s.server.Name)
		sample, err := measure(ctx, o, s)
		if ctx.Err() != nil {
			fmt.Fprintln(progress, "stopped")
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintln(progress, "FAILED:", err)
			r.Failures = append(r.Failures, report.Failure{Server: s.server.Name, Workload: s.workload.String(), Round: s.round, Error: err.Error()})
			continue
		}
		fmt.Fprintln(progress, brief(s, sample))
		r.Samples = append(r.Samples, sample)
	}
	fmt.Fprintf(progress, "%d measurements in %v\n", len(steps), time.Since(start).Round(time.Second))
	if _, err := io.WriteString(out, r.Markdown()); err != nil {
		return err
	}
	if o.out != "" {
		if err := write(o.out, r); err != nil {
			return err
		}
	}
	if n := len(r.Failures); n > 0 {
		return fmt.Errorf("%d of %d measurements failed", n, len(steps))
	}
	return nil
}

// brief is a sample in a few words, for who watches.
func brief(s step, x report.Sample) string {
	if s.workload.Kind == "idle" {
		return fmt.Sprintf("%7.0f B each, %.1f µs per handshake", x.Rested, x.CPU)
	}
	return fmt.Sprintf("%7.2f µs, %.0f/s, others used %.0f %%", x.CPU, x.PerSec, 100*x.Others)
}

// write leaves the results in dir, which is made if it is missing.
func write(dir string, r *report.Results) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	js, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "results.md"), []byte(r.Markdown()), 0o644),
		os.WriteFile(filepath.Join(dir, "results.json"), append(js, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "echo.svg"), []byte(r.EchoChart().SVG()), 0o644),
	)
}

// buildPeer compiles the peers into dir.
func buildPeer(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "peer")
	text, err := exec.CommandContext(ctx, "go", "build", "-o", path, "weir/bench/cmd/peer").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the peers (run this in bench/, or say -peer): %w\n%s", err, text)
	}
	return path, nil
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
