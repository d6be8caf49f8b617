package host

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/certs"
	"weir/netpoll"
	"weir/pool"
	"weir/runtime"
)

// Deps is what a server stands on. Their owner closes them after the server, in
// the order Pool, Poller, Engine.
type Deps struct {
	Engine *runtime.Engine
	Poller *netpoll.Poller
	Pool   *pool.Pool
	// Logger gets the server's records; nil discards them.
	Logger *slog.Logger
	// HTTP answers requests that are not upgrades and that no static route
	// takes; nil answers 404 with a hint.
	HTTP http.Handler
	// Clock tells the time; nil means the system's. With a clock of the caller's
	// nothing happens by itself: the caller calls Advance when it has moved.
	Clock Clock
	// Executor runs lanes instead of Pool; nil means Pool.
	Executor Executor
	// Bind binds an address of Options.Server.Listen instead of Poller; network
	// is "tcp", "tcp4", "tcp6" or "unix". nil means Poller.ListenWith; see Polled.
	Bind func(network, address string) (Listener, error)
	// Random is where the server's own choices and the seeds of handlers' random
	// bytes come from; the server owns it. nil means a stream that nobody can
	// guess.
	Random rand.Source
	// Fault makes handlers' host functions fail, in tests; nil means that none
	// does.
	Fault runtime.Fault
	// TimeHandlers says whether Stats tells how long handlers take. That costs two
	// looks at the clock an event, so it is for servers that somebody watches.
	TimeHandlers bool
}

// Server owns listeners, connections and the modules they talk to. Load, then
// Listen, then Drain and Close, each from one goroutine; Stats from any.
type Server struct {
	settings      atomic.Pointer[settings] // replaced by Listen and Reconfigure
	reconfiguring sync.Mutex               // one Reconfigure at a time

	engine *runtime.Engine
	poller *netpoll.Poller
	exec   Executor
	log    *slog.Logger
	clock  Clock
	fault  runtime.Fault
	timed  bool // Deps.TimeHandlers
	next   http.Handler
	bind   func(network, address string) (Listener, error)

	tenants   map[string]*tenant // fixed once Listen was called
	acceptors []*acceptor
	web       *webServer
	certs     atomic.Pointer[certs.Store] // nil: no TLS
	tls       tlsCounts

	hub   hub
	turns turnStore
	tails tails
	wheel *wheel
	kicks chan struct{} // capacity 1: a kick that waits is as good as two

	compression compression
	cores       int // GOMAXPROCS: how many goroutines may compress at once

	inbound      atomic.Int64 // bytes of incomplete messages
	outbound     atomic.Int64 // bytes that wait for slow readers
	shed         atomic.Uint64
	acceptErrors atomic.Uint64
	strangers    logGate // of lines that whoever can reach the server can cause
	closes       [causes]atomic.Uint64
	rejected     [rejections]atomic.Uint64
	byRoute      countsByRoute
	drainEnds    atomic.Int64 // Mono ns; 0 while not draining
	graceEnds    atomic.Int64 // Mono ns; the same for a drain's requestGrace
	listening    atomic.Bool  // Listen has returned without an error
	leaving      atomic.Bool  // Drain or Close has begun: no listener is open
	refusing     atomic.Bool  // Close has begun: nobody is admitted

	admitMu    sync.Mutex // below
	open       int
	handshakes int
	accepted   uint64
	perIP      map[netip.Addr]int
	empty      chan struct{} // closed when open reaches 0; nil when nobody waits

	randomMu sync.Mutex // below
	random   *rand.Rand

	stop chan struct{} // closed by Close
	wg   sync.WaitGroup
	once sync.Once
}

