package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// callContext is what host functions know of the instance that called them, and of its running call. It travels as
// the call's context.Context: wazero hands it through by identity, so reaching it costs a type assertion and no map.
// Its fields belong to the goroutine that holds the instance.
type callContext struct {
	context.Context // Background, for whoever in wazero asks

	mem    api.Memory
	memory *guestMemory // while the instance is made
	logger *slog.Logger // knows module and generation
	random *rand.ChaCha8

	host Host   // nil between calls, and while the guest starts or makes room
	conn uint64 // connection of the running call, for the log

	clock clock
	out   output
	logs  *logGate
	meter meter
	count counters

	inHost    bool   // a host function runs: if the call fails now, the panic was ours
	hostStack []byte // and this is where
}

// Value answers wazero's questions for its experimental features: there is a memory allocator while the instance is
// made, and nothing else ever. It keeps the per-call cost of asking low.
func (c *callContext) Value(key any) any {
	if c.memory != nil && allocatorProbe.Value(key) != nil {
		return experimental.MemoryAllocator(c.memory)
	}
	return nil
}

// allocatorProbe knows the key under which wazero looks for the allocator, which is not exported.
var allocatorProbe = experimental.WithMemoryAllocator(context.Background(), (*guestMemory)(nil))

// hostImpl is a host function in wazero's stack form: parameters and results share s, one uint64 each, of which an
// i32 uses the low half. The upper half can be anything.
type hostImpl func(c *callContext, s []uint64)

// linkedFunc is a host function as one module got it.
type linkedFunc struct {
	impl hostImpl
	// over answers a guest that has called too many host functions in one event; nil for a function that cannot fail.
	over hostImpl
}

// Call implements api.GoModuleFunction.
func (f *linkedFunc) Call(ctx context.Context, guest api.Module, s []uint64) {
	c := ctx.(*callContext)
	if c.mem == nil {
		c.mem = guest.Memory() // the module's start section runs before we are given the instance
	}
	if !c.meter.hostCall() && f.over != nil {
		f.over(c, s)
		return
	}
	c.inHost = true
	defer c.leaveHost()
	f.impl(c, s)
	c.inHost = false
}

// leaveHost keeps the stack of a panic, which wazero recovers.
func (c *callContext) leaveHost() {
	if c.inHost {
		c.hostStack = debug.Stack()
	}
}

// hostImpls has an entry for each of hostFuncs (TestEveryHostFunctionIsImplemented).
var hostImpls = map[string]hostImpl{
	"conn_send":              connSend,
	"conn_close":             connClose,
	"conn_attr":              connAttr,
	"conn_state_get":         connStateGet,
	"conn_state_set":         connStateSet,
	"conn_queued":            connQueued,
	"topic_join":             topicJoin,
	"topic_leave":            topicLeave,
	"topic_publish":          topicPublish,
	"topic_count":            topicCount,
	"timer_set":              timerSet,
	"timer_cancel":           timerCancel,
	"time_unix_ms":           timeUnixMs,
	"time_mono_ns":           timeMonoNs,
	"random":                 random,
	"log":                    logLine,
	"metric_add":             metricAdd,
	"abi_has":                abiHas,
	"upgrade_uri":            upgradeURI,
	"upgrade_header":         upgradeHeader,
	"upgrade_protocol":       upgradeProtocol,
	"upgrade_respond_header": upgradeRespondHeader,
	"state_save":             stateSave,
	"instance_key":           instanceKey,
}

// hostFuncNamed finds a function of the table by its name.
var hostFuncNamed = func() map[string]*hostFunc {
	named := make(map[string]*hostFunc, len(hostFuncs))
	for i := range hostFuncs {
		named[hostFuncs[i].name] = &hostFuncs[i]
	}
	return named
}()

