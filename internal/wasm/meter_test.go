package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// meter rewrites a module with the usual options.
func meter(t testing.TB, file []byte) []byte {
	t.Helper()
	out, err := must(t, file).Meter(MeterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// program is a module with functions of those types and bodies, exported as f0, f1, …; with a memory of up to 256 pages
// and a table of 10 that holds function 0 at 1.
func program(types [][]byte, bodies ...[]byte) []byte {
	var indices, exports [][]byte
	for i := range bodies {
		indices = append(indices, u(i))
		exports = append(exports, cat(str(fmt.Sprint("f", i)), in(0), u(i)))
	}
	exports = append(exports, cat(str("memory"), in(2, 0)))
	return file(
		sec(sectionType, vec(types...)),
		sec(sectionFunction, vec(indices...)),
		sec(sectionTable, vec(in(0x70, 0, 10))),
		sec(sectionMemory, vec(cat(in(1, 1), u(256)))),
		sec(sectionExport, vec(exports...)),
		sec(sectionElement, vec(in(0, 0x41, 1, 0x0b, 1, 0))),
		sec(sectionCode, vec(bodies...)))
}

var (
	nothing  = fn(nil, nil)
	oneToOne = fn(in(i32), in(i32))
)

// engineOf instantiates a metered module in the compiler.
func engineOf(t testing.TB, file []byte, h *host) api.Module {
	t.Helper()
	h.t = t
	m, err := instantiate(t, wazero.NewRuntimeConfigCompiler(), file, h)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func call(t testing.TB, m api.Module, name string, args ...uint64) (uint64, error) {
	t.Helper()
	results, err := m.ExportedFunction(name).Call(context.Background(), args...)
	if len(results) == 0 {
		return 0, err
	}
	return results[0], err
}

func TestWhatDoesNotEndIsStopped(t *testing.T) {
	// A loop branches back in each of the ways there are; functions call each other.
	for _, tc := range []struct {
		name  string
		stack bool // not for want of fuel, but too deep
		file  []byte
	}{
		{"a loop that jumps", false, program([][]byte{nothing}, code(vec(), in(0x03, 0x40, 0x0c, 0, 0x0b)))},
		{"a loop that branches", false, program([][]byte{nothing}, code(vec(), in(0x03, 0x40, 0x41, 1, 0x0d, 0, 0x0b)))},
		{"a loop that is left for another", false, program([][]byte{nothing}, code(vec(), in(0x03, 0x40, 0x03, 0x40, 0x41, 1, 0x0d, 1, 0x0b, 0x0b)))},
		{"a loop with a table", false, program([][]byte{nothing}, code(vec(), in(0x03, 0x40, 0x41, 1, 0x0e, 2, 0, 0, 0, 0x0b)))},
		{"a loop with many ways back", false, program([][]byte{nothing}, code(vec(), in(0x03, 0x40), bytes.Repeat(in(0x41, 0, 0x0d, 0), 9), in(0x0c, 0, 0x0b)))},
		{"a loop with a parameter", false, program([][]byte{nothing, oneToOne}, code(vec(), in(0x41, 0, 0x03, 1, 0x0c, 0, 0x0b, 0x1a)), code(vec(), in(0x41, 0)))},
		{"a loop around memory.fill", false, program([][]byte{nothing}, code(vec(), in(0x03, 0x40, 0x41, 0, 0x41, 0, 0x41, 9, 0xfc, 11, 0, 0x0c, 0, 0x0b)))},
		{"a loop around a small function", false, program([][]byte{nothing, nothing}, code(vec(), in(0x03, 0x40, 0x10, 1, 0x0c, 0, 0x0b)), code(vec()))},
		{"a function that calls itself", true, program([][]byte{nothing}, code(vec(), in(0x10, 0)))},
		{"functions that call each other", true, program([][]byte{nothing, nothing}, code(vec(), in(0x10, 1)), code(vec(), in(0x10, 0)))},
		{"a function that calls itself through the table", true, program([][]byte{nothing}, code(vec(), in(0x41, 1, 0x11, 0, 0)))},
		{"functions that call each other through the table, under another name of the type", true,
			program([][]byte{nothing, nothing}, code(vec(), in(0x10, 1)), code(vec(), in(0x41, 1, 0x11, 1, 0)))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &host{panics: !tc.stack, grant: 1 << 40}
			m := engineOf(t, meter(t, tc.file), h)
			if !tc.stack {
				h.fuel.Set(1000)
			} else {
				h.fuel.Set(1 << 40)
			}
			_, err := call(t, m, "f0")
			want := errStopped
			if tc.stack {
				want = errDeep
			}
			if !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

func TestAStartFunctionIsMetered(t *testing.T) {
	f := file(
		sec(sectionType, vec(nothing)), sec(sectionFunction, vec(u(0))), sec(sectionStart, u(0)),
		sec(sectionCode, vec(code(vec(), in(0x03, 0x40, 0x0c, 0, 0x0b)))))
	h := &host{t: t, panics: true}
	if _, err := instantiate(t, wazero.NewRuntimeConfigCompiler(), meter(t, f), h); !errors.Is(err, errStopped) {
		t.Errorf("got %v", err)
	}
}

// recursive calls itself as often as its parameter says, in the midst of that code.
func recursive(before, after []byte) []byte {
	return program([][]byte{oneToOne}, code(vec(),
		in(0x20, 0, 0x45, 0x04, 0x40, 0x41, 7, 0x0f, 0x0b), // 0: return 7
		before, in(0x20, 0, 0x41, 1, 0x6b, 0x10, 0, 0x21, 0), after, in(0x20, 0)))
}

func TestDeepRecursionTakesLittleStack(t *testing.T) {
	for _, tc := range []struct {
		name          string
		before, after []byte
		least         int // calls that must be possible
		most          int // bytes that the engine's stack may grow to: it doubles
	}{
		{"a plain function", nil, nil, 5_000, 3 << 20},
		{"one that keeps many values", bytes.Repeat(in(0x3f, 0), 1000), bytes.Repeat(in(0x1a), 1000), 100, 16 << 20},
		{"one that keeps many vectors", bytes.Repeat(in(0x3f, 0, 0xfd, 0x11), 1000), bytes.Repeat(in(0x1a), 1000), 100, 16 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &host{grant: 1 << 40}
			m := engineOf(t, meter(t, recursive(tc.before, tc.after)), h)
			h.fuel.Set(1 << 40)
			if got, err := call(t, m, "f0", uint64(tc.least)); err != nil || got != 7 {
				t.Fatalf("%d calls: %d, %v", tc.least, got, err)
			}
			f := m.ExportedFunction("f0")
			if _, err := f.Call(context.Background(), 1<<30); !errors.Is(err, errDeep) {
				t.Errorf("got %v", err)
			}
			// What the engine calls its stack is no one's business; if it is gone, so is this check.
			stack := reflect.ValueOf(f).Elem().FieldByName("stack")
			if !stack.IsValid() {
				t.Skip("the engine has no stack of its own")
			}
			if got := stack.Len(); got > tc.most {
				t.Errorf("the stack has %d bytes, want at most %d", got, tc.most)
			}
		})
	}
}

func TestWhatReturnsGivesItsStackBack(t *testing.T) {
	// f1 calls f0, which returns in each of the ways there are, and may call f1.
	types := [][]byte{fn(in(i32), in(i32, i64)), nothing}
	values := in(0x41, 1, 0x42, 2)
	exits := cat(
		in(0x20, 0, 0x41, 0, 0x46, 0x04, 0x40), values, in(0x0f, 0x0b), // return
		in(0x20, 0, 0x41, 1, 0x46, 0x04, 0x40), values, in(0x0c, 1, 0x0b), // br
		values, in(0x20, 0, 0x41, 2, 0x46, 0x0d, 0, 0x1a, 0x1a), // br_if
		in(0x02, 0x40), values, in(0x20, 0, 0x41, 3, 0x46, 0x0e, 1, 1, 1, 0x0b), // br_table
		in(0x10, 1), values)
	f := program(types, code(vec(), exits),
		code(vec(), in(0x41, 0, 0x10, 0, 0x1a, 0x1a, 0x41, 1, 0x10, 0, 0x1a, 0x1a, 0x41, 2, 0x10, 0, 0x1a, 0x1a, 0x41, 3, 0x10, 0, 0x1a, 0x1a)))
	m, problems := Read(f, DefaultLimits())
	if problems != nil {
		t.Fatal(problems)
	}
	out, err := m.Meter(MeterOptions{StackBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{grant: 1 << 40}
	guest := engineOf(t, out, h)
	for range 1000 {
		h.fuel.Set(1 << 40)
		if _, err := call(t, guest, "f1"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStackThatIsNeededForSureIsKnown(t *testing.T) {
	// Each function calls the next one.
	const n = 5000
	bodies := [][]byte{}
	for i := range n - 1 {
		bodies = append(bodies, code(vec(), in(0x10), u(i+1)))
	}
	bodies = append(bodies, code(vec()))
	f := cat(file(
		sec(sectionType, vec(nothing)), sec(sectionFunction, rep(n, u(0))), sec(sectionCode, vec(bodies...))),
		sec(0, str("name"), in(1), sized(vec(cat(u(0), str("first"))))))
	m := must(t, f)
	if _, err := m.Meter(MeterOptions{StackBytes: 64 << 10}); err == nil || !strings.Contains(err.Error(), `function 0 "first"`) {
		t.Errorf("got %v", err)
	}
	if _, err := m.Meter(MeterOptions{StackBytes: 4 << 20}); err != nil {
		t.Error(err)
	}
	if _, err := m.Meter(MeterOptions{StackBytes: -1}); err == nil {
		t.Error("a negative stack is accepted")
	}
}

// spent calls f0 of a metered module and returns the fuel that it took.
func spent(t testing.TB, file []byte, args ...uint64) int64 {
	t.Helper()
	h := &host{grant: 1 << 40}
	m := engineOf(t, meter(t, file), h)
	h.fuel.Set(1 << 40)
	if _, err := call(t, m, "f0", args...); err != nil {
		t.Fatal(err)
	}
	return 1<<40 - int64(h.fuel.Get())
}

func TestFuelFollowsTheWork(t *testing.T) {
	// f0 counts its parameter down.
	loop := program([][]byte{oneToOne}, code(vec(), in(0x03, 0x40, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b, 0x41, 0)))
	a, b := spent(t, loop, 1000), spent(t, loop, 10_000)
	if a < 1000 || b < 9*a || b > 11*a {
		t.Errorf("1000 rounds take %d fuel, 10,000 take %d", a, b)
	}

	calls := func(to []byte) int64 {
		return spent(t, program([][]byte{nothing, nothing}, code(vec(), bytes.Repeat(in(0x10, 1), 100)), to))
	}
	small, empty := calls(code(vec(), bytes.Repeat(in(0x3f, 0, 0x1a), 64))), calls(code(vec()))
	if small < empty+100*7 {
		t.Errorf("100 calls of a function of 64 instructions take %d fuel, of an empty one %d", small, empty)
	}
}

// An interpreter does one of its instructions a round, however many it knows; what it spends is about that.
func TestALoopThatDispatchesPaysForAPartOfIt(t *testing.T) {
	const perArm = 8 // fuel
	for _, tc := range []struct {
		arms, labels int
		least, most  int64 // fuel a round, in arms
	}{
		{arms: 4, labels: 4, least: 4, most: 5},
		{arms: 8, labels: 8, least: 1, most: 2},
		{arms: 32, labels: 32, least: 3, most: 5},
		{arms: 255, labels: 255, least: 3, most: 5},
		{arms: 255, labels: 10_000, least: 3, most: 5}, // labels alone do not make it cheaper
	} {
		t.Run(fmt.Sprintf("%d arms, %d labels", tc.arms, tc.labels), func(t *testing.T) {
			body := cat(in(0x03, 0x40, 0x02, 0x40), bytes.Repeat(in(0x02, 0x40), tc.arms), // loop, the block behind the arms, theirs
				in(0x41, 0, 0x0e), u(tc.labels))
			for i := range tc.labels + 1 {
				body = append(body, u(i%tc.arms)...)
			}
			for i := range tc.arms {
				body = cat(body, in(0x0b), bytes.Repeat(in(0x3f, 0, 0x1a), 8*perArm), in(0x0c), u(tc.arms-1-i))
			}
			body = cat(body, in(0x0b, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b, 0x41, 0)) // while the parameter counts down
			const rounds = 1000
			got := spent(t, program([][]byte{oneToOne}, code(vec(), body)), rounds)
			if got < rounds*perArm*tc.least || got > rounds*perArm*tc.most {
				t.Errorf("a round takes %d fuel, an arm is worth %d", got/rounds, perArm)
			}
		})
	}
}

func TestWorkOnManyBytesIsPaidFor(t *testing.T) {
	const memory = 0xfc
	page := func(n int) []byte { return appendSigned(in(0x41), int64(n)<<16) }
	grown := in(0x41, 40, 0x40, 0, 0x1a)
	for _, tc := range []struct {
		name  string
		code  []byte
		least int64
	}{
		{"memory.fill", cat(grown, page(1), in(0x41, 1), page(32), in(memory, 11, 0)), (40 + 32) << 10},
		{"memory.copy", cat(grown, page(1), page(3), page(32), in(memory, 10, 0, 0)), (40 + 32) << 10},
		{"memory.copy of overlapping ranges, backwards", cat(grown, page(3), page(1), page(32), in(memory, 10, 0, 0)), (40 + 32) << 10},
		{"memory.fill with a small constant", in(0x41, 0, 0x41, 0, 0x41, 0xc0, 0, memory, 11, 0), 1},
		{"memory.grow", grown, 40 << 10},
		{"table.fill", in(0x41, 0, 0xd0, 0x70, 0x41, 1, 0x41, 9, 0x6c, memory, 17, 0), 1},
		{"table.grow", in(0xd0, 0x70, 0x41, 0x80, 0xf0, 1, 0x41, 1, 0x6c, memory, 15, 0, 0x1a), 30_720 / 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := spent(t, program([][]byte{nothing}, code(vec(), tc.code))); got < tc.least || got > tc.least+200 {
				t.Errorf("took %d fuel, want at least %d and little more", got, tc.least)
			}
		})
	}
	t.Run("memory.grow that fails", func(t *testing.T) {
		if got := spent(t, program([][]byte{nothing}, code(vec(), in(0x41, 0x80, 0x80, 1, 0x40, 0, 0x1a)))); got > 100 {
			t.Errorf("took %d fuel", got)
		}
	})
}

func TestWorkOnManyBytesIsChecked(t *testing.T) {
	fill := program([][]byte{nothing}, code(vec(),
		in(0x41, 0x80, 1, 0x40, 0, 0x1a), in(0x41, 0, 0x41, 9), appendSigned(in(0x41), 8<<20-5), in(0xfc, 11, 0)))
	h := &host{grant: 1000}
	m := engineOf(t, meter(t, fill), h)
	if _, err := call(t, m, "f0"); err != nil {
		t.Fatal(err)
	}
	if h.calls < 8 {
		t.Errorf("8 MiB are filled with %d checks", h.calls)
	}
}

func TestBulkInstructionsDoTheSame(t *testing.T) {
	const size = 5<<20 + 3
	types := [][]byte{fn(in(i32, i32, i32), nil), fn(in(i32, i32, i32), nil), nothing}
	args := in(0x20, 0, 0x20, 1, 0x20, 2)
	f := program(types, code(vec(), args, in(0xfc, 11, 0)), code(vec(), args, in(0xfc, 10, 0, 0)),
		code(vec(), in(0x41, 0x80, 1, 0x40, 0, 0x1a))) // 129 pages: 8.0625 MiB
	bytesOf := func(m api.Module) []byte {
		b, _ := m.Memory().Read(0, m.Memory().Size())
		return b
	}
	h := &host{t: t, grant: 1 << 40}
	plain, err := instantiate(t, wazero.NewRuntimeConfigCompiler(), f, nil)
	if err != nil {
		t.Fatal(err)
	}
	metered := engineOf(t, meter(t, f), h)
	h.fuel.Set(1 << 40)
	for _, m := range []api.Module{plain, metered} {
		if _, err := call(t, m, "f2"); err != nil {
			t.Fatal(err)
		}
		for i, b := 0, bytesOf(m); i < len(b); i++ {
			b[i] = byte(i * i >> 7)
		}
	}
	end := uint64(129 << 16)
	for _, tc := range []struct {
		name string
		f    string
		args []uint64
	}{
		{"a large fill", "f0", []uint64{17, 0x1ff, size}},
		{"a fill to the end", "f0", []uint64{end - size, 3, size}},
		{"a fill beyond the end", "f0", []uint64{end - size + 1, 4, size}},
		{"a fill that wraps around", "f0", []uint64{5, 5, 1<<32 - 1}},
		{"a fill of nothing at the end", "f0", []uint64{end, 6, 0}},
		{"a fill of nothing beyond it", "f0", []uint64{end + 1, 6, 0}},
		{"a fill of exactly one piece", "f0", []uint64{1, 7, pieceBytes}},
		{"a copy forwards", "f1", []uint64{1, 70_000, size}},
		{"a copy backwards", "f1", []uint64{70_001, 0, size}},
		{"a copy by one byte forwards", "f1", []uint64{100, 101, size}},
		{"a copy by one byte backwards", "f1", []uint64{101, 100, size}},
		{"a copy by a piece", "f1", []uint64{pieceBytes, 0, size}},
		{"a copy of exactly two pieces", "f1", []uint64{9, 3, 2 * pieceBytes}},
		{"a copy onto itself", "f1", []uint64{9, 9, size}},
		{"a copy beyond the end", "f1", []uint64{end - size + 1, 0, size}},
		{"a copy from beyond the end", "f1", []uint64{0, end - size + 1, size}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, want := call(t, plain, tc.f, tc.args...)
			_, got := call(t, metered, tc.f, tc.args...)
			if firstLine(got) != firstLine(want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if !bytes.Equal(bytesOf(plain), bytesOf(metered)) {
				t.Error("the memories differ")
			}
		})
	}
}

func TestTablesStayWithinTheLimit(t *testing.T) {
	grow := program([][]byte{oneToOne}, code(vec(), in(0xd0, 0x70, 0x20, 0, 0xfc, 15, 0)))
	h := &host{grant: 1 << 40}
	m := engineOf(t, meter(t, grow), h)
	h.fuel.Set(1 << 40)
	for _, tc := range []struct{ by, want uint64 }{{65_526, 10}, {1, 0xffffffff}, {0, 65_536}, {1 << 31, 0xffffffff}} {
		if got, err := call(t, m, "f0", tc.by); err != nil || got != tc.want {
			t.Errorf("growing by %d: %d, %v, want %d", tc.by, got, err, tc.want)
		}
	}
}

func TestTracesKeepTheNames(t *testing.T) {
	f := cat(program([][]byte{nothing}, code(vec(), in(0x00))), sec(0, str("name"), in(1), sized(vec(cat(u(0), str("explode"))))))
	h := &host{grant: 1}
	if _, err := call(t, engineOf(t, meter(t, f), h), "f0"); err == nil || !strings.Contains(err.Error(), "explode()") {
		t.Errorf("got %v", err)
	}
}

func TestMeteringManyTimesAtOnceGivesTheSame(t *testing.T) {
	m := must(t, generate(bytes.Repeat([]byte{7, 3, 15, 1, 8}, 40)))
	want, err := m.Meter(MeterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { // ends by itself
			for range 50 {
				if got, err := m.Meter(MeterOptions{}); err != nil || !bytes.Equal(got, want) {
					t.Error("differs", err)
				}
			}
		})
	}
	wg.Wait()
}

// Metering must not make an invalid module valid, nor the other way round: only the engine checks types.
func TestMeteredModulesAreAsValidAsBefore(t *testing.T) {
	valid := func(file []byte) bool {
		ctx := context.Background()
		rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
		defer func() { _ = rt.Close(ctx) }()
		_, err := rt.CompileModule(ctx, file)
		return err == nil
	}
	sound, unsound, step := 0, 0, 1
	if raceEnabled || testing.Short() {
		step = 5
	}
	for _, f := range samples(t) {
		if len(f) > 3000 {
			continue
		}
		f = bytes.Clone(f)
		for i := 0; i < len(f); i += step {
			bit := byte(1) << (i % 8)
			f[i] ^= bit
			if m, problems := Read(f, DefaultLimits()); problems == nil {
				out, err := m.Meter(MeterOptions{})
				if err != nil {
					t.Fatal(err)
				}
				plain := valid(m.Encode())
				if got := valid(out); got != plain {
					t.Errorf("%x: valid %v, metered %v", f, plain, got)
				}
				if plain {
					sound++
				} else {
					unsound++
				}
			}
			f[i] ^= bit
		}
	}
	if sound < 100 || unsound < 100 {
		t.Errorf("only %d valid and %d invalid modules were tried", sound, unsound)
	}
}

// sameExports compares what a module and its metered form export.
func sameExports(t *testing.T, plain, metered *Module) {
	t.Helper()
	kinds := func(m *Module) []string {
		var list []string
		for _, e := range m.Exports() {
			list = append(list, fmt.Sprint(e.Name, " ", e.Kind, " ", e.Type))
		}
		return list
	}
	want := append(kinds(plain), fmt.Sprint(MeterFuel, " ", KindGlobal, " ", FuncType{}))
	if got := kinds(metered); !slices.Equal(got, want) {
		t.Errorf("exports %q, want %q", got, want)
	}
}

// readMetered reads a metered module back. Its names are reserved, so they are changed first.
func readMetered(t *testing.T, file []byte) *Module {
	t.Helper()
	m, problems := Read(bytes.ReplaceAll(file, []byte(MeterModule), []byte("WEIR_METER")), DefaultLimits())
	if problems != nil {
		t.Fatal(problems)
	}
	for i := range m.exports {
		m.exports[i].Name = strings.Replace(m.exports[i].Name, "WEIR_METER", MeterModule, 1)
	}
	return m
}

func TestModulesOfTheRepositoryCompile(t *testing.T) {
	for _, f := range samples(t) {
		if len(f) > 1<<20 && (raceEnabled || testing.Short()) {
			continue // it takes a minute
		}
		m := must(t, f)
		for _, b := range [][]byte{m.Encode(), meter(t, f)} {
			if err := compile(b); err != nil {
				t.Error(err)
			}
		}
		sameExports(t, m, readMetered(t, meter(t, f)))
	}
}

// goKernels builds the kernels that are written in Go.
func goKernels(t testing.TB) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "kernels.wasm")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-o", out, ".")
	cmd.Dir = "testdata/kernels/go"
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=-mod=mod", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("go cannot build for wasip1: %v: %s", err, text)
	}
	file, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// reactor instantiates a guest that wants WASI.
func reactor(t testing.TB, file []byte, h *host) api.Module {
	t.Helper()
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	t.Cleanup(func() { _ = rt.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	if h != nil {
		_, err := rt.NewHostModuleBuilder(MeterModule).NewFunctionBuilder().
			WithGoModuleFunction(h, []api.ValueType{api.ValueTypeI32, api.ValueTypeI64}, []api.ValueType{api.ValueTypeI64}).
			Export(MeterRefill).Instantiate(ctx)
		if err != nil {
			t.Fatal(err)
		}
	}
	config := wazero.NewModuleConfig().WithStartFunctions("_initialize").WithSysNanotime().WithSysWalltime()
	m, err := rt.InstantiateWithConfig(ctx, file, config)
	if err != nil {
		t.Fatal(err)
	}
	if h != nil {
		h.fuel = m.ExportedGlobal(MeterFuel).(api.MutableGlobal)
	}
	return m
}

func TestAGoGuestRunsMetered(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("takes long to compile")
	}
	f := goKernels(t)
	h := &host{t: t, grant: 100_000}
	plain, metered := reactor(t, f, nil), reactor(t, meter(t, f), h)
	for _, k := range kernels {
		if !k.inGo {
			continue
		}
		want, err := call(t, plain, k.name, k.arg)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := call(t, metered, k.name, k.arg); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", k.name, got, err, want)
		}
	}
	sameExports(t, must(t, f), readMetered(t, meter(t, f)))
}
