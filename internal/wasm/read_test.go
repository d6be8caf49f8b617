package wasm

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// functions is a module with n functions () -> (), the first of them with that code.
func functions(n int, first []byte) []byte {
	bodies := slices.Repeat([][]byte{code(vec())}, n)
	bodies[0] = first
	return file(
		sec(sectionType, vec(fn(nil, nil))),
		sec(sectionFunction, rep(n, u(0))),
		sec(sectionCode, vec(bodies...)))
}

func TestEachLimitIsExact(t *testing.T) {
	const n = 3
	numbered := func(n int, item func(i int) []byte) []byte {
		items := make([][]byte, n)
		for i := range items {
			items[i] = item(i)
		}
		return vec(items...)
	}
	empty := sec(sectionType, vec(fn(nil, nil)))
	table := sec(sectionTable, vec(in(0x70, 0, 9)))
	for _, tc := range []struct {
		name  string
		limit func(*Limits) *int
		most  int
		file  func(n int) []byte
	}{
		{"types", func(l *Limits) *int { return &l.Types }, n, func(n int) []byte { return file(sec(sectionType, rep(n, fn(nil, nil)))) }},
		{"parameters", func(l *Limits) *int { return &l.Params }, n, func(n int) []byte { return file(sec(sectionType, vec(fn(bytes.Repeat([]byte{i32}, n), nil)))) }},
		{"results", func(l *Limits) *int { return &l.Results }, n, func(n int) []byte { return file(sec(sectionType, vec(fn(nil, bytes.Repeat([]byte{i32}, n))))) }},
		{"imports", func(l *Limits) *int { return &l.Imports }, n, func(n int) []byte {
			return file(empty, sec(sectionImport, rep(n, cat(str("m"), str("n"), in(0, 0)))))
		}},
		{"functions", func(l *Limits) *int { return &l.Functions }, n, func(n int) []byte { return functions(n, code(vec())) }},
		{"functions, imported ones among them", func(l *Limits) *int { return &l.Functions }, n, func(n int) []byte {
			return file(empty, sec(sectionImport, vec(cat(str("m"), str("n"), in(0, 0)))),
				sec(sectionFunction, rep(n-1, u(0))), sec(sectionCode, rep(n-1, code(vec()))))
		}},
		{"exports", func(l *Limits) *int { return &l.Exports }, n, func(n int) []byte {
			return file(sec(sectionMemory, vec(in(0, 1))), sec(sectionExport, numbered(n, func(i int) []byte { return cat(str(string(rune('a'+i))), in(2, 0)) })))
		}},
		{"globals", func(l *Limits) *int { return &l.Globals }, n, func(n int) []byte {
			return file(sec(sectionGlobal, rep(n, in(i32, 0, 0x41, 0, 0x0b))))
		}},
		{"bytes of a name", func(l *Limits) *int { return &l.NameBytes }, n, func(n int) []byte {
			return file(empty, sec(sectionImport, vec(cat(str("m"), str(strings.Repeat("n", n)), in(0, 0)))))
		}},
		{"tables", func(l *Limits) *int { return &l.Tables }, n, func(n int) []byte { return file(sec(sectionTable, rep(n, in(0x70, 0, 1)))) }},
		{"entries of a table", func(l *Limits) *int { return &l.TableEntries }, n, func(n int) []byte { return file(sec(sectionTable, vec(in(0x6f, 0, byte(n))))) }},
		{"pages of memory", func(l *Limits) *int { return &l.MemoryPages }, n, func(n int) []byte { return file(sec(sectionMemory, vec(in(0, byte(n))))) }},
		{"data segments", func(l *Limits) *int { return &l.DataSegments }, n, func(n int) []byte { return file(sec(sectionData, rep(n, in(1, 0)))) }},
		{"element segments", func(l *Limits) *int { return &l.Elements }, n, func(n int) []byte {
			return file(table, sec(sectionElement, rep(n, in(5, 0x70, 0))))
		}},
		{"element entries of all segments", func(l *Limits) *int { return &l.ElementEntries }, n, func(n int) []byte {
			return file(table, sec(sectionElement, vec(in(5, 0x70, 1, 0xd0, 0x70, 0x0b), cat(in(5, 0x70), rep(n-1, in(0xd0, 0x70, 0x0b))))))
		}},
		{"bytes of code", func(l *Limits) *int { return &l.BodyBytes }, 10, func(n int) []byte {
			return functions(1, code(vec(), bytes.Repeat(in(0x01), n-2)))
		}},
		{"locals", func(l *Limits) *int { return &l.Locals }, n, func(n int) []byte {
			return functions(1, code(vec(cat(u(1), in(i32)), cat(u(n-1), in(i64)))))
		}},
		{"locals, parameters among them", func(l *Limits) *int { return &l.Locals }, n, func(n int) []byte {
			return file(sec(sectionType, vec(fn(in(i32), nil))), sec(sectionFunction, vec(u(0))),
				sec(sectionCode, vec(code(vec(cat(u(n-1), in(i64)))))))
		}},
		{"nesting", func(l *Limits) *int { return &l.Nesting }, n, func(n int) []byte {
			return functions(1, code(vec(), bytes.Repeat(in(0x02, 0x40), n), bytes.Repeat(in(0x0b), n)))
		}},
		{"targets of br_table", func(l *Limits) *int { return &l.BranchTable }, n, func(n int) []byte {
			return functions(1, code(vec(), in(0x41, 0, 0x0e), rep(n, u(0)), u(0)))
		}},
		{"bytes of the file", func(l *Limits) *int { return &l.FileBytes }, 20, func(n int) []byte {
			return file(sec(0, str(""), bytes.Repeat([]byte{0}, n-11)))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			limits := DefaultLimits()
			*tc.limit(&limits) = tc.most
			if _, problems := Read(tc.file(tc.most), limits); len(problems) > 0 {
				t.Errorf("as many as allowed: %v", problems)
			}
			m, problems := Read(tc.file(tc.most+1), limits)
			if len(problems) == 0 || m != nil {
				t.Fatal("one too many is accepted")
			}
			if !strings.Contains(problems[0].Message, "allowed") && !strings.Contains(problems[0].Message, "deeper") {
				t.Errorf("one too many: %v", problems)
			}
		})
	}
}