// linkHost instantiates the import module of ABI 1 in rt. Functions that granted does not cover answer denied.
func linkHost(ctx context.Context, rt wazero.Runtime, granted Capability, fault Fault) error {
	builder := rt.NewHostModuleBuilder(abiImportModule)
	for _, f := range hostFuncs {
		impl := hostImpls[f.name]
		if impl == nil {
			return fmt.Errorf("runtime: host function %s has no implementation", f.name)
		}
		if f.capability&^granted != 0 {
			impl = answers(f.results, StatusDenied)
		}
		linked := &linkedFunc{impl: faulty(f.name, f.results, impl, fault)}
		if !neverFails[f.name] {
			linked.over = answers(f.results, StatusTooMany)
		}
		builder = builder.NewFunctionBuilder().
			WithGoModuleFunction(linked, valueTypes(f.params), valueTypes(f.results)).
			WithName(f.name).
			Export(f.name)
	}
	_, err := builder.Instantiate(ctx)
	return err
}

// valueTypes translates the letters of hostFunc.
func valueTypes(letters string) []api.ValueType {
	types := make([]api.ValueType, len(letters))
	for i := range letters {
		switch letters[i] {
		case 'i':
			types[i] = api.ValueTypeI32
		case 'l':
			types[i] = api.ValueTypeI64
		default:
			panic("runtime: unknown value type in the ABI's table")
		}
	}
	return types
}

// neverFails holds the functions whose result is not a status.
var neverFails = map[string]bool{"time_unix_ms": true, "time_mono_ns": true}

// answers is a function that does nothing but answer with a status.
func answers(results string, status Status) hostImpl {
	if results == "l" {
		return func(_ *callContext, s []uint64) { setI64(s, int64(status)) }
	}
	return func(_ *callContext, s []uint64) { setStatus(s, status) }
}

func setStatus(s []uint64, status Status) { s[0] = uint64(uint32(status)) }
func setI64(s []uint64, v int64)          { s[0] = uint64(v) }

// Each function below decodes its parameters, checks its pointers, asks the Host of the running call if there is one,
// and encodes the answer. None allocates unless it logs.

func connSend(c *callContext, s []uint64) {
	p, ok := c.bytes(s[2], s[3])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		setStatus(s, c.host.ConnSend(s[0], int32(s[1]), p))
	}
}

func connClose(c *callContext, s []uint64) {
	reason, ok := c.bytes(s[2], s[3])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		setStatus(s, c.host.ConnClose(s[0], int32(s[1]), reason))
	}
}

func connAttr(c *callContext, s []uint64) {
	name, ok := c.bytes(s[1], s[2])
	buf, ok2 := c.bytes(s[3], s[4])
	switch {
	case !ok || !ok2:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		value, status := c.host.ConnAttr(s[0], name)
		setStatus(s, answer(buf, value, status))
	}
}

func connStateGet(c *callContext, s []uint64) {
	buf, ok := c.bytes(s[1], s[2])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		value, status := c.host.ConnStateGet(s[0])
		setStatus(s, answer(buf, value, status))
	}
}

func connStateSet(c *callContext, s []uint64) {
	p, ok := c.bytes(s[1], s[2])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		setStatus(s, c.host.ConnStateSet(s[0], p))
	}
}

func connQueued(c *callContext, s []uint64) {
	if c.host == nil {
		setI64(s, int64(StatusUnavailable))
		return
	}
	setI64(s, c.host.ConnQueued(s[0]))
}

func topicJoin(c *callContext, s []uint64) {
	topic, ok := c.bytes(s[1], s[2])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		setStatus(s, c.host.TopicJoin(s[0], topic))
	}
}

func topicLeave(c *callContext, s []uint64) {
	topic, ok := c.bytes(s[1], s[2])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		setStatus(s, c.host.TopicLeave(s[0], topic))
	}
}

func topicPublish(c *callContext, s []uint64) {
	topic, ok := c.bytes(s[0], s[1])
	p, ok2 := c.bytes(s[3], s[4])
	switch {
	case !ok || !ok2:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		setStatus(s, c.host.TopicPublish(topic, int32(s[2]), p, s[5]))
	}
}

