package runtime

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"weir/internal/wasm"
)

// checkABI compares a module's imports and exports with ABI 1.
func checkABI(r *reasons, m *wasm.Module) {
	checkExports(r, m)
	checkImports(r, m)
}

// reasons gathers why a module is refused.
type reasons struct {
	list []string
	more int
}

func (r *reasons) add(format string, args ...any) {
	if len(r.list) < maxReasons {
		r.list = append(r.list, fmt.Sprintf(format, args...))
		return
	}
	r.more++
	r.list[maxReasons-1] = fmt.Sprintf("and %d more", r.more+1)
}

// checkExports looks for the guest's side of the ABI.
func checkExports(r *reasons, m *wasm.Module) {
	if e, ok := m.Export(exportMemory); !ok || e.Kind != wasm.KindMemory {
		r.add("it exports no memory named %q", exportMemory)
	}
	for _, want := range []struct {
		name, params, results string
		optional              bool
	}{
		{name: exportABI, results: "l"},
		{name: exportInbound, params: "i", results: "i"},
		{name: exportEvent, params: "illii", results: "i"},
		{name: exportInitialize, optional: true},
	} {
		f, ok := m.Export(want.name)
		ok = ok && f.Kind == wasm.KindFunction
		switch {
		case !ok && want.optional:
		case !ok && want.name == exportABI && otherABI(m) != "":
			r.add("it exports %s: it was built for another version of the ABI; this host speaks %s",
				printable(otherABI(m), maxNameBytes), exportABI)
		case !ok:
			r.add("it does not export the function %s", want.name)
		default:
			checkSignature(r, "export "+want.name, f.Type, funcType(want.params, want.results))
		}
	}
}

// otherABI returns the mark of an ABI that is not ours, or nothing.
func otherABI(m *wasm.Module) string {
	prefix := strings.TrimRight(exportABI, "0123456789")
	for _, e := range m.Exports() {
		version, ok := strings.CutPrefix(e.Name, prefix)
		if ok && e.Kind == wasm.KindFunction && version != "" && strings.Trim(version, "0123456789") == "" {
			return e.Name
		}
	}
	return ""
}

// checkImports looks for functions that the host does not have.
func checkImports(r *reasons, m *wasm.Module) {
	for _, f := range m.Imports() {
		what := "import " + importName(f.Module, f.Name)
		switch f.Module {
		case abiImportModule:
			if have := hostFuncNamed[f.Name]; have != nil {
				checkSignature(r, what, f.Type, funcType(have.params, have.results))
			} else {
				r.add("%s: this host has no such function", what)
			}
		case wasiModule:
			if have := wasiFunctions()[f.Name]; have != nil {
				checkSignature(r, what, f.Type, wasm.FuncType{Params: wasmTypes(have.ParamTypes()), Results: wasmTypes(have.ResultTypes())})
			} else {
				r.add("%s: this host has no such function", what)
			}
		default:
			r.add("%s: unknown module; there are %s and %s", what, abiImportModule, wasiModule)
		}
	}
}

// checkGrants looks for host functions that the operator has not granted.
func checkGrants(r *reasons, m *wasm.Module, granted Capability) {
	for _, f := range m.Imports() {
		if f.Module != abiImportModule {
			continue
		}
		if have := hostFuncNamed[f.Name]; have != nil && have.capability&^granted != 0 {
			r.add("import %s needs the capability %q, which is not granted", importName(f.Module, f.Name), have.capability)
		}
	}
}

func importName(module, name string) string {
	return printable(module, maxNameBytes) + "." + printable(name, maxNameBytes)
}

func checkSignature(r *reasons, what string, have, want wasm.FuncType) {
	if !have.Equal(want) {
		r.add("%s has the type %s; it must be %s", what, have, want)
	}
}

// funcType translates the letters of hostFunc.
func funcType(params, results string) wasm.FuncType {
	return wasm.FuncType{Params: wasmTypes(valueTypes(params)), Results: wasmTypes(valueTypes(results))}
}

// wasmTypes translates wazero's types, which are the format's own bytes.
func wasmTypes(types []api.ValueType) []wasm.ValueType {
	list := make([]wasm.ValueType, len(types))
	for i, t := range types {
		list[i] = wasm.ValueType(t)
	}
	return list
}

// wasiFunctions is what wazero's WASI offers.
var wasiFunctions = sync.OnceValue(func() map[string]api.FunctionDefinition {
	background := context.Background()
	rt := wazero.NewRuntimeWithConfig(background, wazero.NewRuntimeConfigInterpreter())
	defer func() { _ = rt.Close(background) }()
	compiled, err := wasi_snapshot_preview1.NewBuilder(rt).Compile(background)
	if err != nil {
		panic("runtime: WASI does not compile: " + err.Error()) // wazero's own, so never
	}
	return compiled.ExportedFunctions()
})
