// Command swap replaces a module under load, again and again, and looks at what its clients notice: whether a message
// is lost, comes twice or out of order, whether a connection goes back to an older generation, and how long messages
// take in the second of a swap against the second before.
//
//	swap -weir ../weir -out ../docs/bench
//	swap -weir ../weir -conns 100 -rate 2000 -swaps 2
//
// It ends with status 1 when a promise did not hold. Whether the bars are reached it reports.
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
	"strings"
	"syscall"
	"time"

	"weir/bench/internal/child"
	"weir/bench/internal/proc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "swap:", err)
		}
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	weir, root, clang, out    string
	conns, rate, swaps, procs int
	every                     time.Duration
}

func parseOptions(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("swap", flag.ContinueOnError)
	f.StringVar(&o.weir, "weir", "../weir", "the weir binary")
	f.StringVar(&o.root, "root", "..", "the project's folder, where the guest's source is")
	f.StringVar(&o.clang, "clang", "clang-14", "the C compiler")
	f.StringVar(&o.out, "out", "", "folder to leave swap.md in; empty leaves none")
	f.IntVar(&o.conns, "conns", 2000, "connections")
	f.IntVar(&o.rate, "rate", 20_000, "messages a second, over all connections")
	f.IntVar(&o.swaps, "swaps", 10, "how often the module is replaced")
	f.DurationVar(&o.every, "every", 3*time.Second, "time between two swaps, at least 2s to judge them")
	f.IntVar(&o.procs, "procs", goruntime.NumCPU(), "GOMAXPROCS of the server")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.conns < 1 || o.rate < 1 || o.swaps < 1 || o.every <= 0 {
		return o, errors.New("usage: swap [flags]; all numbers are above 0")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "weir-swap-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	guest, err := buildGuest(ctx, o, dir)
	if err != nil {
		return err
	}
	module := filepath.Join(dir, "stamp.wasm")
	if err := replace(module, guest, 1); err != nil {
		return err
	}
	config, err := writeConfig(dir, module)
	if err != nil {
		return err
	}
	server, err := child.Start(ctx, o.procs, o.weir, func(address string) []string {
		return []string{"serve", "--config", config, "--listen", address}
	})
	if err != nil {
		return err
	}
	r := &results{
		Command: "swap " + strings.Join(args, " "), Commit: commit(ctx), Date: time.Now(),
		CPU: proc.CPUModel(), CPUs: goruntime.NumCPU(), Go: goruntime.Version(), Procs: o.procs,
		Conns: o.conns, Rate: o.rate,
	}
	err = measure(ctx, o, r, server, func(n int) error { return replace(module, guest, n) }, progress)
	if err := errors.Join(err, server.Stop()); err != nil {
		return err
	}
	if _, err := io.WriteString(out, r.markdown()); err != nil {
		return err
	}
	if o.out != "" {
		if err := os.WriteFile(filepath.Join(o.out, "swap.md"), []byte(r.markdown()), 0o644); err != nil {
			return err
		}
	}
	return r.broken()
}

// measure plays the load and swaps under it.
func measure(ctx context.Context, o options, r *results, server *child.Process, swap func(version int) error, progress io.Writer) error {
	f, err := dialFleet(ctx, server.Address, o.conns)
	if err != nil {
		return fmt.Errorf("%w%s", err, server.LastWords())
	}
	f.start(o.rate)
	err = func() error {
		for n := 1; n <= o.swaps; n++ {
			if err := sleep(ctx, o.every); err != nil {
				return err
			}
			if err := swap(n + 1); err != nil {
				return err
			}
			fmt.Fprintf(progress, "swap %d of %d\n", n, o.swaps)
		}
		return sleep(ctx, o.every)
	}()
	f.stop()
	r.Tally = f.tally()
	if err != nil {
		return err
	}
	said, err := server.Output()
	if err != nil {
		return err
	}
	if r.Swaps, err = f.swaps(reloads(said)); err != nil {
		return err
	}
	if len(r.Swaps) != o.swaps {
		return fmt.Errorf("the server reloaded %d times, not %d:\n%s", len(r.Swaps), o.swaps, server.LastWords())
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// buildGuest compiles the guest with the flags of the project's C guests (Makefile, GUEST_CFLAGS).
func buildGuest(ctx context.Context, o options, dir string) ([]byte, error) {
	to := filepath.Join(dir, "guest.wasm")
	cmd := exec.CommandContext(ctx, o.clang, "--target=wasm32", "-std=c11", "-O2", "-nostdlib", "-Wall", "-Wextra", "-Werror",
		"-I", filepath.Join(o.root, "guest-sdk", "c"), "-Wl,--no-entry", "-Wl,-z,stack-size=65536", "-Wl,--stack-first",
		"-o", to, filepath.Join(o.root, "bench", "guests", "stamp-c", "stamp.c"))
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the guest: %w\n%s", err, text)
	}
	return os.ReadFile(to)
}

// replace puts a version of the guest in the place of file, as a deployment does: the whole file at once. Versions
// differ in a custom section, so that each is another module to the server.
func replace(file string, guest []byte, version int) error {
	name := fmt.Sprintf("v%09d", version)
	content := append(append([]byte{}, guest...), 0, byte(1+len(name)), byte(len(name)))
	if err := os.WriteFile(file+".new", append(content, name...), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// commit names the state of the repository that the working directory is in.
func commit(ctx context.Context) string {
	text, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}
