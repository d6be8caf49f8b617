package main

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"weir/bench/internal/child"
	"weir/bench/internal/proc"
	"weir/bench/internal/report"
	"weir/bench/load"
)

const (
	// maxDescriptors is what a server may have open at most, less a reserve.
	maxDescriptors = 20_000 - 500
	// stepPatience bounds one measurement, whatever happens.
	stepPatience = 90 * time.Second
)

// measure starts the server of a step, plays its workload and stops the server.
func measure(ctx context.Context, o options, s step) (_ report.Sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	path := o.peer
	if s.server.weir {
		path = o.weir
	}
	p, err := child.Start(ctx, o.procs, path, func(address string) []string { return arguments(o, s, address) })
	if err != nil {
		return report.Sample{}, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w%s", err, p.LastWords())
		}
		if e := p.Stop(); err == nil {
			err = e
		}
	}()
	return play(ctx, o, s, p.Address, p.PID())
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
	case load.KindEcho, load.KindDeflate:
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

// arguments are those that the server of a step is started with.
func arguments(o options, s step, address string) []string {
	if !s.server.weir {
		return []string{s.server.Name, "--listen", address}
	}
	module := o.echoWasm
	if s.workload.Kind == load.KindPublish {
		module = o.publishWasm
	}
	args := slices.Concat([]string{"serve", "--listen", address}, s.server.args, strings.Fields(o.weirArgs))
	if s.workload.Kind == load.KindDeflate {
		args = append(args, "--set", "websocket.compression=on")
	}
	return append(args, module)
}
