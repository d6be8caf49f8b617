package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// taped is an instance of a guest that records, and the tapes of its module.
type taped struct {
	*Instance
	file  []byte
	tapes []*Tape
}

func newTaped(t testing.TB, o Options, file []byte, mo ModuleOptions) *taped {
	t.Helper()
	r := &taped{file: file}
	mo.Name, mo.Generation, mo.Deny, mo.Record, mo.Instances = "taped", 3, true, RecordOnTrap, 1
	mo.Capabilities = CapabilityDefault
	setDefault(&mo.Limits.Timeout, time.Hour) // the machine may be busy
	setDefault(&mo.Limits.OpenTimeout, time.Hour)
	setDefault(&mo.Limits.StartTimeout, time.Hour)
	mo.Tapes = func(tape *Tape) string {
		r.tapes = append(r.tapes, tape)
		return fmt.Sprint("tape ", len(r.tapes))
	}
	m, err := newEngine(t, o).Load(context.Background(), file, mo)
	if err != nil {
		t.Fatal(err)
	}
	r.Instance = take(t, m)
	t.Cleanup(func() { m.Give(r.Instance) })
	return r
}

// tape returns the one tape there is, by way of a file.
func (r *taped) tape(t testing.TB) *Tape {
	t.Helper()
	if len(r.tapes) != 1 {
		t.Fatalf("%d tapes were kept", len(r.tapes))
	}
	file, err := r.tapes[0].Encode()
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := DecodeTape(file)
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

// play plays a tape that must be playable.
func play(t testing.TB, o Options, tape *Tape, file []byte) *ReplayResult {
	t.Helper()
	r, err := Replay(context.Background(), newEngine(t, o), tape, file, math.MaxUint64)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// mustRepeat plays a tape, in which everything must go as recorded.
func mustRepeat(t testing.TB, o Options, tape *Tape, file []byte) *ReplayResult {
	t.Helper()
	r := play(t, o, tape, file)
	if r.Divergence != nil {
		t.Fatalf("it diverged: %s", r.Divergence)
	}
	if r.Outcome != ReplayRepeated || !r.SameModule {
		t.Fatalf("it %s, same module %t", r.Outcome, r.SameModule)
	}
	steps, err := tape.Steps()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Steps) != len(steps) {
		t.Fatalf("%d of %d steps were played", len(r.Steps), len(steps))
	}
	for n := range steps {
		if !reflect.DeepEqual(steps[n].Calls, r.Steps[n].Calls) {
			t.Fatalf("%s: the calls differ\n%v\n%v", &steps[n], steps[n].Calls, r.Steps[n].Calls)
		}
	}
	return r
}

// moodyHost answers at random, and has a clock.
type moodyHost struct {
	random *rand.Rand
	monoNs int64
	asked  int
}

func (h *moodyHost) status() Status {
	h.asked++
	return Status(h.random.IntN(14) - 10)
}

func (h *moodyHost) value() ([]byte, Status) {
	p := make([]byte, h.random.IntN(300))
	for i := range p {
		p[i] = byte(h.random.Uint32())
	}
	return p, Status(h.random.IntN(2) * -int(h.random.IntN(11)))
}

func (h *moodyHost) ConnSend(uint64, int32, []byte) Status             { return h.status() }
func (h *moodyHost) ConnClose(uint64, int32, []byte) Status            { return h.status() }
func (h *moodyHost) ConnAttr(uint64, []byte) ([]byte, Status)          { return h.value() }
func (h *moodyHost) ConnStateGet(uint64) ([]byte, Status)              { return h.value() }
func (h *moodyHost) ConnStateSet(uint64, []byte) Status                { return h.status() }
func (h *moodyHost) ConnQueued(uint64) int64                           { return h.random.Int64() }
func (h *moodyHost) TopicJoin(uint64, []byte) Status                   { return h.status() }
func (h *moodyHost) TopicLeave(uint64, []byte) Status                  { return h.status() }
func (h *moodyHost) TopicPublish([]byte, int32, []byte, uint64) Status { return h.status() }
func (h *moodyHost) TopicCount([]byte) int32                           { return int32(h.random.Uint32()) }
func (h *moodyHost) TimerSet(uint64, int64, int64, int64) Status       { return h.status() }
func (h *moodyHost) TimerCancel(uint64, int64) Status                  { return h.status() }
func (h *moodyHost) TimeUnixMs() int64                                 { return int64(h.random.Uint32()) }
func (h *moodyHost) TimeMonoNs() int64                                 { return h.monoNs }
func (h *moodyHost) MetricAdd([]byte, int64) Status                    { return h.status() }
func (h *moodyHost) UpgradeURI() ([]byte, Status)                      { return h.value() }
func (h *moodyHost) UpgradeHeader([]byte) ([]byte, Status)             { return h.value() }
func (h *moodyHost) UpgradeProtocol([]byte) Status                     { return h.status() }
func (h *moodyHost) UpgradeRespondHeader([]byte, []byte) Status        { return h.status() }
func (h *moodyHost) StateSave([]byte) Status                           { return h.status() }
func (h *moodyHost) InstanceKey() ([]byte, Status)                     { return h.value() }

// letters are a payload of n commands of the guest "tape", none of which ends it.
func letters(random *rand.Rand, n int) string {
	const known = "bceprst-"
	p := make([]byte, n)
	for i := range p {
		p[i] = known[random.IntN(len(known))]
	}
	if random.IntN(50) == 0 {
		p = append(p, 'g')
	}
	if random.IntN(20) == 0 {
		p = append(p, 'f')
	}
	return string(p)
}

// live gives an instance n random events, of which none ends it.
func live(t testing.TB, r *taped, h *moodyHost, n, mostBytes int) {
	t.Helper()
	for range n {
		h.monoNs += int64(h.random.IntN(1e6))
		payload := letters(h.random, h.random.IntN(mostBytes))
		switch h.random.IntN(20) {
		case 0: // a payload that is begun and given up
			view, err := r.Inbound(h.random.IntN(2 * mostBytes))
			if err != nil {
				t.Fatal(err)
			}
			for i := range view {
				view[i] = byte(h.random.Uint32())
			}
		case 1: // more than a payload is written
			view, err := r.Inbound(len(payload) + 8)
			if err != nil {
				t.Fatal(err)
			}
			copy(view, payload)
			copy(view[len(payload):], "residue.")
			if _, err := r.Call(h, EventText, 1, 0, len(payload)); err != nil {
				t.Fatal(err)
			}
		default:
			if _, err := send(r.Instance, h, Event(h.random.IntN(10)), h.random.Uint64(), h.random.Int64(), payload); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func newMoody(seed uint64) *moodyHost { return &moodyHost{random: rand.New(rand.NewPCG(seed, seed))} }

func TestARandomListOfEventsReplaysBitForBit(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		for seed := range uint64(8) {
			r := newTaped(t, o, guest(t, "tape"), ModuleOptions{Seed: seed})
			live(t, r, newMoody(seed), 200, 200)
			if _, err := send(r.Instance, newMoody(seed), EventText, 5, 0, "tsrex"); err == nil {
				t.Fatal("no trap")
			}
			tape := r.tape(t)
			if tape.Start != TapeFromBirth {
				t.Fatalf("it begins with %s", tape.Start)
			}
			result := mustRepeat(t, o, tape, r.file)
			if result.Trap == nil || result.Trap.Message != "unreachable" || result.Trap.Event != EventText {
				t.Errorf("trap: %v", result.Trap)
			}
			other := Options{Interpreter: !o.Interpreter}
			mustRepeat(t, other, tape, r.file)
		}
	})
}

func TestATapeThatIsFullGoesOnFromASnapshot(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		r := newTaped(t, o, guest(t, "tape"), ModuleOptions{})
		h := newMoody(1)
		live(t, r, h, 20, 200)
		for r.rec.begin != TapeFromSnapshot {
			live(t, r, h, 20, 20_000)
		}
		live(t, r, h, 20, 200)
		if _, err := send(r.Instance, h, EventText, 5, 0, "tsrex"); err == nil {
			t.Fatal("no trap")
		}
		tape := r.tape(t)
		if tape.Start != TapeFromSnapshot || tape.First < 20 || len(tape.start.memory) == 0 || len(tape.start.globals) != 2 {
			t.Fatalf("it begins with %s, event %d, %d globals", tape.Start, tape.First, len(tape.start.globals))
		}
		if len(tape.entries) > maxRecordBytes+maxEventBytes {
			t.Errorf("it has %d bytes", len(tape.entries))
		}
		mustRepeat(t, o, tape, r.file)
	})
}

