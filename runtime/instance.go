package runtime

import (
	"context"
	"fmt"
	"math"

	"github.com/tetratelabs/wazero/api"

	"weir/internal/wasm"
)

// Instance is one sandbox of a module: one linear memory, one call at a time. Whoever took it from its [Module] owns
// it until Give or Discard, and may move it between goroutines in between.
type Instance struct {
	module  *Module
	ordinal uint64 // 0 for the first instance of the generation
	guest   api.Module
	memory  *guestMemory

	// The fields below belong to the goroutine that holds the instance.

	// busy is set while the guest runs. Two goroutines in one wazero function crash the process, and a Host that calls
	// back into the instance would silently get wrong results, so both panic instead. It is not atomic, which would
	// cost as much as a third of an empty call: a second goroutine is a data race anyhow, and nearly always seen.
	busy bool

	call    callContext
	event   api.Function // each costs 12 KB, so there is one per export and instance
	inbound api.Function
	stack   [5]uint64 // parameters and results of the running call

	buffer      uint32 // what weir_inbound returned last, in guest memory
	bufferBytes int    // what was asked for then; 0 = never asked
	lent        int    // length of the last Inbound view; 0 once it is void

	rec *recorder // nil: nothing is recorded

	fresh bool
	err   *TrapError // set once: the guest has stopped, only Discard is left

	out      bool  // taken and not given back; guarded by Module.pool.mu, like the next
	memBytes int64 // linear memory as last counted in the pool
}

// newInstance instantiates the module and runs its start code. The error is a *TrapError.
func (m *Module) newInstance(ordinal uint64) (*Instance, error) {
	i := &Instance{module: m, ordinal: ordinal, fresh: true}
	c := &i.call
	c.Context = context.Background()
	c.logger, c.logs = m.logger, &m.logs
	c.random = newRandom(m.name, m.seed, m.generation, ordinal)
	c.meter = meter{now: m.engine.now, kill: &m.kill, most: m.limits.HostCalls}
	c.meter.begin(m.budgets.start)
	c.out.init(c)
	if m.replay != nil {
		if err := m.replay.prepare(c); err != nil {
			return nil, i.stop(&TrapError{Export: "start", Reason: ReasonABI, Message: err.Error(), Cause: err})
		}
	}
	var rec *recorder
	if m.record {
		rec = newRecorder(i)
	}

	config := m.config
	if m.usesWASI {
		config = configureWASI(config, c)
	}
	var err error
	if i.memory, err = m.engine.arena.take(m.minBytes, m.maxBytes); err != nil {
		return nil, i.stop(&TrapError{Export: "start", Reason: ReasonMemory, Message: err.Error(), Cause: err})
	}
	c.memory = i.memory
	guest, err := m.rt.InstantiateModule(c, m.compiled, config)
	c.memory = nil
	if c.out.touched {
		c.out.settle(c)
	}
	if err != nil {
		i.memory.Free()
		i.checkOurs(err)
		return nil, i.trap("start", err)
	}
	i.guest = guest
	c.mem = guest.Memory()
	if m.metered {
		c.meter.fuel = guest.ExportedGlobal(wasm.MeterFuel).(api.MutableGlobal)
	}
	if trap := i.start(); trap != nil {
		_ = i.close()
		return nil, trap
	}
	i.event = guest.ExportedFunction(exportEvent)
	i.inbound = guest.ExportedFunction(exportInbound)
	i.rec = rec
	return i, nil
}

// start runs what the ABI has called first: _initialize, if it is there, and weir_abi_1. It returns nil, or why the
// guest stopped.
func (i *Instance) start() *TrapError {
	if initialize := i.guest.ExportedFunction(exportInitialize); initialize != nil {
		i.call.meter.begin(i.module.budgets.start)
		if err := i.run(initialize, i.stack[:]); err != nil {
			return i.trap(exportInitialize, err)
		}
	}
	i.call.meter.begin(i.module.budgets.start)
	if err := i.run(i.guest.ExportedFunction(exportABI), i.stack[:]); err != nil {
		return i.trap(exportABI, err)
	}
	if i.ordinal == 0 {
		i.module.events = i.stack[0]
	}
	return nil
}

// close frees the sandbox. The guest must not be running.
func (i *Instance) close() error {
	err := i.guest.Close(context.Background())
	i.memory.Free()
	return err
}

// Module returns the module of which i is an instance.
func (i *Instance) Module() *Module { return i.module }

// Fresh reports whether the instance has yet to be given its first event, [EventInit].
func (i *Instance) Fresh() bool { return i.fresh }

// Inbound returns a view of n bytes of guest memory, where the payload of the next [Instance.Call] is to be put. It is
// good until the next Call or Inbound; n is at least 0. The guest is asked for a buffer (weir_inbound) only when the
// last one is shorter than n. An error is a *TrapError: the instance can only be discarded.
//
// Hot path, 0 allocs (TestMessageAllocs).
func (i *Instance) Inbound(n int) ([]byte, error) {
	if n < 0 {
		panic("runtime: Inbound of a negative length")
	}
	if i.busy {
		panic(errBusy)
	}
	i.returnLent()
	if i.err != nil {
		return nil, i.err
	}
	if n > i.bufferBytes {
		if err := i.makeRoom(n); err != nil {
			return nil, err
		}
	}
	p, ok := view(i.call.mem, i.buffer, uint32(n))
	if !ok {
		return nil, i.badBuffer(n)
	}
	if i.rec != nil {
		i.rec.end(int64(i.buffer))
	}
	i.lent = n
	return p, nil
}

