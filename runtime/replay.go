package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
)

// ReplayResult is how a tape went.
type ReplayResult struct {
	// SameModule says that the file is the one that was recorded. Then everything is compared: what was asked of the Host,
	// what was answered, and the fuel. Of another module, the fuel is not; nor is the event compared in which the recorded
	// one trapped, since that one is to be different.
	SameModule bool
	// Steps are those that were played, as they went; the one that diverged is the last.
	Steps []TapeStep
	// Outcome says how it ended.
	Outcome ReplayOutcome
	// Divergence is the first difference, if Outcome is ReplayDiverged.
	Divergence *Divergence
	// Trap is how the guest stopped, if it did.
	Trap *TrapError
}

// ReplayOutcome is how a replay ended.
type ReplayOutcome string

// The outcomes.
const (
	ReplayRepeated ReplayOutcome = "repeated" // all went as recorded, the trap included
	ReplayPassed   ReplayOutcome = "passed"   // another module went through the event in which the recorded one trapped
	ReplayDiverged ReplayOutcome = "diverged" // something went another way; of another module, also that it trapped too
	ReplayStopped  ReplayOutcome = "stopped"  // the last event that was asked for, or the end of what is on the tape, was reached
)

// Divergence is where a replay went another way than the tape.
type Divergence struct {
	Number   uint64 `json:"number"`   // of the event
	Step     string `json:"step"`     // what was played
	Call     int    `json:"call"`     // number of the call of the Host in it, from 0; -1 if it is not one
	What     string `json:"what"`     // what differs, as in "it asks the host for something else"
	Recorded string `json:"recorded"` // the tape's side
	Happened string `json:"happened"` // the replay's
}

// String is the divergence in a few lines.
func (d *Divergence) String() string {
	return fmt.Sprintf("%s: %s\n  recorded: %s\n  happened: %s", d.Step, d.What, d.Recorded, d.Happened)
}

// ErrNotPlayable means that the tape cannot be played with that module, for the reason that the error gives.
var ErrNotPlayable = errors.New("runtime: the tape cannot be played")

// Replay plays a tape on an instance of its own: file is the module, the one that was recorded or another, and until the
// number of the last event to play (math.MaxUint64 = all). What the guest asks its Host for is answered from the tape.
// No time passes: a guest that was stopped for want of time is stopped at the same instruction.
//
// ctx ends it early, with an error. Other errors are a tape that is damaged or cannot be played, or a *LoadError.
func Replay(ctx context.Context, e *Engine, t *Tape, file []byte, until uint64) (*ReplayResult, error) {
	digest := sha256.Sum256(file)
	p := &replay{tape: t, result: &ReplayResult{SameModule: hex.EncodeToString(digest[:]) == t.Digest}}
	switch {
	case t.Start == TapeFromNowhere:
		return nil, fmt.Errorf("%w: its beginning was overwritten, and there was no snapshot because %s", ErrNotPlayable, t.Why)
	case t.Start == TapeFromSnapshot && !p.result.SameModule:
		return nil, fmt.Errorf("%w: it begins with a snapshot of %s@%.12s, which another module does not understand",
			ErrNotPlayable, t.Module, t.Digest)
	}
	steps, err := t.Steps()
	if err != nil {
		return nil, err
	}
	granted, err := capabilitiesNamed(t.Capabilities)
	if err != nil {
		return nil, err
	}
	m, err := e.Load(ctx, file, ModuleOptions{
		Name:         t.Module,
		Generation:   t.Generation,
		Capabilities: granted,
		Deny:         true,
		MemoryPages:  t.MemoryPages,
		Instances:    1,
		Limits:       t.Limits,
		Record:       RecordOnTrap,
		Tapes:        func(t *Tape) string { p.ended = t.entries; return "" },
		replay:       p,
	})
	if err != nil {
		return nil, err
	}
	m.Retain()
	defer m.Release()
	defer m.Retire()
	i := m.TryTake()
	defer m.Discard(i)
	defer context.AfterFunc(ctx, m.Kill)()
	if t.Start == TapeFromSnapshot {
		if err := t.start.restore(i); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotPlayable, err)
		}
	}
	p.fuel = p.result.SameModule && t.Metered && m.metered
	return p.result, p.play(ctx, i, steps, until)
}