func topicCount(c *callContext, s []uint64) {
	topic, ok := c.bytes(s[0], s[1])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		setStatus(s, Status(c.host.TopicCount(topic)))
	}
}

func timerSet(c *callContext, s []uint64) {
	if c.host == nil {
		setStatus(s, StatusUnavailable)
		return
	}
	setStatus(s, c.host.TimerSet(s[0], int64(s[1]), int64(s[2]), int64(s[3])))
}

func timerCancel(c *callContext, s []uint64) {
	if c.host == nil {
		setStatus(s, StatusUnavailable)
		return
	}
	setStatus(s, c.host.TimerCancel(s[0], int64(s[1])))
}

// A time is never an error: between calls it is the last event's, and 0 before the first.

func timeUnixMs(c *callContext, s []uint64) {
	c.refresh()
	setI64(s, c.clock.unixMs)
}

func timeMonoNs(c *callContext, s []uint64) {
	c.refresh()
	setI64(s, c.clock.monoNs)
}

func random(c *callContext, s []uint64) {
	p, ok := c.bytes(s[0], s[1])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case len(p) > maxRandomBytes:
		setStatus(s, StatusTooBig)
	default:
		_, _ = c.random.Read(p) // ChaCha8 never fails
		setStatus(s, StatusOK)
	}
}

// slogLevels are the levels of the ABI.
var slogLevels = [...]slog.Level{
	levelDebug: slog.LevelDebug,
	levelInfo:  slog.LevelInfo,
	levelWarn:  slog.LevelWarn,
	levelError: slog.LevelError,
}

func logLine(c *callContext, s []uint64) {
	line, ok := c.bytes(s[1], s[2])
	switch level := uint32(s[0]); {
	case !ok:
		setStatus(s, StatusBadPointer)
	case level >= uint32(len(slogLevels)):
		setStatus(s, StatusInvalid)
	case !c.log(slogLevels[level], "", line):
		setStatus(s, StatusTooMany)
	default:
		setStatus(s, StatusOK)
	}
}

func metricAdd(c *callContext, s []uint64) {
	name, ok := c.bytes(s[0], s[1])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		setStatus(s, c.host.MetricAdd(name, int64(s[2])))
	}
}

func abiHas(c *callContext, s []uint64) {
	name, ok := c.bytes(s[0], s[1])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case len(name) > maxNameBytes || hostFuncNamed[string(name)] == nil:
		setStatus(s, 0)
	default:
		setStatus(s, 1)
	}
}

func upgradeURI(c *callContext, s []uint64) {
	buf, ok := c.bytes(s[0], s[1])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		value, status := c.host.UpgradeURI()
		setStatus(s, answer(buf, value, status))
	}
}

func upgradeHeader(c *callContext, s []uint64) {
	name, ok := c.bytes(s[0], s[1])
	buf, ok2 := c.bytes(s[2], s[3])
	switch {
	case !ok || !ok2:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		value, status := c.host.UpgradeHeader(name)
		setStatus(s, answer(buf, value, status))
	}
}

func upgradeProtocol(c *callContext, s []uint64) {
	name, ok := c.bytes(s[0], s[1])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		setStatus(s, c.host.UpgradeProtocol(name))
	}
}

func upgradeRespondHeader(c *callContext, s []uint64) {
	name, ok := c.bytes(s[0], s[1])
	value, ok2 := c.bytes(s[2], s[3])
	switch {
	case !ok || !ok2:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		setStatus(s, c.host.UpgradeRespondHeader(name, value))
	}
}

func stateSave(c *callContext, s []uint64) {
	p, ok := c.bytes(s[0], s[1])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		setStatus(s, c.host.StateSave(p))
	}
}

func instanceKey(c *callContext, s []uint64) {
	buf, ok := c.bytes(s[0], s[1])
	switch {
	case !ok:
		setStatus(s, StatusBadPointer)
	case c.host == nil:
		setStatus(s, StatusUnavailable)
	default:
		value, status := c.host.InstanceKey()
		setStatus(s, answer(buf, value, status))
	}
}