// returnLent voids the last Inbound view, which was not delivered.
func (i *Instance) returnLent() {
	if i.lent > 0 && i.rec != nil && i.err == nil {
		i.rec.fill(i.lentBytes())
	}
	i.lent = 0
}

// lentBytes is the last Inbound view, while it is good.
func (i *Instance) lentBytes() []byte {
	p, _ := view(i.call.mem, i.buffer, uint32(i.lent))
	return p
}

// makeRoom asks the guest for a buffer of at least n bytes.
func (i *Instance) makeRoom(n int) error {
	if n > math.MaxInt32 {
		return i.abuse(exportInbound, fmt.Sprintf("%d bytes do not fit into guest memory", n))
	}
	if i.rec != nil {
		i.rec.inbound(n)
	}
	i.stack[0] = uint64(n)
	i.enter()
	i.call.meter.begin(i.module.budgets.event)
	err := i.run(i.inbound, i.stack[:1])
	i.leave()
	if err != nil {
		return i.trap(exportInbound, err)
	}
	i.buffer, i.bufferBytes = uint32(i.stack[0]), n
	if i.buffer == 0 {
		return i.abuse(exportInbound, fmt.Sprintf("the guest refused %d bytes", n))
	}
	return nil
}

func (i *Instance) badBuffer(n int) error {
	return i.abuse(exportInbound, fmt.Sprintf("%d bytes at %d lie outside the %d bytes of guest memory",
		n, i.buffer, i.call.mem.Size()))
}

// Call delivers one event and returns what the guest answered: 0 commits, anything else rolls back. The payload is
// the first n bytes of the last Inbound view, which must be as long; n 0 is no payload. h serves the guest's host
// functions until Call returns; conn also marks the guest's log lines, 0 for none. An error is a *TrapError: the
// instance can only be discarded.
//
// Hot path, 0 allocs (TestMessageAllocs).
func (i *Instance) Call(h Host, ev Event, conn uint64, arg int64, n int) (int32, error) {
	if n < 0 || n > i.lent {
		panic(fmt.Sprintf("runtime: Call with %d bytes of an Inbound view of %d", n, i.lent))
	}
	if i.err != nil {
		i.lent = 0
		return 0, i.err
	}
	if i.rec != nil {
		h = i.rec.event(h, ev, conn, arg, n, i.lentBytes())
	}
	i.lent = 0
	if ev == EventInit {
		i.fresh = false
	}

	i.enter()
	c := &i.call
	c.host, c.conn, c.clock.stale = h, conn, true
	c.meter.begin(i.module.budgets.of(ev))
	s := &i.stack
	s[0], s[1], s[2], s[3], s[4] = uint64(ev), conn, uint64(arg), 0, 0
	if n > 0 {
		s[3], s[4] = uint64(i.buffer), uint64(n)
	}
	err := i.run(i.event, s[:])
	c.host, c.conn = nil, 0
	i.leave()
	c.count.calls++
	if err != nil {
		trap := i.trap(exportEvent, err)
		trap.Event, trap.PayloadBytes = ev, n
		return 0, trap
	}
	result := int32(uint32(s[0]))
	if i.rec != nil {
		i.rec.end(int64(result))
	}
	if result != 0 {
		c.count.refused++
	}
	return result, nil
}

// Spent returns the fuel of the last call of the guest: about eight instructions a unit, and what host functions cost.
// 0 if metering is off.
func (i *Instance) Spent() int64 { return i.call.meter.spent() }

// run calls one function of the guest. The error is wazero's.
func (i *Instance) run(f api.Function, stack []uint64) error {
	c := &i.call
	err := f.CallWithStack(c, stack)
	if c.out.touched {
		c.out.settle(c)
	}
	if err != nil {
		i.checkOurs(err)
	}
	return err
}

// enter makes the instance busy, and leave idle.
func (i *Instance) enter() {
	if i.busy {
		panic(errBusy)
	}
	i.busy = true
}

const errBusy = "runtime: an Instance was used while its guest runs"

func (i *Instance) leave() { i.busy = false }

// checkOurs panics if err is the panic of a Host or of a host function. wazero recovers those too and would have them
// pass for traps of the guest; it is not the guest's fault, and locks may be held.
func (i *Instance) checkOurs(err error) {
	if i.call.inHost {
		panic(fmt.Sprintf("runtime: a host function panicked: %v\n\n%s", err, i.call.hostStack))
	}
}

// trap stops the instance for good with an error of wazero.
func (i *Instance) trap(export string, err error) *TrapError {
	reason, message, stack := i.call.meter.explain(err)
	return i.stop(&TrapError{Export: export, Reason: reason, Message: message, Stack: stack, Cause: err})
}

// abuse stops the instance for good because its guest broke the ABI.
func (i *Instance) abuse(export, message string) *TrapError {
	return i.stop(&TrapError{Export: export, Reason: ReasonABI, Message: message})
}

func (i *Instance) stop(e *TrapError) *TrapError {
	e.Module, e.Generation = i.module.label, i.module.generation
	i.err = e
	if i.rec != nil {
		i.module.keepTape(i, e)
	}
	return e
}
