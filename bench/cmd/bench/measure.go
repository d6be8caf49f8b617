package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/bench/internal/proc"
	"weir/bench/internal/report"
	"weir/bench/load"
)

const (
	// maxDescriptors is what a server may have open at most, less a reserve.
	maxDescriptors = 20_000 - 500
	// startPatience is how long a server may take until it accepts.
	startPatience = 15 * time.Second
	// stopPatience is how long it may take to end after SIGTERM.
	stopPatience = 3 * time.Second
	// stepPatience bounds one measurement, whatever happens.
	stepPatience = 90 * time.Second
)

// measure starts the server of a step, plays its workload and stops the server.
func measure(ctx context.Context, o options, s step) (_ report.Sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	p, err := start(ctx, o, s)
	if err != nil {
		return report.Sample{}, err
	}
	defer func() {
		if e := p.stop(); e != nil && err == nil {
			err = e
		} else if err != nil {
			err = fmt.Errorf("%w%s", err, p.lastWords())
		}
	}()
	return play(ctx, o, s, p.address, p.cmd.Process.Pid)
}

// play runs the workload against a server that listens.
func play(ctx context.Context, o options, s step, address string, pid int) (report.Sample, error) {
	w := s.workload
	x := report.Sample{Server: s.server.Name, Workload: w.String(), Round: s.round}
	m, cycle := proc.Meter{PID: pid}, proc.Meter{PID: pid}
	lo := w.Apply(load.Options{
		Address: address, Path: "/", Raw: s.server.peer.Raw, Text: o.text,
		Warmup: o.warmup, Measure: o.measure, Begin: m.Begin, End: m.End,
	})
	var r *load.Result
	var err error
	switch w.Kind {
	case load.KindEcho:
		r, err = load.Echo(ctx, lo)
	case load.KindPublish:
		lo.Path = "/publish"
		r, err = load.Publish(ctx, lo)
	case load.KindConnect:
		lo.Begin = func() error { return errors.Join(cycle.Begin(), m.Begin()) }
		r, err = load.Connect(ctx, lo, cycle.End)
	case load.KindIdle:
		if d := s.server.peer.Descriptors; d > 1 {
			lo.Conns = min(lo.Conns, maxDescriptors/d)
		}
		lo.Warmup = o.settle
		var before, rested, touched int64
		look := func(to *int64) (err error) {
			*to, err = proc.RSS(pid)
			return err
		}
		r, err = load.Idle(ctx, lo, load.IdleHooks{
			Opening: func() error { return errors.Join(look(&before), m.Begin()) },
			Rested:  func() error { return errors.Join(m.End(), look(&rested)) },
			Touched: func() error { return look(&touched) },
		})
		x.Rested = float64(rested-before) / float64(lo.Conns)
		x.Touched = float64(touched-before) / float64(lo.Conns)
	default:
		err = fmt.Errorf("workload %v: unknown kind", w)
	}
	if err != nil {
		return report.Sample{}, err
	}
	if r.Messages == 0 {
		return report.Sample{}, errors.New("nothing was answered in the measured time")
	}
	u, n := m.Used(), float64(r.Messages)
	x.Conns, x.Messages, x.Seconds = lo.Conns, r.Messages, r.Elapsed.Seconds()
	x.PerSec = n / x.Seconds
	x.CPU, x.SchedCPU = micros(u.CPU)/n, micros(u.SchedCPU)/n
	x.User, x.Switches = u.UserShare(), float64(u.Switches)/n
	x.P50, x.P99 = millis(r.Latency.Quantile(0.50)), millis(r.Latency.Quantile(0.99))
	x.RSS = u.RSSEnd
	x.Cycle = micros(cycle.Used().CPU) / n
	x.Others = max(0, float64(u.Others)/float64(u.Wall)/float64(goruntime.NumCPU()))
	return x, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// process is a server that was started.
type process struct {
	cmd     *exec.Cmd
	address string
	output  *os.File // what it said
	ended   chan error
}

// command is how to start the server of a step.
func command(o options, s step, address string) (string, []string) {
	if !s.server.weir {
		return o.peer, []string{s.server.Name, "--listen", address}
	}
	module := o.echoWasm
	if s.workload.Kind == load.KindPublish {
		module = o.publishWasm
	}
	args := append([]string{"serve", "--listen", address}, strings.Fields(o.weirArgs)...)
	return o.weir, append(args, module)
}

// environment is the one that every server gets: this process's, without what
// would tune one Go program differently from another.
func environment(procs int) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GODEBUG":
		default:
			env = append(env, kv)
		}
	}
	return append(env, "GOMAXPROCS="+strconv.Itoa(procs))
}

// start starts the server of a step and waits until it accepts.
func start(ctx context.Context, o options, s step) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	output, err := os.CreateTemp("", "weir-bench-*.log")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(output.Name()) // it lives as long as it is open
	path, args := command(o, s, address)
	p := &process{cmd: exec.Command(path, args...), address: address, output: output, ended: make(chan error, 1)} // one: its end
	p.cmd.Env = environment(o.procs)
	p.cmd.Stdout, p.cmd.Stderr = output, output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, output.Close())
	}
	go func() { p.ended <- p.cmd.Wait() }() // ends with the process; stop sees to that
	if err := p.ready(ctx); err != nil {
		err = fmt.Errorf("start %s: %w%s", s.server.Name, err, p.lastWords())
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// freeAddress is a loopback address that nobody listens on now.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// ready waits until the server accepts a connection.
func (p *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		c, err := net.Dial("tcp", p.address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-again.C:
		case err := <-p.ended:
			p.ended <- err
			return fmt.Errorf("it ended at once: %v", err)
		case <-ctx.Done():
			return fmt.Errorf("it does not accept: %w", err)
		}
	}
}

// stop ends the server, by force if it must. To be ended by the signal is a good
// end; to have ended before is none.
func (p *process) stop() error {
	defer p.output.Close()
	select {
	case err := <-p.ended:
		return fmt.Errorf("the server ended by itself: %v", err)
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-p.ended:
	case <-patience.C:
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return nil
}

// lastWords is the end of what the server said, on a line of its own.
func (p *process) lastWords() string {
	const most = 1000
	info, err := p.output.Stat()
	if err != nil || info.Size() == 0 {
		return ""
	}
	text := make([]byte, min(info.Size(), most))
	if _, err := p.output.ReadAt(text, info.Size()-int64(len(text))); err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return "\n" + strings.TrimSpace(string(text))
}
