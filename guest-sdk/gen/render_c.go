package main

import (
	"fmt"
	"strings"
)

// renderC writes weir_abi.h: the constants and the raw imports of the C SDK.
func renderC(t *table) ([]byte, error) {
	var w writer
	w.WriteString(header)
	w.line("// The raw side of ABI %d. Handlers include weir.h, which includes this file.\n", t.Version)
	w.line("#ifndef WEIR_ABI_H\n#define WEIR_ABI_H\n")
	w.line("#include <stdint.h>\n")

	w.line("#define WEIR_ABI_VERSION %d", t.Version)
	w.line("#define WEIR_ABI_MINOR %d\n", t.Minor)

	w.line("// Names a connection of this module; 0 is nobody, or the module itself.")
	w.line("typedef uint64_t weir_conn;\n")

	enum := func(doc, prefix string, entry func(yield func(name, doc string, value int))) {
		w.line("// %s", doc)
		w.line("enum {")
		first := true
		entry(func(name, doc string, value int) {
			if !first {
				w.line("")
			}
			first = false
			w.comment("    ", doc)
			w.line("    %s%s = %d,", prefix, strings.ToUpper(name), value)
		})
		w.line("};\n")
	}
	enum("The events, as the host numbers them.", "WEIR_EVENT_", func(yield func(string, string, int)) {
		for _, e := range t.Events {
			yield(e.Name, e.Doc, e.Value)
		}
	})
	enum("The results of host functions: 0 or positive is success, negative an error.", "WEIR_", func(yield func(string, string, int)) {
		for _, s := range t.Statuses {
			yield(s.Name, s.Doc, s.Value)
		}
	})
	enum("The kinds of messages.", "WEIR_KIND_", func(yield func(string, string, int)) {
		for _, k := range t.Kinds {
			yield(k.Name, k.Doc, k.Value)
		}
	})
	enum("The levels of weir_log.", "WEIR_LEVEL_", func(yield func(string, string, int)) {
		for _, l := range t.Levels {
			yield(l.Name, l.Doc, l.Value)
		}
	})

	w.line("// The attributes of a connection; those that end in a colon are followed by a name.")
	for _, a := range t.Attributes {
		w.comment("", a.Doc)
		w.line("#define WEIR_ATTR_%s %q", strings.ToUpper(strings.TrimSuffix(a.Name, ":")), a.Name)
	}
	w.line("")

	w.line("// In a native build the functions are those of weir_test.h.")
	w.line("#ifdef __wasm__")
	w.line("#define WEIR_IMPORT(name) __attribute__((import_module(%q), import_name(name)))", t.ImportModule)
	w.line("#else")
	w.line("#define WEIR_IMPORT(name)")
	w.line("#endif")
	w.line("\n// The functions, each as EACH with its name.")
	w.line("#define WEIR_FUNCTIONS(EACH) \\")
	for i, f := range t.Functions {
		end := " \\"
		if i == len(t.Functions)-1 {
			end = ""
		}
		w.line("    EACH(%q)%s", f.Name, end)
	}
	for _, f := range t.Functions {
		w.line("")
		w.comment("", f.Doc)
		for _, p := range f.Params {
			w.comment("", fmt.Sprintf("- %s: %s", p.Name, p.Doc))
		}
		if len(f.Errors) > 0 {
			w.comment("", "Errors: "+texts(t, f.Errors)+".")
		}
		w.line("WEIR_IMPORT(%q)", f.Name)
		w.line("%s weir_%s(%s);", cResult(f), f.Name, cParams(f))
	}
	w.line("\n#endif")
	return w.Bytes(), nil
}

func cResult(f function) string {
	if wasmTypes[f.Result] == "l" {
		return "int64_t"
	}
	return "int32_t"
}

func cParams(f function) string {
	if len(f.Params) == 0 {
		return "void"
	}
	var params []string
	for _, p := range f.Params {
		switch p.Type {
		case "i32":
			params = append(params, "int32_t "+p.Name)
		case "i64":
			params = append(params, "int64_t "+p.Name)
		case "conn":
			params = append(params, "weir_conn "+p.Name)
		case "bytes":
			params = append(params, "const void *"+p.Name, "uint32_t "+p.Name+"_len")
		case "out", "fill":
			params = append(params, "void *"+p.Name, "uint32_t "+p.Name+"_cap")
		}
	}
	return strings.Join(params, ", ")
}
