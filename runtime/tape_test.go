package runtime

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"reflect"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// someTape is a tape with a bit of everything.
func someTape(t testing.TB, begin TapeBegin) *Tape {
	t.Helper()
	r := newTaped(t, Options{}, guest(t, "tape"), ModuleOptions{})
	h := newMoody(5)
	live(t, r, h, 10, 30)
	if begin == TapeFromSnapshot {
		r.rec.most = 0
		live(t, r, h, 10, 30)
	}
	_, _ = send(r.Instance, h, EventText, 5, 0, "tsrecpx")
	tape := r.tape(t)
	if tape.Start != begin {
		t.Fatalf("it begins with %s", tape.Start)
	}
	return tape
}

// shortTape is one that a fuzzer can make something of.
func shortTape(t testing.TB) *Tape {
	t.Helper()
	r := newTaped(t, Options{}, guest(t, "tape"), ModuleOptions{})
	_, _ = send(r.Instance, &fakeHost{value: []byte("v")}, EventText, 5, 0, "tsc")
	_, _ = send(r.Instance, &fakeHost{}, EventText, 5, 0, "x")
	return r.tape(t)
}

func encode(t testing.TB, tape *Tape) []byte {
	t.Helper()
	file, err := tape.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestATapeIsTheSameFromItsFile(t *testing.T) {
	for _, begin := range []TapeBegin{TapeFromBirth, TapeFromSnapshot} {
		tape := someTape(t, begin)
		again, err := DecodeTape(encode(t, tape))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again, tape) {
			t.Errorf("%s: the tapes differ", begin)
		}
	}
}

func TestEveryCallIsKeptAsItWas(t *testing.T) {
	value := []byte("a value")
	h := &fakeHost{status: StatusQueueFull, number: -7, value: value, unixMs: -5, monoNs: math.MaxInt64}
	i := only(t, Options{}, "nop", ModuleOptions{Record: RecordOnTrap})
	rec := i.rec.event(h, EventText, 1, 0, 0, nil)
	long := bytes.Repeat([]byte("x"), 100)
	rec.ConnSend(math.MaxUint64, -1, long)
	rec.ConnClose(2, 1000, []byte("r"))
	rec.ConnAttr(3, []byte("path"))
	rec.ConnStateGet(4)
	rec.ConnStateSet(5, nil)
	rec.ConnQueued(6)
	rec.TopicJoin(7, []byte("j"))
	rec.TopicLeave(8, []byte("l"))
	rec.TopicPublish([]byte("t"), 2, []byte("p"), 9)
	rec.TopicCount([]byte("c"))
	rec.TimerSet(10, math.MinInt64, 2, 3)
	rec.TimerCancel(11, -4)
	rec.TimeUnixMs()
	rec.TimeMonoNs()
	rec.MetricAdd([]byte("m"), -12)
	rec.UpgradeURI()
	rec.UpgradeHeader([]byte("H"))
	rec.UpgradeProtocol([]byte("P"))
	rec.UpgradeRespondHeader([]byte("N"), []byte("V"))
	i.rec.end(0)
	steps, err := (&Tape{entries: i.rec.tape}).Steps()
	if err != nil || len(steps) != 1 {
		t.Fatalf("%d steps, %v", len(steps), err)
	}
	want := []string{
		fmt.Sprintf(`conn_send(18446744073709551615, -1, %q… (100 bytes)) = -3`, long[:64]),
		`conn_close(2, 1000, "r") = -3`,
		`conn_attr(3, "path") = -3 "a value"`,
		`conn_state_get(4) = -3 "a value"`,
		`conn_state_set(5, "") = -3`,
		`conn_queued(6) = -7`,
		`topic_join(7, "j") = -3`,
		`topic_leave(8, "l") = -3`,
		`topic_publish("t", 2, "p", 9) = -3`,
		`topic_count("c") = -7`,
		`timer_set(10, -9223372036854775808, 2, 3) = -3`,
		`timer_cancel(11, -4) = -3`,
		`time() = -5 ms, 9223372036854775807 ns`,
		`metric_add("m", -12) = -3`,
		`upgrade_uri() = -3 "a value"`,
		`upgrade_header("H") = -3 "a value"`,
		`upgrade_protocol("P") = -3`,
		`upgrade_respond_header("N", "V") = -3`,
	}
	for n, c := range steps[0].Calls {
		if n >= len(want) || c.String() != want[n] {
			t.Errorf("call %d: %s", n, c)
		}
	}
	if len(steps[0].Calls) != len(want) {
		t.Errorf("%d of %d calls were kept", len(steps[0].Calls), len(want))
	}
	if kept := reflect.TypeFor[Host]().NumMethod() - 1; len(tapeFuncs)+1 != kept { // both times are one
		t.Errorf("%d calls have a number; the Host has %d", len(tapeFuncs), kept)
	}
}