// stops are the ways in which the guest "tape" can be stopped.
var stops = []struct {
	name, payload string
	limits        Limits
	reason        Reason
}{
	{"a trap", "tsrx", Limits{}, ReasonTrap},
	{"a loop that ran out of fuel", "srl", Limits{Fuel: 1_000_000, Timeout: time.Hour}, ReasonFuel},
	{"a loop that ran out of time", "srl", Limits{Fuel: maxFuel, Timeout: time.Nanosecond, OpenTimeout: time.Nanosecond}, ReasonTimeout},
	{"calls of the host that ran out of fuel", "srh", Limits{Fuel: 1_000_000, Timeout: time.Hour}, ReasonFuel},
	{"calls of the host that ran out of time", "srh", Limits{Fuel: maxFuel, Timeout: time.Millisecond, OpenTimeout: time.Millisecond}, ReasonTimeout},
	{"a buffer that was refused with a trap", strings.Repeat("-", 60_001), Limits{}, ReasonTrap},
}

func TestTheGuestStopsWhereItWasStopped(t *testing.T) {
	for _, c := range stops {
		t.Run(c.name, func(t *testing.T) {
			onBothEngines(t, func(t *testing.T, o Options) {
				r := newTaped(t, o, guest(t, "tape"), ModuleOptions{Limits: c.limits})
				h := newMoody(7)
				if c.reason == ReasonTrap {
					live(t, r, h, 10, 100)
				}
				_, err := send(r.Instance, h, EventText, 5, 0, c.payload)
				trap, ok := errors.AsType[*TrapError](err)
				if !ok || trap.Reason != c.reason || trap.Tape != "tape 1" {
					t.Fatalf("%v, tape %q", err, trap.Tape)
				}
				result := mustRepeat(t, o, r.tape(t), r.file)
				if result.Trap == nil || result.Trap.Reason != c.reason || result.Trap.Message != trap.Message {
					t.Errorf("it ended with %v", result.Trap)
				}
			})
		})
	}
}

