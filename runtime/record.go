package runtime

import (
	"bytes"
	goruntime "runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/tetratelabs/wazero/api"

	"weir/internal/wasm"
)

// recorder is the flight recorder of one instance. It keeps what the instance was asked and answered since its birth;
// when that is more than it may keep, it takes a snapshot of the instance between two events and forgets what was
// before. It belongs to the goroutine that holds the instance.
//
// What is not on the tape follows from what is: WASI's clocks from the Host's, random bytes from the stream's state,
// and the log's answers from the lines of the call.
type recorder struct {
	tapeWriter
	i     *Instance
	host  Host // of the running event
	begin TapeBegin
	start tapeStart
	why   string // there cannot be a snapshot; empty if there can
	first uint64 // number of the first event on the tape
	next  uint64 // and of the next one

	// most is how much is kept before a snapshot, and hard how much more an event may add before the rest of it is cut.
	most, hard int

	open             bool // an entryEvent or entryInbound waits for its end
	cut              bool // and has got an entryCut
	lentAt, lentStop int  // where on the tape the bytes lent of the running event are
	callAt           int  // and where the last call begins
}

const (
	// What is copied for a snapshot is as much as what was recorded since the last one, within these bounds: so a snapshot
	// costs a message about as much again as recording it, however large the guest's memory is.
	minRecordBytes = 1 << 20
	maxRecordBytes = 16 << 20

	// maxEventBytes is what one event may add beyond that.
	maxEventBytes = 8 << 20

	// maxSnapshotBytes bounds the memory that a snapshot is taken of.
	maxSnapshotBytes = 128 << 20
)

// newRecorder begins the tape of an instance that is about to start.
func newRecorder(i *Instance) *recorder {
	r := &recorder{i: i, begin: TapeFromBirth, why: i.module.noSnapshot}
	r.start.random, _ = i.call.random.MarshalBinary() // never fails
	r.bound(0)
	return r
}

func (r *recorder) bound(memoryBytes int) {
	r.most = min(max(memoryBytes, minRecordBytes), maxRecordBytes)
	r.hard = r.most + maxEventBytes
}

// event begins an event, whose payload of n bytes is the beginning of lent, and returns the Host that the guest gets.
// Hot path, 0 allocs once the tape has grown (TestRecordingAllocs).
func (r *recorder) event(h Host, ev Event, conn uint64, arg int64, n int, lent []byte) Host {
	if len(r.tape) >= r.most {
		r.rewind()
	}
	r.host = h
	r.u8(entryEvent)
	r.u8(byte(ev))
	r.uint(conn)
	r.int(arg)
	r.uint(uint64(n))
	r.bytes(lent)
	r.lentAt, r.lentStop = len(r.tape)-len(lent), len(r.tape)
	r.open = true
	r.next++
	return (*recordingHost)(r)
}

// inbound begins a call of weir_inbound.
func (r *recorder) inbound(n int) {
	r.u8(entryInbound)
	r.uint(uint64(n))
	r.lentAt, r.lentStop = 0, 0
	r.open = true
}

// fill keeps a payload that was not delivered: the guest could still see it.
func (r *recorder) fill(lent []byte) {
	r.u8(entryFill)
	r.bytes(lent)
}

// end ends what was begun last.
func (r *recorder) end(result int64) {
	if !r.open {
		return
	}
	r.u8(entryEnd)
	r.int(result)
	r.int(r.i.Spent())
	r.open, r.host = false, nil
	if r.cut {
		r.cut = false
		r.most = 0 // what follows cannot be played from what is before
	}
}

