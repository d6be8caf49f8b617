package cli

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/systemd"
)

// statusEvery is how often the supervisor hears how many connections there are, if
// that has changed.
const statusEvery = 5 * time.Second

// OfSupervisor are the names of variables that a supervisor sets for this process
// alone.
func OfSupervisor() []string { return systemd.Variables() }

// supervised is a server whose supervisor is told how it is. Its methods do nothing
// without a supervisor.
type supervised struct {
	notifier *systemd.Notifier
	stack    *stack
	logger   *slog.Logger

	draining atomic.Bool
	end      context.CancelFunc
	wg       sync.WaitGroup
}

// supervise tells that the server listens, and goes on telling until close.
func supervise(env *Env, st *stack, logger *slog.Logger) *supervised {
	s := &supervised{notifier: systemd.NewNotifier(env.Environ, env.Pid), stack: st, logger: logger, end: func() {}}
	if s.notifier == nil {
		return s
	}
	status := s.status()
	s.tell(systemd.Ready, systemd.Status(status))
	ctx, cancel := context.WithCancel(context.Background())
	s.end = cancel
	s.wg.Go(func() { s.reportStatus(ctx, status) })
	if timeout := s.notifier.Watchdog(); timeout > 0 {
		s.wg.Go(func() { s.feedWatchdog(ctx, timeout) })
	}
	return s
}

// drains tells that the server is about to end.
func (s *supervised) drains() {
	if s.notifier != nil {
		s.draining.Store(true)
		s.tell(systemd.Stopping, systemd.Status(s.status()), systemd.ExtendTimeout(3*statusEvery))
	}
}

// close ends the telling. It comes before the poller is closed.
func (s *supervised) close() {
	s.end()
	s.wg.Wait()
}

func (s *supervised) tell(states ...string) {
	if err := s.notifier.Notify(states...); err != nil {
		s.logger.Warn("the supervisor cannot be told", "err", err)
	}
}

func (s *supervised) status() string {
	n := s.stack.server.Stats().Open
	if s.draining.Load() {
		return fmt.Sprintf("draining: %s to be closed", counted(n, "connection"))
	}
	return "serving " + counted(n, "connection")
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// reportStatus tells the number of connections, and that a drain which takes longer
// than the supervisor would wait still goes on: its end is ours to decide
// (drain.timeout).
func (s *supervised) reportStatus(ctx context.Context, told string) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var states []string
		if now := s.status(); now != told {
			states, told = append(states, systemd.Status(now)), now
		}
		if s.draining.Load() {
			states = append(states, systemd.ExtendTimeout(3*statusEvery))
		}
		if len(states) > 0 {
			s.tell(states...)
		}
	}
}

// feedWatchdog tells that the server lives for as long as every shard of the poller
// answers. When one does not, nothing is told, and the supervisor ends the process,
// which then says where every goroutine is.
func (s *supervised) feedWatchdog(ctx context.Context, timeout time.Duration) {
	tick := time.NewTicker(timeout / 2)
	defer tick.Stop()
	for {
		err := s.stack.poller.Probe(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.logger.Error("the watchdog cannot see whether the poller lives", "err", err)
		default:
			s.tell(systemd.Alive)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
