package scenario

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/host"
	"weir/internal/sim"
	"weir/runtime"
)

// simultaneous is a step that can be done together with others: parts are its
// acts, and after a client's last one it may have to wait.
type simultaneous interface {
	action
	parts() []part
}

// part is what one client does, in no time.
type part struct {
	client string
	do     func(r *runner, at *placed) *Failure
	wait   func(r *runner, at *placed) *Failure // afterwards; may be nil
}

// doParts does a step's parts one after the other.
func doParts(r *runner, at *placed, parts []part) *Failure {
	for _, p := range parts {
		if f := p.do(r, at); f != nil {
			return f
		}
		r.w.Settle()
		if p.wait == nil {
			continue
		}
		if f := p.wait(r, at); f != nil {
			return f
		}
	}
	return nil
}

type open struct{ connections []connection }

type connection struct {
	client  string
	path    string
	headers []string
	status  int  // of the answer
	assumed bool // the next step judges it
}

func (o open) do(r *runner, at *placed) *Failure { return doParts(r, at, o.parts()) }

func (o open) parts() []part {
	var all []part
	for _, c := range o.connections {
		all = append(all, part{client: c.client, do: c.begin, wait: c.answered})
	}
	return all
}

func (c connection) begin(r *runner, at *placed) *Failure {
	client, err := r.w.Open(c.client, c.path, c.headers...)
	if err != nil {
		return r.fail(at, fmt.Sprintf("%s connects", c.client), err.Error(), c.client)
	}
	if r.peers[c.client] == nil {
		r.names = append(r.names, c.client)
	}
	r.peers[c.client] = &peer{Client: client}
	return nil
}

func (c connection) answered(r *runner, at *placed) *Failure {
	p := r.peers[c.client]
	r.w.Await(grace, func() bool { return p.Status() != 0 || p.Ended() })
	if c.assumed || p.Status() == c.status {
		return nil
	}
	return r.fail(at, fmt.Sprintf("%s: status %d", c.client, c.status), showStatus(p), c.client)
}

func showStatus(p *peer) string {
	switch {
	case p.Status() != 0:
		return fmt.Sprintf("status %d", p.Status())
	case p.Ended():
		return showEnd(p.Client)
	default:
		return "no answer"
	}
}

type send struct{ messages []outgoing }

type outgoing struct {
	client string
	payload
}

// payload is what a client sends.
type payload struct {
	opcode sim.Opcode
	data   []byte
	raw    bool          // data is not to be framed
	split  int           // bytes at a time; 0 all
	delay  time.Duration // before each piece
}

func (s send) do(r *runner, at *placed) *Failure { return doParts(r, at, s.parts()) }

func (s send) takesTime() bool {
	return slices.ContainsFunc(s.messages, func(m outgoing) bool { return m.delay > 0 })
}

func (s send) parts() []part {
	var all []part
	for _, m := range s.messages {
		all = append(all, part{client: m.client, do: m.send})
	}
	return all
}

func (m outgoing) send(r *runner, at *placed) *Failure {
	c := r.peers[m.client].Client
	switch {
	case c.Ended():
		return r.fail(at, m.client+" can send", showEnd(c), m.client)
	case m.split == 0 && m.delay == 0 && m.raw:
		c.SendRaw(m.data)
	case m.split == 0 && m.delay == 0:
		c.SendFrame(sim.Frame{Opcode: m.opcode, Payload: bytes.Clone(m.data)})
	default:
		m.sendPieces(r, c)
	}
	if m.opcode == sim.Close {
		r.peers[m.client].left = true
	}
	return nil
}

func (m outgoing) sendPieces(r *runner, c *sim.Client) {
	p := m.data
	if !m.raw {
		p = c.Encode(sim.Frame{Opcode: m.opcode, Payload: bytes.Clone(p)})
	}
	each := m.split
	if each == 0 {
		each = max(len(p), 1)
	}
	for piece := range slices.Chunk(p, each) {
		r.pass(m.delay)
		c.SendRaw(piece)
		r.w.Settle()
	}
}

type closeAll struct{ clients []leaving }

type leaving struct {
	client string
	code   uint16 // 0: an empty frame
	reason string
}

func (c closeAll) do(r *runner, at *placed) *Failure { return doParts(r, at, c.parts()) }