// trap ends the tape. The recorder must not be used again.
func (r *recorder) trap(e *TrapError) *Tape {
	spent := r.i.Spent()
	number := r.next
	if r.open {
		r.u8(entryTrap)
		r.u8(byte(e.Reason))
		stopped := r.i.call.meter.stopped()
		r.int(stopped.fuel)
		r.uint(uint64(stopped.hits))
		r.int(spent)
		if e.Export == exportEvent {
			number--
		}
	}
	m := r.i.module
	t := &Tape{start: r.start, entries: r.tape}
	t.TapeHeader = TapeHeader{
		Weir:         version(),
		Module:       m.name,
		Generation:   m.generation,
		Instance:     r.i.ordinal,
		Digest:       m.digest,
		Time:         time.Now(),
		Arch:         goruntime.GOARCH,
		Interpreter:  m.engine.options.Interpreter,
		Metered:      m.metered,
		Capabilities: m.granted.Names(),
		MemoryPages:  m.memoryPages,
		Limits:       m.limits,
		First:        r.first,
		Start:        r.begin,
		Trap: &TapeTrap{Number: number, Export: e.Export, Reason: e.Reason.String(), Message: e.Message,
			Stack: e.Stack, Spent: spent},
	}
	if r.begin == TapeFromNowhere {
		t.Why = r.why
	}
	return t
}

// rewind forgets what was recorded, and takes a snapshot to go on from. The guest does not run.
func (r *recorder) rewind() {
	r.first = r.next
	if cap(r.tape) > maxRecordBytes+maxRecordBytes/2 {
		r.tape = nil // an event was larger than usual
	}
	r.tape = r.tape[:0]
	size := int(r.i.call.mem.Size())
	r.bound(size)
	switch {
	case r.why == "" && size <= maxSnapshotBytes:
		r.begin = TapeFromSnapshot
		r.snapshot()
	default:
		r.begin = TapeFromNowhere
		r.start = tapeStart{}
		if r.why == "" {
			r.why = "it had " + strconv.Itoa(size>>20) + " MiB of memory"
		}
	}
}

// snapshot copies all of the instance's state, into the memory of the last snapshot if that is large enough.
func (r *recorder) snapshot() {
	i, s := r.i, &r.start
	s.random, _ = i.call.random.AppendBinary(s.random[:0])
	s.clock, s.fresh, s.buffer, s.bytes = i.call.clock, i.fresh, i.buffer, i.bufferBytes
	s.globals = s.globals[:0]
	for _, index := range i.module.globals {
		g := i.guest.ExportedGlobal(globalName(index))
		s.globals = append(s.globals, globalValue{index, g.Get()})
	}
	memory, _ := view(i.call.mem, 0, i.call.mem.Size())
	s.memory = append(s.memory[:0], memory...)
}

// restore makes a new instance what it was when s was taken. An error means that s is not of this module.
func (s *tapeStart) restore(i *Instance) error {
	size := uint32(len(s.memory))
	if have := i.call.mem.Size(); have < size {
		if _, ok := i.call.mem.Grow((size - have) / wasmPageBytes); !ok {
			return errSnapshot("its memory of " + strconv.Itoa(len(s.memory)) + " bytes cannot be had")
		}
	}
	if i.call.mem.Size() != size {
		return errSnapshot("the module's memory is larger than the snapshot's")
	}
	if err := i.call.random.UnmarshalBinary(s.random); err != nil {
		return errSnapshot("its random state is damaged")
	}
	if len(s.globals) != len(i.module.globals) {
		return errSnapshot("the module has other globals")
	}
	for _, v := range s.globals {
		g, ok := i.guest.ExportedGlobal(globalName(v.index)).(api.MutableGlobal)
		if !ok {
			return errSnapshot("the module has other globals")
		}
		g.Set(v.value)
	}
	memory, _ := view(i.call.mem, 0, size)
	copy(memory, s.memory)
	i.call.clock, i.fresh, i.buffer, i.bufferBytes = s.clock, s.fresh, s.buffer, s.bytes
	return nil
}

type errSnapshot string

func (e errSnapshot) Error() string {
	return "the tape's snapshot does not fit the module: " + string(e)
}

func globalName(index uint32) string {
	return wasm.MeterGlobal + strconv.FormatUint(uint64(index), 10)
}

