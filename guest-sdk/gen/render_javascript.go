package main

import "fmt"

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
	w.line("/** The host functions of this version, for abi_has. */")
	w.line("export const functions = Object.freeze([")
	for _, f := range t.Functions {
		w.line("  %q,", f.Name)
	}
	w.line("]);")
	return w.Bytes(), nil
}
