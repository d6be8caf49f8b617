package wasm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
)

// bomb is a file that costs a compiler more than it should.
type bomb struct {
	name string
	file []byte
}

const (
	i32 = byte(I32)
	i64 = byte(I64)
	f64 = byte(F64)
)

// oneFunction is a module with a memory and the function () -> (), whose locals are declared as given.
func oneFunction(locals []byte, instructions ...[]byte) []byte {
	return file(
		sec(sectionType, vec(fn(nil, nil))),
		sec(sectionFunction, vec(u(0))),
		sec(sectionMemory, vec([]byte{0, 1})),
		sec(sectionCode, vec(code(locals, instructions...))))
}

func bombs() []bomb {
	rep := func(n int, b ...[]byte) []byte { return slices.Repeat(cat(b...), n) }
	noLocals := vec()
	locals := func(n int) []byte { return vec(cat(u(n), []byte{i32})) }
	get := func(i int) []byte { return cat(in(0x20), u(i)) }
	set := func(i int) []byte { return cat(in(0x21), u(i)) }
	each := func(n int, f func(i int) []byte) []byte {
		var b []byte
		for i := range n {
			b = append(b, f(i)...)
		}
		return b
	}
	nest := func(n int, open, inner []byte) []byte { return cat(rep(n, open), inner, rep(n, in(0x0b))) }
	call, drop, end := in(0x10, 0), in(0x1a), in(0x0b)
	return []bomb{
		{"nested loops", oneFunction(locals(1), nest(1023, in(0x03, 0x40), cat(get(0), in(0x0d, 0))))},
		{"nested loops, many times", oneFunction(locals(1), rep(100, nest(1023, in(0x03, 0x40), cat(get(0), in(0x0d, 0)))))},
		{"nested loops that set locals", oneFunction(locals(1000), nest(1000, in(0x03, 0x40), each(1000, func(i int) []byte { return cat(get(i), set(999-i), get(0), in(0x0d), u(i)) })))},
		{"a chain of ifs, then each of 4000 locals", oneFunction(locals(4000),
			rep(50_000, get(0), in(0x04, 0x40), end), each(4000, func(i int) []byte { return cat(get(i), drop) }))},
		{"a chain of ifs that set locals", oneFunction(locals(4000),
			each(40_000, func(i int) []byte { return cat(get(0), in(0x04, 0x40), get((i+1)%4000), set(i%4000), end) }), each(4000, func(i int) []byte { return cat(get(i), in(0x36, 0, 0)[:0], drop) }))},
		{"a loop around ifs that set locals", oneFunction(locals(4000), in(0x03, 0x40),
			each(40_000, func(i int) []byte { return cat(get(0), in(0x04, 0x40), get((i+1)%4000), set(i%4000), end) }), get(0), in(0x0d, 0), end)},
		{"calls with 4000 live locals", oneFunction(locals(4000), each(4000, func(i int) []byte { return cat(in(0x3f, 0), set(i)) }), rep(100_000, call), each(4000, func(i int) []byte { return cat(get(i), drop) }))},
		{"calls and mutable globals", file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, vec(u(0))),
			sec(sectionGlobal, u(10_000), rep(10_000, in(i32, 1, 0x41, 0, 0x0b))),
			sec(sectionCode, vec(code(noLocals, rep(100_000, call)))))},
		{"functions and globals", file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, u(49_999), rep(49_999, u(0))),
			sec(sectionGlobal, u(10_000), rep(10_000, in(i32, 1, 0x41, 0, 0x0b))),
			sec(sectionCode, u(49_999), rep(49_999, code(noLocals))))},
		{"functions and locals", file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, u(49_999), rep(49_999, u(0))),
			sec(sectionCode, u(49_999), rep(49_999, code(locals(4096)))))},
		{"br_table", oneFunction(noLocals, rep(30, in(0x02, 0x40), get(0)[:0], in(0x41, 0, 0x0e), u(16_000), rep(16_000, in(0)), in(0), end))},
		{"br_table out of nested blocks", oneFunction(noLocals, nest(1000, in(0x02, 0x40), cat(in(0x41, 0, 0x0e), u(16_000), each(16_000, func(i int) []byte { return u(i % 1000) }), in(0))))},
		{"br_table with 32 results", file(
			sec(sectionType, vec(fn(nil, nil), fn(nil, bytes.Repeat([]byte{i64}, 32)))), sec(sectionFunction, vec(u(0))),
			sec(sectionCode, vec(code(noLocals, rep(20, in(0x02, 1), rep(32, in(0x42, 0)), in(0x41, 0, 0x0e), u(16_000), rep(16_000, in(0)), in(0), end, rep(32, drop))))))},
		{"br_if with 32 results", file(
			sec(sectionType, vec(fn(nil, nil), fn(nil, bytes.Repeat([]byte{i64}, 32)))), sec(sectionFunction, vec(u(0))),
			sec(sectionCode, vec(code(noLocals, in(0x02, 1), rep(32, in(0x42, 0)), rep(120_000, in(0x41, 0, 0x0d, 0)), end, rep(32, drop)))))},
		{"loads and branches", oneFunction(locals(1), in(0x02, 0x40), rep(50_000, get(0), in(0x28, 2, 0, 0x22, 0, 0x0d, 0)), end)},
		{"loads and branches, few", oneFunction(locals(1), in(0x02, 0x40), rep(5_000, get(0), in(0x28, 2, 0, 0x22, 0, 0x0d, 0)), end)},
		{"a deep operand stack", oneFunction(noLocals, rep(100_000, in(0x3f, 0)), call, rep(100_000, drop))},
		{"a deep operand stack of vectors", oneFunction(noLocals, rep(100_000, in(0x3f, 0, 0xfd, 0x11)), call, rep(100_000, drop))},
		{"many deep operand stacks", oneFunction(noLocals, rep(2, rep(80_000, in(0x3f, 0)), call, rep(80_000, in(0x1a))))},
		{"straight code", oneFunction(locals(1), rep(74_000, get(0), in(0x41, 1, 0x6a, 0x21, 0)))},
		{"selects", oneFunction(locals(1), rep(50_000, get(0), get(0), get(0), in(0x1b, 0x21, 0)))},
		{"calls with 255 parameters", file(
			sec(sectionType, vec(fn(nil, nil), fn(bytes.Repeat([]byte{i64}, 255), bytes.Repeat([]byte{i64}, 32)))),
			sec(sectionFunction, vec(u(0), u(1))),
			sec(sectionCode, vec(
				code(locals(1), rep(900, rep(255, in(0x42, 0)), in(0x10, 1), rep(32, drop))),
				code(noLocals, rep(32, in(0x42, 0))))))},
		{"divisions", oneFunction(locals(1), rep(70_000, get(0), get(0), in(0x6e, 0x21, 0)))},
		{"float conversions", oneFunction(vec(cat(u(1), []byte{f64})), rep(80_000, in(0x20, 0, 0xab, 0xba, 0x21, 0)))},
		{"data segments", file(
			sec(sectionMemory, vec([]byte{0, 1})), sec(sectionData, u(99_999), rep(99_999, in(0, 0x41, 0, 0x0b, 0))))},
		{"exports", file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, vec(u(0))),
			sec(sectionExport, u(1000), each(1000, func(i int) []byte {
				return cat(str(string(bytes.Repeat([]byte{'a' + byte(i%26)}, 1000))+string(rune('a'+i/26))), in(0, 0))
			})),
			sec(sectionCode, vec(code(noLocals))))},
		{"types", file(sec(sectionType, u(9_999), rep(9_999, fn(bytes.Repeat([]byte{i64}, 255), bytes.Repeat([]byte{i64}, 32)))))},
		{"tables", file(sec(sectionTable, u(4), rep(4, cat(in(0x70, 0), u(65_536)))))},
		{"memory fills", oneFunction(noLocals, rep(50_000, in(0x41, 0, 0x41, 0, 0x41, 5, 0xfc, 11, 0)))},
		{"table fills", file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, vec(u(0))), sec(sectionTable, vec(cat(in(0x70, 0), u(10)))),
			sec(sectionCode, vec(code(noLocals, rep(50_000, in(0x41, 0, 0xd0, 0x70, 0x41, 5, 0xfc, 17, 0))))))},
		{"indirect calls", file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, vec(u(0))), sec(sectionTable, vec(cat(in(0x70, 0), u(10)))),
			sec(sectionCode, vec(code(noLocals, rep(100_000, in(0x41, 0, 0x11, 0, 0))))))},
		{"8 MiB of straight code", file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, u(15), rep(15, u(0))),
			sec(sectionCode, u(15), rep(15, code(locals(1), rep(74_000, get(0), in(0x41, 1, 0x6a, 0x21, 0))))))},
	}
}

