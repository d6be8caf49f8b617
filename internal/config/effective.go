package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Setting is a key with the value that is in effect.
type Setting struct {
	// Key is the key as in a file, such as "routes[0].path".
	Key string
	// Name is its last element, and empty for an item of a list.
	Name string
	// Value is a string, an int64, a bool, a []string, or, where anything may stand,
	// what a YAML decoder makes of it; nil for a section. Durations and sizes are
	// strings. Of a text that refers to another it is the text as it was written, of
	// a secret "***".
	Value any
	// Origin is where the value was written; the zero value when it is the default.
	Origin Origin
	// Inside are the settings of a section.
	Inside []Setting
	// List says that Inside are the items of a list.
	List bool
}

// Source says where the value comes from: "default", "file:line:column", a variable
// or a flag.
func (s Setting) Source() string {
	if s.Origin == (Origin{}) {
		return "default"
	}
	return s.Origin.String()
}

// Text is the value as a configuration file has it.
func (s Setting) Text() string { return textOf(s.Value) }

// YAML writes settings as a configuration file has them; with origin, each value
// with a comment that says where it comes from.
func YAML(settings []Setting, origin bool) []byte {
	w := yamlWriter{origin: origin}
	for _, s := range settings {
		w.write("", "", s)
	}
	return w.b.Bytes()
}

type yamlWriter struct {
	b      bytes.Buffer
	origin bool
}

// write writes a setting; before stands between the indentation and its first key.
func (w *yamlWriter) write(indent, before string, s Setting) {
	head := indent + before
	if s.Name != "" {
		head += quoteYAML(s.Name) + ":"
	}
	switch {
	case s.Value != nil:
		fmt.Fprintf(&w.b, "%s %s", head, s.Text())
		if w.origin {
			w.b.WriteString("  # " + s.Source())
		}
		w.b.WriteByte('\n')
	case len(s.Inside) == 0 && s.List:
		fmt.Fprintln(&w.b, head+" []")
	case len(s.Inside) == 0:
		fmt.Fprintln(&w.b, head+" {}")
	case s.Name == "": // an item of a list, whose first key stands beside the dash
		w.write(indent, "- ", s.Inside[0])
		for _, below := range s.Inside[1:] {
			w.write(indent+"  ", "", below)
		}
	default:
		fmt.Fprintln(&w.b, head)
		for _, below := range s.Inside {
			w.write(indent+"  ", "", below)
		}
	}
}

// hidden stands for the value of a secret key.
const hidden = "***"

// Settings is the configuration in effect, defaults filled in, in the order of
// docs/config.md. It is empty when there are mistakes.
func (r *Reading) Settings() []Setting {
	if r.Config == nil {
		return nil
	}
	return r.settings("", reflect.ValueOf(r.Config.WithDefaults()))
}

// Find is the setting of that key; false when the key has no value.
func (r *Reading) Find(key string) (Setting, bool) { return findSetting(r.Settings(), key) }

func findSetting(settings []Setting, key string) (Setting, bool) {
	for _, s := range settings {
		if s.Key == key {
			return s, true
		}
		if found, ok := findSetting(s.Inside, key); ok {
			return found, true
		}
	}
	return Setting{}, false
}

// settings are those of the struct whose keys begin with prefix.
func (r *Reading) settings(prefix string, v reflect.Value) []Setting {
	var all []Setting
	t := v.Type()
	for i := range t.NumField() {
		tag, options, _ := strings.Cut(t.Field(i).Tag.Get("koanf"), ",")
		switch {
		case options == "squash":
			all = append(all, r.settings(prefix, v.Field(i))...)
		case tag != "" && tag != "-":
			all = append(all, r.setting(prefix+tag, tag, v.Field(i)))
		}
	}
	return all
}

func (r *Reading) setting(key, name string, v reflect.Value) Setting {
	s := Setting{Key: key, Name: name}
	element := reflect.Invalid
	if k := v.Kind(); k == reflect.Slice || k == reflect.Map {
		element = v.Type().Elem().Kind()
	}
	switch {
	case v.Kind() == reflect.Struct:
		s.Inside = r.settings(key+".", v)
	case v.Kind() == reflect.Slice && element == reflect.Struct:
		s.List = true
		for i := range v.Len() {
			s.Inside = append(s.Inside, r.setting(fmt.Sprintf("%s[%d]", key, i), "", v.Index(i)))
		}
	case v.Kind() == reflect.Map && element == reflect.Struct:
		names := v.MapKeys()
		slices.SortFunc(names, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, name := range names {
			s.Inside = append(s.Inside, r.setting(key+"."+name.String(), name.String(), v.MapIndex(name)))
		}
	default:
		s.Value = r.shown(key, v)
		if r.isSet(key) {
			s.Origin = r.at.find(key)
		}
	}
	return s
}

// shown is a value as everybody may see it.
func (r *Reading) shown(key string, v reflect.Value) any {
	if f, ok := fieldOf(key); ok && f.secret && !v.IsZero() {
		if written := r.secrets[key].written; written != "" {
			return written
		}
		return hidden
	}
	if secret, ok := r.secrets[key]; ok {
		return secret.written
	}
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool()
	case reflect.String:
		if f, _ := fieldOf(key); v.IsZero() && f.oneOf != nil {
			return f.fixedDefault()
		}
		return v.String()
	case reflect.Int, reflect.Int64:
		if text, ok := v.Interface().(fmt.Stringer); ok {
			return strings.Trim(textOf(text), `"`)
		}
		return v.Int()
	case reflect.Slice:
		list := make([]string, v.Len())
		for i := range list {
			list[i] = v.Index(i).String()
			if secret, ok := r.secrets[fmt.Sprintf("%s[%d]", key, i)]; ok {
				list[i] = secret.written
			}
		}
		return list
	}
	return r.unresolved(key, v.Interface())
}

// unresolved is a free value with its references as they were written.
func (r *Reading) unresolved(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for name, below := range v {
			m[name] = r.unresolved(key+"."+name, below)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = r.unresolved(fmt.Sprintf("%s[%d]", key, i), item)
		}
		return list
	case string:
		if secret, ok := r.secrets[key]; ok {
			return secret.written
		}
	}
	return v
}

// isSet reports whether some source gives the key a value.
func (r *Reading) isSet(key string) bool {
	var v any = r.tree
	for _, e := range elementsOf(key) {
		switch around := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = around[e]; !ok {
				return false
			}
		case []any:
			i, err := strconv.Atoi(e)
			if err != nil || i >= len(around) {
				return false
			}
			v = around[i]
		default:
			return false
		}
	}
	return true
}

// elementsOf takes a key apart: names and indices.
func elementsOf(key string) []string {
	var elements []string
	if rest, ok := strings.CutPrefix(key, "modules."); ok {
		if name, _, ok := splitModule(rest); ok {
			elements, key = []string{"modules", name}, rest[len(name)+1:]
		}
	}
	return append(elements, strings.FieldsFunc(key, func(r rune) bool { return r == '.' || r == '[' || r == ']' })...)
}
