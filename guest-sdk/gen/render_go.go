package main

import (
	"fmt"
	"strings"
)

// renderGo writes the constants of the Go SDK.
func renderGo(t *table) ([]byte, error) {
	var w writer
	w.WriteString(header)
	w.line("package weir\n")

	w.line("// Kind says what a message is made of.")
	w.line("type Kind int32\n")
	w.line("// The kinds of messages.")
	w.line("const (")
	for _, k := range t.Kinds {
		w.comment("\t", k.Doc)
		w.line("\tKind%s Kind = %d", exported(k.Name), k.Value)
	}
	w.line(")\n")

	w.line("// Status is the reason for which a host function refused. It is an error: errors.Is compares with the Err constants.")
	w.line("type Status int32\n")
	w.line("// The reasons.")
	w.line("const (")
	for _, s := range t.Statuses {
		if s.Value == 0 {
			continue
		}
		w.comment("\t", s.Doc)
		w.line("\tErr%s Status = %d", exported(s.Name), s.Value)
	}
	w.line(")\n")
	w.line("// Error returns the status in words, such as \"queue full\".")
	w.line("func (s Status) Error() string {\n\tswitch s {")
	for _, s := range t.Statuses {
		if s.Value != 0 {
			w.line("\tcase Err%s:\n\t\treturn %q", exported(s.Name), s.Text)
		}
	}
	w.line("\t}\n\treturn \"unknown status\"\n}\n")

	w.line("// The events, as the host numbers them.")
	w.line("const (")
	for _, e := range t.Events {
		w.comment("\t", e.Doc)
		w.line("\tevent%s = %d", exported(e.Name), e.Value)
	}
	w.line(")\n")
	w.line("// eventNames are the events' names, by their numbers.")
	w.line("var eventNames = [...]string{")
	for _, e := range t.Events {
		w.line("\tevent%s: %q,", exported(e.Name), e.Name)
	}
	w.line("}\n")

	w.line("// Level says how much a line of the log matters.")
	w.line("type Level int32\n")
	w.line("// Levels of Log.")
	w.line("const (")
	for _, l := range t.Levels {
		w.comment("\t", l.Doc)
		w.line("\tLevel%s Level = %d", exported(l.Name), l.Value)
	}
	w.line(")\n")

	w.line("// The attributes of a connection; those that end in a colon are followed by a name.")
	w.line("const (")
	for _, a := range t.Attributes {
		w.comment("\t", a.Doc)
		w.line("\tattr%s = %q", exported(a.Name), a.Name)
	}
	w.line(")")
	return w.gofmt()
}

// goParams returns a function's parameters as the Go SDK's raw bindings declare them.
func goParams(f function) string {
	var params []string
	for _, p := range f.Params {
		name := local(p.Name)
		switch p.Type {
		case "i32":
			params = append(params, name+" int32")
		case "i64":
			params = append(params, name+" int64")
		case "conn":
			params = append(params, name+" uint64")
		case "bytes":
			params = append(params, name+" string")
		case "out", "fill":
			params = append(params, name+" unsafe.Pointer", name+"Cap uint32")
		}
	}
	return strings.Join(params, ", ")
}

// goResult returns the type of a function's result in Go.
func goResult(f function) string {
	if wasmTypes[f.Result] == "l" {
		return "int64"
	}
	return "int32"
}

// goDoc writes the comment of a raw binding.
func goDoc(w *writer, t *table, indent, name string, f function) {
	w.comment(indent, name+" "+lowerFirst(f.Doc))
	if len(f.Errors) > 0 {
		w.line("%s//", indent)
		w.comment(indent, "Errors: "+texts(t, f.Errors)+".")
	}
}

// renderGoImports writes the raw bindings for the guest: what the linker resolves against the host.
func renderGoImports(t *table) ([]byte, error) {
	var w writer
	w.WriteString(header)
	w.line("//go:build wasip1\n")
	w.line("package weir\n")
	w.line("import \"unsafe\"\n")
	w.line("// A string stands for the pointer and the length of bytes that the host only reads; an unsafe.Pointer and its Cap for")
	w.line("// a buffer that it writes to.")
	for _, f := range t.Functions {
		w.line("")
		goDoc(&w, t, "", local(f.Name), f)
		w.line("//\n//go:wasmimport %s %s", t.ImportModule, f.Name)
		w.line("//go:noescape")
		w.line("func %s(%s) %s", local(f.Name), goParams(f), goResult(f))
	}
	return w.gofmt()
}

// renderGoNative writes the same functions for a native build, where an in-process host answers.
func renderGoNative(t *table) ([]byte, error) {
	var w writer
	w.WriteString(header)
	w.line("//go:build !wasip1\n")
	w.line("package weir\n")
	w.line("import (\n\t\"unsafe\"\n\n\t\"weir/guest-sdk/go/internal/native\"\n)")
	for _, f := range t.Functions {
		w.line("")
		goDoc(&w, t, "", local(f.Name), f)
		w.line("func %s(%s) %s {", local(f.Name), goParams(f), goResult(f))
		var args []string
		for _, p := range f.Params {
			name := local(p.Name)
			if p.Type == "out" || p.Type == "fill" {
				name = fmt.Sprintf("unsafe.Slice((*byte)(%s), %sCap)", name, name)
			}
			args = append(args, name)
		}
		w.line("\treturn native.Current().%s(%s)\n}", exported(f.Name), strings.Join(args, ", "))
	}
	return w.gofmt()
}

// renderGoNativeHost writes the interface of that in-process host.
func renderGoNativeHost(t *table) ([]byte, error) {
	var w writer
	w.WriteString(header)
	w.line("package native\n")
	w.line("// Host answers the calls of a handler that runs natively. Strings are lent to it until it returns; a slice is the")
	w.line("// buffer that it writes a result to, if all of it fits.")
	w.line("type Host interface {")
	for i, f := range t.Functions {
		if i > 0 {
			w.line("")
		}
		goDoc(&w, t, "\t", exported(f.Name), f)
		var params []string
		for _, p := range f.Params {
			name := local(p.Name)
			switch p.Type {
			case "i32":
				params = append(params, name+" int32")
			case "i64":
				params = append(params, name+" int64")
			case "conn":
				params = append(params, name+" uint64")
			case "bytes":
				params = append(params, name+" string")
			case "out", "fill":
				params = append(params, name+" []byte")
			}
		}
		w.line("\t%s(%s) %s", exported(f.Name), strings.Join(params, ", "), goResult(f))
	}
	w.line("}\n")

	w.line("// The statuses that a Host returns.")
	w.line("const (")
	for _, s := range t.Statuses {
		w.comment("\t", s.Doc)
		w.line("\tStatus%s = %d", statusName(s.Name), s.Value)
	}
	w.line(")\n")
	w.line("// The events, as the host numbers them.")
	w.line("const (")
	for _, e := range t.Events {
		w.comment("\t", e.Doc)
		w.line("\tEvent%s = %d", exported(e.Name), e.Value)
	}
	w.line(")\n")
	w.line("// Functions names every host function, in the order of abi.toml.")
	w.line("var Functions = []string{")
	for _, f := range t.Functions {
		w.line("\t%q,", f.Name)
	}
	w.line("}")
	return w.gofmt()
}
