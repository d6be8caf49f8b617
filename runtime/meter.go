package runtime

import (
	"context"
	"fmt"
	goruntime "runtime"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"weir/internal/wasm"
)

// Compiled code cannot be interrupted from outside, so modules are rewritten when they are loaded (internal/wasm): the
// entry of each function and the head of each loop spend fuel, and who has none left calls refuel. That is where a
// running guest meets the clock, its budget, the kill switch and Go's scheduler. A call that is over sooner than its
// first quantum never reads a clock.

// Fuel is granted a quantum at a time. A guest holds its processor for one quantum: for so long the garbage collector
// waits, and by so much a deadline can be missed. The first is small, some ten microseconds; while quanta are short they
// grow, since each costs a look at the clock; when one takes long (its instructions were page faults, say) the next is
// smaller. How the fuel of a call is cut into quanta does not change when it runs out.
const (
	firstQuantum  = 5_000
	minQuantum    = 500
	maxQuantum    = 100_000
	shortQuantum  = 150_000   // ns: less, and the next one is larger
	longQuantum   = 1_000_000 // ns: more, and the next one is smaller
	quantumGrowth = 4
	quantumShrink = 4

	// yieldEvery is how long a guest runs before others get their turn, in ns. The garbage collector need not wait for that:
	// Go stops a goroutine that it wants to stop at any call of a Go function, such as refuel. Yielding more often costs
	// some 7 µs each time while a processor is idle, since that then wakes up to take over.
	yieldEvery = 1_000_000

	// maxGrace is how many times its time a call may take in all, while it waits.
	maxGrace = 4
)

// Fuel that host functions cost the guest on top of its own: a call takes some 50 ns, a byte is moved in 0.1 ns. It is
// what a guest would spend on as much work of its own.
const (
	hostCallFuel     = 20
	bytesPerHostFuel = 64
)

// budget is what one call of a guest may spend.
type budget struct {
	fuel  int64
	nanos int64 // wall time, counted from the end of the first quantum
}

// budgets are those of one module, by what is called.
type budgets struct {
	event budget // message, timer, close, drain
	open  budget // upgrade, open
	start budget // start code, init, save, restore
}

// newBudgets gives who may take longer as much more fuel.
func newBudgets(l Limits) budgets {
	of := func(d time.Duration) budget {
		times := max(1, float64(d)/float64(l.Timeout))
		return budget{fuel: int64(min(float64(l.Fuel)*times, maxFuel)), nanos: int64(d)}
	}
	return budgets{event: of(l.Timeout), open: of(l.OpenTimeout), start: of(l.StartTimeout)}
}

func (b *budgets) of(ev Event) budget {
	switch ev {
	case EventUpgrade, EventOpen:
		return b.open
	case EventInit, EventSave, EventRestore:
		return b.start
	default:
		return b.event
	}
}

// meter bounds the running call of one instance. It belongs to the goroutine that holds the instance.
type meter struct {
	now  func() int64      // Engine's clock, ns
	kill *atomic.Bool      // set when the module must end
	fuel api.MutableGlobal // the guest's; nil before the instance is made, and if metering is off
	max  budget            // of the running call
	left int64             // fuel of the running call that was not granted yet
	host int64             // fuel that host functions cost, not charged yet
	due  int64             // by the clock; 0 = it was not read yet
	seen int64             // the clock when it was read last, in this call
	busy int64             // ns that the guest has run, not waited, after the first quantum
	turn int64             // the clock when others had their turn last
	next int64             // the next quantum
	used int64             // fuel that the guest itself used of the quanta before the last
	last int64             // the last quantum
	end  *stopPoint        // where the call must end; nil but while a tape is played
	hits int               // calls of host functions
	most int               // and how many there may be
}

// begin starts a call. Hot path, 0 allocs (TestMessageAllocs).
func (m *meter) begin(b budget) {
	first := min(b.fuel, firstQuantum)
	m.max, m.left, m.host, m.due, m.busy, m.hits = b, b.fuel-first, 0, 0, 0, 0
	m.next = firstQuantum
	if m.end != nil {
		first = min(m.end.fuel-1, maxQuantum)
		m.left = b.fuel - first
	}
	m.used, m.last = 0, first
	if m.fuel != nil {
		m.fuel.Set(uint64(first))
	}
}

// refuel is called by the guest when its fuel is spent: debt is how far below zero it is. It returns more, or panics
// with a *stopError, which ends the guest.
func (m *meter) refuel(debt int64) int64 {
	m.used += m.last - debt
	if m.end != nil {
		return m.untilEnd(debt)
	}
	m.left += min(debt, 0) - m.host
	m.host = 0
	if m.left <= 0 {
		panic(errOutOfFuel)
	}
	m.check()
	grant := min(m.left, m.next)
	m.left -= grant
	m.last = grant
	return grant
}

// untilEnd is refuel while a tape is played: however the fuel is cut into quanta, the guest ends where it has to.
func (m *meter) untilEnd(debt int64) int64 {
	if m.used >= m.end.fuel {
		panic(m.end.err)
	}
	m.check()
	grant := min(m.end.fuel-1-m.used, maxQuantum)
	m.left += debt - grant
	m.last = grant
	return grant
}

