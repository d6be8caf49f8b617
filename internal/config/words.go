package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/host"
)

//go:generate go test . -run TestGenerated -update

// comment is what is written above the field in its struct, with the names of
// fields replaced by keys; empty when nothing is.
func (f field) comment() string {
	text := comments[f.parent.PkgPath()+"."+f.parent.Name()+"."+f.name]
	for i := range f.parent.NumField() { // its neighbours, within a sentence
		name := f.parent.Field(i).Name
		text = regexp.MustCompile(`([a-z,]\s)`+name+`\b`).ReplaceAllString(text, "${1}"+keysByName()[name])
	}
	return inWords(text)
}

// text is all there is to say about the field: its comment and, of a section,
// that of its type.
func (f field) text() string {
	own := f.comment()
	element := f.typ
	if f.leaf() || f.free() {
		return own
	}
	if element.Kind() != reflect.Struct {
		element = element.Elem()
	}
	ofType := comments[element.PkgPath()+"."+element.Name()]
	switch {
	case element != f.typ:
		ofType = strings.Replace(ofType, element.Name(), "Each of them", 1)
	case own != "":
		ofType = "" // a section's own comment says it better than that of its type
	default:
		ofType = strings.Replace(ofType, element.Name(), "These keys", 1)
	}
	return strings.Join(slices.DeleteFunc([]string{own, inWords(ofType)}, func(s string) bool { return s == "" }), "\n\n")
}

// free says whether anything may stand below the field.
func (f field) free() bool {
	return f.typ.Kind() == reflect.Map && f.typ.Elem().Kind() != reflect.Struct
}

// required says whether the field has no default; its comment does.
func (f field) required() bool { return strings.HasSuffix(f.comment(), " Required.") }

// kind is the field's type in words.
func (f field) kind() string {
	switch f.typ {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[host.Size]():
		return "size"
	}
	switch f.typ.Kind() {
	case reflect.String:
		return "text"
	case reflect.Int, reflect.Int64:
		return "whole number"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		if f.leaf() {
			return "list of text"
		}
		return "list of mappings"
	case reflect.Map:
		if !f.free() {
			return "mapping of names to mappings"
		}
	}
	return "mapping"
}

// fixedDefault is what the zero value means; nil when that depends on the machine,
// or is that there is none.
func (f field) fixedDefault() any {
	if !f.leaf() || f.path == "server.max_connections" {
		return nil
	}
	v := reflect.ValueOf(modelConfig())
	for _, name := range strings.Split(strings.ReplaceAll(f.path, "[]", ".[]"), ".") {
		switch v.Kind() {
		case reflect.Map:
			v = v.MapIndex(reflect.ValueOf(name))
		case reflect.Slice:
			v = v.Index(0)
		default:
			v = memberOf(v, name)
		}
	}
	if !v.IsZero() || v.Kind() == reflect.Bool {
		return v.Interface()
	}
	if word := emptyMeans.FindStringSubmatch(f.comment()); word != nil && slices.Contains(f.oneOf, word[1]) {
		return word[1]
	}
	return nil
}

// defaultText is the default for people to read; empty when there is no fixed one.
func (f field) defaultText() string {
	if d := f.fixedDefault(); d != nil {
		return strings.Trim(textOf(d), `"`)
	}
	return ""
}

var emptyMeans = regexp.MustCompile(`Empty\s+means\s+"([^"]+)"`)

// modelConfig has one of everything, with defaults.
var modelConfig = sync.OnceValue(func() Config {
	c := Config{Modules: map[string]Module{"*": {Metrics: map[string]host.Metric{"*": {}}, Topics: make([]host.TopicPolicy, 1)}}}
	c.Routes = make([]host.Route, 1)
	return c.WithDefaults()
})

// memberOf is the field of a struct that has that key.
func memberOf(v reflect.Value, key string) reflect.Value {
	for _, sf := range reflect.VisibleFields(v.Type()) {
		if tag, _, _ := strings.Cut(sf.Tag.Get("koanf"), ","); tag == key {
			return v.FieldByIndex(sf.Index)
		}
	}
	panic(fmt.Sprintf("config: %v has no key %q", v.Type(), key))
}

// textOf is a leaf's value as a configuration file has it.
func textOf(v any) string {
	switch v := v.(type) {
	case time.Duration:
		return shortDuration(v)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = quoteYAML(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case string:
		return quoteYAML(v)
	case map[string]any: // JSON is YAML too
		return strings.TrimSuffix(string(encodeJSON(v, "")), "\n")
	}
	return fmt.Sprint(v)
}

// shortDuration writes 2m instead of 2m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// plainYAML is a text that cannot be taken for anything else, and needs no quotes.
var plainYAML = regexp.MustCompile(`^([A-Za-z/][A-Za-z0-9_./-]*|([0-9.]+([nµm]?s|[mh]|([KMG]i)?B))+)$`)

// quoteYAML writes text so that YAML reads it as the same text.
func quoteYAML(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
	default:
		if plainYAML.MatchString(s) {
			return s
		}
	}
	return strings.TrimSuffix(string(encodeJSON(s, "")), "\n") // which is YAML too
}

var camelCase = regexp.MustCompile(`\b[A-Z][a-z]+[A-Z][A-Za-z]+\b`)

// keysByName are the last elements of keys, in quotes, by the names of the
// structs' fields.
var keysByName = sync.OnceValue(func() map[string]string {
	keys := map[string]string{}
	for _, f := range schema() {
		keys[f.name] = "`" + f.path[strings.LastIndexByte(f.path, '.')+1:] + "`"
	}
	return keys
})

// inWords is a comment with the names of fields replaced by keys: the first word
// if it is one, and every name in camel case.
func inWords(comment string) string {
	comment = strings.TrimSpace(comment)
	keys := keysByName()
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
