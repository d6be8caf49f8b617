package host

import (
	"cmp"
	"slices"
	"strconv"

	"weir/runtime"
)

// attach makes c, which asks for a path of rt, a connection of its scope's cell:
// c.route is set and has a cell. It is false when there can be no further cell.
func (c *Conn) attach(rt *route, path []byte) bool {
	if rt.scope == poolScope {
		c.route = rt
		return true
	}
	if c.route != nil { // it is asked again: the request waited for an instance
		return true
	}
	tn := rt.tenant
	var key string
	switch rt.scope {
	case connectionScope:
		key = strconv.FormatUint(uint64(c.id), 10)
	case keyScope:
		key = rt.keyOf(path)
	}
	tn.cellsMu.Lock()
	defer tn.cellsMu.Unlock()
	var cl *cell
	switch rt.scope {
	case keyScope:
		cl = tn.keyed[key]
	case singletonScope:
		cl = tn.only
	}
	if cl == nil {
		if cl = tn.newCellLocked(rt.scope, key, c); cl == nil {
			return false
		}
	}
	cl.members[c] = struct{}{}
	c.route = cl.routeLocked(rt)
	return true
}

// newCellLocked makes a cell, without an instance; nil when there are too many,
// or its module closes. tenant.cellsMu is held.
func (tn *tenant) newCellLocked(sc scope, key string, c *Conn) *cell {
	if len(tn.cells) >= tn.maxCells {
		return nil
	}
	tn.cellsMade++
	cl := &cell{tn: tn, scope: sc, number: tn.cellsMade, key: key, members: make(map[*Conn]struct{})}
	cl.idle.owner = cl
	switch sc {
	case connectionScope:
		cl.draw = drawOf(uint64(c.id))
	case keyScope:
		cl.draw = keyDraw(key)
	case singletonScope:
		cl.draw = lastDraw
	}
	var own *crew
	for own == nil {
		rule := tn.rule.Load()
		if own = rule.pick(cl.draw).crewFor(cl); own == nil && tn.rule.Load() == rule {
			return nil
		}
	}
	own.cells.Add(1)
	cl.own.Store(own)
	tn.cells[cl] = struct{}{}
	switch sc {
	case keyScope:
		tn.keyed[key] = cl
	case singletonScope:
		tn.only = cl
	}
	return cl
}

// keyDraw is the draw of a key: the same on every server.
func keyDraw(key string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * prime
	}
	return drawOf(h)
}

// crewFor is a crew of one instance, not made yet, for cl; nil when the
// generation has closed.
func (gen *generation) crewFor(cl *cell) *crew {
	mod, err := gen.pool.mod.Share(runtime.ShareOptions{Instances: 1, Seed: cl.tn.srv.seed()})
	if err != nil {
		return nil
	}
	own := new(crew)
	own.init(gen, mod)
	return own
}

// routeLocked is rt with its cell set. tenant.cellsMu is held.
func (cl *cell) routeLocked(rt *route) *route {
	for _, r := range cl.routes {
		if r.base == rt {
			return r
		}
	}
	r := &route{pattern: rt.pattern, tenant: rt.tenant, scope: rt.scope, key: rt.key, protocols: rt.protocols, cell: cl, base: rt}
	if i := slices.IndexFunc(cl.routes, func(r *route) bool { return r.pattern.text == rt.pattern.text }); i >= 0 {
		cl.routes[i] = r // the options were replaced meanwhile
	} else {
		cl.routes = append(cl.routes, r)
	}
	return r
}

// detach takes c out of its cell. A connection's own cell ends with it, that of
// a key some time after its last.
func (c *Conn) detach() {
	if c.route == nil || c.route.scope == poolScope {
		return
	}
	cl := c.route.cell
	tn := cl.tn
	tn.cellsMu.Lock()
	delete(cl.members, c)
	alone := len(cl.members) == 0
	ends := alone && cl.scope == connectionScope && cl.forgetLocked() // else it has fallen
	tn.cellsMu.Unlock()
	switch {
	case ends:
		cl.end()
	case alone && cl.scope == keyScope:
		cl.restLater()
	}
}

// restLater sees to it that a cell which nobody uses ends in time.
func (cl *cell) restLater() {
	tn := cl.tn
	tn.srv.wheel.schedule(&cl.idle, tn.srv.clock.Mono()+int64(tn.idleAfter))
	if cl.gone.Load() {
		tn.srv.wheel.cancel(&cl.idle)
	}
}

// endIdle ends the cell of a key without connections and timers, if that is
// what it was woken for, or sees to it that it will be.
func (cl *cell) endIdle(t *turn) {
	if cl.scope != keyScope {
		return
	}
	tn := cl.tn
	tn.cellsMu.Lock()
	unused := len(cl.members) == 0 && cl.countTimers(nil) == 0
	ends := unused && t.bits&inIdle != 0
	if ends {
		cl.forgetLocked()
	}
	tn.cellsMu.Unlock()
	switch {
	case ends:
		if t.inst != nil {
			t.crew.mod.Give(t.inst)
			t.inst, t.crew = nil, nil
		}
		cl.end()
	case unused:
		cl.restLater()
	}
}

// forgetLocked makes sure that nobody finds the cell any more. tenant.cellsMu is
// held.
func (cl *cell) forgetLocked() (was bool) {
	tn := cl.tn
	if _, was = tn.cells[cl]; !was {
		return false
	}
	delete(tn.cells, cl)
	switch cl.scope {
	case keyScope:
		delete(tn.keyed, cl.key)
	case singletonScope:
		tn.only = nil
	}
	cl.gone.Store(true)
	return true
}

// end frees what a forgotten cell has. Its instance closes when it is back.
func (cl *cell) end() {
	cl.cancelTimers()
	cl.tn.srv.wheel.cancel(&cl.idle)
	own := cl.own.Load()
	own.cells.Add(-1)
	own.mod.TurnAway()
}

// fell ends a cell whose instance is lost with all that its connections have in
// it: they are closed, and who comes next begins anew. Any goroutine that has
// the instance.
func (cl *cell) fell() {
	tn := cl.tn
	tn.cellsMu.Lock()
	was := cl.forgetLocked()
	members := make([]*Conn, 0, len(cl.members))
	for c := range cl.members {
		members = append(members, c)
	}
	tn.cellsMu.Unlock()
	if !was {
		return
	}
	cl.end()
	slices.SortFunc(members, func(a, b *Conn) int { return cmp.Compare(a.id, b.id) }) // in an order that repeats
	for _, c := range members {
		c.askAndWake(causeHandlerFailed.info())
	}
}
