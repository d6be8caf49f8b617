package main

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"time"

	"weir/bench/internal/child"
	"weir/bench/internal/proc"
)

// costDeadline is out of the way: a busy machine must not turn a message of 4 ms into a failure.
const costDeadline = time.Minute

// turns is how many slices of time each of the two servers is given in a round. They alternate, so that what
// disturbs the machine for a while disturbs both.
const turns = 4

// sample is one subject in one round.
type sample struct {
	Name  string `json:"name"`
	Guest string `json:"guest"`
	Round int    `json:"round"` // from 1

	Plain   side `json:"plain"`
	Metered side `json:"metered"`
}

// side is what one of the two servers took.
type side struct {
	Messages uint64  `json:"messages"`
	CPU      float64 `json:"cpu_us"` // µs per message, by the CPU clock
	Others   float64 `json:"others"` // share of the machine that neither the server nor the load used
}

// contender is one of the two servers of a round, with its clients.
type contender struct {
	process  *child.Process
	session  session
	meter    proc.Meter
	messages uint64
}

// cost measures one subject, plain and metered, in one round: two servers, fresh, that take turns.
func (o options) cost(ctx context.Context, dir string, s subject, round int) (x sample, err error) {
	x = sample{Name: s.Name, Guest: s.Guest, Round: round}
	var plain, metered *contender
	defer func() { err = errors.Join(err, plain.end(), metered.end()) }()
	if plain, err = o.contend(ctx, dir, s, false); err != nil {
		return x, fmt.Errorf("plain: %w", err)
	}
	if metered, err = o.contend(ctx, dir, s, true); err != nil {
		return x, fmt.Errorf("metered: %w", err)
	}
	pair := []*contender{plain, metered}
	if round%2 == 0 {
		pair[0], pair[1] = pair[1], pair[0]
	}
	for i := range turns {
		for j := range pair {
			c := pair[(i+j)%2] // A B B A …
			n, err := c.session.play(ctx, o.measure/turns, &c.meter)
			if err != nil {
				return x, fmt.Errorf("%w%s", err, c.process.LastWords())
			}
			c.messages += n
		}
	}
	if x.Plain, err = plain.side(); err != nil {
		return x, fmt.Errorf("plain: %w", err)
	}
	if x.Metered, err = metered.side(); err != nil {
		return x, fmt.Errorf("metered: %w", err)
	}
	return x, nil
}

// contend starts a server, connects to it and warms it up.
func (o options) contend(ctx context.Context, dir string, s subject, metering bool) (_ *contender, err error) {
	c := new(contender)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.end())
		}
	}()
	if c.process, err = o.serve(ctx, dir, settings{module: s.module, metering: metering, deadline: costDeadline}); err != nil {
		return nil, err
	}
	if c.session, err = s.open(ctx, c.process.Address); err != nil {
		return nil, fmt.Errorf("%w%s", err, c.process.LastWords())
	}
	warm := proc.Meter{PID: c.process.PID()}
	if _, err = c.session.play(ctx, o.warmup, &warm); err != nil {
		return nil, fmt.Errorf("warm-up: %w%s", err, c.process.LastWords())
	}
	c.meter.PID = c.process.PID()
	return c, nil
}

// serve starts weir with a configuration.
func (o options) serve(ctx context.Context, dir string, s settings) (*child.Process, error) {
	file, err := s.config(dir)
	if err != nil {
		return nil, err
	}
	return child.Start(ctx, o.procs, o.weir, func(address string) []string {
		return []string{"serve", "--config", file, "--listen", address}
	})
}

// end ends what was begun; a nil contender has begun nothing.
func (c *contender) end() error {
	if c == nil || c.process == nil {
		return nil
	}
	if c.session != nil {
		c.session.close()
	}
	return c.process.Stop()
}

func (c *contender) side() (side, error) {
	if c.messages == 0 {
		return side{}, errors.New("nothing was answered in the measured time")
	}
	u := c.meter.Used()
	return side{
		Messages: c.messages,
		CPU:      float64(u.CPU.Nanoseconds()) / 1e3 / float64(c.messages),
		Others:   max(0, float64(u.Others)/float64(u.Wall)/float64(goruntime.NumCPU())),
	}, nil
}