func capabilitiesNamed(names []string) (all Capability, err error) {
	for _, name := range names {
		c, ok := ParseCapability(name)
		if !ok {
			return 0, fmt.Errorf("tape: there is no capability %q", name)
		}
		all |= c
	}
	return all, nil
}

// replay plays one tape.
type replay struct {
	tape   *Tape
	result *ReplayResult
	fuel   bool // is compared

	i    *Instance
	step *TapeStep // the one that is played
	free bool      // it may go another way: it is the one that trapped, of another module

	rest   []byte // of the step's calls, those that were not made yet
	index  int    // of the first of these
	off    bool   // the guest has left the tape: there are no answers for it
	monoNs int64  // the time that belongs to what TimeUnixMs has returned
	missed *Divergence
	ended  []byte // what the recorder had when the guest stopped
}

// prepare makes an instance that is about to start what the recorded one was.
func (p *replay) prepare(c *callContext) error {
	c.meter.now = func() int64 { return 0 }
	if err := c.random.UnmarshalBinary(p.tape.start.random); err != nil {
		return errors.New("the tape's random state is damaged")
	}
	return nil
}

func (p *replay) play(ctx context.Context, i *Instance, steps []TapeStep, until uint64) error {
	p.i = i
	for n := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := &steps[n]
		if s.Number > until || s.Cut {
			p.result.Outcome = ReplayStopped
			return nil
		}
		done := p.one(s)
		if err := ctx.Err(); err != nil {
			return err
		}
		if done {
			return nil
		}
	}
	p.result.Outcome = ReplayStopped
	return nil
}

// one plays one step and reports whether the replay is over.
func (p *replay) one(s *TapeStep) (over bool) {
	i, r := p.i, p.result
	p.step, p.rest, p.index, p.off = s, s.raw, 0, false
	p.free = s.Trapped && !r.SameModule
	i.call.meter.end = p.end(s)
	rec := i.rec
	rec.tape = rec.tape[:0]
	rec.most, rec.hard = math.MaxInt, math.MaxInt

	result, err := int64(0), error(nil)
	switch s.Kind {
	case StepFill:
		var view []byte
		if view, err = i.Inbound(len(s.Lent)); err == nil {
			copy(view, s.Lent)
			i.lent = 0
		}
	case StepInbound:
		if !r.SameModule && !s.Trapped {
			return false // it asks where it needs to
		}
		if i.bufferBytes >= s.Length {
			i.bufferBytes = 0
		}
		_, err = i.Inbound(s.Length)
		i.lent = 0
		result = int64(i.buffer)
	default:
		var view []byte
		if view, err = i.Inbound(len(s.Lent)); err == nil {
			copy(view, s.Lent)
			rec.tape = rec.tape[:0]
			var status int32
			status, err = i.Call((*playback)(p), s.Event, s.Conn, s.Arg, s.Length)
			result = int64(status)
		}
	}
	trap, _ := errors.AsType[*TrapError](err)
	played := p.played(s, result, trap)
	r.Steps = append(r.Steps, played)
	r.Trap = trap
	if p.missed == nil && !p.free {
		p.missed = p.compare(s, &played, trap)
	}
	switch {
	case p.missed != nil:
		r.Outcome, r.Divergence = ReplayDiverged, p.missed
	case p.free && trap != nil:
		r.Outcome = ReplayDiverged
		r.Divergence = p.differs(-1, "it still traps", p.recordedEnd(s), endText(&played, trap))
	case p.free:
		r.Outcome = ReplayPassed
	case trap != nil:
		r.Outcome = ReplayRepeated
	default:
		return false
	}
	return true
}

// end says where the meter ends a call.
func (p *replay) end(s *TapeStep) *stopPoint {
	stopped := s.Trapped && (s.Reason == ReasonFuel || s.Reason == ReasonTimeout)
	err := errOutOfFuel
	if s.Reason == ReasonTimeout && s.Trapped {
		err = errOutOfTime
	}
	switch {
	case p.fuel && stopped:
		return &stopPoint{fuel: s.stopFuel, hits: s.stopHits, err: err}
	case p.fuel:
		return &stopPoint{fuel: s.Spent + 1, err: err} // whoever needs more has left the tape
	case stopped && s.Reason == ReasonTimeout && p.tape.Metered:
		return &stopPoint{fuel: s.Spent, err: err} // another module has as much, since there is no clock
	}
	return nil
}

