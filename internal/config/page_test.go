package config

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Whatever says what a key means is made from the structs and their comments, so
// that a knob is described once. -update writes the files.
func TestGenerated(t *testing.T) {
	fresh := readComments(t, ".", "../../host", "../certs", "../../netpoll", "../../pool", "../../runtime")
	table := commentsTable(fresh)
	if *update {
		comments = fresh // the other files say what the structs say, not what they said
	}
	for file, got := range map[string]string{
		"comments_gen.go":               table,
		"../../docs/config.md":          makePage(t),
		"../../docs/config.schema.json": string(JSONSchema()),
		"../../README.md":               withLimits(t, "../../README.md"),
	} {
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is not what the structs say; write it with\n\tgo generate ./internal/config", filepath.Base(file))
		}
	}
}

// withLimits is the README with the table of limits as it must be.
func withLimits(t *testing.T, file string) string {
	const begin, end = "<!-- limits: made by make docs -->\n", "<!-- end of limits -->\n"
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(readme), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the limits between %q and %q", file, begin, end)
	}
	return before + begin + LimitsTable() + end + after
}

// commentsTable is the source of the table of comments that the schema needs.
func commentsTable(all map[string]string) string {
	needed := map[string]bool{}
	for _, f := range schema() {
		needed[f.parent.PkgPath()+"."+f.parent.Name()+"."+f.name] = true
		t := f.typ
		for t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			t = t.Elem()
		}
		needed[t.PkgPath()+"."+t.Name()] = t.Kind() == reflect.Struct
	}
	var b strings.Builder
	b.WriteString("// Code generated from the comments of structs by go generate ./internal/config. DO NOT EDIT.\n\npackage config\n\n")
	b.WriteString("// comments are those of types and their fields, by names such as\n// \"weir/host.Route.Path\".\nvar comments = map[string]string{\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if text := all[name]; needed[name] && text != "" {
			fmt.Fprintf(&b, "\t%q: %q,\n", name, text)
		}
	}
	b.WriteString("}\n")
	source, err := format.Source([]byte(b.String()))
	if err != nil {
		panic(err)
	}
	return string(source)
}

const pageHead = `# Configuration

<!-- Made from the structs by: go generate ./internal/config -->

A value comes from, the strongest last: its default, the configuration file (` + "`weir.yaml`" + `, or what ` + "`--config`" + ` names;
a later file overrides an earlier one), the environment, the command line (` + "`--set key=value`" + ` or a flag of its own).
Mappings of several files are merged, lists replaced.

Durations carry their unit (` + "`30s`, `1m30s`, `500ms`" + `), and so do sizes (` + "`512B`, `64KiB`, `1MiB`" + `). A bare number is refused,
because nobody can see what it counts; only ` + "`0`" + ` needs no unit, and it means the default. In variables and flags, commas
separate the items of a list. Unknown keys and unknown ` + "`WEIR_*`" + ` variables are refused, and all mistakes are reported at once.

Relative paths in a file are relative to that file; in variables and flags, to the working directory.

Secrets need not stand in the file. In any text, ` + "`${file:/run/secrets/token}`" + ` is what that file holds, without the newline at its
end, and ` + "`${env:TOKEN}`" + ` a variable of the environment; ` + "`$${`" + ` stands for itself. A variable that sets a text has a twin with
` + "`_FILE`" + ` at its end, which names a file that holds the text. What came so is shown by no command and in no message.

A server that runs takes changes of its files by itself, or at a SIGHUP (` + "`reload`" + `). No connection is closed for that, and a
configuration with a mistake changes nothing. Each key says when its new value takes effect: ` + "`hot`" + `, at once; ` + "`new connections`" + `,
for those that begin later; ` + "`new generation`" + `, with the module's next generation, which is loaded then; ` + "`restart`" + `, when the server is
started again, until when it keeps the old value and says so. Modules that come or go, and routes to them, need a restart.

` + "`weir config init`" + ` writes a file to begin with; ` + "`show --origin`" + ` prints what is in effect and where it comes from; ` + "`check`" + ` tells
every mistake; ` + "`explain KEY`" + ` says what is below about one key, and its value; ` + "`schema`" + ` prints the JSON Schema that editors
complete with, [config.schema.json](config.schema.json).

` + "```yaml" + `
server:
  listen: [":8080"]
modules:
  chat:
    path: chat.wasm
    capabilities: [topics]
    config: {history: 50}
routes:
  - {path: "/chat/{room}", module: chat}
  - {path: /, static: public}
` + "```" + `
`

// makePage writes a section a struct and a paragraph a key.
func makePage(t *testing.T) string {
	var page strings.Builder
	page.WriteString(pageHead)
	for _, f := range schema() {
		if !f.leaf() && !f.free() {
			fmt.Fprintf(&page, "\n## `%s`\n\n%s\n", f.path, f.text())
			continue
		}
		if f.comment() == "" {
			t.Errorf("%s (%v.%s) has no comment", f.path, f.parent, f.name)
		}
		fmt.Fprintf(&page, "\n### `%s`\n\n%s\n\n%s\n", readable(f.path), facts(f), f.comment())
	}
	page.WriteString("\n## All keys\n\n| key | default | variable | reload |\n|---|---|---|---|\n")
	code := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + s + "`"
	}
	for _, f := range schema() {
		if f.leaf() || f.free() {
			fmt.Fprintf(&page, "| %s | %s | %s | %s |\n", code(readable(f.path)), code(f.defaultText()), code(f.variable()), f.class)
		}
	}
	return page.String()
}

// facts is the line below a key: its type, its default, its variable, and when a
// change of it takes effect.
func facts(f field) string {
	parts := []string{f.kind()}
	if f.oneOf != nil {
		parts = append(parts, "`"+strings.Join(f.oneOf, "`, `")+"`")
	}
	if d := f.defaultText(); d != "" {
		parts = append(parts, "default `"+d+"`")
	}
	if v := f.variable(); v != "" {
		parts = append(parts, "`"+v+"`")
	}
	return strings.Join(append(parts, "reload: "+f.class.String()), " · ")
}

// readComments finds the comments of types ("weir/host.Route") and of fields
// ("weir/host.Route.Path").
func readComments(t *testing.T, dirs ...string) map[string]string {
	comments := map[string]string{}
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("no source in %s: %v", dir, err)
		}
		pkg := path.Join("weir/internal/config", filepath.ToSlash(dir))
		for _, name := range names {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range file.Decls {
				decl, ok := decl.(*ast.GenDecl)
				if !ok || decl.Tok != token.TYPE {
					continue
				}
				for _, spec := range decl.Specs {
					spec := spec.(*ast.TypeSpec)
					doc := spec.Doc
					if doc == nil {
						doc = decl.Doc
					}
					comments[pkg+"."+spec.Name.Name] = doc.Text()
					structType, ok := spec.Type.(*ast.StructType)
					if !ok {
						continue
					}
					for _, f := range structType.Fields.List {
						for _, name := range f.Names {
							if f.Doc != nil {
								comments[pkg+"."+spec.Name.Name+"."+name.Name] = f.Doc.Text()
							}
						}
					}
				}
			}
		}
	}
	return comments
}