func (c closeAll) parts() []part {
	var all []part
	for _, l := range c.clients {
		all = append(all, part{client: l.client, do: func(r *runner, at *placed) *Failure {
			if p := r.peers[l.client]; p.Ended() {
				return r.fail(at, l.client+" is connected", showEnd(p.Client), l.client)
			}
			r.peers[l.client].left = true
			r.peers[l.client].Close(l.code, l.reason)
			return nil
		}})
	}
	return all
}

// leave makes a part of every client, after which its end is its own doing.
func leave(clients []string, do func(*sim.Client)) []part {
	var all []part
	for _, name := range clients {
		all = append(all, part{client: name, do: func(r *runner, _ *placed) *Failure {
			r.peers[name].left = true
			do(r.peers[name].Client)
			return nil
		}})
	}
	return all
}

type abort struct{ clients []string }

func (a abort) do(r *runner, at *placed) *Failure { return doParts(r, at, a.parts()) }
func (a abort) parts() []part                     { return leave(a.clients, (*sim.Client).Abort) }

type halfClose struct{ clients []string }

func (h halfClose) do(r *runner, at *placed) *Failure { return doParts(r, at, h.parts()) }
func (h halfClose) parts() []part                     { return leave(h.clients, (*sim.Client).CloseWrite) }

type slow struct{ changes []readerChange }

type readerChange struct {
	client string
	slow   bool
}

func (s slow) do(r *runner, at *placed) *Failure { return doParts(r, at, s.parts()) }

func (s slow) parts() []part {
	var all []part
	for _, c := range s.changes {
		all = append(all, part{client: c.client, do: func(r *runner, _ *placed) *Failure {
			if c.slow {
				r.peers[c.client].Pause()
			} else {
				r.peers[c.client].Resume()
			}
			return nil
		}})
	}
	return all
}

// together does the parts of several steps in an order drawn from the seed, each
// client's in their own order, and lets the server do a few things between them.
type together struct{ all []part }

func (t together) do(r *runner, at *placed) *Failure {
	var clients []string
	queues := map[string][]part{}
	for _, p := range t.all {
		if queues[p.client] == nil {
			clients = append(clients, p.client)
		}
		queues[p.client] = append(queues[p.client], p)
	}
	for len(clients) > 0 {
		i := r.rng.IntN(len(clients))
		name := clients[i]
		p := queues[name][0]
		if queues[name] = queues[name][1:]; len(queues[name]) == 0 {
			clients = slices.Delete(clients, i, i+1)
		}
		if f := p.do(r, at); f != nil {
			return f
		}
		r.w.Steps(r.rng.IntN(8))
	}
	r.w.Settle()
	for _, p := range t.all {
		if p.wait != nil {
			if f := p.wait(r, at); f != nil {
				return f
			}
		}
	}
	return nil
}

type repeat struct{ turns [][]placed }

func (p repeat) do(r *runner, _ *placed) *Failure {
	for i, body := range p.turns {
		if f := r.steps(body); f != nil {
			f.Step += fmt.Sprintf(" (turn %d of %d)", i+1, len(p.turns))
			return f
		}
	}
	return nil
}

type advance struct{ d time.Duration }

func (a advance) do(r *runner, _ *placed) *Failure {
	r.pass(a.d)
	return nil
}

type drain struct{}

func (drain) do(r *runner, _ *placed) *Failure {
	r.w.Drain()
	return nil
}

type reload struct {
	modules []host.Module
	files   []string
}

func (l reload) do(r *runner, at *placed) *Failure {
	for i, m := range l.modules {
		m.Rollout.Canary = 0 // the step says that it takes over
		if _, err := r.engine.Reload(r.ctx, r.w, m, r.log); err != nil {
			return r.fail(at, l.files[i]+" becomes the next generation", err.Error())
		}
	}
	return nil
}

// setFaults is what goes wrong from now on, in place of what did before.
type setFaults struct {
	set   sim.Faults
	calls []callFault
}

// callFault is a host function that fails: its nth call from now on, or each.
type callFault struct {
	call   string
	nth    int // 0: each
	status runtime.Status
	calls  int // so far
}

func (s setFaults) do(r *runner, _ *placed) *Failure {
	r.w.SetFaults(s.set)
	r.callFaults = slices.Clone(s.calls) // it counts anew, also when the step is repeated
	return nil
}

