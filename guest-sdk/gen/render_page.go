package main

import (
	"bytes"
	"fmt"
	"strings"
)

// renderPage replaces what stands between the marks <!-- gen:NAME --> and <!-- /gen --> in ABI.md.
func renderPage(t *table, page []byte) ([]byte, error) {
	sections := map[string]func(*writer, *table){
		"exports":      pageExports,
		"events":       pageEvents,
		"statuses":     pageStatuses,
		"kinds":        pageKinds,
		"attributes":   pageAttributes,
		"capabilities": pageCapabilities,
		"types":        pageTypes,
		"functions":    pageFunctions,
		"reference":    pageReference,
	}
	const open, shut, end = "<!-- gen:", " -->\n", "<!-- /gen -->"
	var out writer
	for rest := page; ; {
		before, after, found := bytes.Cut(rest, []byte(open))
		out.Write(before)
		if !found {
			break
		}
		name, after, found := bytes.Cut(after, []byte(shut))
		if !found {
			return nil, fmt.Errorf("a mark %q does not end in %q", open, strings.TrimSpace(shut))
		}
		section, ok := sections[string(name)]
		if !ok {
			return nil, fmt.Errorf("the mark %q is unknown or there twice", name)
		}
		delete(sections, string(name))
		_, after, found = bytes.Cut(after, []byte(end))
		if !found {
			return nil, fmt.Errorf("the section %q does not end in %q", name, end)
		}
		out.WriteString(open + string(name) + shut)
		section(&out, t)
		out.WriteString(end)
		rest = after
	}
	for name := range sections {
		return nil, fmt.Errorf("the section %q is missing", name)
	}
	return out.Bytes(), nil
}

func pageExports(w *writer, t *table) {
	w.line("| export | type | |\n|---|---|---|")
	for _, e := range t.Exports {
		kind := e.Kind
		if kind == "function" {
			kind = "`(" + strings.Join(e.Params, ", ") + ")"
			if len(e.Results) > 0 {
				kind += " -> " + strings.Join(e.Results, ", ")
			}
			kind += "`"
		}
		doc := e.Doc
		if e.Optional {
			doc = "Optional. " + doc
		}
		w.line("| `%s` | %s | %s |", e.Name, kind, doc)
	}
}

func pageEvents(w *writer, t *table) {
	w.line("| n | event | arg | payload | result | since |\n|---|---|---|---|---|---|")
	for _, e := range t.Events {
		w.line("| %d | [%s](#event-%s) | %s | %s | %s | %s |", e.Value, e.Name, e.Name, dash(e.Arg), dash(e.Payload), dash(e.Result), release(t, e.Since))
	}
	for _, e := range t.Events {
		w.line("\n#### event %s\n", e.Name)
		w.line("%s", e.Doc)
	}
}

func pageStatuses(w *writer, t *table) {
	w.line("| value | status | |\n|---|---|---|")
	for _, s := range t.Statuses {
		w.line("| %d | %s | %s |", s.Value, s.Text, s.Doc)
	}
}

func pageKinds(w *writer, t *table) {
	w.line("| kind | | |\n|---|---|---|")
	for _, k := range t.Kinds {
		w.line("| %d | %s | %s |", k.Value, k.Name, k.Doc)
	}
	w.line("\n| level | | |\n|---|---|---|")
	for _, l := range t.Levels {
		w.line("| %d | %s | %s |", l.Value, l.Name, l.Doc)
	}
}

func pageAttributes(w *writer, t *table) {
	w.line("| attribute | |\n|---|---|")
	for _, a := range t.Attributes {
		name := a.Name
		if strings.HasSuffix(name, ":") {
			name += "NAME"
		}
		w.line("| `%s` | %s |", name, a.Doc)
	}
}

