package main

import (
	"fmt"
	"strings"
)

// renderRust writes src/abi.rs: the constants of the Rust SDK, and its raw functions as the rest of the SDK calls them.
// For WebAssembly they are imports, elsewhere the trait Host of a fake server.
func renderRust(t *table) ([]byte, error) {
	var w writer
	w.WriteString(header)
	w.line("//! The raw side of ABI %d, for what the rest of the crate hides: host functions that return their numbers.", t.Version)
	w.line("//! Bytes go in as slices; a mutable slice is a buffer that the host writes a result to, if all of it fits.\n")

	w.rustDoc("", "The version of the ABI.")
	w.line("pub const VERSION: u32 = %d;", t.Version)
	w.rustDoc("", "What has been added to that version.")
	w.line("pub const MINOR: u32 = %d;\n", t.Minor)

	constants := func(module, typ, doc string, entries func(yield func(name, doc, value string))) {
		w.rustDoc("", doc)
		w.line("pub mod %s {", module)
		first := true
		entries(func(name, doc, value string) {
			if !first {
				w.line("")
			}
			first = false
			w.rustDoc("    ", doc)
			w.line("    pub const %s: %s = %s;", strings.ToUpper(strings.TrimSuffix(name, ":")), typ, value)
		})
		w.line("}\n")
	}
	constants("event", "i32", "The events, as the host numbers them.", func(yield func(string, string, string)) {
		for _, e := range t.Events {
			yield(e.Name, e.Doc, fmt.Sprint(e.Value))
		}
	})
	w.rustDoc("", "The events' names, by their numbers.")
	w.line("pub const EVENT_NAMES: [&str; %d] = [", len(t.Events))
	for _, e := range t.Events {
		w.line("    %q,", e.Name)
	}
	w.line("];\n")
	constants("kind", "i32", "The kinds of messages.", func(yield func(string, string, string)) {
		for _, k := range t.Kinds {
			yield(k.Name, k.Doc, fmt.Sprint(k.Value))
		}
	})
	constants("attr", "&str", "The attributes of a connection; those that end in a colon are followed by a name.", func(yield func(string, string, string)) {
		for _, a := range t.Attributes {
			yield(a.Name, a.Doc, fmt.Sprintf("%q", a.Name))
		}
	})

	renderRustEnums(&w, t)
	renderRustFunctions(&w, t)
	return w.Bytes(), nil
}

// renderRustEnums writes the statuses that are errors, and the levels of the log.
func renderRustEnums(w *writer, t *table) {
	var errors []status
	for _, s := range t.Statuses {
		if s.Value != 0 {
			errors = append(errors, s)
		}
	}
	w.rustDoc("", "Why the server refuses a call.")
	w.line("#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]")
	w.line("#[non_exhaustive]")
	w.line("pub enum Status {")
	for _, s := range errors {
		w.rustDoc("    ", s.Doc)
		w.line("    %s,", exported(s.Name))
	}
	w.rustDoc("    ", "A reason that a later server knows, by its number.")
	w.line("    Other(i32),")
	w.line("}\n")
	w.line("impl Status {")
	match := func(doc, signature, on string, arms ...string) {
		w.rustDoc("    ", doc)
		w.line("    pub const fn %s {", signature)
		w.line("        match %s {", on)
		for _, arm := range arms {
			w.line("            %s,", arm)
		}
		w.line("        }\n    }")
	}
	var from, code, text []string
	for _, s := range errors {
		from = append(from, fmt.Sprintf("%d => Status::%s", s.Value, exported(s.Name)))
		code = append(code, fmt.Sprintf("Status::%s => %d", exported(s.Name), s.Value))
		text = append(text, fmt.Sprintf("Status::%s => %q", exported(s.Name), s.Text))
	}
	match("Makes a status of the number that a host function returns; it is negative.", "from_code(code: i32) -> Status", "code",
		append(from, "_ => Status::Other(code)")...)
	w.line("")
	match("The number that a host function returns for it.", "code(self) -> i32", "self", append(code, "Status::Other(code) => code")...)
	w.line("")
	match("The status in words.", "text(self) -> &'static str", "self", append(text, `Status::Other(_) => "refused"`)...)
	w.line("}\n")

	w.rustDoc("", "How much a line of the log matters.")
	w.line("#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]")
	w.line("pub enum Level {")
	for _, l := range t.Levels {
		w.rustDoc("    ", l.Doc)
		w.line("    %s = %d,", exported(l.Name), l.Value)
	}
	w.line("}\n")
}