// fault is asked by the server before each call of a host function.
func (r *runner) fault(function string) (runtime.Status, bool) {
	for i := range r.callFaults {
		f := &r.callFaults[i]
		if f.call != function {
			continue
		}
		if f.calls++; f.nth == 0 || f.calls == f.nth {
			return f.status, true
		}
	}
	return 0, false
}

// silence is clients that hear nothing for some time.
type silence struct {
	everybody bool
	all       time.Duration
	clients   []quiet
}

type quiet struct {
	client string
	d      time.Duration
}

func (s silence) do(r *runner, at *placed) *Failure {
	clients := slices.Clone(s.clients)
	if s.everybody {
		for _, name := range r.names {
			clients = append(clients, quiet{name, s.all})
		}
	}
	slices.SortStableFunc(clients, func(a, b quiet) int { return cmp.Compare(a.d, b.d) })
	start := r.w.Now()
	longest := s.all
	for len(clients) > 0 {
		noise := func() *quiet {
			for i := range clients {
				if p := r.peers[clients[i].client]; p.noise() {
					return &clients[i]
				}
			}
			return nil
		}
		var loud *quiet
		left := clients[0].d - (r.w.Now() - start)
		r.await(max(left, 0), func() bool { loud = noise(); return loud != nil })
		if loud != nil {
			p := r.peers[loud.client]
			got := "" // what came first
			if len(p.heard) > 0 {
				got = show(p.heard[0])
			} else {
				got = showEnd(p.Client)
			}
			want := fmt.Sprintf("%s hears nothing for %v", loud.client, loud.d)
			return r.fail(at, want, fmt.Sprintf("%s after %v", got, r.w.Now()-start), loud.client)
		}
		longest = clients[0].d
		clients = clients[1:]
	}
	if s.everybody && len(r.names) == 0 {
		r.pass(longest)
	}
	return nil
}

// noise reports that something has come that nothing was expected of.
func (p *peer) noise() bool {
	p.pull()
	return len(p.heard) > 0 || p.Opened() && !p.ended && !p.left && (p.Closed() != nil || p.Ended())
}

// await is World.Await in pieces, so that ctx is looked at.
func (r *runner) await(d time.Duration, done func() bool) bool {
	const piece = 10 * time.Minute
	for ; d > piece && r.ctx.Err() == nil; d -= piece {
		if r.w.Await(piece, done) {
			return true
		}
	}
	return r.w.Await(d, done)
}

// assert is what holds now on the server.
type assert struct {
	module      string
	topics      []figure
	connections int // -1: anything
	states      []stateWanted
	metrics     []figure
}

type figure struct {
	name string
	n    int
}

type stateWanted struct {
	client string
	value  value
}

func (a assert) do(r *runner, at *placed) *Failure {
	srv := r.w.Server()
	var expected, got, diff []string
	compare := func(what string, want, have int) {
		if want != have {
			expected = append(expected, fmt.Sprintf("%s: %d", what, want))
			got = append(got, fmt.Sprintf("%s: %d", what, have))
		}
	}
	for _, t := range a.topics {
		compare("topic "+t.name, t.n, srv.Members(a.module, t.name))
	}
	st := srv.Stats()
	if a.connections >= 0 {
		compare("connections", a.connections, st.Open)
	}
	for _, m := range a.metrics {
		compare(m.name, m.n, metric(st, a.module, m.name))
	}
	var clients []string
	for _, s := range a.states {
		state, open := srv.State(r.peers[s.client].Addr())
		if !open {
			expected = append(expected, fmt.Sprintf("state of %s: %v", s.client, s.value))
			got = append(got, fmt.Sprintf("%s is not connected", s.client))
			clients = append(clients, s.client)
			continue
		}
		ok, d := s.value.fits(state)
		if !ok {
			expected = append(expected, fmt.Sprintf("state of %s: %v", s.client, s.value))
			got = append(got, fmt.Sprintf("state of %s: %s", s.client, show(sim.Message{Opcode: sim.Text, Payload: state})))
			diff = append(diff, d...)
			clients = append(clients, s.client)
		}
	}
	if len(expected) == 0 {
		return nil
	}
	f := r.fail(at, strings.Join(expected, "\n"), strings.Join(got, "\n"), clients...)
	f.Diff = diff
	return f
}