// patched is the guest "tape" with one byte sequence replaced by another of the same length.
func patched(t testing.TB, from, to string) []byte {
	t.Helper()
	file := guest(t, "tape")
	if n := bytes.Count(file, []byte(from)); n != 1 {
		t.Fatalf("%x is there %d times", from, n)
	}
	return bytes.Replace(file, []byte(from), []byte(to), 1)
}

// fixed is the guest "tape" that does not trap at an x.
func fixed(t testing.TB) []byte { return patched(t, "\x41\xed\xbd\x01", "\x41\x80\x80\x00") }

func TestAFixedModulePasses(t *testing.T) {
	r := newTaped(t, Options{}, guest(t, "tape"), ModuleOptions{})
	h := newMoody(3)
	live(t, r, h, 100, 100)
	_, _ = send(r.Instance, h, EventText, 5, 0, "tsrxetsce")
	result := play(t, Options{}, r.tape(t), fixed(t))
	if result.Outcome != ReplayPassed || result.SameModule || result.Divergence != nil || result.Trap != nil {
		t.Fatalf("it %s, trap %v, %v", result.Outcome, result.Trap, result.Divergence)
	}
	last := result.Steps[len(result.Steps)-1]
	if n := len(last.Calls); n != 6 || last.Trapped {
		t.Errorf("after the trap it asked for %v", last.Calls)
	}
}

func TestAnotherModuleDivergesWhereItDoesSomethingElse(t *testing.T) {
	// Of its two numbers, the multiplier of what it keeps is another one.
	other := patched(t, "\x42\x95\xf8\xa9\xfa\x97\xb7\xde\x9b\x9e\x7f", "\x42\x96\xf8\xa9\xfa\x97\xb7\xde\x9b\x9e\x7f")
	r := newTaped(t, Options{}, guest(t, "tape"), ModuleOptions{})
	h := newMoody(3)
	for _, payload := range []string{"e", "ttt", "ee", "-s", "ex"} {
		_, _ = send(r.Instance, h, EventText, 5, 0, payload)
	}
	result := play(t, Options{}, r.tape(t), other)
	d := result.Divergence
	if result.Outcome != ReplayDiverged || d == nil || d.Number != 3 || d.Call != 0 {
		t.Fatalf("it %s: %v", result.Outcome, d)
	}
	for _, side := range []string{d.Recorded, d.Happened} {
		if !strings.HasPrefix(side, "conn_send(5, 2, ") {
			t.Errorf("a side is %q", side)
		}
	}
	if d.Recorded == d.Happened {
		t.Errorf("both sides are %q", d.Recorded)
	}
}

func TestAnotherModuleThatTrapsTooHasNotPassed(t *testing.T) {
	r := newTaped(t, Options{}, guest(t, "tape"), ModuleOptions{})
	_, _ = send(r.Instance, newMoody(1), EventText, 5, 0, "ex")
	renamed := patched(t, "\x03mix", "\x03mux") // in the names of globals, or nothing is
	result := play(t, Options{}, r.tape(t), renamed)
	if result.Outcome != ReplayDiverged || result.Trap == nil || result.Divergence.Number != 0 {
		t.Fatalf("it %s: %v", result.Outcome, result.Divergence)
	}
}