func TestEffortIsBounded(t *testing.T) {
	f := functions(3, code(vec(), bytes.Repeat(in(0x10, 0), 100)))
	limits := DefaultLimits()
	limits.FunctionEffort = 500
	if _, problems := Read(f, limits); len(problems) != 1 || problems[0].Function != "0" {
		t.Errorf("a function that is dear to compile: %v", problems)
	}
	limits = DefaultLimits()
	limits.ModuleEffort = 500
	if _, problems := Read(f, limits); len(problems) != 1 || problems[0].Function != "" {
		t.Errorf("a module that is dear to compile: %v", problems)
	}
}

// withCode is a module with a memory, a table, globals, segments and one function (i32) -> (i32) with that code.
func withCode(instructions ...[]byte) []byte {
	return file(
		sec(sectionType, vec(fn(in(i32), in(i32)))),
		sec(sectionFunction, vec(u(0))),
		sec(sectionTable, vec(in(0x70, 0, 1), in(0x6f, 0, 1))),
		sec(sectionMemory, vec(in(0, 1))),
		sec(sectionGlobal, vec(in(i32, 0, 0x41, 0, 0x0b), in(i32, 1, 0x41, 0, 0x0b))),
		sec(sectionElement, vec(in(1, 0, 1, 0))),
		sec(sectionDataCount, u(1)),
		sec(sectionCode, vec(code(vec(), instructions...))),
		sec(sectionData, vec(in(1, 0))))
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	typ := sec(sectionType, vec(fn(nil, nil)))
	one := cat(typ, sec(sectionFunction, vec(u(0))))
	body := sec(sectionCode, vec(code(vec())))
	for _, tc := range []struct {
		name string
		file []byte
		want []string // one part of each problem's text
	}{
		{"an empty file", nil, []string{"file, byte 0: is not a WebAssembly module"}},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), []string{"byte 4: is not version 1"}},
		{"a section that is cut off", file(in(1, 9, 0)), []string{"byte 8: a section of 9 bytes reaches beyond the end"}},
		{"a size without end", file(in(1, 0x80, 0x80, 0x80, 0x80, 0x80)), []string{"byte 9: the size of a section"}},
		{"an unknown section", file(sec(14)), []string{"unknown section, number 14"}},
		{"exceptions", file(sec(13)), []string{"exception handling"}},
		{"sections out of order", file(sec(sectionMemory, vec(in(0, 1))), typ), []string{"the type section comes after the memory section"}},
		{"a section that is there twice", file(typ, typ), []string{"the type section comes after the type section"}},
		{"a data count behind the code", file(one, body, sec(sectionDataCount, u(0))), []string{"the data count section comes after the code section"}},
		{"a section that is too long", file(sec(sectionType, vec(fn(nil, nil)), in(0))), []string{"type section, byte 14: 1 bytes are left over"}},
		{"a count that its section has no room for", file(sec(sectionType, u(1000))), []string{"has 1000 types, but only 0 bytes"}},
		{"all problems at once", file(
			sec(sectionType, vec(in(0x5f))), sec(sectionMemory, vec(in(2, 1))), sec(sectionGlobal, vec(in(0x11, 0, 0x41, 0, 0x0b)))),
			[]string{"but only 1 bytes", "is shared (threads: not supported)", "global section, byte 20: unknown value type 0x11"}},
		{"functions without code", file(one), []string{"declares 1 functions and has no code"}},
		{"code without functions", file(typ, body), []string{"has code for 1 functions, 0 are declared"}},
		{"data segments that were not counted", file(sec(sectionDataCount, u(0)), sec(sectionData, vec(in(1, 0)))), []string{"has 1 data segments, its data count section says 0"}},

		{"an imported memory", file(sec(sectionImport, vec(cat(str("env"), str("memory"), in(2, 0, 1))))), []string{`imports the memory "env"."memory": only functions`}},
		{"an imported table", file(sec(sectionImport, vec(cat(str("e"), str("t"), in(1, 0x70, 0, 1))))), []string{`imports the table`}},
		{"an imported global", file(sec(sectionImport, vec(cat(str("e"), str("g"), in(3, i32, 0))))), []string{`imports the global`}},
		{"an import of the meter", file(typ, sec(sectionImport, vec(cat(str("weir_meter"), str("refill"), in(0, 0))))), []string{"that module is reserved"}},
		{"an import of unknown type", file(typ, sec(sectionImport, vec(cat(str("e"), str("f"), in(0, 7))))), []string{"there is no type 7, the module has 1"}},
		{"a name that is not UTF-8", file(typ, sec(sectionImport, vec(cat(str("\xff"), str("f"), in(0, 0))))), []string{"not UTF-8"}},
		{"a custom section's name that is not UTF-8", file(sec(0, str("\xff"))), []string{"custom section, byte 10: its name is not UTF-8"}},
		{"an export of the meter", file(sec(sectionMemory, vec(in(0, 1))), sec(sectionExport, vec(cat(str("weir_meter_fuel"), in(2, 0))))), []string{"are reserved"}},
		{"an export that is there twice", file(sec(sectionMemory, vec(in(0, 1))), sec(sectionExport, vec(cat(str("m"), in(2, 0)), cat(str("m"), in(2, 0))))), []string{`exports "m" twice`}},
		{"exports of nothing", file(sec(sectionExport, vec(
			cat(str("a"), in(0, 0)), cat(str("b"), in(1, 0)), cat(str("c"), in(2, 0)), cat(str("d"), in(3, 0)), cat(str("e"), in(4, 0))))),
			[]string{"no function 0", "no table 0", "no memory 0", "no global 0", "unknown kind 0x04"}},
		{"two memories", file(sec(sectionMemory, vec(in(0, 1), in(0, 1)))), []string{"has 2 memories, at most 1"}},
		{"a 64-bit memory", file(sec(sectionMemory, vec(in(4, 1)))), []string{"memory64: not supported"}},
		{"a memory that shrinks", file(sec(sectionMemory, vec(in(1, 2, 1)))), []string{"the maximum, 1, is below the minimum, 2"}},
		{"a memory beyond 4 GiB", file(sec(sectionMemory, vec(cat(in(1, 1), u(65_537))))), []string{"a size of 65537 is beyond"}},
		{"a table of numbers", file(sec(sectionTable, vec(in(i32, 0, 1)))), []string{"type 0x7f, want funcref or externref"}},
		{"a global of the wrong type", file(sec(sectionGlobal, vec(in(i64, 0, 0x41, 0, 0x0b)))), []string{"is of type i32, want i64"}},
		{"a global that is computed", file(sec(sectionGlobal, vec(in(i32, 0, 0x41, 1, 0x41, 2, 0x6a, 0x0b)))), []string{"extended constants: not supported"}},
		{"a global that is read", file(sec(sectionGlobal, vec(in(i32, 0, 0x41, 1, 0x0b), in(i32, 0, 0x23, 0, 0x0b)))), []string{"it could only read an imported one"}},
		{"a start function that does not exist", file(sec(sectionStart, u(3))), []string{"no function 3"}},
		{"a start function with a parameter", file(sec(sectionType, vec(fn(in(i32), nil))), sec(sectionFunction, vec(u(0))), sec(sectionStart, u(0)), body), []string{"has type (i32) -> (), want () -> ()"}},
		{"elements for no table", file(one, sec(sectionElement, vec(in(0, 0x41, 0, 0x0b, 1, 0))), body), []string{"no table 0"}},
		{"elements that are no functions", file(sec(sectionTable, vec(in(0x70, 0, 1))), sec(sectionElement, vec(in(0, 0x41, 0, 0x0b, 1, 5)))), []string{"no function 5"}},
		{"elements of another type than the table", file(sec(sectionTable, vec(in(0x6f, 0, 1))), sec(sectionElement, vec(in(0, 0x41, 0, 0x0b, 0)))), []string{"holds funcref, table 0 wants externref"}},
		{"data for no memory", file(sec(sectionData, vec(in(0, 0x41, 0, 0x0b, 0)))), []string{"no memory 0"}},

		{"code that is cut off", withCode(in(0x41)), []string{"code section, byte"}},
		{"an unknown instruction", withCode(in(0x27)), []string{"(function 0): unknown instruction 0x27"}},
		{"a tail call", withCode(in(0x12, 0)), []string{"tail calls: not supported"}},
		{"an atomic instruction", withCode(in(0xfe, 0)), []string{"threads: not supported"}},
		{"an instruction of garbage collection", withCode(in(0xfb, 0)), []string{"garbage collection: not supported"}},
		{"a vector instruction that is not there", withCode(in(0xfd, 0x9a, 1)), []string{"unknown instruction 0xfd 0x9a"}},
		{"relaxed SIMD", withCode(in(0xfd, 0x80, 2)), []string{"relaxed SIMD"}},
		{"an opcode in more bytes than it needs", withCode(in(0xfc, 0x80, 0)), []string{"more bytes than it needs"}},
		{"a second memory", withCode(in(0x3f, 1)), []string{"multiple memories"}},
		{"an alignment above the natural one", withCode(in(0x41, 0, 0x28, 3, 0)), []string{"alignment 2^3 is above the natural one, 2^2"}},
		{"a lane that is not there", withCode(in(0xfd, 0x15, 16)), []string{"lane 16, want one below 16"}},
		{"an unknown block type", withCode(in(0x02, 0x41)), []string{"unknown block type"}},
		{"else without if", withCode(in(0x05)), []string{"else without if"}},
		{"two else", withCode(in(0x41, 0, 0x04, 0x40, 0x05, 0x05)), []string{"else without if"}},
		{"code behind its end", withCode(in(0x0b, 0x01)), []string{"2 bytes are left over behind its end"}},
		{"indices of what is not there", withCode(
			in(0x20, 1), in(0x24, 2), in(0x10, 1), in(0x0c, 1), in(0x11, 1, 0), in(0x25, 2), in(0xfc, 8, 1, 0), in(0xfc, 13, 1), in(0xd2, 1), in(0x02, 1)),
			[]string{"no local 1", "no global 2", "no function 1", "no label 1", "no type 1", "no table 2", "no data segment 1", "no element segment 1", "no function 1", "no type 1"}},
		{"an assignment to a constant", withCode(in(0x24, 0)), []string{"sets global 0, which is immutable"}},
		{"a call through a table without functions", withCode(in(0x11, 0, 1)), []string{"which holds no functions"}},
		{"access to no memory", file(one, sec(sectionCode, vec(code(vec(), in(0x3f, 0))))), []string{"there is no memory"}},
		{"a use of data that was not counted", file(one, sec(sectionCode, vec(code(vec(), in(0xfc, 9, 0)))), sec(sectionData, vec(in(1, 0)))), []string{"no data count section"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, problems := Read(tc.file, DefaultLimits())
			if m != nil && len(problems) > 0 {
				t.Error("a module with problems is returned")
			}
			for i, want := range tc.want {
				if i >= len(problems) {
					t.Fatalf("got %v, want %q too", problems, want)
				}
				if got := problems[i].String(); !strings.Contains(got, want) {
					t.Errorf("got %q, want %q in it", got, want)
				}
			}
			if len(problems) > len(tc.want) {
				t.Errorf("also got %v", problems[len(tc.want):])
			}
		})
	}
}

