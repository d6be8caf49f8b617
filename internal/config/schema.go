package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/host"
)

// field is one key of the tree. In its path, "[]" stands for any index and "*"
// for any module's name, or that of one of its metrics.
//
// Beside koanf, its name, a field has these tags: reload, a Class, where that of
// the section around it does not hold; oneof, the words that it accepts; secret,
// when nobody may see its value.
type field struct {
	path   string
	typ    reflect.Type
	parent reflect.Type // the struct that has it
	name   string       // of the struct's field
	class  Class
	oneOf  []string // nil: any text
	secret bool
	over   string // empty: it is no limit
}

// Class says when a changed value takes effect in a server that runs.
type Class string

// The classes. A key that says nothing, and around which nothing is said, needs a
// restart.
const (
	ClassHot         Class = "hot"         // at once, for everybody
	ClassConnections Class = "connections" // for connections that begin later
	ClassGeneration  Class = "generation"  // with the module's next generation, which it brings about
	ClassRestart     Class = "restart"     // when the server is started again
)

// String is the class in words.
func (c Class) String() string {
	switch c {
	case ClassConnections, ClassGeneration:
		return "new " + string(c)
	}
	return string(c)
}

// leaf says whether the field holds a value that fits into one line of text.
func (f field) leaf() bool {
	switch f.typ.Kind() {
	case reflect.Struct, reflect.Map:
		return false
	case reflect.Slice:
		return f.typ.Elem().Kind() == reflect.String
	}
	return true
}

// variable is the environment variable that sets the field; empty when none
// does, because the path holds a name or an index.
func (f field) variable() string {
	if !f.leaf() || strings.ContainsAny(f.path, "*[") {
		return ""
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(f.path, ".", "_"))
}

const (
	envPrefix  = "WEIR_"
	fileSuffix = "_FILE" // of a variable that names the file which holds the value
)

// schema lists every key of Config in the order of the structs.
var schema = sync.OnceValue(func() []field { return fieldsOf(nil, "", ClassRestart, reflect.TypeFor[Config]()) })

// fieldsOf adds the keys of t, which stands in a section of that class.
func fieldsOf(all []field, prefix string, class Class, t reflect.Type) []field {
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, options, _ := strings.Cut(sf.Tag.Get("koanf"), ",")
		switch {
		case options == "squash":
			all = fieldsOf(all, prefix, class, sf.Type)
			continue
		case tag == "" || tag == "-":
			continue
		}
		f := field{path: prefix + tag, typ: sf.Type, parent: t, name: sf.Name, class: class, secret: sf.Tag.Get("secret") != "", over: sf.Tag.Get("over")}
		if own := sf.Tag.Get("reload"); own != "" {
			f.class = Class(own)
		}
		if words := sf.Tag.Get("oneof"); words != "" {
			f.oneOf = strings.Split(words, ",")
		}
		all = append(all, f)
		switch {
		case sf.Type.Kind() == reflect.Struct:
			all = fieldsOf(all, f.path+".", f.class, sf.Type)
		case sf.Type.Kind() == reflect.Slice && sf.Type.Elem().Kind() == reflect.Struct:
			all = fieldsOf(all, f.path+"[].", f.class, sf.Type.Elem())
		case sf.Type.Kind() == reflect.Map && sf.Type.Elem().Kind() == reflect.Struct:
			all = fieldsOf(all, f.path+".*.", f.class, sf.Type.Elem())
		}
	}
	return all
}

// fieldOf finds the field of a key as it stands in a file.
func fieldOf(key string) (field, bool) {
	f, ok := byPath()[general(key)]
	return f, ok
}

var byPath = sync.OnceValue(func() map[string]field {
	all := make(map[string]field)
	for _, f := range schema() {
		all[f.path] = f
	}
	return all
})

// below lists the fields directly in a section.
func (f field) below() []field { return fieldsIn(f.path) }

