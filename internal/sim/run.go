package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"weir/host"
	"weir/runtime"
)

// Profile says how a random run is played.
type Profile struct {
	// Clients is how many clients there are at once, besides one that watches.
	// 0 means 20.
	Clients int
	// Events is how often one of them does something. 0 means 200.
	Events int
	// Faults are the faults that seeds draw from. 0 means AllFaults.
	Faults Faults
	// All turns on all of Faults in every run, instead of a subset by seed.
	All bool
	// Swaps has the guest reloaded, made a canary, promoted, rolled back and paused
	// under way, in a scope by seed.
	Swaps bool
	// Guest is host/testdata/puppet.wasm: a handler that does what its clients
	// say. Required.
	Guest []byte
	// Engine is as in Options.
	Engine *runtime.Engine

	wrap   func(*socket) host.Socket
	mutate func(script string) string // of messages that are to fail, or to add to a sum
}

// topics is how many topics the clients publish on.
const topics = 3

// quiet is the time in which everything must have come to rest after the last
// fault.
const quiet = time.Minute

// Run plays one seed: clients come, talk and go at random under faults, then the
// faults stop, and after a minute of virtual time everything that was asked must
// have been answered. The error is a *Violation: a promise of the server that
// did not hold. The same seed and profile make the same run.
//
// What is checked at each step: replies come in the order of the messages,
// completely, and before the Close frame; publishes of one client come in their
// order and, to members, without a gap; nothing comes of a handler that failed;
// a message reaches only whom it was for; a connection ends for a reason, with at
// most one Close frame of the right code; no lane and no socket has two owners; no
// connection goes back to an older generation, and none finds that its instance
// has forgotten or heard twice what it was told.
// At the end: each close was told to the handler once, and no byte, connection
// or socket is left.
func Run(seed uint64, p Profile) error {
	r, err := run(seed, p)
	if r != nil && err == nil {
		err = r.w.Err()
	}
	return err
}

func run(seed uint64, p Profile) (*runner, error) {
	if len(p.Guest) == 0 {
		return nil, errors.New("sim: a profile without a guest")
	}
	if p.Clients == 0 {
		p.Clients = 20
	}
	if p.Events == 0 {
		p.Events = 200
	}
	if p.Faults == NoFaults {
		p.Faults = AllFaults
	}
	rng := rand.New(rand.NewPCG(seed, 0x72756E))
	faults := p.Faults
	if !p.All {
		faults = faults.swarm(rng)
	}
	r := &runner{rng: rng, swaps: rand.New(rand.NewPCG(seed, 0x73776170)), profile: p, faults: faults, fell: make(map[string]bool), actors: make([]*actor, p.Clients)}
	o := r.options(seed)
	var err error
	if r.w, err = New(o); err != nil {
		return nil, err
	}
	r.play()
	return r, r.w.Close()
}

// options draws how the server is configured.
func (r *runner) options(seed uint64) Options {
	rng := r.rng
	o := Options{
		Seed:   seed,
		Engine: r.profile.Engine,
		Modules: []host.Module{{
			Name: "puppet", Wasm: r.profile.Guest, Capabilities: runtime.CapabilityDefault, Instances: 1 + rng.IntN(4),
		}},
		Host: host.Options{
			Routes:  []host.Route{{Path: "/{path...}", Module: "puppet"}},
			Handler: host.HandlerOptions{Inline: [2]string{"auto", "never"}[rng.IntN(2)]},
		},
		wrap: r.profile.wrap,
	}
	if r.breaker = rng.IntN(4) == 0; !r.breaker {
		o.Modules[0].Breaker.Traps = -1
	}
	if r.tight = rng.IntN(4) == 0; r.tight {
		o.Host.WebSocket.OutboundQueueMessages = 2 + rng.IntN(16)
		o.Host.WebSocket.OutboundQueueSize = host.Size(80+rng.IntN(80)) << 10
	}
	if r.profile.Swaps {
		r.scope = [...]string{"pool", "connection", "key"}[r.swaps.IntN(3)]
		o.Host.Routes = []host.Route{{Path: "/{key}", Module: "puppet", Scope: r.scope}}
		if r.scope == "key" {
			o.Host.Routes[0].Key = "{key}"
		}
	}
	r.guest = o.Modules[0]
	return o
}

// runner plays one run.
type runner struct {
	w       *World
	rng     *rand.Rand
	swaps   *rand.Rand // for what Profile.Swaps adds: other runs are the same without
	profile Profile
	faults  Faults
	guest   host.Module
	scope   string // of all connections; "" is the pool

	watcher   *actor
	actors    []*actor
	all       []*actor // every connection ever made
	closedOut int      // close events that the watcher has heard of
	members   int      // what the watcher heard last of a topic
	draining  bool
	breaker   bool            // the module's breaker may open
	paused    bool            // the module was paused at some time
	fell      map[string]bool // keys with a client that had the handler fail: under the scope key all of theirs lose their instance
	tight     bool            // outbound queues are short
}

