package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/host"
	"weir/internal/admin"
	"weir/internal/config"
	"weir/internal/systemd"
	"weir/netpoll"
	"weir/pool"
	"weir/runtime"
)

// site is what a server serves.
type site struct {
	config  config.Config
	files   []string // that the configuration was read from
	secrets config.Secrets
	modules []host.Module
	http    http.Handler        // for requests that no route answers; nil = 404
	ready   func(urls []string) // called once it listens; nil = nothing

	// logger, if not nil, is used instead of the one of config.Log; its lines are
	// for people.
	logger *slog.Logger
	// standIn gives what is loaded instead of a module that is refused; nil means
	// that a refusal ends the start.
	standIn func(refused host.Module, err error) host.Module
	// live, if not nil, runs beside the server from when it listens until ctx
	// ends, which is before the drain. The server stops when it returns.
	live func(ctx context.Context, server *host.Server, logger *slog.Logger)
	// level, if not nil, is the least severe level to log instead of that of
	// config.Log.
	level *slog.LevelVar

	// operator is whom the admin API asks; nil: one that only tells.
	operator admin.Operator

	cacheDir string // Env.CacheDir
	logs     *admin.LogRing
	admin    *admin.Listener  // once it listens; nil: none is configured
	passed   []systemd.Socket // sockets that the supervisor has bound
}

// stack is a running server and what it stands on. Whoever starts it stops it.
type stack struct {
	engine *runtime.Engine
	poller *netpoll.Poller
	pool   *pool.Pool
	server *host.Server
	admin  *admin.Listener // nil: none is configured
	fatal  chan error      // the first error that the server cannot live with
}

// run serves the site until a signal or ctx ends it.
//
// The process's limit of open files needs no care: package os raises the soft
// limit to the hard one at start.
func run(ctx context.Context, env *Env, s *site) error {
	logger, text := s.logger, true
	if logger == nil {
		logger, text = newLogger(env.Stderr, s.config.Log, s.level, env.Terminal)
	}
	type result struct {
		stack *stack
		err   error
	}
	var err error
	if s.passed, err = systemd.Sockets(env.Environ, env.Pid); err != nil {
		return err
	}
	s.cacheDir = env.CacheDir
	plain := logger // for what the admin API must not tell
	if s.config.Admin.Listen != "" {
		s.logs = admin.NewLogRing()
		logger = slog.New(s.logs.Tee(logger.Handler()))
	}
	starting, cancel := context.WithCancel(ctx)
	defer cancel()
	started := make(chan result, 1)
	go func() { // ends with start; nobody waits for it when a signal comes first
		st, err := start(starting, s, logger)
		started <- result{st, err}
	}()
	var st *stack
	select {
	case r := <-started:
		if r.err != nil {
			return r.err
		}
		st = r.stack
	case sig := <-env.Signals:
		logger.Warn("stopped before it was ready", "signal", sig.String())
		return errStopped
	}

	warnUnused(logger, s)
	listening := urls(st.server.Addrs(), s.config.Server.TLS.Enabled())
	announce(logger, text, listening, s.modules)
	announceAdmin(plain, env.Terminal, st.admin)
	if s.ready != nil {
		s.ready(listening)
	}
	supervised := supervise(env, st, logger)
	quit, endLive := s.beside(ctx, st.server, logger)

	select {
	case sig := <-env.Signals:
		logger.Info("draining; once more to stop at once", "signal", sig.String())
	case <-ctx.Done():
		logger.Info("draining")
	case <-quit:
		logger.Info("draining")
	case err := <-st.fatal:
		supervised.close()
		end := func() error {
			endLive()
			return st.close()
		}
		return &exitError{exitBroken, errors.Join(fmt.Errorf("the poller stopped: %w", err), orSignal(env, logger, takeDownTimeout, end))}
	}
	supervised.drains()
	err = orSignal(env, logger, 0, func() error {
		endLive()
		return st.server.Drain(context.WithoutCancel(ctx))
	})
	supervised.close() // before what it looks at
	if errors.Is(err, errStopped) {
		return err // without taking anything down: the process ends
	}
	if err != nil {
		err = fmt.Errorf("drain: %w", err)
	}
	if err = errors.Join(err, orSignal(env, logger, takeDownTimeout, st.close)); err != nil {
		return err
	}
	logger.Info("stopped")
	return nil
}

// beside starts s.live. quit is closed when it has returned, and nil without it;
// end ends it and waits for that.
func (s *site) beside(ctx context.Context, server *host.Server, logger *slog.Logger) (quit <-chan struct{}, end func()) {
	if s.live == nil {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // ends soon after ctx; end waits for it
		defer close(done)
		s.live(ctx, server, logger)
	}()
	return done, func() {
		cancel()
		<-done
	}
}

// orSignal waits for f, but no longer than until a signal comes (errStopped) or
// the time is over (0 = any time).
func orSignal(env *Env, logger *slog.Logger, bound time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }() // ends with f; nobody waits for it when it is cut short
	var late <-chan time.Time
	if bound > 0 {
		timer := time.NewTimer(bound)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case err := <-done:
		return err
	case sig := <-env.Signals:
		logger.Warn("stopped at once", "signal", sig.String())
		return errStopped
	case <-late:
		return fmt.Errorf("some work did not end within %v", bound)
	}
}