func TestATapeSaysWhatItCannotDo(t *testing.T) {
	r := newTaped(t, Options{}, guest(t, "tape"), ModuleOptions{})
	h := newMoody(1)
	for r.rec.begin != TapeFromSnapshot {
		live(t, r, h, 50, 20_000)
	}
	_, _ = send(r.Instance, h, EventText, 5, 0, "x")
	_, err := Replay(context.Background(), newEngine(t, Options{}), r.tape(t), fixed(t), math.MaxUint64)
	if !errors.Is(err, ErrNotPlayable) || !strings.Contains(err.Error(), "snapshot") {
		t.Errorf("another module and a snapshot: %v", err)
	}

	r = newTaped(t, Options{}, guest(t, "tabled"), ModuleOptions{})
	for r.rec.begin == TapeFromBirth {
		if _, err := send(r.Instance, h, EventText, 1, 0, strings.Repeat("x", 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = send(r.Instance, h, EventText, 1, 0, "")
	tape := r.tape(t)
	if tape.Start != TapeFromNowhere || tape.Why != "its code changes a table" {
		t.Errorf("a table that changes: %s, %q", tape.Start, tape.Why)
	}
	if steps, err := tape.Steps(); err != nil || len(steps) == 0 {
		t.Errorf("%d steps, %v", len(steps), err)
	}
	if _, err = Replay(context.Background(), newEngine(t, Options{}), tape, r.file, math.MaxUint64); !errors.Is(err, ErrNotPlayable) {
		t.Errorf("a tape from nowhere: %v", err)
	}
}

func TestAModuleThatChangesTablesReplaysFromBirth(t *testing.T) {
	r := newTaped(t, Options{}, guest(t, "tabled"), ModuleOptions{})
	for _, payload := range []string{"a", "b", ""} {
		_, _ = send(r.Instance, newMoody(1), EventText, 1, 0, payload)
	}
	mustRepeat(t, Options{}, r.tape(t), r.file)
}

func TestAnEventThatIsTooLargeIsCutAndForgotten(t *testing.T) {
	r := newTaped(t, Options{}, guest(t, "tape"), ModuleOptions{Limits: Limits{Fuel: maxFuel, HostCalls: maxHostCalls, Timeout: time.Hour}})
	h := newMoody(1)
	if _, err := send(r.Instance, h, EventText, 5, 0, strings.Repeat("s", 60_000)); err != nil {
		t.Fatal(err)
	}
	r.rec.hard = 2 << 20
	for range 2 {
		if _, err := send(r.Instance, h, EventText, 5, 0, strings.Repeat("s", 60_000)); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.rec.tape) > 3<<20 {
		t.Errorf("the tape has %d bytes", len(r.rec.tape))
	}
	_, _ = send(r.Instance, h, EventText, 5, 0, "sx")
	tape := r.tape(t)
	if tape.Start != TapeFromSnapshot {
		t.Fatalf("it begins with %s", tape.Start)
	}
	mustRepeat(t, Options{}, tape, r.file)
}

func TestAReplayEndsWhereItIsTold(t *testing.T) {
	r := newTaped(t, Options{}, guest(t, "tape"), ModuleOptions{})
	for _, payload := range []string{"e", "t", "s", "x"} {
		_, _ = send(r.Instance, newMoody(1), EventText, 5, 0, payload)
	}
	result, err := Replay(context.Background(), newEngine(t, Options{}), r.tape(t), r.file, 1)
	if err != nil || result.Outcome != ReplayStopped || result.Steps[len(result.Steps)-1].Number != 1 {
		t.Errorf("%v, it %s after %d steps", err, result.Outcome, len(result.Steps))
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Replay(ended, newEngine(t, Options{}), r.tape(t), r.file, 9); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

func TestTheGuestOfAnExampleReplays(t *testing.T) {
	file, err := os.ReadFile("../host/testdata/puppet.wasm")
	if err != nil {
		t.Fatal(err)
	}
	onBothEngines(t, func(t *testing.T, o Options) {
		r := newTaped(t, o, file, ModuleOptions{})
		h := newMoody(11)
		for _, e := range []struct {
			ev      Event
			payload string
		}{
			{EventInit, "{}"}, {EventUpgrade, ""}, {EventOpen, ""},
			{EventText, "echo hi;join a;publish a hello;count a;?queued;?mono;set @echo x;get;attr path"},
			{EventText, "timer 1 20 0;?cancel 1;fail 3"}, {EventTimer, ""}, {EventDrain, ""}, {EventClose, "bye"},
			{EventBinary, strings.Repeat("x", 50_000)}, {EventText, "spin 1000;trap"},
		} {
			_, err = send(r.Instance, h, e.ev, 5, 1, e.payload)
		}
		if err == nil {
			t.Fatal("no trap")
		}
		mustRepeat(t, o, r.tape(t), file)
	})
}

func TestRecordingAllocs(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	r := newTaped(t, Options{}, guest(t, "echo"), ModuleOptions{})
	h := &quietHost{}
	turn := func() {
		if _, err := send(r.Instance, h, EventText, 1, 0, "a message of no great length, but long enough"); err != nil {
			t.Fatal(err)
		}
	}
	for r.rec.begin == TapeFromBirth { // until the tape, and a snapshot, have grown
		turn()
	}
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Errorf("one recorded message costs %v allocations, want 0", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	for _, record := range []string{RecordOff, RecordOnTrap} {
		for _, size := range []int{128, 4 << 10} {
			b.Run(fmt.Sprintf("%s/%dB", record, size), func(b *testing.B) {
				i := only(b, Options{}, "echo", ModuleOptions{Record: record})
				h := &quietHost{}
				message := bytes.Repeat([]byte("x"), size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					p, err := i.Inbound(size)
					if err != nil {
						b.Fatal(err)
					}
					copy(p, message)
					if _, err := i.Call(h, EventBinary, 1, 0, size); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkSnapshot measures what a full tape costs, once in as many bytes as the memory has, or 1 MiB.
func BenchmarkSnapshot(b *testing.B) {
	for _, pages := range []uint64{2, 64, 512} {
		b.Run(fmt.Sprintf("%dKiB", pages*64), func(b *testing.B) {
			r := newTaped(b, Options{}, guest(b, "behave"), ModuleOptions{})
			if _, err := send(r.Instance, &quietHost{}, EventText, 1, int64(2|(pages-2)<<8), ""); err != nil {
				b.Fatal(err)
			}
			memory, _ := view(r.call.mem, 0, r.call.mem.Size())
			for n := range memory { // pages that nobody has written to are all the same one
				memory[n] = byte(n)
			}
			b.SetBytes(int64(len(memory)))
			b.ReportAllocs()
			for b.Loop() {
				r.rec.rewind()
			}
		})
	}
}

// A forged tape may ask for anything; the replay must end, and must not panic.
func FuzzReplay(f *testing.F) {
	file, err := os.ReadFile("testdata/tape.wasm")
	if err != nil {
		f.Fatal(err)
	}
	e := newEngine(f, Options{Interpreter: true})
	tape := shortTape(f)
	f.Add(tape.entries, true)
	f.Add(tape.entries[:len(tape.entries)/2], false)
	f.Add([]byte{entryFill, 2, 'x', entryInbound, 7, entryEnd, 0, 0, entryEvent, 3, 1, 0, 1, 2, 's', entryTrap, 2, 3, 4, 5}, true)
	f.Fuzz(func(t *testing.T, entries []byte, same bool) {
		forged := *tape
		forged.entries = entries
		forged.Limits.Fuel = 100_000
		if !same {
			forged.Digest = ""
		}
		r, err := Replay(context.Background(), e, &forged, file, math.MaxUint64)
		if err != nil {
			return
		}
		if (r.Outcome == ReplayDiverged) != (r.Divergence != nil) {
			t.Errorf("it %s: %v", r.Outcome, r.Divergence)
		}
	})
}

func TestAGoGuestReplays(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("building and compiling it takes seconds")
	}
	r := newTaped(t, Options{}, stockGoGuest(t), ModuleOptions{})
	h := newMoody(9)
	for n := range 60 {
		if n == 40 {
			r.rec.most = 0 // as if the tape were full
		}
		h.monoNs += 1000
		if _, err := send(r.Instance, h, EventText, 5, 0, strings.Repeat("go ", n*100)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := send(r.Instance, h, EventBinary, 5, 0, "boom")
	if trap, ok := errors.AsType[*TrapError](err); !ok || trap.Tape == "" {
		t.Fatalf("a panic is %v", err)
	}
	tape := r.tape(t)
	if tape.Start != TapeFromSnapshot || tape.First != 40 {
		t.Fatalf("it begins with %s, event %d", tape.Start, tape.First)
	}
	mustRepeat(t, Options{}, tape, r.file)
}