func (r *runner) has(f Faults) bool { return r.faults.Has(f) }

// chance is true once in n times.
func (r *runner) chance(n int) bool { return r.rng.IntN(n) == 0 }

// span is a random time up to limit.
func (r *runner) span(limit time.Duration) time.Duration {
	return time.Duration(r.rng.Int64N(int64(limit)))
}

func (r *runner) play() {
	r.watcher = r.connect("watcher", "/watcher")
	r.w.Settle()
	r.watcher.watch()
	r.w.Settle()
	r.watcher.c.sock.calm, r.watcher.c.sock.down.calm, r.watcher.c.up.calm = true, true, true
	r.w.SetFaults(r.faults)
	for i := 0; i < r.profile.Events && r.w.Err() == nil; i++ {
		r.act(r.rng.IntN(len(r.actors)))
		r.goOn()
		if r.profile.Swaps {
			r.swap()
		}
	}
	_ = r.w.Server().Resume("puppet")
	r.calmDown()
	r.finish()
}

// goOn lets the world move: sometimes a few steps, sometimes until it rests,
// sometimes time goes by.
func (r *runner) goOn() {
	w := r.w
	if r.has(Overload) && r.chance(24) {
		w.exec.busy = !w.exec.busy
	}
	switch n := r.rng.IntN(200); {
	case n == 0:
		w.Advance(r.span(50 * time.Second))
	case n < 6:
		w.Advance(r.span(4 * time.Second))
	case n < 60:
		w.Advance(r.span(100 * time.Millisecond))
	case n < 90:
		w.Settle()
	default:
		w.Steps(r.rng.IntN(24))
	}
}

// calmDown ends the faults and checks that everything comes to rest.
func (r *runner) calmDown() {
	w := r.w
	if w.Err() != nil {
		return
	}
	w.SetFaults(NoFaults)
	for _, a := range r.actors {
		if a != nil {
			a.c.Resume()
		}
	}
	w.Advance(quiet)
	for _, a := range r.all {
		a.rested()
	}
	r.count()
	st := w.Server().Stats()
	if n := st.Closes["ping_timeout"] + st.Closes["idle"]; n > 0 && !r.has(SlowReaders) {
		w.violate("an end is noticed", "%d connections were given up only for their silence, and every client answers pings", n)
	}
	over := int(st.Upgraded) - (st.Open - st.Handshakes)
	if r.closedOut > over || r.closedOut < over && !r.deaf() {
		w.violate("close is told exactly once", "%d connections are over, and the handler has heard of %d", over, r.closedOut)
	}
	if st.Handshakes != 0 {
		w.violate("liveness", "%d connections still shake hands %v after the last fault", st.Handshakes, quiet)
	}
	if st.InboundBytes > 0 || st.OutboundBytes > 0 {
		w.violate("every byte is accounted for", "%d inbound and %d outbound bytes are counted %v after the last fault", st.InboundBytes, st.OutboundBytes, quiet)
	}
}

// count has the watcher ask how many members each topic has: no more than are
// connected.
func (r *runner) count() {
	if r.watcher.c.Ended() {
		return
	}
	for i := range topics {
		n := 0
		for _, a := range r.all {
			n += btoi(a.joined[i] && !a.c.sock.closed)
		}
		r.watcher.say(fmt.Sprintf("count t%d;echo %s", i, r.watcher.due("r counted")))
		r.members = -1
		r.w.Settle()
		if r.members > n || r.members < 1 && !r.breaker {
			r.watcher.broke("who left is no member", "topic t%d has %d members, and %d are connected", i, r.members, n)
		}
	}
	r.watcher.replies = nil
}

// deaf reports that the watcher may have missed that a handler was told of a
// close: an open breaker leaves events out, and a short queue may have cost the
// watcher its connection.
//
// Nor is anybody left who could be told when an instance is lost that served
// nobody else.
func (r *runner) deaf() bool {
	return r.has(Failures) && (r.breaker || r.alone()) || r.watcher.c.Ended()
}

// alone reports that connections have an instance which not everybody shares.
func (r *runner) alone() bool { return r.scope == "connection" || r.scope == "key" }