// start builds the stack from the bottom, loads every module and listens. On an
// error nothing is left.
func start(ctx context.Context, s *site, logger *slog.Logger) (_ *stack, err error) {
	st := &stack{fatal: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.close())
		}
	}()

	options := s.config.WithDefaults().Options
	listens, err := assign(s.passed, options.Server.Listen, s.config.Admin.Listen)
	if err != nil {
		return nil, err
	}
	options.Server.Listen = listens.addresses

	if s.config.Admin.Listen != "" {
		o := s.adminOptions(logger)
		o.File = listens.admin
		st.admin, err = admin.Listen(o)
		if o.File != nil {
			_ = o.File.Close() // the listener has its own
		}
		if err != nil {
			return nil, &exitError{listenCode(err), fmt.Errorf("admin.listen: %w", err)}
		}
		s.admin = st.admin
		logger.Info("metrics and health are served", "url", adminURL(st.admin))
	}
	engineOptions := s.config.Runtime
	engineOptions.Logger = logger
	if s.cacheDir != "" {
		engineOptions.DefaultCacheDir = filepath.Join(s.cacheDir, "weir")
	}
	if engineOptions.TapeDir == "" && s.cacheDir != "" && slices.ContainsFunc(s.modules, records) {
		engineOptions.TapeDir = filepath.Join(s.cacheDir, "weir", "tapes")
	}
	if engineOptions.GuestBudgetBytes == 0 {
		engineOptions.GuestBudgetBytes = runtime.DefaultGuestBudgetBytes()
	}
	boundHeap(engineOptions.GuestBudgetBytes)
	if st.engine, err = runtime.NewEngine(engineOptions); err != nil {
		return nil, fmt.Errorf("start the engine: %w", err)
	}
	pollerOptions := s.config.Netpoll
	pollerOptions.OnError = func(err error) {
		select {
		case st.fatal <- err:
		default: // the first one ends the server already
		}
	}
	if st.poller, err = netpoll.Open(pollerOptions); err != nil {
		return nil, fmt.Errorf("open the poller: %w", err)
	}
	st.pool = pool.New(s.config.Pool)
	st.server, err = host.New(options, host.Deps{
		Engine: st.engine,
		Poller: st.poller,
		Pool:   st.pool,
		Logger: logger,
		HTTP:   s.http,
		Bind:   listens.bind(st.poller, s.config.Options.WithDefaults().ListenOptions()),

		TimeHandlers: st.admin != nil,
	})
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}

	var errs []error
	for _, m := range s.modules {
		err := st.server.Load(ctx, m)
		if err != nil && s.standIn != nil && ctx.Err() == nil {
			err = st.server.Load(ctx, s.standIn(m, err))
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, &exitError{exitUsage, errors.Join(errs...)}
	}
	if err := st.server.Listen(); err != nil {
		return nil, &exitError{listenCode(err), err}
	}
	if st.admin != nil {
		operator := s.operator
		if operator == nil {
			operator = &onlooker{&s.config, s.secrets}
		}
		st.admin.Watch(admin.Subject{Server: st.server, Poller: st.poller, Pool: st.pool, Engine: st.engine, Operator: operator})
	}
	return st, nil
}

func records(m host.Module) bool { return m.Record == runtime.RecordOnTrap }

// listenCode tells what the system refused (the port is taken, the address is
// another machine's) from what is wrong with the configuration (a folder that is
// not there, an address without a port).
func listenCode(err error) int {
	var refused *os.SyscallError
	if errors.As(err, &refused) {
		return exitBind
	}
	return exitUsage
}

// takeDownTimeout bounds the wait for what still runs once every connection has
// been closed or cut. Only a handler that does not return takes so long.
const takeDownTimeout = 5 * time.Second

// close takes down what was built, from the top.
func (st *stack) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), takeDownTimeout)
	defer cancel()
	var errs []error
	if st.admin != nil { // before what it tells of
		errs = append(errs, st.admin.Close(ctx))
	}
	if st.server != nil {
		errs = append(errs, st.server.Close())
	}
	if st.pool != nil {
		errs = append(errs, st.pool.Close(ctx))
	}
	if st.poller != nil {
		errs = append(errs, st.poller.Close())
	}
	if st.engine != nil {
		errs = append(errs, st.engine.Close(ctx))
	}
	return errors.Join(errs...)
}

// announce logs a line an address.
func announce(logger *slog.Logger, text bool, listening []string, modules []host.Module) {
	names := make([]string, len(modules))
	for i, m := range modules {
		names[i] = m.Name
	}
	for _, url := range listening {
		switch {
		case !text:
			logger.Info("listening", "url", url, "modules", names)
		case len(names) == 0:
			logger.Info("listening on " + url)
		case len(names) == 1:
			logger.Info("listening on " + url + " · module " + names[0] + " (generation 1)")
		default:
			logger.Info("listening on " + url + " · modules " + strings.Join(names, ", ") + " (generation 1)")
		}
	}
}

// urls are the addresses as a browser takes them. An address that stands for all
// of the machine's becomes localhost. secure says that TLS is spoken there, which
// unix sockets never do.
func urls(addrs []net.Addr, secure bool) []string {
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	var all []string
	for _, a := range addrs {
		tcp, ok := a.(*net.TCPAddr)
		if !ok {
			all = append(all, a.Network()+":"+a.String())
			continue
		}
		name := tcp.IP.String()
		if tcp.IP == nil || tcp.IP.IsUnspecified() {
			name = "localhost"
		}
		all = append(all, scheme+net.JoinHostPort(name, fmt.Sprint(tcp.Port)))
	}
	return all
}