// version is what this weir was built from, if the build knows.
var version = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return ""
})

// call begins a call of the Host and reports whether it is kept; its arguments, of which n bytes are payloads, follow.
func (r *recorder) call(f byte, n int) bool {
	if len(r.tape)+n > r.hard {
		if !r.cut {
			r.u8(entryCut)
			r.cut = true
		}
		return false
	}
	r.callAt = len(r.tape)
	r.u8(entryCall + f)
	return true
}

// minSameBytes is from when on a payload that was sent on is kept as a reference.
const minSameBytes = 32

// arg keeps an argument. Guests often pass on what they were given: a reference spares the bytes.
func (r *recorder) arg(p []byte) {
	if n := len(p); n >= minSameBytes && n <= r.lentStop-r.lentAt && bytes.Equal(p, r.tape[r.lentAt:r.lentAt+n]) {
		r.uint(uint64(n)<<1 | 1)
		return
	}
	r.bytes(p)
}

func (r *recorder) status(kept bool, s Status) Status {
	if kept {
		r.int(int64(s))
	}
	return s
}

func (r *recorder) value(kept bool, p []byte, s Status) ([]byte, Status) {
	if kept {
		r.bytes(p)
		r.int(int64(s))
	}
	return p, s
}

// recordingHost keeps what the guest asks the Host of the running event for, and its answers.
type recordingHost recorder

var _ Host = (*recordingHost)(nil)

func (h *recordingHost) kept(f byte, n int) (*recorder, bool) {
	r := (*recorder)(h)
	return r, r.call(f, n)
}

// connAndBytes keeps the arguments of most functions.
func (h *recordingHost) connAndBytes(f byte, conn uint64, p []byte) (*recorder, bool) {
	r, kept := h.kept(f, len(p))
	if kept {
		r.uint(conn)
		r.arg(p)
	}
	return r, kept
}

func (h *recordingHost) onlyBytes(f byte, p []byte) (*recorder, bool) {
	r, kept := h.kept(f, len(p))
	if kept {
		r.arg(p)
	}
	return r, kept
}

func (h *recordingHost) onlyConn(f byte, conn uint64) (*recorder, bool) {
	r, kept := h.kept(f, 0)
	if kept {
		r.uint(conn)
	}
	return r, kept
}

func (h *recordingHost) ConnSend(conn uint64, kind int32, p []byte) Status {
	r, kept := h.kept(callConnSend, len(p))
	if kept {
		r.uint(conn)
		r.int(int64(kind))
		r.arg(p)
	}
	return r.status(kept, r.host.ConnSend(conn, kind, p))
}

func (h *recordingHost) ConnClose(conn uint64, code int32, reason []byte) Status {
	r, kept := h.kept(callConnClose, len(reason))
	if kept {
		r.uint(conn)
		r.int(int64(code))
		r.arg(reason)
	}
	return r.status(kept, r.host.ConnClose(conn, code, reason))
}

func (h *recordingHost) ConnAttr(conn uint64, name []byte) ([]byte, Status) {
	r, kept := h.connAndBytes(callConnAttr, conn, name)
	p, s := r.host.ConnAttr(conn, name)
	return r.value(kept, p, s)
}

func (h *recordingHost) ConnStateGet(conn uint64) ([]byte, Status) {
	r, kept := h.onlyConn(callConnStateGet, conn)
	p, s := r.host.ConnStateGet(conn)
	return r.value(kept, p, s)
}

func (h *recordingHost) ConnStateSet(conn uint64, p []byte) Status {
	r, kept := h.connAndBytes(callConnStateSet, conn, p)
	return r.status(kept, r.host.ConnStateSet(conn, p))
}

func (h *recordingHost) ConnQueued(conn uint64) int64 {
	r, kept := h.onlyConn(callConnQueued, conn)
	n := r.host.ConnQueued(conn)
	if kept {
		r.int(n)
	}
	return n
}