func TestManyProblemsAreCounted(t *testing.T) {
	_, problems := Read(withCode(bytes.Repeat(in(0x20, 9), 50)), DefaultLimits())
	if len(problems) != 33 || problems[32].Message != "and 18 more problems" {
		t.Errorf("got %d problems, the last of them %v", len(problems), problems[len(problems)-1])
	}
}

func TestProblemsNameTheFunction(t *testing.T) {
	f := cat(withCode(in(0x20, 9)), sec(0, str("name"), in(1), sized(vec(cat(u(0), str("start\n"))))))
	_, problems := Read(f, DefaultLimits())
	if len(problems) != 1 || problems[0].Function != `0 "start\n"` {
		t.Errorf("got %v", problems)
	}
}

func TestMalformedNamesAreForgotten(t *testing.T) {
	base := functions(3, code(vec()))
	name := func(content []byte) []byte { return cat(base, sec(0, str("name"), content)) }
	good := cat(in(1), sized(vec(cat(u(1), str("one")), cat(u(2), str("two")))))
	for _, tc := range []struct {
		name string
		file []byte
		want string
	}{
		{"well-formed ones are kept", name(good), "one"},
		{"those behind the names of the module are found", name(cat(in(0), sized(str("m")), good)), "one"},
		{"indices must ascend", name(cat(in(1), sized(vec(cat(u(2), str("two")), cat(u(1), str("one")))))), ""},
		{"a count that does not fit", name(cat(in(1), sized(u(1<<30)))), ""},
		{"a name that is cut off", name(cat(in(1), sized(cat(u(1), u(1), u(9))))), ""},
		{"a subsection that is cut off", name(in(1, 200)), ""},
		{"a name that is not UTF-8", name(cat(in(1), sized(vec(cat(u(1), str("\xff")))))), ""},
		{"a long name is cut", name(cat(in(1), sized(vec(cat(u(1), str(strings.Repeat("é", 1000))))))), strings.Repeat("é", 512)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := must(t, tc.file).FunctionName(1); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAccessors(t *testing.T) {
	m := must(t, generate([]byte{1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}))
	if e, ok := m.Export("f0"); !ok || e.Type.String() != "(i32, i32) -> (i32)" || e.Kind != KindFunction {
		t.Errorf("export f0: %+v, %v", e, ok)
	}
	if _, ok := m.Export("nothing"); ok {
		t.Error("an export is found that is not there")
	}
	if s, ok := m.Memory(); !ok || s != (Span{Min: 1, Max: 3, HasMax: true}) {
		t.Errorf("memory %+v, %v", s, ok)
	}
	if m.Functions() != genFunctions || m.Tables() != 1 || len(m.Imports()) != 0 {
		t.Errorf("%d functions, %d tables, %d imports", m.Functions(), m.Tables(), len(m.Imports()))
	}
	m = must(t, withCode(in(0x41, 0, 0x41, 0, 0x40, 0, 0x1a, 0x25, 0, 0x1a, 0x41, 0, 0xd0, 0x70, 0x26, 0, 0x41, 0)))
	if !m.GrowsMemory() || !m.MutatesTables() {
		t.Error("memory.grow or table.set is overlooked")
	}
}

// samples are modules that have a bit of everything.
func samples(t testing.TB) [][]byte {
	t.Helper()
	list := [][]byte{generate(nil), generate(bytes.Repeat([]byte{7, 3, 15, 1, 8}, 40)), withCode(in(0x41, 0))}
	for _, pattern := range repoModules {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			f, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, problems := Read(f, DefaultLimits()); problems == nil {
				list = append(list, f)
			}
		}
	}
	return list
}

// repoModules are the modules that this repository keeps.
var repoModules = []string{
	"testdata/kernels/*.wasm", "../cli/demo/*.wasm", "../../runtime/testdata/*.wasm", "../../host/testdata/*.wasm",
	"../../examples/*/*.wasm",
}

func TestNoPartOfAModuleIsAModule(t *testing.T) {
	for _, f := range samples(t) {
		if len(f) > 3000 {
			continue // that would take long
		}
		ends := map[int]bool{8: true} // where a whole number of sections ends
		for at := 8; at < len(f); {
			size, n := readU32(f[at+1:])
			at += 1 + n + int(size)
			ends[at] = true
		}
		for n := range f {
			m, problems := Read(f[:n:n], DefaultLimits())
			if problems == nil && !ends[n] {
				t.Errorf("the first %d of %d bytes are accepted", n, len(f))
			}
			if (m == nil) == (problems == nil) {
				t.Errorf("the first %d bytes: neither or both of module and problems", n)
			}
		}
	}
}

func TestAFlippedBitNeverPanics(t *testing.T) {
	step := 1
	if raceEnabled || testing.Short() {
		step = 17 // nothing runs at once here
	}
	for _, f := range samples(t) {
		if len(f) > 3000 {
			continue
		}
		f = bytes.Clone(f)
		for i := 0; i < len(f); i += step {
			for bit := range 8 {
				f[i] ^= 1 << bit
				if m, problems := Read(f, DefaultLimits()); problems == nil {
					if _, err := m.Meter(MeterOptions{}); err != nil {
						t.Errorf("byte %d, bit %d: %v", i, bit, err)
					}
				}
				f[i] ^= 1 << bit
			}
		}
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// allocationBound is what the documentation of Read promises.
func allocationBound(file []byte) uint64 { return 64*uint64(len(file)) + 64<<10 }

func TestReadAllocatesByLength(t *testing.T) {
	files := samples(t)
	for _, b := range append(bombs(), dear()...) {
		files = append(files, b.file)
	}
	// Large counts with nothing behind them.
	for id := 1; id < sections; id++ {
		files = append(files, file(sec(id, u(math.MaxInt32))), file(sec(id, u(9_000))))
	}
	for _, f := range files {
		if got := allocated(func() { Read(f, DefaultLimits()) }); got > allocationBound(f) {
			t.Errorf("%d bytes beginning with %.60x: %d bytes allocated, want at most %d", len(f), f, got, allocationBound(f))
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range samples(f) {
		if len(s) < 10_000 {
			f.Add(s)
		}
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		var m *Module
		var problems []Problem
		// Other goroutines of the fuzzer allocate too, so once too much means nothing.
		for range 5 {
			got := allocated(func() { m, problems = Read(source, DefaultLimits()) })
			if got <= allocationBound(source) {
				break
			} else if got > 4*allocationBound(source) {
				t.Errorf("%d bytes: %d bytes allocated", len(source), got)
			}
		}
		if problems != nil {
			for _, p := range problems {
				if p.Offset < 0 || p.Offset > len(source) || p.Message == "" {
					t.Errorf("a problem out of place: %+v", p)
				}
			}
			return
		}
		again, problems := Read(m.Encode(), DefaultLimits())
		if problems != nil {
			t.Fatalf("what was written cannot be read: %v", problems)
		}
		if !equal(m, again) {
			t.Errorf("what was written differs:\n%+v\n%+v", m, again)
		}
		_, _ = m.Meter(MeterOptions{})
	})
}

// equal compares modules, but for where in the file things were.
func equal(a, b *Module) bool {
	normal := func(m *Module) Module {
		c := *m
		c.bodies = slices.Clone(m.bodies)
		for i := range c.bodies {
			c.bodies[i].at = 0
		}
		c.names = nil
		for i, name := range m.names {
			if int(i) < len(m.functions) {
				if c.names == nil {
					c.names = map[uint32]string{}
				}
				c.names[i] = name
			}
		}
		c.elements = slices.Clone(m.elements)
		for i := range c.elements {
			c.elements[i].entries = slices.Clone(c.elements[i].entries)
			for j := range c.elements[i].entries {
				if e := &c.elements[i].entries[j]; e.op == opRefFunc {
					e.imm = nil // an index is in arg
				}
			}
		}
		c.globals = slices.Clone(m.globals)
		for i := range c.globals {
			if g := &c.globals[i]; g.init.op == opRefFunc {
				g.init.imm = nil
			}
		}
		return c
	}
	x, y := normal(a), normal(b)
	return len(x.types) == len(y.types) && reflect.DeepEqual(emptied(x), emptied(y))
}

// emptied makes empty slices nil: a section without anything in it is the same as none.
func emptied(m Module) Module {
	for _, s := range []any{&m.types, &m.imports, &m.functions, &m.tables, &m.globals, &m.exports, &m.elements, &m.bodies, &m.data} {
		v := reflect.ValueOf(s).Elem()
		if v.Len() == 0 {
			v.SetZero()
		}
	}
	return m
}

func TestIntegers(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, 1 << 31, -1 << 31, math.MaxInt32, math.MaxInt64, math.MinInt64} {
		b := appendSigned(nil, v)
		if got, n := readSigned(b, 64); got != v || n != len(b) {
			t.Errorf("%d: got %d of %d bytes from % x", v, got, n, b)
		}
		if got, n := readSigned(b, 32); (n != 0) != (v == int64(int32(v))) || n != 0 && got != v {
			t.Errorf("%d as 32 bits: got %d of %d bytes", v, got, n)
		}
	}
	for _, v := range []uint32{0, 1, 127, 128, math.MaxUint32} {
		b := appendU32(nil, v)
		if got, n := readU32(b); got != v || n != len(b) {
			t.Errorf("%d: got %d of %d bytes from % x", v, got, n, b)
		}
	}
	for _, tc := range []struct {
		name string
		b    []byte
		want int // bytes read
	}{
		{"nothing", nil, 0},
		{"cut off", in(0x80), 0},
		{"longer than it need be", in(0x80, 0x80, 0x80, 0x80, 0), 5},
		{"too long", in(0x80, 0x80, 0x80, 0x80, 0x80, 0), 0},
		{"33 bits", in(0xff, 0xff, 0xff, 0xff, 0x1f), 0},
	} {
		if _, n := readU32(tc.b); n != tc.want {
			t.Errorf("%s: %d bytes read, want %d", tc.name, n, tc.want)
		}
	}
	if _, n := readSigned(in(0xff, 0xff, 0xff, 0xff, 0x4f), 32); n != 0 {
		t.Error("a signed number with stray bits is accepted")
	}
}
