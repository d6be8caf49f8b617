package main

import (
	"fmt"
	"strings"
)

// renderAssemblyScript writes abi.ts of the AssemblyScript SDK: the constants and the raw imports.
func renderAssemblyScript(t *table) ([]byte, error) {
	var w writer
	w.WriteString(header)
	w.line("// The raw side of ABI %d: numbers and addresses. Handlers use index.ts.\n", t.Version)
	enum := func(doc, name string, entry func(yield func(name, doc string, value int))) {
		w.line("/** %s */", doc)
		w.line("export enum %s {", name)
		entry(func(name, doc string, value int) {
			w.jsDoc("  ", doc)
			w.line("  %s = %d,", exported(name), value)
		})
		w.line("}\n")
	}
	enum("The events, as the host numbers them.", "Event", func(yield func(string, string, int)) {
		for _, e := range t.Events {
			yield(e.Name, e.Doc, e.Value)
		}
	})
	enum("The results of host functions: 0 or positive is success, negative an error.", "Status", func(yield func(string, string, int)) {
		for _, s := range t.Statuses {
			yield(s.Name, s.Doc, s.Value)
		}
	})
	enum("The kinds of messages.", "Kind", func(yield func(string, string, int)) {
		for _, k := range t.Kinds {
			yield(k.Name, k.Doc, k.Value)
		}
	})
	enum("The levels of the log.", "Level", func(yield func(string, string, int)) {
		for _, l := range t.Levels {
			yield(l.Name, l.Doc, l.Value)
		}
	})

	w.line("/** Says what a status means. */")
	w.line("export function statusText(status: i32): string {")
	w.line("  switch (status) {")
	for _, s := range t.Statuses {
		w.line("    case Status.%s: return %q;", exported(s.Name), s.Text)
	}
	w.line("    default: return \"unknown status\";")
	w.line("  }")
	w.line("}")

	for _, f := range t.Functions {
		w.line("")
		w.jsDoc("", functionDoc(t, f))
		var params []string
		for _, p := range f.Params {
			switch p.Type {
			case "i32", "i64":
				params = append(params, local(p.Name)+": "+p.Type)
			case "conn":
				params = append(params, local(p.Name)+": u64")
			case "bytes":
				params = append(params, local(p.Name)+": usize", local(p.Name)+"Len: i32")
			case "out", "fill":
				params = append(params, local(p.Name)+": usize", local(p.Name)+"Cap: i32")
			}
		}
		result := "i32"
		if wasmTypes[f.Result] == "l" {
			result = "i64"
		}
		w.line("@external(%q, %q)", t.ImportModule, f.Name)
		w.line("export declare function %s(%s): %s;", local(f.Name), strings.Join(params, ", "), result)
	}
	return w.Bytes(), nil
}

// functionDoc is all there is to say of a function, as one text.
func functionDoc(t *table, f function) string {
	doc := f.Doc
	for _, p := range f.Params {
		doc += fmt.Sprintf(" %s: %s.", local(p.Name), p.Doc)
	}
	if len(f.Errors) > 0 {
		doc += " Errors: " + texts(t, f.Errors) + "."
	}
	return doc
}

// jsDoc writes text as a documentation comment behind indent.
func (w *writer) jsDoc(indent, text string) {
	lines := wrap(plain(text), 100-len(indent))
	if len(lines) == 1 {
		w.line("%s/** %s */", indent, lines[0])
		return
	}
	w.line("%s/**", indent)
	for _, line := range lines {
		w.line("%s * %s", indent, line)
	}
	w.line("%s */", indent)
}
