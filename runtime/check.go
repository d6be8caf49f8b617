package runtime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// checkABI compares a compiled module's imports and exports with ABI 1 and returns every reason to refuse it, at most
// maxReasons.
func checkABI(compiled wazero.CompiledModule) []string {
	var r reasons
	checkExports(&r, compiled)
	checkImports(&r, compiled)
	return r.list
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
func checkExports(r *reasons, compiled wazero.CompiledModule) {
	if compiled.ExportedMemories()[exportMemory] == nil {
		r.add("it exports no memory named %q", exportMemory)
	}
	functions := compiled.ExportedFunctions()
	for _, want := range []struct {
		name, params, results string
		optional              bool
	}{
		{name: exportABI, results: "l"},
		{name: exportInbound, params: "i", results: "i"},
		{name: exportEvent, params: "illii", results: "i"},
		{name: exportInitialize, optional: true},
	} {
		f := functions[want.name]
		switch {
		case f == nil && want.optional:
		case f == nil && want.name == exportABI && otherABI(functions) != "":
			r.add("it exports %s: it was built for another version of the ABI; this host speaks %s",
				printable(otherABI(functions), maxNameBytes), exportABI)
		case f == nil:
			r.add("it does not export the function %s", want.name)
		default:
			checkSignature(r, "export "+want.name, f, valueTypes(want.params), valueTypes(want.results))
		}
	}
}

// otherABI returns the mark of an ABI that is not ours, or nothing.
func otherABI(functions map[string]api.FunctionDefinition) string {
	prefix := strings.TrimRight(exportABI, "0123456789")
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		if version, ok := strings.CutPrefix(name, prefix); ok && version != "" && strings.Trim(version, "0123456789") == "" {
			return name
		}
	}
	return ""
}

// checkImports looks for functions that the host does not have. Imports of globals and tables are not visible here:
// instantiating reports them.
func checkImports(r *reasons, compiled wazero.CompiledModule) {
	for _, memory := range compiled.ImportedMemories() {
		module, name, _ := memory.Import()
		r.add("it imports the memory %s; its memory must be its own", importName(module, name))
	}
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		what := "import " + importName(module, name)
		switch module {
		case abiImportModule:
			if have := hostFuncNamed[name]; have != nil {
				checkSignature(r, what, f, valueTypes(have.params), valueTypes(have.results))
			} else {
				r.add("%s: this host has no such function", what)
			}
		case wasiModule:
			if have := wasiFunctions()[name]; have != nil {
				checkSignature(r, what, f, have.ParamTypes(), have.ResultTypes())
			} else {
				r.add("%s: this host has no such function", what)
			}
		default:
			r.add("%s: unknown module; there are %s and %s", what, abiImportModule, wasiModule)
		}
	}
}

func importName(module, name string) string {
	return printable(module, maxNameBytes) + "." + printable(name, maxNameBytes)
}

func checkSignature(r *reasons, what string, f api.FunctionDefinition, params, results []api.ValueType) {
	if !slices.Equal(f.ParamTypes(), params) || !slices.Equal(f.ResultTypes(), results) {
		r.add("%s has the type %s; it must be %s", what,
			signature(f.ParamTypes(), f.ResultTypes()), signature(params, results))
	}
}

// signature writes a function's type as WebAssembly's text format does, more or less: (i64 i32) -> (i32).
func signature(params, results []api.ValueType) string {
	names := func(types []api.ValueType) string {
		list := make([]string, len(types))
		for i, t := range types {
			list[i] = api.ValueTypeName(t)
		}
		return "(" + strings.Join(list, " ") + ")"
	}
	return names(params) + " -> " + names(results)
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
