package main

import (
	"fmt"
	"strings"
)

// renderJS writes abi.mjs: the constants that the JavaScript SDK and its fake host share.
func renderJS(t *table) ([]byte, error) {
	var w writer
	w.WriteString(header)
	w.line("// The numbers of ABI %d.\n", t.Version)
	object := func(doc, name string, entry func(yield func(name, doc string, value int))) {
		w.line("/** %s */", doc)
		w.line("export const %s = Object.freeze({", name)
		entry(func(name, doc string, value int) {
			w.jsDoc("  ", doc)
			w.line("  %s: %d,", local(name), value)
		})
		w.line("});\n")
	}
	object("The events, as the host numbers them.", "Event", func(yield func(string, string, int)) {
		for _, e := range t.Events {
			yield(e.Name, e.Doc, e.Value)
		}
	})
	object("The results of host functions: 0 or positive is success, negative an error.", "Status", func(yield func(string, string, int)) {
		for _, s := range t.Statuses {
			yield(s.Name, s.Doc, s.Value)
		}
	})
	object("The kinds of messages.", "Kind", func(yield func(string, string, int)) {
		for _, k := range t.Kinds {
			yield(k.Name, k.Doc, k.Value)
		}
	})
	object("The levels of the log.", "Level", func(yield func(string, string, int)) {
		for _, l := range t.Levels {
			yield(l.Name, l.Doc, l.Value)
		}
	})
	w.line("/** What each status means. */")
	w.line("export const statusText = Object.freeze({")
	for _, s := range t.Statuses {
		w.line("  %q: %q,", fmt.Sprint(s.Value), s.Text)
	}
	w.line("});\n")
	w.line("/**")
	w.line(" * The host functions by the names that the SDK gives them. The types of the parameters are those of abi.toml: bytes,")
	w.line(" * out and fill are a pointer and a length each, conn and i64 are bigints.")
	w.line(" */")
	w.line("export const functions = Object.freeze({")
	for _, f := range t.Functions {
		types := make([]string, len(f.Params))
		for i, p := range f.Params {
			types[i] = fmt.Sprintf("%q", p.Type)
		}
		w.line("  %s: { name: %q, params: [%s], result: %q },", local(f.Name), f.Name, strings.Join(types, ", "), f.Result)
	}
	w.line("});")
	return w.Bytes(), nil
}