// New makes a server. Nothing listens yet.
func New(o Options, d Deps) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		engine:  d.Engine,
		poller:  d.Poller,
		exec:    d.Pool,
		log:     d.Logger,
		clock:   d.Clock,
		random:  newRandom(),
		next:    d.HTTP,
		bind:    d.Bind,
		fault:   d.Fault,
		timed:   d.TimeHandlers,
		tenants: make(map[string]*tenant),
		perIP:   make(map[netip.Addr]int),
		cores:   goruntime.GOMAXPROCS(0),
		kicks:   make(chan struct{}, 1),
		stop:    make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if d.Executor != nil {
		s.exec = d.Executor
	}
	if s.bind == nil {
		s.bind = s.bindPolled
	}
	if d.Random != nil {
		s.random = rand.New(d.Random)
	}
	s.settings.Store(newSettings(o))
	store, err := s.openCerts(o.Server.TLS)
	if err != nil {
		return nil, err
	}
	s.certs.Store(store)
	if s.clock != nil {
		s.wheel = newWheel(s.clock.Mono(), nil)
		return s, nil
	}
	s.clock = systemClock{start: time.Now().Add(-time.Second)} // guests want a time above 0
	s.wheel = newWheel(s.clock.Mono(), s.kick)
	s.wg.Go(s.runWheel) // ends with Close
	return s, nil
}

// Advance does what is due at the time of Deps.Clock. Only for servers that
// have one; one goroutine at a time.
func (s *Server) Advance() { s.wheel.advance(s.clock.Mono()) }

// newRandom is a stream that nobody can guess: handlers' random bytes begin with
// it.
func newRandom() *rand.Rand {
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	return rand.New(rand.NewChaCha8(seed))
}

func (s *Server) seed() uint64 {
	s.randomMu.Lock()
	defer s.randomMu.Unlock()
	return s.random.Uint64()
}

// kick wakes the wheel's driver. Any goroutine.
func (s *Server) kick() {
	select {
	case s.kicks <- struct{}{}:
	default:
	}
}

// runWheel drives the deadlines: one timer for all of them, set only when there
// is something to wait for.
func (s *Server) runWheel() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := s.clock.Mono()
		s.wheel.advance(now)
		wait := time.Duration(1<<62 - 1)
		if at, ok := s.wheel.next(); ok {
			wait = max(time.Duration(at-s.clock.Mono()), 0)
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-s.kicks:
		case <-s.stop:
			return
		}
	}
}

// Listen binds every address and begins to accept. Every module that a route
// names must be loaded.
func (s *Server) Listen() error {
	if err := s.openRoutes(); err != nil {
		return err
	}
	s.web = newWebServer(http.HandlerFunc(s.serveWeb), s.log)
	for _, address := range s.opts().Server.Listen {
		network, address := networkOf(address)
		ln, err := s.bind(network, address)
		if err != nil {
			s.stopAccepting()
			return fmt.Errorf("listen on %s: %w", address, err)
		}
		a := &acceptor{srv: s, ln: ln, plain: ln.Addr().Network() == "unix"}
		a.node.owner = a
		s.acceptors = append(s.acceptors, a)
	}
	for _, a := range s.acceptors {
		if err := a.ln.Start(a); err != nil {
			s.stopAccepting()
			return fmt.Errorf("listen on %s: %w", a.ln.Addr(), err)
		}
	}
	s.listening.Store(true)
	return nil
}

// Accepting reports whether new connections are welcome: from Listen until Drain
// or Close begins. Any goroutine.
func (s *Server) Accepting() bool { return s.listening.Load() && !s.leaving.Load() }

// Addrs returns the bound addresses, in the order of Options.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.acceptors))
	for i, a := range s.acceptors {
		addrs[i] = a.ln.Addr()
	}
	return addrs
}

func (s *Server) stopAccepting() {
	for _, a := range s.acceptors {
		if err := a.stop(); err != nil {
			s.log.Warn("closing a listener", "err", err)
		}
	}
}

// Close ends the server at once: connections still open are told 1001 if their
// socket takes it, and cut. It waits until each is gone and the modules' last
// instance is back.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.BeginClose()
		if s.web != nil {
			s.web.close()
		}
		s.waitEmpty(context.Background())
		for _, tn := range s.tenants {
			tn.close()
		}
		close(s.stop)
		s.wg.Wait()
	})
	return nil
}
