package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/host"
)

// docs/config.md is made from the structs and their comments, so that a knob is
// described once. -update writes the page.
func TestPage(t *testing.T) {
	const page = "../../docs/config.md"
	got := makePage(t)
	if *update {
		if err := os.WriteFile(page, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("docs/config.md is not what the structs say; write it with\n\tgo test ./internal/config -run TestPage -update")
	}
}

const pageHead = `# Configuration

<!-- Made from the structs by: go test ./internal/config -run TestPage -update -->

A value comes from, the strongest last: its default, the configuration file (` + "`weir.yaml`" + `, or what ` + "`--config`" + ` names;
a later file overrides an earlier one), the environment, the command line (` + "`--set key=value`" + ` or a flag of its own).
Mappings of several files are merged, lists replaced.

Durations carry their unit (` + "`30s`, `1m30s`, `500ms`" + `), and so do sizes (` + "`512B`, `64KiB`, `1MiB`" + `). A bare number is refused,
because nobody can see what it counts; only ` + "`0`" + ` needs no unit, and it means the default. In variables and flags, commas
separate the items of a list. Unknown keys and unknown ` + "`WEIR_*`" + ` variables are refused, and all mistakes are reported at once.

Relative paths in a file are relative to that file; in variables and flags, to the working directory.

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
	comments := readComments(t, ".", "../../host", "../../netpoll", "../../pool", "../../runtime")
	defaults := Config{}.WithDefaults()
	var page strings.Builder
	page.WriteString(pageHead)
	for _, f := range schema() {
		text, ok := comments[f.parent.PkgPath()+"."+f.parent.Name()+"."+f.name]
		if f.leaf() || f.typ.Kind() == reflect.Map && f.typ.Elem().Kind() != reflect.Struct {
			if !ok {
				t.Errorf("%s (%v.%s) has no comment", f.path, f.parent, f.name)
			}
			fmt.Fprintf(&page, "\n### `%s`\n\n%s\n\n%s\n", strings.ReplaceAll(f.path, "*", "NAME"), facts(f, defaults), inWords(text))
			continue
		}
		element := f.typ
		if element.Kind() != reflect.Struct {
			element = element.Elem()
		}
		ofType := strings.Replace(comments[element.PkgPath()+"."+element.Name()], element.Name(), "Each of them", 1)
		switch {
		case element == f.typ && ok:
			ofType = "" // a section's own comment says it better than that of its type
		case element == f.typ:
			ofType = strings.Replace(ofType, "Each of them", "These keys", 1)
		}
		paragraphs := slices.DeleteFunc([]string{inWords(text), inWords(ofType)}, func(s string) bool { return s == "" })
		fmt.Fprintf(&page, "\n## `%s`\n\n%s\n", f.path, strings.Join(paragraphs, "\n\n"))
	}
	return page.String()
}

// facts is the line below a key: its type, its default, its variable.
func facts(f field, defaults Config) string {
	var kind string
	switch f.typ {
	case reflect.TypeFor[time.Duration]():
		kind = "duration"
	case reflect.TypeFor[host.Size]():
		kind = "size"
	case reflect.TypeFor[string]():
		kind = "text"
	case reflect.TypeFor[int]():
		kind = "whole number"
	case reflect.TypeFor[bool]():
		kind = "true or false"
	case reflect.TypeFor[[]string]():
		kind = "list of text"
	default:
		kind = "mapping"
	}
	parts := []string{kind}
	if d := defaultOf(f, defaults); d != "" {
		parts = append(parts, "default `"+d+"`")
	}
	if v := f.variable(); v != "" {
		parts = append(parts, "`"+v+"`")
	}
	return strings.Join(parts, " · ")
}

// defaultOf is the default if there is a fixed one; the others are told in the
// comment.
func defaultOf(f field, defaults Config) string {
	if strings.ContainsAny(f.path, "*[") || f.path == "server.max_connections" { // depends on the machine
		return ""
	}
	v := reflect.ValueOf(defaults)
	for _, name := range strings.Split(f.path, ".") {
		i := slices.IndexFunc(reflect.VisibleFields(v.Type()), func(sf reflect.StructField) bool { return sf.Tag.Get("koanf") == name })
		v = v.FieldByIndex(reflect.VisibleFields(v.Type())[i].Index)
	}
	switch {
	case v.Kind() == reflect.Bool:
		return fmt.Sprint(v)
	case v.IsZero():
		return ""
	case v.Kind() == reflect.Slice:
		return fmt.Sprintf("%q", v.Interface())
	case v.Type() == reflect.TypeFor[time.Duration]():
		return short(v.Interface().(time.Duration))
	}
	return fmt.Sprint(v)
}

// short writes 2m instead of 2m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
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
		pkg := "weir/internal/config"
		if dir != "." {
			pkg = path.Join("weir", filepath.Base(dir))
		}
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

var camelCase = regexp.MustCompile(`\b[A-Z][a-z]+[A-Z][A-Za-z]+\b`)

// inWords is a comment with the names of fields replaced by keys: the first word
// if it is one, and every name in camel case.
func inWords(comment string) string {
	comment = strings.TrimSpace(comment)
	keys := map[string]string{}
	for _, f := range schema() {
		keys[f.name] = "`" + f.path[strings.LastIndexByte(f.path, '.')+1:] + "`"
	}
	comment = camelCase.ReplaceAllStringFunc(comment, func(name string) string {
		if key, ok := keys[name]; ok && name != "WebSocket" { // that is the protocol
			return key
		}
		return name
	})
	first, rest, _ := strings.Cut(comment, " ")
	if key, ok := keys[first]; ok {
		return key + " " + rest
	}
	return comment
}