func pageCapabilities(w *writer, t *table) {
	w.line("| capability | granted by default | functions |\n|---|---|---|")
	list := func(name string) string {
		var names []string
		for _, f := range t.Functions {
			if f.Capability == name {
				names = append(names, "`"+f.Name+"`")
			}
		}
		return strings.Join(names, " ")
	}
	w.line("| – | always | %s |", list(""))
	for _, c := range t.Capabilities {
		granted := "no"
		if c.Default {
			granted = "yes"
		}
		w.line("| `%s` | %s | %s |", c.Name, granted, list(c.Name))
	}
}

func pageTypes(w *writer, _ *table) {
	core := func(name string) string {
		return strings.Join(coreTypes(wasmTypes[name]), ", ")
	}
	w.line("| parameter | core | |\n|---|---|---|")
	w.line("| i32, i64 | itself | a number |")
	w.line("| conn | %s | a connection id |", core("conn"))
	w.line("| bytes | %s | pointer and length of the guest's bytes; the host reads them before it returns and keeps no pointer |", core("bytes"))
	w.line("| out | %s | pointer and capacity of a buffer of the guest; the host writes the whole result or nothing |", core("out"))
	w.line("| fill | %s | pointer and length of memory of the guest; the host overwrites all of it |", core("fill"))
	w.line("\n| result | core | |\n|---|---|---|")
	w.line("| status | %s | 0, or a negative status |", core("status"))
	w.line("| length | %s | length of the whole result in bytes, or a negative status |", core("length"))
	w.line("| count | %s | a number of things, or a negative status |", core("count"))
	w.line("| size | %s | a number of bytes, or a negative status |", core("size"))
	w.line("| time | %s | a time; there is no error |", core("time"))
}

func pageFunctions(w *writer, t *table) {
	w.line("| function | parameters | result | capability | since |\n|---|---|---|---|---|")
	for _, f := range t.Functions {
		var params []string
		for _, p := range f.Params {
			params = append(params, p.Name+" "+p.Type)
		}
		w.line("| [`%s`](#%s) | %s | %s | %s | %s |", f.Name, f.Name, dash(strings.Join(params, ", ")), f.Result, dash(f.Capability), release(t, f.Since))
	}
}

func pageReference(w *writer, t *table) {
	for i, f := range t.Functions {
		if i > 0 {
			w.line("")
		}
		w.line("### %s\n", f.Name)
		w.line("```wat\n(import %q %q (func%s))\n```\n", t.ImportModule, f.Name, wat(f))
		w.line("%s", f.Doc)
		if len(f.Params) > 0 {
			w.line("")
		}
		for _, p := range f.Params {
			w.line("- `%s` (%s): %s", p.Name, p.Type, p.Doc)
		}
		w.line("")
		granted := "always granted"
		if f.Capability != "" {
			granted = "capability `" + f.Capability + "`"
		}
		errs := "none"
		if len(f.Errors) > 0 {
			errs = texts(t, f.Errors)
		}
		w.line("Result: %s. Errors: %s. Since %s; %s.", f.Result, errs, release(t, f.Since), granted)
	}
}

// wat returns the signature of a function in the text format.
func wat(f function) string {
	var s strings.Builder
	for _, p := range f.Params {
		switch core := coreTypes(wasmTypes[p.Type]); p.Type {
		case "i32", "i64", "conn":
			fmt.Fprintf(&s, " (param $%s %s)", p.Name, core[0])
		case "bytes", "fill":
			fmt.Fprintf(&s, " (param $%s_ptr i32) (param $%s_len i32)", p.Name, p.Name)
		case "out":
			fmt.Fprintf(&s, " (param $%s_buf i32) (param $%s_cap i32)", p.Name, p.Name)
		}
	}
	fmt.Fprintf(&s, " (result %s)", coreTypes(wasmTypes[f.Result])[0])
	return s.String()
}

// coreTypes spells the letters of wasmTypes.
func coreTypes(letters string) []string {
	var types []string
	for _, letter := range letters {
		if letter == 'l' {
			types = append(types, "i64")
		} else {
			types = append(types, "i32")
		}
	}
	return types
}

// release names the version that brought something: 1.0.
func release(t *table, minor int) string { return fmt.Sprintf("%d.%d", t.Version, minor) }

// dash stands for an empty cell.
func dash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}
