package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weir/host"
	"weir/runtime"
)

const (
	// shards is how many poller goroutines there are.
	shards = 2
	// sendBuffer is how much a socket takes while its peer does not read.
	sendBuffer = 256 << 10
	// leastBuffer is how much a new socket takes in any case.
	leastBuffer = 512
	// maxSteps is what a world may do without time going by; more means that it
	// turns in circles.
	maxSteps = 4 << 20
	// instances is the default of host.Module.Instances here: the server's own
	// depends on the machine, and a run must not.
	instances = 4
	// maxConnections is that of host.ServerOptions.MaxConnections, for the same
	// reason.
	maxConnections = 1 << 16
	// patience is how long, in virtual time, connections may take to end after
	// the server has cut them.
	patience = time.Minute
)

// Options say what a World is made of.
type Options struct {
	// Seed decides everything that is left to chance. Any value.
	Seed uint64
	// Host configures the server. Without Listen it has one address, and without
	// MaxConnections 65,536. It speaks no TLS, whatever Host says.
	Host host.Options
	// Modules are loaded before the server listens. Without Instances they get 4.
	Modules []host.Module
	// Engine runs the modules, and stays the caller's: an engine that has loaded
	// the same files before makes a World cheap. Its Options.Now must not be a real
	// clock, or guests' deadlines depend on the machine. nil means one of the
	// World's own.
	Engine *runtime.Engine
	// Faults are what goes wrong from the start; SetFaults changes them.
	Faults Faults
	// Fault makes handlers' host functions fail (runtime.Fault); nil means that
	// none does.
	Fault runtime.Fault
	// Logger gets the server's records; nil discards them.
	Logger *slog.Logger

	wrap func(*socket) host.Socket // what the server gets for a socket
}

// World is a server with its clients, its network and its time.
type World struct {
	seed   uint64
	engine *runtime.Engine
	owned  bool // engine is ours
	srv    *host.Server
	clock  clock
	rng    *rand.Rand
	faults Faults
	wrap   func(*socket) host.Socket

	exec      *executor
	shards    []*shard
	listeners []*listener
	fds       []watched // by number; nil: free
	agenda    agenda
	depth     int // socket calls that are preempted now

	clients     map[string]*Client
	names       []string // of clients, in the order of their first appearance
	connections int      // made so far
	closed      int      // of these, how many the server has closed

	trace  trace
	broken error // the first promise that did not hold
	ended  bool
}

// New makes a world whose server listens. The caller ends it with Close.
func New(o Options) (*World, error) {
	w := &World{
		seed:    o.Seed,
		engine:  o.Engine,
		clock:   clock{ns: epoch},
		rng:     rand.New(rand.NewPCG(o.Seed, 0x77656972)),
		faults:  o.Faults,
		wrap:    o.wrap,
		clients: make(map[string]*Client),
	}
	w.exec = &executor{w: w}
	for range shards {
		w.shards = append(w.shards, &shard{w: w})
	}
	if w.engine == nil {
		var err error
		if w.engine, err = runtime.NewEngine(runtime.Options{Logger: o.Logger, Now: w.clock.Mono}); err != nil {
			return nil, err
		}
		w.owned = true
	}
	if err := w.start(o); err != nil {
		return nil, errors.Join(err, w.closeEngine())
	}
	return w, nil
}

// start makes the server, loads the modules and listens.
func (w *World) start(o Options) error {
	if o.Host.Server.MaxConnections == 0 {
		o.Host.Server.MaxConnections = maxConnections
	}
	o.Host.Server.TLS = host.TLSOptions{}
	var err error
	w.srv, err = host.New(o.Host, host.Deps{
		Engine:   w.engine,
		Logger:   o.Logger,
		Clock:    &w.clock,
		Executor: w.exec,
		Bind:     w.bind,
		Random:   rand.NewPCG(o.Seed, 0x73727672),
		Fault:    o.Fault,
	})
	if err != nil {
		return err
	}
	for _, m := range o.Modules {
		if m.Instances == 0 {
			m.Instances = instances
		}
		if err := w.srv.Load(context.Background(), m); err != nil {
			return errors.Join(err, w.srv.Close())
		}
	}
	if err := w.srv.Listen(); err != nil {
		return errors.Join(err, w.srv.Close())
	}
	return nil
}