// played is the step as it went.
func (p *replay) played(s *TapeStep, result int64, trap *TrapError) TapeStep {
	played := *s
	played.Calls, played.raw = nil, nil
	d := tapeReader{rest: p.ended}
	if p.i.rec != nil {
		d.rest = bytes.Clone(p.i.rec.tape) // which the next step overwrites
	}
	if got, ok := d.step(); ok {
		played.Calls, played.raw = got.Calls, got.raw
	}
	if p.missed != nil { // what it asks for without answers says nothing
		played.Calls = played.Calls[:min(len(played.Calls), p.missed.Call+1)]
	}
	played.Result, played.Spent = result, p.i.Spent()
	if played.Trapped = trap != nil; trap != nil {
		played.Result, played.Reason = 0, trap.Reason
	}
	return played
}

// compare holds what a step came to against the tape. The calls that were made have been compared.
func (p *replay) compare(s, played *TapeStep, trap *TrapError) *Divergence {
	p.skipTime()
	switch stopped := s.Reason == ReasonFuel || s.Reason == ReasonTimeout; {
	case len(p.rest) > 0:
		return p.differs(p.index, "it asks the host for something else", p.recordedCall(), "nothing more; "+endText(played, trap))
	case s.Trapped != played.Trapped, s.Trapped && s.Reason != played.Reason:
		return p.differs(-1, "it ends in another way", p.recordedEnd(s), endText(played, trap))
	case s.Trapped && p.tape.Trap != nil && p.tape.Trap.Message != trap.Message:
		return p.differs(-1, "it ends in another way", p.recordedEnd(s), endText(played, trap))
	case s.Kind == StepFill:
		return nil
	case s.Result != played.Result && (p.result.SameModule || s.Kind == StepEvent):
		return p.differs(-1, "it answers something else", fmt.Sprint(s.Result), fmt.Sprint(played.Result))
	case p.fuel && s.Spent != played.Spent && !(s.Trapped && stopped):
		return p.differs(-1, "it spends other fuel", fmt.Sprint(s.Spent), fmt.Sprint(played.Spent))
	}
	return nil
}

func (p *replay) differs(call int, what, recorded, happened string) *Divergence {
	return &Divergence{Number: p.step.Number, Step: p.step.String(), Call: call, What: what, Recorded: recorded, Happened: happened}
}

// recordedEnd is how the step ended on the tape, and endText how it ended now.
func (p *replay) recordedEnd(s *TapeStep) string {
	if s.Trapped && p.tape.Trap != nil {
		return "it trapped: " + p.tape.Trap.Message
	}
	return endText(s, nil)
}

func endText(s *TapeStep, trap *TrapError) string {
	switch {
	case trap != nil:
		return "it trapped: " + trap.Message
	case s.Trapped:
		return "it trapped: " + s.Reason.String()
	default:
		return fmt.Sprintf("it answered %d", s.Result)
	}
}

// recordedCall is the next call on the tape.
func (p *replay) recordedCall() string {
	d := tapeReader{rest: p.rest}
	c, ok := d.call(d.u8(), p.step.Lent)
	if !ok {
		return "nothing more; " + p.recordedEnd(p.step)
	}
	return c.String()
}

// skipTime passes over a look at the clock: another module may look or not.
func (p *replay) skipTime() {
	if !p.result.SameModule && len(p.rest) > 0 && p.rest[0] == entryTime {
		p.takeTime()
	}
}

// takeTime takes a look at the clock from the tape.
func (p *replay) takeTime() (unixMs, monoNs int64) {
	d := tapeReader{rest: p.rest[1:]}
	unixMs, monoNs = d.int(), d.int()
	p.rest = d.rest
	p.index++
	return unixMs, monoNs
}