// renderRustFunctions writes the imports, the functions that call them, and what stands for them in a native build.
func renderRustFunctions(w *writer, t *table) {
	w.line("#[cfg(target_arch = \"wasm32\")]\nmod imports {")
	w.line("    #[link(wasm_import_module = %q)]", t.ImportModule)
	w.line("    extern \"C\" {")
	for _, f := range t.Functions {
		w.line("        pub fn %s(%s) -> %s;", f.Name, rustImportParams(f), rustResult(f))
	}
	w.line("    }\n}\n")

	w.rustDoc("", "Answers the calls of a handler that runs natively. Bytes are lent to it until it returns; a mutable slice is the buffer that it writes a result to, if all of it fits.")
	w.line("#[cfg(not(target_arch = \"wasm32\"))]\npub trait Host {")
	for i, f := range t.Functions {
		if i > 0 {
			w.line("")
		}
		w.rustFunctionDoc("    ", t, f)
		w.line("    fn %s(&mut self%s) -> %s;", f.Name, prefixed(rustParams(f)), rustResult(f))
	}
	w.line("}\n")

	w.rustDoc("", "Names every host function, in the order of abi.toml.")
	w.line("#[cfg(not(target_arch = \"wasm32\"))]\npub const FUNCTIONS: [&str; %d] = [", len(t.Functions))
	for _, f := range t.Functions {
		w.line("    %q,", f.Name)
	}
	w.line("];")

	for _, f := range t.Functions {
		w.line("")
		w.rustFunctionDoc("", t, f)
		w.line("#[inline]")
		w.line("pub fn %s(%s) -> %s {", f.Name, rustParams(f), rustResult(f))
		call := fmt.Sprintf("imports::%s(%s)", f.Name, rustImportArgs(f))
		w.line("    #[cfg(target_arch = \"wasm32\")]")
		switch {
		case !strings.Contains(rustImportArgs(f), "ptr("):
			w.line("    // SAFETY: the host function takes numbers only.")
		default:
			w.line("    // SAFETY: the pointers and lengths are those of slices that outlive the call.")
		}
		w.line("    return unsafe { %s };", call)
		w.line("    #[cfg(not(target_arch = \"wasm32\"))]")
		w.line("    crate::native::with_host(|host| host.%s(%s))", f.Name, strings.Join(rustNames(f), ", "))
		w.line("}")
	}
}

// rustDoc writes a doc comment; Markdown is what rustdoc reads.
func (w *writer) rustDoc(indent, text string) {
	for _, line := range wrap(text, 106-len(indent)) {
		w.line("%s/// %s", indent, line)
	}
}

func (w *writer) rustFunctionDoc(indent string, t *table, f function) {
	w.rustDoc(indent, f.Doc)
	if len(f.Errors) > 0 {
		w.line("%s///", indent)
		w.rustDoc(indent, "Errors: "+texts(t, f.Errors)+".")
	}
}

func prefixed(params string) string {
	if params == "" {
		return ""
	}
	return ", " + params
}

func rustResult(f function) string {
	if wasmTypes[f.Result] == "l" {
		return "i64"
	}
	return "i32"
}

// rustTypes are what the parameter types are in the functions; imports take a pointer and a length for a slice.
var rustTypes = map[string]string{"i32": "i32", "i64": "i64", "conn": "u64", "bytes": "&[u8]", "out": "&mut [u8]", "fill": "&mut [u8]"}

func rustNames(f function) []string {
	var names []string
	for _, p := range f.Params {
		names = append(names, p.Name)
	}
	return names
}

func rustParams(f function) string {
	var params []string
	for _, p := range f.Params {
		params = append(params, p.Name+": "+rustTypes[p.Type])
	}
	return strings.Join(params, ", ")
}

func rustImportParams(f function) string {
	var params []string
	for _, p := range f.Params {
		switch p.Type {
		case "bytes":
			params = append(params, p.Name+": *const u8", p.Name+"_len: usize")
		case "out", "fill":
			params = append(params, p.Name+": *mut u8", p.Name+"_cap: usize")
		default:
			params = append(params, p.Name+": "+rustTypes[p.Type])
		}
	}
	return strings.Join(params, ", ")
}

func rustImportArgs(f function) string {
	var args []string
	for _, p := range f.Params {
		switch p.Type {
		case "bytes":
			args = append(args, p.Name+".as_ptr()", p.Name+".len()")
		case "out", "fill":
			args = append(args, p.Name+".as_mut_ptr()", p.Name+".len()")
		default:
			args = append(args, p.Name)
		}
	}
	return strings.Join(args, ", ")
}
