// Command load plays one workload against a server that is running already, and
// tells what it saw; with the server's process id also what it cost. It is what
// one looks through a profiler with.
//
//	load -workload echo-1000x128 -time 10s -pid $(pidof weir) 127.0.0.1:9000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"weir/bench/internal/proc"
	"weir/bench/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "load:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	name := flags.String("workload", "echo-1000x128", "echo-CONNSxBYTES[xDEPTH], deflate-CONNSxBYTES[xDEPTH], publish-MEMBERSxBYTES[xDEPTH], idle-CONNS or connect-CONNS[xDEPTH]")
	measure := flags.Duration("time", 3*time.Second, "how long to measure")
	warmup := flags.Duration("warmup", 500*time.Millisecond, "how long to run before")
	path := flags.String("path", "/", "path to request")
	raw := flags.Bool("raw", false, "the server sends back bytes and speaks no WebSocket")
	text := flags.Bool("text", false, "send text instead of binary messages")
	deflate := flags.Bool("deflate", false, "offer permessage-deflate, and send compressed messages")
	pid := flags.Int("pid", 0, "process id of the server; 0 means do not measure it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("usage: load [flags] HOST:PORT")
	}
	w, err := load.ParseWorkload(*name)
	if err != nil {
		return err
	}
	o := load.Options{Address: flags.Arg(0), Path: *path, Raw: *raw, Text: *text, Deflate: *deflate, Warmup: *warmup, Measure: *measure}
	var m proc.Meter
	if *pid != 0 {
		m.PID = *pid
		o.Begin, o.End = m.Begin, m.End
	}
	r, err := w.Run(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d in %v, %.0f/s, p50 %v, p99 %v, max %v\n", w, r.Messages, r.Elapsed.Round(time.Millisecond),
		float64(r.Messages)/r.Elapsed.Seconds(), r.Latency.Quantile(0.5), r.Latency.Quantile(0.99), r.Latency.Max())
	if *pid != 0 && r.Messages > 0 {
		u := m.Used()
		n := float64(r.Messages)
		fmt.Fprintf(out, "server: %.3f µs CPU each (%.0f %% user), %.3f context switches each, RSS %.1f MB (%+.0f B each)\n",
			float64(u.CPU.Nanoseconds())/1e3/n, 100*u.UserShare(), float64(u.Switches)/n, float64(u.RSSEnd)/1e6, float64(u.RSSEnd-u.RSSBegin)/n)
	}
	return nil
}
