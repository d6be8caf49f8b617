package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	goruntime "runtime"
	"sync"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// overrunDeadline is what a message may take; weir's default.
const overrunDeadline = 50 * time.Millisecond

// Bounds of the overrun while every CPU is busy.
const (
	overrunMedian = 5 * time.Millisecond
	overrunWorst  = 20 * time.Millisecond
)

// endless is a way of not returning from a message.
type endless struct {
	Name  string `json:"name"` // as kernels/c/deadline.c knows it
	About string `json:"about"`
}

var ways = []endless{
	{"loop", "`for (;;);`"},
	{"fib", "`fib(60)`, recursion without a loop"},
	{"fill", "`memory.fill` of 16 MiB, again and again"},
	{"deep", "2000 calls deep and back, again and again"},
	{"calls", "a host function, again and again"},
}

// company is what keeps the CPUs busy meanwhile.
type company struct {
	Name  string `json:"name"`
	About string `json:"about"`
	Busy  bool   `json:"busy"` // every CPU is

	start func(ctx context.Context, address string) (stop func() error, err error)
}

var companies = []company{
	{"alone", "nothing else runs", false, func(context.Context, string) (func() error, error) {
		return func() error { return nil }, nil
	}},
	{"beside processes", "a process for each CPU, which spins", true, spinners},
	{"beside guests", "a connection for each CPU, whose handler loops until it is stopped, again and again", true, loopers},
}

// overrun is how much longer than its deadline a guest kept its connection.
type overrun struct {
	Way     string    `json:"way"`
	Company string    `json:"company"`
	Millis  []float64 `json:"overrun_ms"`
}

// overruns has a guest stopped o.tries times for each way and company. What is measured is the time from before the
// message is written until the Close frame was read, less the deadline: the message's way, the wait for a CPU on either
// side and a new instance are in it.
func (o options) overruns(ctx context.Context, dir, module string, tell func(overrun)) (err error) {
	p, err := o.serve(ctx, dir, settings{module: module, metering: true, deadline: overrunDeadline})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w%s", err, p.LastWords())
		}
		err = errors.Join(err, p.Stop())
	}()
	for _, c := range companies {
		stop, err := c.start(ctx, p.Address)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		for _, w := range ways {
			x := overrun{Way: w.Name, Company: c.Name}
			for range o.tries {
				took, err := stopped(ctx, p.Address, w.Name)
				if err != nil {
					return errors.Join(fmt.Errorf("%s, %s: %w", w.Name, c.Name, err), stop())
				}
				x.Millis = append(x.Millis, float64((took-overrunDeadline).Nanoseconds())/1e6)
			}
			tell(x)
		}
		if err := stop(); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

// stopped sends one message that is not returned from, and reports how long it took until the server closed the
// connection for it.
func stopped(ctx context.Context, address, way string) (time.Duration, error) {
	c, err := dial(ctx, address, "/")
	if err != nil {
		return 0, err
	}
	defer c.close()
	frame := appendFrame(nil, ws.OpText, []byte(way))
	start := time.Now()
	if err := c.send(frame); err != nil {
		return 0, err
	}
	_, _, err = c.receive()
	took := time.Since(start)
	closed, ok := errors.AsType[*closedError](err)
	switch {
	case err == nil:
		return 0, errors.New("the guest answered")
	case !ok:
		return 0, err
	case closed.code != 1011:
		return 0, err
	case took < overrunDeadline:
		return 0, fmt.Errorf("the guest was stopped after %v, by something else than its deadline", took)
	}
	return took, ctx.Err()
}

// spinners starts a process for each CPU that does nothing else than spin.
func spinners(context.Context, string) (func() error, error) {
	var all []*exec.Cmd
	stop := func() error {
		var errs []error
		for _, cmd := range all {
			errs = append(errs, cmd.Process.Kill())
			_ = cmd.Wait() // it was killed, and says so
		}
		return errors.Join(errs...)
	}
	for range goruntime.NumCPU() {
		cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return nil, errors.Join(err, stop())
		}
		all = append(all, cmd)
	}
	return stop, nil
}

// loopers keeps a handler for each CPU looping.
func loopers(ctx context.Context, address string) (func() error, error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	errs := make([]error, goruntime.NumCPU())
	for i := range errs {
		wg.Go(func() { // ends with ctx, or an error
			for ctx.Err() == nil {
				if _, err := stopped(ctx, address, "loop"); err != nil && ctx.Err() == nil {
					errs[i] = err
					return
				}
			}
		})
	}
	return func() error {
		cancel()
		wg.Wait()
		return errors.Join(errs...)
	}, nil
}
