package host

import (
	"log/slog"
	"sync/atomic"

	"weir/runtime"
)

// generation is one loaded version of a module, with everything that a further
// version may have otherwise.
type generation struct {
	tn     *tenant
	number uint64

	config      []byte   // what the init event carries
	keepHeaders []string // request header fields that connections keep
	keepOnTrap  bool
	metrics     map[string]declaredMetric // that its handlers may add to; never changed
	policies    *policies                 // what becomes of publishes to slow readers; nil: they are closed
	rollout     RolloutOptions
	breaker     breaker
	pace        pace
	times       timesOfTurns

	pool     crew  // serves the scope pool
	loadedAt int64 // ms since 1970

	traps      atomic.Uint64 // of its instances, those in the making included
	cellEvents atomic.Uint64 // given to instances of cells
	cells      atomic.Int64  // that it serves

	// Below: tenant.changing.

	fate     Fate
	why      string
	previous *generation     // what a rollback returns to; nil: nothing
	spare    *runtime.Module // while this one is previous: its code, without instances
}

// crew is a set of instances that serve the same lanes: the pool of a
// generation, or the one instance of a cell.
type crew struct {
	*generation
	mod *runtime.Module

	// watch is set while lanes wait for an instance: when it fires, who has
	// waited too long is refused.
	watch wheelNode
}

func (w *crew) init(gen *generation, mod *runtime.Module) {
	w.generation, w.mod = gen, mod
	w.watch.owner = w
}

// ofCell reports whether it is the one instance of a cell.
func (w *crew) ofCell() bool { return w != &w.pool }

// countEvent counts what a cell's instance is given. Those of pools count
// themselves.
func (w *crew) countEvent() {
	if w.ofCell() {
		w.cellEvents.Add(1)
	}
}

// watchQueue sees to it that a wait which begins now ends in time.
func (w *crew) watchQueue(nowMono int64) {
	w.tn.srv.wheel.scheduleBefore(&w.watch, nowMono+w.sweepNanos())
}

func (w *crew) sweepNanos() int64 { return int64(w.tn.srv.opts().Handler.QueueTimeout) / 2 }

// fire is the wheel's call.
func (w *crew) fire(nowMono int64) {
	if w.mod.RefuseLate() > 0 {
		w.watchQueue(nowMono)
	}
}

// events is how many events its instances were given. What a pool's instance
// that is out has been given since counts when it comes back.
func (gen *generation) events() uint64 { return gen.pool.mod.Stats().Calls + gen.cellEvents.Load() }

// sameCode reports whether both run the same load of the same file: one is the
// return of the other.
func (gen *generation) sameCode(other *generation) bool {
	return gen.pool.mod.SharesCode(other.pool.mod)
}

func (gen *generation) logger() *slog.Logger {
	return gen.tn.srv.log.With("module", gen.tn.name, "gen", gen.number)
}

// ruling says which generation serves whom. It is replaced, never changed.
//
// No connection ever goes back to an older generation, because of what may follow
// what: a canary's number is above that of stable, its share only grows, and it
// ends by becoming stable or by giving way to a stable whose number is above its
// own. Who draws the same is always treated the same.
type ruling struct {
	stable *generation
	canary *generation // nil: none
	share  uint64      // who draws less is the canary's
	paused bool        // the module is given no events
}

// draws is how many draws there are: a share of so many is everybody.
const draws = 1 << 32

// lastDraw is the canary's only when everybody is.
const lastDraw = draws - 1

// drawOf spreads numbers that follow one another, as connections' ids do, evenly
// over the draws (Fibonacci hashing).
func drawOf(n uint64) uint64 { return n * 0x9E3779B97F4A7C15 >> 32 }

// pick is who serves whoever draws that.
func (r *ruling) pick(draw uint64) *generation {
	if r.canary != nil && draw < r.share {
		return r.canary
	}
	return r.stable
}