// bind is host.Deps.Bind.
func (w *World) bind(network, address string) (host.Listener, error) {
	l := &listener{w: w, shard: w.shards[0], address: addr{network, address}}
	l.fd = w.takeNumber(l)
	w.listeners = append(w.listeners, l)
	return l, nil
}

// clientAddr is the address of the nth connection.
func clientAddr(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 40000)
}

// takeNumber gives x a descriptor number: the lowest free one, or, without the
// fault Stale, one that was never used.
func (w *World) takeNumber(x watched) int {
	if w.faults.Has(Stale) {
		if i := slices.Index(w.fds, nil); i >= 0 {
			w.fds[i] = x
			return i
		}
	}
	w.fds = append(w.fds, x)
	return len(w.fds) - 1
}

func (w *World) freeNumber(fd int) { w.fds[fd] = nil }

func (w *World) number(x watched) int {
	switch x := x.(type) {
	case *socket:
		return x.fd
	case *listener:
		return x.fd
	}
	panic("sim: a shard watches something unknown")
}

// Now is the virtual time since the world began.
func (w *World) Now() time.Duration { return time.Duration(w.clock.ns - epoch) }

// Server is the server, for its Stats.
func (w *World) Server() *host.Server { return w.srv }

// Client returns the client that was connected last under that name, or nil.
func (w *World) Client(name string) *Client { return w.clients[name] }

// SetFaults changes what goes wrong from now on. Segments that are on their way
// keep their delay.
func (w *World) SetFaults(f Faults) {
	w.faults = f
	if !f.Has(Overload) {
		w.exec.busy = false
	}
}

// Hash is a hash over everything that could be observed so far: two runs of one
// seed have the same.
func (w *World) Hash() uint64 { return w.trace.hash }

// Err is the first promise that did not hold, a *Violation, or nil.
func (w *World) Err() error { return w.broken }

// Violation is a promise that did not hold.
type Violation struct {
	Seed   uint64
	Oracle string        // which promise
	Detail string        // what was seen
	At     time.Duration // of virtual time
	Last   []string      // what happened last, oldest first
}

// Error tells everything in several lines.
func (v *Violation) Error() string {
	return fmt.Sprintf("seed %d at %v: %s: %s\nlast events:\n  %s", v.Seed, v.At, v.Oracle, v.Detail, strings.Join(v.Last, "\n  "))
}

// violate notes that a promise did not hold; the first one stands.
func (w *World) violate(oracle, format string, args ...any) {
	if w.broken == nil {
		w.broken = &Violation{w.seed, oracle, fmt.Sprintf(format, args...), w.Now(), w.trace.tail(len(w.trace.last), epoch)}
	}
}

// step does one thing that can be done now, drawn from all that can; false when
// there is none.
func (w *World) step() bool {
	var can [2 + shards]int
	n := 0
	if at, ok := w.agenda.next(); ok && at <= w.clock.ns {
		can[n] = -1
		n++
	}
	if w.exec.can() {
		can[n] = -2
		n++
	}
	for i, s := range w.shards {
		if s.can() {
			can[n] = i
			n++
		}
	}
	if n == 0 {
		return false
	}
	switch pick := can[w.rng.IntN(n)]; pick {
	case -1:
		w.happen()
	case -2:
		w.exec.step()
	default:
		w.shards[pick].step()
	}
	return true
}

// happen lets the first planned thing happen.
func (w *World) happen() {
	h := w.agenda.pop()
	if h.f != nil {
		h.f()
		return
	}
	if seg := h.pipe.first(); h.pipe.arrive != nil {
		h.pipe.arrive(seg)
	}
}

