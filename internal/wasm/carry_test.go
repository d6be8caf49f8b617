package wasm

import (
	"context"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
)

// carrier imports two functions, and exports what Carry wants and functions that call the imports: both returns the sum
// of what dropped and kept return, through the table and directly.
func carrier() []byte {
	const i32 = 0x7f
	none, toI32, copier := fn(nil, nil), fn(nil, []byte{i32}), fn([]byte{i32, i32, i32}, nil)
	noLocals := u(0)
	return file(
		sec(sectionType, vec(none, toI32, copier)),
		sec(sectionImport, vec(cat(str("env"), str("dropped"), []byte{0}, u(1)), cat(str("env"), str("kept"), []byte{0}, u(1)))),
		sec(sectionFunction, vec(u(1), u(2), u(1), u(0))),
		sec(sectionTable, vec([]byte{0x70, 0, 1})),
		sec(sectionMemory, vec([]byte{0, 1})),
		sec(sectionExport, vec(
			cat(str("size"), []byte{0}, u(2)), cat(str("copy"), []byte{0}, u(3)), cat(str("both"), []byte{0}, u(4)),
			cat(str("load"), []byte{0}, u(5)), cat(str("memory"), []byte{2}, u(0)))),
		sec(sectionElement, vec(cat([]byte{0}, in(0x41, 0, 0x0b), vec(u(0))))),
		sec(sectionCode, vec(
			code(noLocals, in(0x41, 0)),
			code(noLocals),
			code(noLocals, in(0x41, 0, 0x11, 1, 0, 0x10, 1, 0x6a)),
			// copies what size says from the offset 0 to the address 100
			code(noLocals, in(0x41), []byte{0xe4, 0}, in(0x41, 0, 0x10, 2, 0x10, 3)))),
		sec(sectionData, vec(cat([]byte{0}, in(0x41, 0, 0x0b), str("there before")))),
		sec(sectionCustom, str("name"), []byte{1}, sized(vec(cat(u(0), str("dropped")), cat(u(5), str("load"))))),
	)
}

func mustRead(t *testing.T, f []byte) *Module {
	t.Helper()
	m, problems := Read(f, DefaultLimits())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return m
}

func TestAModuleCarriesASegmentThatItReadsItself(t *testing.T) {
	m := mustRead(t, carrier())
	m = m.Without(func(in Import) bool { return in.Name == "dropped" }, -5)
	f, err := m.Carry([]byte("a script"), map[string]uint32{"size": 8}, "copy")
	if err != nil {
		t.Fatal(err)
	}
	m = mustRead(t, f)
	if got := m.Imports(); len(got) != 1 || got[0].Name != "kept" {
		t.Errorf("it imports %v", got)
	}
	for _, gone := range []string{"size", "copy"} {
		if _, ok := m.Export(gone); ok {
			t.Errorf("it still exports %s", gone)
		}
	}
	load, _ := m.Export("load")
	if name := m.FunctionName(int(load.Index)); name != "load" {
		t.Errorf("the function that it exports as load is called %q", name)
	}
	for _, e := range []wazero.RuntimeConfig{wazero.NewRuntimeConfigCompiler(), wazero.NewRuntimeConfigInterpreter()} {
		ctx := context.Background()
		rt := wazero.NewRuntimeWithConfig(ctx, e)
		defer rt.Close(ctx)
		if _, err := rt.NewHostModuleBuilder("env").NewFunctionBuilder().WithFunc(func() int32 { return 47 }).Export("kept").Instantiate(ctx); err != nil {
			t.Fatal(err)
		}
		mod, err := rt.Instantiate(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := mod.ExportedFunction("both").Call(ctx); err != nil || int32(got[0]) != 42 {
			t.Errorf("-5 and 47 are %v, %v", got, err)
		}
		if _, err := mod.ExportedFunction("load").Call(ctx); err != nil {
			t.Fatal(err)
		}
		for at, want := range map[uint32]string{0: "there before", 100: "a script"} {
			if got, _ := mod.Memory().Read(at, uint32(len(want))); string(got) != want {
				t.Errorf("at %d there is %q, want %q", at, got, want)
			}
		}
	}
}

func TestAModuleThatCannotCarryIsRefused(t *testing.T) {
	m := mustRead(t, carrier())
	for _, tc := range []struct {
		numbers map[string]uint32
		copier  string
		want    string
	}{
		{map[string]uint32{"length": 1}, "copy", "does not export all"},
		{map[string]uint32{"size": 1}, "paste", "does not export all"},
		{map[string]uint32{"load": 1}, "copy", "export load is not a function"},
		{map[string]uint32{"memory": 1}, "copy", "export memory is not a function"},
		{map[string]uint32{"size": 1}, "both", "export both is not a function"},
	} {
		if _, err := m.Carry(nil, tc.numbers, tc.copier); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v and %s: %v, want %q", tc.numbers, tc.copier, err, tc.want)
		}
	}
}

func TestWithoutNothingIsTheSame(t *testing.T) {
	for name, f := range map[string][]byte{"a module": carrier(), "an empty one": file()} {
		m := mustRead(t, f)
		if got := m.Without(func(Import) bool { return false }, 0).Encode(); string(got) != string(m.Encode()) {
			t.Errorf("%s changes", name)
		}
	}
}