// inJail compiles a module in a child process with limits on memory and time. A module that the engine refuses is
// fine.
func inJail(t testing.TB, file []byte) (report string, ok bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), jailVariable+"=1")
	cmd.Stdin = bytes.NewReader(file)
	out, err := cmd.CombinedOutput()
	code := cmd.ProcessState.ExitCode()
	return fmt.Sprintf("%v: %s", err, out), code == jailCompiled || code == jailRefused
}

// dear are files that are as dear to compile as the limits allow, each in another way.
func dear() []bomb {
	rep := func(n int, b ...[]byte) []byte { return slices.Repeat(cat(b...), n) }
	locals := func(n int) []byte { return vec(cat(u(n), []byte{i32})) }
	get := func(i int) []byte { return cat(in(0x20), u(i)) }
	each := func(n int, f func(i int) []byte) []byte {
		var b []byte
		for i := range n {
			b = append(b, f(i)...)
		}
		return b
	}
	end, drop := in(0x0b), in(0x1a)
	ifs := code(locals(1000), rep(1500, get(0), in(0x04, 0x40), end), each(1000, func(i int) []byte { return cat(get(i), drop) }))
	return []bomb{
		{"functions with many ifs and locals", file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, u(4), rep(4, u(0))),
			sec(sectionCode, vec(ifs, ifs, ifs, ifs)))},
		{"ifs that set locals in a loop", oneFunction(locals(900), in(0x03, 0x40),
			each(650, func(i int) []byte { return cat(get(0), in(0x04, 0x40), get((i+1)%900), in(0x21), u(i%900), end) }),
			each(900, func(i int) []byte { return cat(get(i), drop) }), get(0), in(0x0d, 0), end)},
		{"branches", oneFunction(vec(), in(0x02, 0x40), rep(8_500, in(0x41, 0, 0x0d, 0)), end)},
		{"labels of br_table", oneFunction(vec(), rep(14, in(0x02, 0x40, 0x41, 0, 0x0e), u(16_000), rep(16_000, in(0)), in(0), end))},
		{"indirect calls", file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, vec(u(0))), sec(sectionTable, vec(cat(in(0x70, 0), u(10)))),
			sec(sectionCode, vec(code(vec(), rep(45_000, in(0x41, 0, 0x11, 0, 0))))))},
		{"loads and branches", oneFunction(locals(1), in(0x02, 0x40), rep(4_000, get(0), in(0x28, 2, 0, 0x22, 0, 0x0d, 0)), end)},
		{"calls and mutable globals", file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, vec(u(0))),
			sec(sectionGlobal, u(1000), rep(1000, in(i32, 1, 0x41, 0, 0x0b))),
			sec(sectionCode, vec(code(vec(), rep(2_900, in(0x10, 0))))))},
		{"nested loops", oneFunction(locals(1), rep(900, in(0x03, 0x40)), get(0), in(0x0d, 0), rep(900, end))},
		{"loops one after the other", oneFunction(locals(1), rep(1_900, in(0x03, 0x40), get(0), in(0x0d, 0), end))},
		{"functions and locals", file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, u(6_000), rep(6_000, u(0))),
			sec(sectionCode, u(6_000), rep(6_000, code(locals(4_096)))))},
		{"functions and globals", file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, u(37_000), rep(37_000, u(0))),
			sec(sectionGlobal, u(10_000), rep(10_000, in(i32, 1, 0x41, 0, 0x0b))),
			sec(sectionCode, u(37_000), rep(37_000, code(vec()))))},
	}
}

