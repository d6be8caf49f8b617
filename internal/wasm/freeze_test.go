package wasm

import (
	"slices"
	"strings"
	"testing"
)

// stateful is a module with those globals and a function of those instructions.
func stateful(t *testing.T, globals [][]byte, instructions ...[]byte) *Module {
	t.Helper()
	wasm := file(
		sec(1, vec(fn(nil, nil))),
		sec(3, vec(u(0))),
		sec(4, vec(cat(in(0x70, 0x00), u(2)))),
		sec(5, vec(in(0x00, 0x01))),
		sec(6, vec(globals...)),
		sec(12, u(1)),
		sec(10, vec(code(u(0), instructions...))),
		sec(11, vec(cat(in(0x01), str("x")))),
	)
	m, problems := Read(wasm, DefaultLimits())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return m
}

var (
	mutableI32  = in(0x7f, 1, 0x41, 0, 0x0b)
	constantI64 = in(0x7e, 0, 0x42, 0, 0x0b)
	mutableF64  = cat(in(0x7c, 1, 0x44), make([]byte, 8), in(0x0b))
	mutableRef  = in(0x70, 1, 0xd0, 0x70, 0x0b)
	mutableV128 = cat(in(0x7b, 1, 0xfd, 0x0c), make([]byte, 16), in(0x0b))
)

func TestMutableGlobalsAreExportedOnlyWhenAskedFor(t *testing.T) {
	m := stateful(t, [][]byte{mutableI32, constantI64, mutableF64})
	if got := m.MutableGlobals(); !slices.Equal(got, []uint32{0, 2}) {
		t.Errorf("the mutable ones are %v", got)
	}
	if why := m.HiddenState(); why != "" {
		t.Errorf("hidden: %s", why)
	}
	for _, export := range []bool{false, true} {
		code, err := m.Meter(MeterOptions{ExportGlobals: export})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{MeterGlobal + "0", MeterGlobal + "2"} {
			if got := strings.Contains(string(code), name); got != export {
				t.Errorf("asked for: %t; %s is exported: %t", export, name, got)
			}
		}
		if strings.Contains(string(code), MeterGlobal+"1") {
			t.Error("a constant is exported")
		}
	}
}

func TestStateThatCannotBeReadIsNamed(t *testing.T) {
	for _, c := range []struct {
		name    string
		globals [][]byte
		code    []byte
		want    string
	}{
		{"numbers only", [][]byte{mutableI32}, nil, ""},
		{"a table that is set", nil, in(0x41, 0, 0xd0, 0x70, 0x26, 0), "its code changes a table"},
		{"a segment that is dropped", nil, in(0xfc, 0x09, 0), "its code drops a segment"},
		{"a reference", [][]byte{mutableI32, mutableRef}, nil, "its mutable global 1 is a funcref"},
		{"a vector", [][]byte{mutableV128}, nil, "its mutable global 0 is a v128"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := stateful(t, c.globals, c.code).HiddenState(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
