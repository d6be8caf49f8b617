package admin

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// openAPIDocument is the description of the API that the table of routes and the
// structs of api.go make.
func openAPIDocument(t *testing.T) string {
	t.Helper()
	d := describer{comments: commentsOfAPI(t), schemas: object{}}
	paths := object{}
	for _, rt := range routes() {
		if paths[rt.path] == nil {
			paths[rt.path] = object{}
		}
		paths[rt.path].(object)[strings.ToLower(rt.method)] = d.operation(rt)
	}
	d.schema(reflect.TypeFor[Problem]())
	problem := d.schemas["Problem"].(object)["properties"].(object)
	problem["code"].(object)["enum"] = slices.Sorted(maps.Keys(statuses))
	text, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "weir's admin API", "version": "1",
			"description": "What an operator does to a running server. Fields may be added; none changes or goes. Times are RFC 3339 in UTC; ids are strings of digits.",
		},
		"security": []any{object{"token": []any{}}},
		"paths":    paths,
		"components": object{
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}},
			"schemas":         d.schemas,
			"responses": object{"problem": object{
				"description": "It was not done; code says why.",
				"content":     object{"application/problem+json": object{"schema": ref("Problem")}},
			}},
		},
	}, "", "  ")
	check(t, err)
	return string(text) + "\n"
}

type describer struct {
	comments map[string]string // by "Type" and "Type.Field"
	schemas  object
}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

func (d *describer) operation(rt route) object {
	o := object{"summary": rt.summary, "operationId": operationID(rt)}
	var parameters []any
	for _, m := range regexp.MustCompile(`\{([a-z_]+)\}`).FindAllStringSubmatch(rt.path, -1) {
		parameters = append(parameters, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range rt.query {
		parameters = append(parameters, object{"name": p.name, "in": "query", "description": p.help, "schema": object{"type": p.kind}})
	}
	if rt.ifMatch {
		parameters = append(parameters, object{
			"name": "If-Match", "in": "header", "schema": object{"type": "string"},
			"description": "A generation in quotes, as ETag has it: the request fails with the code conflict when another is the latest.",
		})
	}
	if parameters != nil {
		o["parameters"] = parameters
	}
	switch rt.takes.(type) {
	case nil:
	case []byte:
		o["requestBody"] = object{"required": true, "content": object{"application/wasm": object{}}}
	default:
		o["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": d.schema(reflect.TypeOf(rt.takes))}}}
	}
	kind := "application/json"
	if rt.lines {
		kind = "application/x-ndjson"
	}
	status := max(rt.status, http.StatusOK)
	if rt.status == 0 {
		status = http.StatusOK
	}
	o["responses"] = object{
		strconv.Itoa(status): object{"description": http.StatusText(status), "content": object{kind: object{"schema": d.schema(reflect.TypeOf(rt.gives))}}},
		"default":            object{"$ref": "#/components/responses/problem"},
	}
	if rt.open {
		o["security"] = []any{}
	}
	return o
}

// operationID is a name for who makes a client from the description.
func operationID(rt route) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(rt.method))
	for word := range strings.FieldsFuncSeq(strings.TrimPrefix(rt.path, "/v1/"), func(r rune) bool { return strings.ContainsRune("/{}.", r) }) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// schema is that of a type; structs become components.
func (d *describer) schema(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[ConnID]():
		return object{"type": "string", "pattern": "^[0-9]+$"}
	case reflect.TypeFor[json.RawMessage]():
		return object{"type": "object"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Struct:
		if d.schemas[t.Name()] == nil {
			d.schemas[t.Name()] = object{} // a struct may hold itself
			d.schemas[t.Name()] = d.structure(t)
		}
		return ref(t.Name())
	}
	panic("the API has no " + t.String())
}

func (d *describer) structure(t reflect.Type) object {
	properties, required := object{}, []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		schema := d.schema(f.Type)
		if f.Type.Kind() == reflect.Pointer && !strings.Contains(options, "omitempty") {
			schema = object{"oneOf": []any{schema, object{"type": "null"}}}
		}
		schema["description"] = d.comments[t.Name()+"."+f.Name]
		properties[name] = schema
		if !strings.Contains(options, "omitempty") {
			required = append(required, name)
		}
	}
	return object{"type": "object", "description": d.comments[t.Name()], "properties": properties, "required": required}
}

// commentsOfAPI are those of the types of api.go and of their fields, one line each.
func commentsOfAPI(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "api.go", nil, parser.ParseComments)
	check(t, err)
	line := func(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }
	all := map[string]string{}
	for _, declaration := range file.Decls {
		types, ok := declaration.(*ast.GenDecl)
		if !ok || types.Tok != token.TYPE {
			continue
		}
		spec := types.Specs[0].(*ast.TypeSpec)
		all[spec.Name.Name] = line(types.Doc)
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range structure.Fields.List {
			all[spec.Name.Name+"."+f.Names[0].Name] = line(f.Doc)
		}
	}
	return all
}

// The file is what the routes and the structs make of it (TestGenerated). This is
// what that takes for granted.
func TestEveryFieldOfTheAPIIsDescribed(t *testing.T) {
	var document struct {
		Components struct {
			Schemas map[string]struct {
				Description string
				Properties  map[string]struct{ Description string }
			}
		}
	}
	check(t, json.Unmarshal(openAPI, &document))
	name := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	for schema, s := range document.Components.Schemas {
		if !strings.HasPrefix(s.Description, schema+" ") {
			t.Errorf("%s is described as %q", schema, s.Description)
		}
		for property, p := range s.Properties {
			if !strings.HasSuffix(p.Description, ".") || !name.MatchString(property) {
				t.Errorf("%s.%s is described as %q", schema, property, p.Description)
			}
		}
	}
}

// A route that is not served, or served and not described, cannot be: both come
// from one table. What is asked here is that it holds what a reader relies on.
func TestTheTableOfRoutesIsInOrder(t *testing.T) {
	seen := map[string]bool{}
	for _, rt := range routes() {
		name := rt.method + " " + rt.path
		switch {
		case seen[name]:
			t.Errorf("%s is there twice", name)
		case !strings.HasPrefix(rt.path, "/v1/") || rt.summary == "" || rt.gives == nil || rt.serve == nil:
			t.Errorf("%s lacks something", name)
		case (rt.method == "GET") != (rt.asked == ""):
			t.Errorf("%s must be logged if it changes something, and only then", name)
		case rt.method == "GET" && rt.takes != nil:
			t.Errorf("%s takes a body", name)
		}
		seen[name] = true
		for _, p := range rt.query {
			if !slices.Contains([]string{"string", "integer", "boolean"}, p.kind) || !strings.HasSuffix(p.help, ".") {
				t.Errorf("%s: %s is not described", name, p.name)
			}
		}
	}
}