// fieldsIn lists the fields directly in the section of that path; "" is the whole
// configuration.
func fieldsIn(section string) []field {
	var all []field
	for _, f := range schema() {
		if around := strings.TrimSuffix(strings.TrimSuffix(parent(f.path), "[]"), ".*"); around == section {
			all = append(all, f)
		}
	}
	return all
}

// variables is the table of environment variables. Names are looked up here and
// never taken apart: "_" joins both words and levels.
var variables = sync.OnceValue(func() map[string]field {
	table := map[string]field{}
	for _, f := range schema() {
		if v := f.variable(); v != "" {
			table[v] = f
		}
	}
	return table
})

var index = regexp.MustCompile(`\[\d+\]`)

// general is key with its indices and the names in it replaced as in a field's
// path.
func general(key string) string {
	key = index.ReplaceAllString(key, "[]")
	rest, ok := strings.CutPrefix(key, "modules.")
	if !ok {
		return key
	}
	if _, field, ok := splitModule(rest); ok {
		return "modules.*." + field
	}
	if i := strings.LastIndexByte(rest, '.'); i >= 0 {
		return "modules.*" + rest[i:]
	}
	return "modules.*"
}

// splitModule takes NAME.FIELD apart, where the name may hold dots: the first dot
// that a field follows ends it. What stands below a module's config is of the
// field config.
func splitModule(key string) (name, field string, ok bool) {
	for i := range min(len(key), maxModuleName+1) {
		if key[i] != '.' {
			continue
		}
		after := index.ReplaceAllString(key[i+1:], "[]")
		for _, f := range schema() {
			path, ok := strings.CutPrefix(f.path, "modules.*.")
			if ok && (fits(after, path) || after == path+"[]" || path == "config" && strings.HasPrefix(after, "config.")) {
				return key[:i], path, true
			}
			if around := parent(path); ok && strings.HasSuffix(around, ".*") && fits(after, around) { // one metric
				return key[:i], around, true
			}
		}
	}
	return "", "", false
}

// fits says whether key is one of path, in which a "*" stands for a name without
// dots.
func fits(key, path string) bool {
	for {
		k, restOfKey, more := strings.Cut(key, ".")
		p, restOfPath, moreOfPath := strings.Cut(path, ".")
		if k != p && p != "*" || more != moreOfPath {
			return false
		}
		if !more {
			return true
		}
		key, path = restOfKey, restOfPath
	}
}

// parent is the key around key: "a.b[0].c" → "a.b[0]" → "a.b" → "a" → "".
func parent(key string) string {
	return key[:max(strings.LastIndexByte(key, '.'), strings.LastIndexByte(key, '['), 0)]
}

// hintKey proposes a key for an unknown one: one of the same name that stands
// elsewhere, or a neighbour of nearly the same name.
func hintKey(unknown string) string {
	around := general(parent(unknown))
	name := strings.TrimPrefix(unknown[len(parent(unknown)):], ".")
	var neighbours []string
	elsewhere := ""
	for _, f := range schema() {
		last := f.path[strings.LastIndexByte(f.path, '.')+1:]
		if parent(f.path) == around {
			neighbours = append(neighbours, last)
		}
		if last == name && !strings.ContainsAny(f.path, "*[") {
			elsewhere = f.path
		}
	}
	if elsewhere != "" {
		return fmt.Sprintf("; did you mean %q?", elsewhere)
	}
	return hint(name, neighbours)
}

// parseText reads a value of the given type as a variable or a flag holds it.
// Durations and sizes stay text; the decoder reads them.
func parseText(t reflect.Type, text string) (any, error) {
	if t == reflect.TypeFor[time.Duration]() || t == reflect.TypeFor[host.Size]() {
		return text, nil
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", text)
		}
		return n, nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither true nor false", text)
		}
		return b, nil
	case reflect.Slice:
		var list []any
		for _, item := range strings.Split(text, ",") {
			list = append(list, strings.TrimSpace(item))
		}
		return list, nil
	}
	return text, nil
}