// asked compares a call of the guest, whose arguments the recorder has just kept, with the next one on the tape, and
// passes over it. It reports false if there is no answer for it.
func (p *replay) asked() bool {
	if p.off {
		return false
	}
	p.skipTime()
	rec := p.i.rec
	call := rec.tape[rec.callAt:]
	if bytes.HasPrefix(p.rest, call) { // numbers and lengths end by themselves, so all of the arguments are equal
		p.rest = p.rest[len(call):]
		p.index++
		return true
	}
	p.off = true
	if !p.free {
		d := tapeReader{rest: call[1:]}
		c, _, _ := d.args(call[0], p.step.Lent)
		p.missed = p.differs(p.index, "it asks the host for something else", p.recordedCall(), c.call())
	}
	return false
}

// status is the answer on the tape. Who has left the tape, but may, hears that all is well; who may not, that nothing is
// available: it is not listened to any more.
func (p *replay) status() int64 {
	switch {
	case p.asked():
		d := tapeReader{rest: p.rest}
		v := d.int()
		p.rest = d.rest
		return v
	case p.free:
		return int64(StatusOK)
	default:
		return int64(StatusUnavailable)
	}
}

func (p *replay) value() ([]byte, Status) {
	switch {
	case p.asked():
		d := tapeReader{rest: p.rest}
		v, status := d.bytes(nil), d.int()
		p.rest = d.rest
		return v, Status(status)
	case p.free:
		return nil, StatusNotFound
	default:
		return nil, StatusUnavailable
	}
}

// playback is the Host of a replayed event. What it is asked, the recorder has kept.
type playback replay

var _ Host = (*playback)(nil)

func (h *playback) status() Status          { return Status((*replay)(h).status()) }
func (h *playback) value() ([]byte, Status) { return (*replay)(h).value() }

func (h *playback) ConnSend(uint64, int32, []byte) Status             { return h.status() }
func (h *playback) ConnClose(uint64, int32, []byte) Status            { return h.status() }
func (h *playback) ConnAttr(uint64, []byte) ([]byte, Status)          { return h.value() }
func (h *playback) ConnStateGet(uint64) ([]byte, Status)              { return h.value() }
func (h *playback) ConnStateSet(uint64, []byte) Status                { return h.status() }
func (h *playback) ConnQueued(uint64) int64                           { return (*replay)(h).status() }
func (h *playback) TopicJoin(uint64, []byte) Status                   { return h.status() }
func (h *playback) TopicLeave(uint64, []byte) Status                  { return h.status() }
func (h *playback) TopicPublish([]byte, int32, []byte, uint64) Status { return h.status() }
func (h *playback) TopicCount([]byte) int32                           { return int32(h.status()) }
func (h *playback) TimerSet(uint64, int64, int64, int64) Status       { return h.status() }
func (h *playback) TimerCancel(uint64, int64) Status                  { return h.status() }
func (h *playback) MetricAdd([]byte, int64) Status                    { return h.status() }
func (h *playback) UpgradeURI() ([]byte, Status)                      { return h.value() }
func (h *playback) UpgradeHeader([]byte) ([]byte, Status)             { return h.value() }
func (h *playback) UpgradeProtocol([]byte) Status                     { return h.status() }
func (h *playback) UpgradeRespondHeader([]byte, []byte) Status        { return h.status() }
func (h *playback) StateSave([]byte) Status                           { return h.status() }
func (h *playback) InstanceKey() ([]byte, Status)                     { return h.value() }

// TimeUnixMs returns the time on the tape. Another module that looks at the clock where the recorded one did not gets
// the event's time nevertheless, or the last one.
func (h *playback) TimeUnixMs() int64 {
	p := (*replay)(h)
	clock := &p.i.call.clock
	if p.result.SameModule {
		if !p.off && (len(p.rest) == 0 || p.rest[0] != entryTime) {
			p.off = true
			p.missed = p.differs(p.index, "it asks the host for something else", p.recordedCall(), "time()")
		}
		if p.off {
			p.monoNs = clock.monoNs
			return clock.unixMs
		}
		var unixMs int64
		unixMs, p.monoNs = p.takeTime()
		return unixMs
	}
	p.monoNs = clock.monoNs
	unixMs := clock.unixMs
	for _, c := range p.step.Calls {
		if c.Func == callTime {
			unixMs, p.monoNs = c.Numbers[0], c.Numbers[1]
		}
	}
	return unixMs
}

func (h *playback) TimeMonoNs() int64 { return h.monoNs }
