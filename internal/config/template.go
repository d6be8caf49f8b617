package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// TemplateModule is a module that a template serves.
type TemplateModule struct {
	Name string
	Path string // its file
}

// Template is a configuration file to begin with: it says what every key is for and
// what leaving it out means, and serves the modules given, if any. Load accepts it
// as it is, and with the "#" taken away before any key.
func Template(modules []TemplateModule) []byte {
	w := &templateWriter{modules: modules}
	w.b.WriteString(templateHead)
	first := []string{"server", "modules", "routes"}
	for _, name := range first {
		f, _ := fieldOf(name)
		w.section(f)
	}
	for _, f := range fieldsIn("") {
		if !slices.Contains(first, f.path) {
			w.section(f)
		}
	}
	return []byte(w.b.String())
}

const templateHead = `# yaml-language-server: $schema=./weir.schema.json
#
# What "weir serve" serves. A key that begins with "#" shows its default, or what
# it may look like; take the "#" away and change it. "weir config explain KEY" says
# more about a key, "weir config check" what is wrong, "weir config show" what is in
# effect.
`

type templateWriter struct {
	b       strings.Builder
	modules []TemplateModule
	path    string // of the module that is being written
}

// section writes a key of the top.
func (w *templateWriter) section(f field) {
	w.b.WriteByte('\n')
	switch f.path {
	case "modules":
		w.prose("", f)
		w.b.WriteString("modules:\n")
		w.moduleEntries(f)
	case "routes":
		w.prose("", f)
		w.b.WriteString("routes:\n")
		w.routeEntries()
	default:
		w.field("", "", f)
	}
}

// field writes a key, and if it is a section what stands in it. mark makes
// sections inactive.
func (w *templateWriter) field(indent, mark string, f field) {
	w.prose(indent, f)
	name := f.path[strings.LastIndexByte(f.path, '.')+1:]
	switch {
	case f.path == "server.listen":
		fmt.Fprintf(&w.b, "%s%s: %s\n", indent, name, textOfDefault(f))
	case f.path == "modules.*.path":
		fmt.Fprintf(&w.b, "%s%s%s: %s\n", indent, mark, name, quoteYAML(w.path))
	case f.typ.Kind() == reflect.Map:
		fmt.Fprintf(&w.b, "%s#%s: {}\n", indent, name)
	case f.kind() == "list of mappings":
		fmt.Fprintf(&w.b, "%s#%s: []\n", indent, name)
	case f.leaf():
		fmt.Fprintf(&w.b, "%s#%s: %s\n", indent, name, textOfDefault(f))
	default:
		fmt.Fprintf(&w.b, "%s%s%s:\n", indent, mark, name)
		w.fields(indent+"  ", mark, f)
	}
}

func (w *templateWriter) fields(indent, mark string, section field) {
	for _, f := range section.below() {
		w.field(indent, mark, f)
	}
}

func (w *templateWriter) moduleEntries(section field) {
	const indent = "    "
	if len(w.modules) == 0 {
		w.b.WriteString("  #chat:\n")
		w.path = "chat.wasm"
		w.fields(indent, "#", section)
		return
	}
	for i, m := range w.modules {
		fmt.Fprintf(&w.b, "  %s:\n", quoteYAML(m.Name))
		w.path = m.Path
		if i == 0 { // shows the other keys too
			w.fields(indent, "", section)
		} else {
			fmt.Fprintf(&w.b, "%spath: %s\n", indent, quoteYAML(m.Path))
		}
	}
}

func (w *templateWriter) routeEntries() {
	switch len(w.modules) {
	case 0:
		w.b.WriteString("  #- path: /chat/{room}\n  #  module: chat\n")
	case 1:
		fmt.Fprintf(&w.b, "  - path: /{path...}\n    module: %s\n", quoteYAML(w.modules[0].Name))
	default:
		for _, m := range w.modules {
			fmt.Fprintf(&w.b, "  - path: /%s/{path...}\n    module: %s\n", m.Name, quoteYAML(m.Name))
		}
	}
	w.b.WriteString("  # Files for what is no WebSocket:\n  #- path: /\n  #  static: public\n")
}

// prose writes the first sentence about a field.
func (w *templateWriter) prose(indent string, f field) {
	sentence := firstSentence(unquoted(f.text()))
	if f.fixedDefault() != nil {
		sentence, _, _ = strings.Cut(sentence, " 0 means") // which the value shows
	}
	const width = 84
	line := indent + "#"
	for _, word := range strings.Fields(sentence) {
		if len(line)+1+len(word) > width {
			w.b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	w.b.WriteString(line + "\n")
}

// textOfDefault is what the template shows as a field's value.
func textOfDefault(f field) string {
	if d := f.fixedDefault(); d != nil {
		return textOf(d)
	}
	switch f.kind() {
	case "text":
		return `""`
	case "list of text":
		return "[]"
	}
	return "0"
}

// firstSentence is the beginning of a text up to the first full stop that ends a
// sentence.
func firstSentence(text string) string {
	for i := range len(text) - 2 {
		if text[i] == '.' && text[i+1] == ' ' && text[i+2] >= 'A' && text[i+2] <= 'Z' {
			return text[:i+1]
		}
	}
	return text
}