// preempt does what other goroutines may do while one is inside a socket call.
func (w *World) preempt() {
	if !w.faults.Has(Preempt) || w.depth >= workers-1 || w.rng.IntN(4) != 0 {
		return
	}
	w.depth++
	for range 1 + w.rng.IntN(4) {
		if !w.step() {
			break
		}
	}
	w.depth--
}

// Steps does up to n things that can be done now, and reports whether there may
// be more.
func (w *World) Steps(n int) bool {
	for range n {
		if !w.step() {
			return false
		}
	}
	return true
}

// Settle does everything that can be done without time going by.
func (w *World) Settle() {
	if w.Steps(maxSteps) {
		w.violate("it comes to rest", "%d steps, and still no end", maxSteps)
	}
}

// At calls f after d of virtual time, while Advance passes that moment.
func (w *World) At(d time.Duration, f func()) {
	w.agenda.push(happening{at: w.clock.ns + int64(max(d, 0)), f: f})
}

// Advance lets d of virtual time go by, with everything that happens in it.
func (w *World) Advance(d time.Duration) {
	end := w.clock.ns + int64(d)
	for {
		w.srv.Advance()
		w.Settle()
		at := end + 1
		if t, ok := w.agenda.next(); ok {
			at = min(at, t)
		}
		if t, ok := w.srv.Next(); ok {
			at = min(at, t)
		}
		if at > end || w.broken != nil {
			break
		}
		w.clock.ns = max(at, w.clock.ns)
	}
	w.clock.ns = max(end, w.clock.ns)
	w.srv.Advance()
	w.Settle()
}

// Drain begins an orderly stop (host.Server.Drain) and returns: Advance until
// the server's Stats show no open connection, then Close.
func (w *World) Drain() {
	w.trace.note(w.clock.ns, -1, "drain", 0)
	w.srv.BeginDrain()
	w.Settle()
}

// Close cuts every connection, checks that the server leaves nothing behind, and
// returns the first promise that did not hold, if any.
func (w *World) Close() error {
	if w.ended {
		return w.broken
	}
	w.ended = true
	w.srv.BeginClose()
	for waited := time.Duration(0); waited < patience && w.srv.Stats().Open > 0; waited += time.Second {
		w.Advance(time.Second)
	}
	if n := w.srv.Stats().Open; n > 0 {
		w.violate("every connection ends", "%d connections are open %v after the server has cut them", n, patience)
		return w.broken // Server.Close would wait for ever
	}
	if err := w.srv.Close(); err != nil {
		w.violate("every connection ends", "close: %v", err)
	}
	w.checkEmpty()
	if err := w.closeEngine(); err != nil {
		w.violate("every instance comes back", "%v", err)
	}
	return w.broken
}

func (w *World) closeEngine() error {
	if !w.owned {
		return nil
	}
	return w.engine.Close(context.Background())
}

// checkEmpty checks that no connection has left anything behind.
func (w *World) checkEmpty() {
	st := w.srv.Stats()
	closes := uint64(0)
	for _, n := range st.Closes {
		closes += n
	}
	switch {
	case st.Open != 0 || st.Handshakes != 0 || closes != st.Accepted:
		w.violate("opened − closed = open", "%d are open, %d of them shaking hands; %d were accepted and %d closed", st.Open, st.Handshakes, st.Accepted, closes)
	case st.InboundBytes != 0 || st.OutboundBytes != 0:
		w.violate("every byte is accounted for", "%d inbound and %d outbound bytes are still counted", st.InboundBytes, st.OutboundBytes)
	}
	for _, x := range w.fds {
		if s, ok := x.(*socket); ok {
			w.violate("every connection ends", "the socket of #%d was not closed", s.id)
		}
	}
	if len(w.exec.queue) > 0 {
		w.violate("every connection ends", "%d tasks are still queued", len(w.exec.queue))
	}
}