func (h *recordingHost) TopicJoin(conn uint64, topic []byte) Status {
	r, kept := h.connAndBytes(callTopicJoin, conn, topic)
	return r.status(kept, r.host.TopicJoin(conn, topic))
}

func (h *recordingHost) TopicLeave(conn uint64, topic []byte) Status {
	r, kept := h.connAndBytes(callTopicLeave, conn, topic)
	return r.status(kept, r.host.TopicLeave(conn, topic))
}

func (h *recordingHost) TopicPublish(topic []byte, kind int32, p []byte, except uint64) Status {
	r, kept := h.kept(callTopicPublish, len(topic)+len(p))
	if kept {
		r.arg(topic)
		r.int(int64(kind))
		r.arg(p)
		r.uint(except)
	}
	return r.status(kept, r.host.TopicPublish(topic, kind, p, except))
}

func (h *recordingHost) TopicCount(topic []byte) int32 {
	r, kept := h.onlyBytes(callTopicCount, topic)
	return int32(r.status(kept, Status(r.host.TopicCount(topic))))
}

func (h *recordingHost) TimerSet(conn uint64, id, afterMs, everyMs int64) Status {
	r, kept := h.onlyConn(callTimerSet, conn)
	if kept {
		r.int(id)
		r.int(afterMs)
		r.int(everyMs)
	}
	return r.status(kept, r.host.TimerSet(conn, id, afterMs, everyMs))
}

func (h *recordingHost) TimerCancel(conn uint64, id int64) Status {
	r, kept := h.onlyConn(callTimerCancel, conn)
	if kept {
		r.int(id)
	}
	return r.status(kept, r.host.TimerCancel(conn, id))
}

// TimeUnixMs keeps both times. They stand still within an event, and the instance asks for both, this one first, and
// once.
func (h *recordingHost) TimeUnixMs() int64 {
	r := (*recorder)(h)
	unixMs := r.host.TimeUnixMs()
	if !r.cut {
		r.callAt = len(r.tape)
		r.u8(entryTime)
		r.int(unixMs)
		r.int(r.host.TimeMonoNs())
	}
	return unixMs
}

func (h *recordingHost) TimeMonoNs() int64 { return h.host.TimeMonoNs() }

func (h *recordingHost) MetricAdd(name []byte, delta int64) Status {
	r, kept := h.onlyBytes(callMetricAdd, name)
	if kept {
		r.int(delta)
	}
	return r.status(kept, r.host.MetricAdd(name, delta))
}

func (h *recordingHost) UpgradeURI() ([]byte, Status) {
	r, kept := h.kept(callUpgradeURI, 0)
	p, s := r.host.UpgradeURI()
	return r.value(kept, p, s)
}

func (h *recordingHost) UpgradeHeader(name []byte) ([]byte, Status) {
	r, kept := h.onlyBytes(callUpgradeHeader, name)
	p, s := r.host.UpgradeHeader(name)
	return r.value(kept, p, s)
}

func (h *recordingHost) UpgradeProtocol(name []byte) Status {
	r, kept := h.onlyBytes(callUpgradeProtocol, name)
	return r.status(kept, r.host.UpgradeProtocol(name))
}

func (h *recordingHost) UpgradeRespondHeader(name, value []byte) Status {
	r, kept := h.kept(callUpgradeRespondHeader, len(name)+len(value))
	if kept {
		r.arg(name)
		r.arg(value)
	}
	return r.status(kept, r.host.UpgradeRespondHeader(name, value))
}

func (h *recordingHost) StateSave(p []byte) Status {
	r, kept := h.onlyBytes(callStateSave, p)
	return r.status(kept, r.host.StateSave(p))
}

func (h *recordingHost) InstanceKey() ([]byte, Status) {
	r, kept := h.kept(callInstanceKey, 0)
	p, s := r.host.InstanceKey()
	return r.value(kept, p, s)
}