// check ends the guest if it must not go on, and lets others have the processor: without that a guest that loops
// would hold up the garbage collector, and so everybody.
func (m *meter) check() {
	if m.kill.Load() {
		panic(errKilled)
	}
	now := m.now()
	if m.due == 0 { // how long the first quantum took is not known
		m.due, m.turn = now+m.max.nanos, now
	} else {
		took := now - m.seen
		m.busy += took
		if m.late(now) {
			panic(errOutOfTime)
		}
		switch {
		case took < shortQuantum:
			m.next = min(m.next*quantumGrowth, maxQuantum)
		case took > longQuantum:
			m.next = max(m.next/quantumShrink, minQuantum)
		}
	}
	m.seen = now
	if now-m.turn >= yieldEvery {
		goruntime.Gosched()
		m.turn = m.now() // others have had their time
		m.seen = m.turn
	}
}

// late reports that the call's time is over. A guest that mostly waited for other guests to yield is given some grace: it
// may be quick, and the machine crowded.
func (m *meter) late(now int64) bool {
	over := now - m.due
	return over >= 0 && (m.busy >= m.max.nanos/2 || over >= (maxGrace-1)*m.max.nanos)
}

// spent is the fuel of the call so far.
func (m *meter) spent() int64 {
	if m.fuel == nil {
		return 0
	}
	return m.max.fuel - m.left - int64(m.fuel.Get()) + m.host
}

// hostCall charges a call of a host function and reports false if the guest has made too many.
func (m *meter) hostCall() bool {
	m.hits++
	m.host += hostCallFuel
	switch {
	case m.end != nil:
		if m.hits == m.end.hits {
			panic(m.end.err)
		}
	case m.host >= maxQuantum:
		m.left -= m.host
		m.host = 0
		if m.left <= 0 && m.fuel != nil {
			panic(errOutOfFuel)
		}
		m.check()
	}
	return m.hits <= m.most
}

// moved charges n bytes that a host function reads or writes.
func (m *meter) moved(n int) { m.host += int64(n / bytesPerHostFuel) }

// stopPoint is where the meter ended a call, or has to end it, whatever the clock says: when the guest itself has used
// that much fuel, or begins its call of a host function of that number (0 = not there).
type stopPoint struct {
	fuel int64
	hits int
	err  *stopError
}

// stopped tells where the meter has ended the call.
func (m *meter) stopped() (p stopPoint) {
	if m.fuel == nil || int64(m.fuel.Get()) < 0 {
		return stopPoint{fuel: m.used}
	}
	return stopPoint{fuel: m.used + m.last + 1, hits: m.hits}
}

// stopError is why refuel and check end a guest.
type stopError struct {
	reason Reason
	text   string
}

func (e *stopError) Error() string { return e.text }

// Is makes a guest that ran out of time or fuel match context.DeadlineExceeded.
func (e *stopError) Is(target error) bool {
	return target == context.DeadlineExceeded && (e.reason == ReasonTimeout || e.reason == ReasonFuel)
}

var (
	errOutOfTime  = &stopError{ReasonTimeout, "ran longer than it may"}
	errOutOfFuel  = &stopError{ReasonFuel, "spent more fuel than it may"}
	errStackFull  = &stopError{ReasonStack, "call stack exhausted"}
	errKilled     = &stopError{ReasonKilled, "stopped by the host"}
	errUnexpected = &stopError{ReasonTrap, "the meter was called in a way that it never is"}
)

// explainStop says with numbers what ended a call.
func (m *meter) explainStop(e *stopError) string {
	switch e.reason {
	case ReasonTimeout:
		return fmt.Sprintf("ran longer than %v", time.Duration(m.max.nanos))
	case ReasonFuel:
		return fmt.Sprintf("spent more than %d fuel", m.max.fuel)
	default:
		return e.text
	}
}

// refill is the function that metered code imports.
type refill struct{}

// Call implements api.GoModuleFunction.
func (refill) Call(ctx context.Context, _ api.Module, s []uint64) {
	c := ctx.(*callContext)
	switch uint32(s[0]) {
	case wasm.RefillFuel:
		s[0] = uint64(c.meter.refuel(int64(s[1])))
	case wasm.RefillStack:
		panic(errStackFull)
	default:
		panic(errUnexpected)
	}
}

// linkMeter instantiates the import module of metered code in rt.
func linkMeter(ctx context.Context, rt wazero.Runtime) error {
	i32, i64 := api.ValueTypeI32, api.ValueTypeI64
	_, err := rt.NewHostModuleBuilder(wasm.MeterModule).
		NewFunctionBuilder().
		WithGoModuleFunction(refill{}, []api.ValueType{i32, i64}, []api.ValueType{i64}).
		WithName(wasm.MeterRefill).
		Export(wasm.MeterRefill).
		Instantiate(ctx)
	return err
}