// A module that is admitted compiles within the jail that strangers' modules are compiled in.
func TestAdmittedModulesCompile(t *testing.T) {
	if !jailsHere || testing.Short() || raceEnabled {
		t.Skip("takes half a minute of processor time, and the jail is Linux's, and has less memory than the race detector needs")
	}
	for _, b := range bombs() {
		t.Run(b.name, func(t *testing.T) {
			if m, problems := Read(b.file, DefaultLimits()); problems == nil {
				compileInJail(t, m)
			}
		})
	}
	for _, b := range dear() {
		t.Run("as dear as allowed: "+b.name, func(t *testing.T) { compileInJail(t, must(t, b.file)) })
	}
}

func compileInJail(t *testing.T, m *Module) {
	t.Helper()
	out, err := m.Meter(MeterOptions{StackBytes: 1 << 29})
	if err != nil {
		t.Fatal(err)
	}
	report, ok := inJail(t, out)
	if !ok {
		t.Errorf("the jail ended with %.300s", report)
	}
	t.Log(report)
}

// FuzzAdmitted looks for modules that are admitted and too dear to compile.
func FuzzAdmitted(f *testing.F) {
	if !jailsHere || raceEnabled {
		f.Skip("the jail is Linux's, and has less memory than the race detector needs")
	}
	for _, b := range bombs() {
		if len(b.file) < 50_000 {
			f.Add(b.file)
		}
	}
	for _, s := range samples(f) {
		if len(s) < 50_000 {
			f.Add(s)
		}
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		m, problems := Read(source, DefaultLimits())
		if problems != nil {
			return
		}
		if out, err := m.Meter(MeterOptions{StackBytes: 1 << 29}); err == nil {
			if report, ok := inJail(t, out); !ok {
				t.Error(report)
			}
		}
	})
}

func TestReadIsQuick(t *testing.T) {
	// No time is measured: what is not near-linear would take this test hours.
	for _, b := range append(bombs(), dear()...) {
		Read(slices.Concat(b.file, bytes.Repeat(sec(0, str("x")), 100_000)), DefaultLimits())
	}
}