func TestAPayloadThatIsPassedOnIsKeptOnce(t *testing.T) {
	r := newTaped(t, Options{}, guest(t, "echo"), ModuleOptions{})
	if _, err := send(r.Instance, &quietHost{}, EventText, 1, 0, strings.Repeat("x", 1000)); err != nil {
		t.Fatal(err)
	}
	if n := len(r.rec.tape); n > 1100 {
		t.Errorf("the tape has %d bytes", n)
	}
}

func TestADamagedTapeIsRefusedWithAReason(t *testing.T) {
	good := encode(t, someTape(t, TapeFromSnapshot))
	header := len(tapeMagic) + sectionHeadBytes
	for _, c := range []struct {
		name   string
		damage func([]byte) []byte
		want   string
	}{
		{"an empty file", func([]byte) []byte { return nil }, "is not a tape"},
		{"another file", func([]byte) []byte { return []byte("\x00asm\x01\x00\x00\x00") }, "is not a tape"},
		{"another version", func(p []byte) []byte { p[8] = 9; return p }, "its format has version 9; this weir reads version 1"},
		{"a flipped bit in the header", func(p []byte) []byte { p[header+3] ^= 1; return p }, "the header at byte 9: is damaged: its checksum is wrong"},
		{"a flipped bit at the end", func(p []byte) []byte { p[len(p)-1] ^= 1; return p }, "the entries at byte"},
		{"half of it", func(p []byte) []byte { return p[:len(p)/2] }, "the file ends early"},
		{"something behind it", func(p []byte) []byte { return append(p, 0) }, "1 bytes are left over at its end"},
		{"an unknown beginning", func(p []byte) []byte {
			head, _ := json.Marshal(TapeHeader{Start: "elsewhere"})
			return appendSection([]byte(tapeMagic), sectionHeader, head)
		}, `start: "elsewhere" is not one of`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeTape(c.damage(bytes.Clone(good)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// sealed makes a file of sections whose checksums are right, so that a fuzzer gets behind them.
func sealed(header, start, entries []byte) []byte {
	out := appendSection([]byte(tapeMagic), sectionHeader, header)
	out = appendSection(out, sectionStart, start)
	return appendSection(out, sectionEntries, entries)
}

func FuzzDecodeTape(f *testing.F) {
	tape := shortTape(f)
	header := []byte(`{"start":"birth","trap":{"number":1}}`)
	f.Add(header, tape.start.encode(), tape.entries)
	snapshot := tapeStart{clock: clock{unixMs: 1, monoNs: 2, skewNs: 3}, globals: []globalValue{{1, 2}}, memory: make([]byte, wasmPageBytes)}
	f.Add(header, snapshot.encode(), []byte{entryFill, 2, 'x', entryInbound, 7, entryEnd, 0, 0, entryEvent, 3, 1, 0, 0, 0, entryCut, entryTrap, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, header, start, entries []byte) {
		_, _ = DecodeTape(append([]byte(tapeMagic), entries...))
		tape, err := DecodeTape(sealed(header, start, entries))
		if err != nil {
			return
		}
		if most := 1100 * len(start); len(tape.start.memory) > most { // flate's best is 1:1032
			t.Errorf("%d bytes of memory came of %d", len(tape.start.memory), len(start))
		}
		steps, _ := tape.Steps()
		if len(steps) > len(entries) {
			t.Errorf("%d steps came of %d bytes", len(steps), len(entries))
		}
		for n := range steps {
			_ = steps[n].String()
			for _, c := range steps[n].Calls {
				_ = c.String()
			}
		}
		again, err := DecodeTape(encode(t, tape))
		if err != nil || !bytes.Equal(again.entries, tape.entries) || !bytes.Equal(again.start.memory, tape.start.memory) {
			t.Errorf("it is not the same from its own file: %v", err)
		}
	})
}

func TestAForgedLengthCostsNothing(t *testing.T) {
	w := tapeWriter{}
	w.bytes(nil) // random
	for range 6 {
		w.u8(0)
	}
	w.uint(0)             // globals
	w.uint(maxTapeLength) // memory, of which nothing comes
	w.tape = append(w.tape, 0x03, 0x00)
	header, _ := json.Marshal(TapeHeader{Start: TapeFromSnapshot})
	file := sealed(header, w.tape, nil)
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	if _, err := DecodeTape(file); err == nil {
		t.Fatal("accepted")
	}
	goruntime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 1<<20 {
		t.Errorf("%d bytes were allocated for %d", allocated, len(file))
	}
}

func newFolder(t testing.TB) (*tapeFolder, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tapes")
	f, err := openTapeFolder(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f, dir
}

func list(t testing.TB, dir, suffix string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func digestNamed(n int) string { return fmt.Sprintf("%064x", n) }

func TestAFolderKeepsTheLastTapesAndTheirModules(t *testing.T) {
	f, dir := newFolder(t)
	for n := range maxTapes + 5 {
		tape := &Tape{TapeHeader: TapeHeader{Module: "../chat room", Generation: 2, Start: TapeFromBirth, Digest: digestNamed(n / 2)}}
		name := f.keep(tape, []byte("module"))
		if name == "" {
			t.Fatalf("tape %d was not kept", n)
		}
		f.writers.Wait()
		stamp := time.Unix(int64(n), 0) // the file system's clock may be too coarse to tell them apart
		if err := os.Chtimes(name, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	tapes := list(t, dir, tapeSuffix)
	if len(tapes) != maxTapes {
		t.Errorf("there are %d tapes, want %d", len(tapes), maxTapes)
	}
	for _, name := range tapes {
		if !strings.HasPrefix(filepath.Base(name), "..-chat-room-g2-") {
			t.Errorf("a tape is called %s", name)
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode(), err)
	}
	modules := list(t, dir, moduleSuffix)
	if want := (maxTapes + 5) / 2; len(modules) > maxTapes/2+1 || len(modules) < maxTapes/2 || len(modules) >= want+1 {
		t.Errorf("there are %d modules", len(modules))
	}
	if _, err := os.Stat(filepath.Join(dir, digestNamed(0)+moduleSuffix)); err == nil {
		t.Error("the module of a tape that is gone is still there")
	}
	if left := list(t, dir, ""); len(left) != len(tapes)+len(modules) {
		t.Errorf("there are other files: %v", left)
	}
}

func TestAFolderDropsATapeWhileItIsBusy(t *testing.T) {
	f, dir := newFolder(t)
	f.writing.Lock()
	tape := &Tape{TapeHeader: TapeHeader{Module: "chat", Start: TapeFromBirth, Digest: digestNamed(1)}}
	kept := 0
	for range 10 {
		if f.keep(tape, nil) != "" {
			kept++
		}
	}
	f.writing.Unlock()
	f.close()
	if kept != maxTapeWriters || len(list(t, dir, tapeSuffix)) != kept {
		t.Errorf("%d were kept, of which %d are there; want %d", kept, len(list(t, dir, tapeSuffix)), maxTapeWriters)
	}
	if name := f.keep(tape, nil); name != "" {
		t.Errorf("a closed folder keeps %s", name)
	}
}

func TestTapesOfManyInstances(t *testing.T) {
	f, dir := newFolder(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	names := map[string]bool{}
	for g := range 8 {
		all.Go(func() {
			for n := range 20 {
				tape := &Tape{TapeHeader: TapeHeader{Module: "chat", Start: TapeFromBirth, Digest: digestNamed(g * n)}}
				name := f.keep(tape, []byte("module"))
				mu.Lock()
				if name != "" && names[name] {
					t.Errorf("two tapes are called %s", name)
				}
				names[name] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	f.close()
	if n := len(list(t, dir, tapeSuffix)); n == 0 || n > maxTapes {
		t.Errorf("there are %d tapes", n)
	}
}

func TestATrapLeavesATapeInTheEnginesFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tapes")
	e := newEngine(t, Options{TapeDir: dir})
	m := load(t, e, "tape", ModuleOptions{Record: RecordOnTrap, Instances: 1})
	i := take(t, m)
	_, err := send(i, newMoody(1), EventText, 1, 0, "sx")
	trap, ok := err.(*TrapError)
	if !ok || trap.Tape == "" {
		t.Fatalf("%v, tape %q", err, trap.Tape)
	}
	m.Discard(i)
	e.tapes.close() // what Close does
	file, err := os.ReadFile(trap.Tape)
	if err != nil {
		t.Fatal(err)
	}
	tape, err := DecodeTape(file)
	if err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile(filepath.Join(dir, tape.Digest+moduleSuffix))
	if err != nil {
		t.Fatal(err)
	}
	mustRepeat(t, Options{}, tape, module)
	if s := m.Stats(); s.Tapes != 1 || s.TapesDropped != 0 {
		t.Errorf("counted %d tapes, %d dropped", s.Tapes, s.TapesDropped)
	}
}

func TestNothingIsKeptOfAModuleThatDoesNotRecord(t *testing.T) {
	i := only(t, Options{TapeDir: t.TempDir()}, "tape", ModuleOptions{})
	_, err := send(i, newMoody(1), EventText, 1, 0, "sx")
	if trap, ok := err.(*TrapError); !ok || trap.Tape != "" || i.rec != nil {
		t.Errorf("%v, tape %q", err, trap.Tape)
	}
}

func TestAKilledGuestLeavesNoTape(t *testing.T) {
	r := newTaped(t, Options{}, guest(t, "tape"), ModuleOptions{})
	r.Module().Kill()
	if _, err := send(r.Instance, newMoody(1), EventText, 1, 0, "l"); err == nil {
		t.Fatal("it lives")
	}
	if len(r.tapes) != 0 {
		t.Error("there is a tape")
	}
}

func TestVarintsAreWhatTheReaderTakes(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, math.MaxInt64, math.MinInt64} {
		w := tapeWriter{}
		w.int(v)
		if want := binary.AppendVarint(nil, v); !bytes.Equal(w.tape, want) {
			t.Errorf("%d is written as %x, want %x", v, w.tape, want)
		}
		d := tapeReader{rest: w.tape}
		if got := d.int(); got != v || len(d.rest) != 0 {
			t.Errorf("%d is read as %d", v, got)
		}
	}
}
