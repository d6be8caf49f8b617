package admin

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

func (c *call) status() error {
	stats := c.s.Server.Stats()
	st := Status{
		Version:       c.l.options.Version,
		PID:           os.Getpid(),
		StartedAt:     c.l.started.UTC(),
		UptimeSeconds: time.Since(c.l.started).Seconds(),
		Ready:         c.s.Server.Accepting(),
		Connections:   stats.Open,
		Listen:        []string{},
		Modules:       slices.Sorted(maps.Keys(stats.Modules)),
	}
	st.Draining = !st.Ready // it has been ready, or nobody could ask
	if st.Modules == nil {
		st.Modules = []string{}
	}
	for _, a := range c.s.Server.Addrs() {
		st.Listen = append(st.Listen, addressOf(a))
	}
	if c.s.Operator != nil {
		st.Config = c.s.Operator.LastReload()
	}
	answer(c.w, 200, st)
	return nil
}

// operator is the subject's; without one what needs it is not available.
func (c *call) operator() (Operator, error) {
	if c.s.Operator == nil {
		return nil, fmt.Errorf("%w: this server does not follow files", ErrUnavailable)
	}
	return c.s.Operator, nil
}

func (c *call) config() error {
	o, err := c.operator()
	if err != nil {
		return err
	}
	text, err := o.Configuration(c.r.Context())
	if err != nil {
		return err
	}
	answer(c.w, 200, Config{Config: text, Reload: o.LastReload()})
	return nil
}

func (c *call) reload() error {
	o, err := c.operator()
	if err != nil {
		return err
	}
	unhurried(c.w)
	done, err := o.Reload(c.r.Context())
	if err != nil {
		return err
	}
	if done.Problems != nil {
		return &RefusedError{Problems: done.Problems}
	}
	answer(c.w, 200, done)
	return nil
}