// finish ends the run in one of several ways.
func (r *runner) finish() {
	w := r.w
	if w.Err() != nil {
		return
	}
	r.draining = true
	switch r.rng.IntN(3) {
	case 0: // Close cuts everybody
		return
	case 1:
		for _, a := range r.actors {
			if a != nil && !a.c.Ended() {
				a.leave()
			}
		}
		w.Advance(quiet)
		for _, a := range r.all {
			if a != r.watcher && !a.c.Ended() {
				w.violate("liveness", "%s has not ended %v after it left", a.id, quiet)
			}
		}
		if open := w.Server().Stats().Open; open != btoi(!r.watcher.c.Ended()) { // a short queue may have cost it its connection
			w.violate("opened − closed = open", "%d connections are open when only the watcher should be", open)
		}
	default:
		stay := slices.DeleteFunc(slices.Clone(r.all), func(a *actor) bool { return !a.c.Opened() || a.c.Ended() || a.excuse != "" })
		w.SetFaults(r.faults &^ (Overload | AcceptErrors | StartErrors))
		w.Drain()
		w.Advance(quiet)
		if open := w.Server().Stats().Open; open != 0 {
			w.violate("liveness", "%d connections are open at the end of a drain", open)
		}
		for _, a := range stay {
			if end := a.c.Closed(); end == nil || end.Code != 1001 && !(r.tight && end.Code == 1013) {
				a.broke("a drain says goodbye", "it heard %v", a.c.Closed())
			}
		}
	}
}

// connect makes a new connection for the client of that name.
func (r *runner) connect(name, path string) *actor {
	a := r.knock(name)
	a.key, _, _ = strings.Cut(path[1:], "?")
	a.c.Request(path)
	return a
}

func (r *runner) knock(name string) *actor {
	c, err := r.w.Connect(name)
	if err != nil {
		panic("sim: " + err.Error()) // act sees to it that the client has ended
	}
	a := &actor{r: r, c: c, id: fmt.Sprintf("%s.%d", name, c.sock.id), heardOf: make(map[string]int)}
	c.heard = a.hear
	r.all = append(r.all, a)
	return a
}

// act lets client i do something.
func (r *runner) act(i int) {
	a := r.actors[i]
	name := fmt.Sprintf("c%d", i)
	switch {
	case a == nil || a.c.Ended():
		r.actors[i] = r.arrive(name)
	case !a.c.Opened():
		if r.has(Resets) && r.chance(8) {
			a.abort()
		}
	case !a.greeted:
		a.greet()
	default:
		a.act()
	}
}

// path is where a client connects: one of a few keys.
func (r *runner) path() string {
	if !r.profile.Swaps {
		return "/"
	}
	return fmt.Sprintf("/k%d", r.swaps.IntN(4))
}

// swap changes the guest's generations at times.
func (r *runner) swap() {
	srv := r.w.Server()
	switch n := r.swaps.IntN(100); {
	case n < 2:
		r.reload(0)
	case n < 4:
		r.reload(1 + r.swaps.IntN(100))
	case n < 6:
		_ = srv.Canary("puppet", 100) // there may be none
	case n < 8:
		_ = srv.Promote("puppet")
	case n < 11:
		_ = srv.Rollback("puppet") // there may be nothing to return to
	case n < 13:
		r.paused = true
		_ = srv.Pause("puppet")
	case n < 20:
		_ = srv.Resume("puppet")
	}
}

func (r *runner) reload(canary int) {
	m := r.guest
	m.Rollout.Canary = canary
	if _, err := r.w.Server().Reload(context.Background(), m); err != nil {
		r.w.violate("a module that is fine is loaded", "%v", err)
	}
}

// arrive connects: mostly right, sometimes not.
func (r *runner) arrive(name string) *actor {
	if !r.has(BadPeers) || !r.chance(6) {
		return r.connect(name, r.path())
	}
	a := r.knock(name)
	switch r.rng.IntN(7) {
	case 0:
		a.refused = []int{403}
		a.c.Request(r.path() + "?reject=403")
	case 1:
		if r.has(Failures) {
			a.refused = []int{500}
			path := r.path()
			r.fell[path[1:]] = true
			a.c.Request(path + "?trap=1")
		} else {
			a.c.Request(r.path())
		}
	case 2:
		a.refused = []int{400}
		a.c.SendRaw([]byte("\x16\x03\x01\x00\xa5"))
	case 3:
		a.refused = []int{400, 426, 501, 505}
		a.c.SendRaw([]byte("GET / HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n"))
	case 4:
		a.refused = []int{408}
		a.c.SendRaw([]byte("GET / HTTP/1.1\r\nHost: sim\r\nUpgr"))
	case 5:
		a.refused = []int{408} // and it says nothing at all
	case 6:
		a.refused = []int{431}
		a.c.SendRaw([]byte("GET / HTTP/1.1\r\nHost: sim\r\nX: " + strings.Repeat("x", 17<<10)))
	}
	return a
}
