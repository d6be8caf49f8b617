package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// table is abi.toml, field by field; the file's head explains the words.
type table struct {
	Version      int          `toml:"version"`
	Minor        int          `toml:"minor"`
	ImportModule string       `toml:"import_module"`
	Exports      []export     `toml:"exports"`
	Events       []event      `toml:"events"`
	Statuses     []status     `toml:"statuses"`
	Kinds        []constant   `toml:"kinds"`
	Levels       []constant   `toml:"levels"`
	Attributes   []attribute  `toml:"attributes"`
	Capabilities []capability `toml:"capabilities"`
	Functions    []function   `toml:"functions"`
}

type export struct {
	Name     string   `toml:"name"`
	Kind     string   `toml:"kind"` // memory or function
	Params   []string `toml:"params"`
	Results  []string `toml:"results"`
	Optional bool     `toml:"optional"`
	Doc      string   `toml:"doc"`
}

type event struct {
	Name    string `toml:"name"`
	Value   int    `toml:"value"`
	Since   int    `toml:"since"`
	Arg     string `toml:"arg"`
	Payload string `toml:"payload"`
	Result  string `toml:"result"`
	Doc     string `toml:"doc"`
}

type status struct {
	Name  string `toml:"name"`
	Value int    `toml:"value"`
	Text  string `toml:"text"`
	Doc   string `toml:"doc"`
}

type constant struct {
	Name  string `toml:"name"`
	Value int    `toml:"value"`
	Doc   string `toml:"doc"`
}

// attribute is a name that conn_attr knows; one that ends in a colon is the head of a family.
type attribute struct {
	Name string `toml:"name"`
	Doc  string `toml:"doc"`
}

type capability struct {
	Name    string `toml:"name"`
	Bit     int    `toml:"bit"`
	Default bool   `toml:"default"` // granted unless the configuration says otherwise
	Doc     string `toml:"doc"`
}

type function struct {
	Name       string   `toml:"name"`
	Since      int      `toml:"since"`
	Capability string   `toml:"capability"` // empty: always granted
	Params     []param  `toml:"params"`
	Result     string   `toml:"result"`
	Errors     []string `toml:"errors"`
	Doc        string   `toml:"doc"`
}

type param struct {
	Name string `toml:"name"`
	Type string `toml:"type"`
	Doc  string `toml:"doc"`
}

// wasmTypes lists the core types behind each parameter and result type, one letter a value: i is i32, l is i64.
var wasmTypes = map[string]string{
	"i32": "i", "i64": "l", "conn": "l", "bytes": "ii", "out": "ii", "fill": "ii",
	"status": "i", "length": "i", "count": "i", "size": "l", "time": "l",
}

var (
	paramTypes  = []string{"i32", "i64", "conn", "bytes", "out", "fill"}
	resultTypes = []string{"status", "length", "count", "size", "time"}
)

// wasmParams returns the function's parameters in core types, one letter a value.
func (f function) wasmParams() string {
	var letters strings.Builder
	for _, p := range f.Params {
		letters.WriteString(wasmTypes[p.Type])
	}
	return letters.String()
}

// parse reads abi.toml and reports everything that is wrong with it.
func parse(text []byte) (*table, error) {
	var t table
	decoder := toml.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&t); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return nil, fmt.Errorf("unknown keys:\n%s", strict.String())
		}
		var syntax *toml.DecodeError
		if errors.As(err, &syntax) {
			return nil, errors.New(syntax.String())
		}
		return nil, err
	}
	if err := t.validate(); err != nil {
		return nil, err
	}
	return &t, nil
}

// validate reports every mistake at once.
func (t *table) validate() error {
	var mistakes []error
	mistake := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }

	if want := fmt.Sprintf("weir_%d", t.Version); t.ImportModule != want {
		mistake("import_module is %q, but version %d makes it %q", t.ImportModule, t.Version, want)
	}

	names := map[string]bool{}
	values := map[string]string{}
	entry := func(section, name, doc string) {
		if name == "" {
			mistake("%s: an entry without a name", section)
			return
		}
		if key := section + " " + name; names[key] {
			mistake("%s %s is there twice", section, name)
		} else {
			names[key] = true
		}
		if !strings.HasSuffix(doc, ".") {
			mistake("%s %s: its doc is not a sentence", section, name)
		}
	}
	number := func(section, name string, value, low, high int) {
		if value < low || value > high {
			mistake("%s %s: %d is outside %d to %d", section, name, value, low, high)
		}
		key := fmt.Sprintf("%s %d", section, value)
		if other, taken := values[key]; taken {
			mistake("%s %s and %s have the same number %d", section, other, name, value)
		}
		values[key] = name
	}
	since := func(section, name string, minor int) {
		if minor < 0 || minor > t.Minor {
			mistake("%s %s: since %d is outside 0 to minor %d", section, name, minor, t.Minor)
		}
	}

	for _, e := range t.Exports {
		entry("exports", e.Name, e.Doc)
	}
	for _, e := range t.Events {
		entry("events", e.Name, e.Doc)
		number("events", e.Name, e.Value, 0, 63)
		since("events", e.Name, e.Since)
	}
	for _, s := range t.Statuses {
		entry("statuses", s.Name, s.Doc)
		number("statuses", s.Name, s.Value, -127, 0)
		if s.Text == "" {
			mistake("statuses %s: no text", s.Name)
		}
	}
	for _, k := range t.Kinds {
		entry("kinds", k.Name, k.Doc)
		number("kinds", k.Name, k.Value, 1, 127)
	}
	for _, l := range t.Levels {
		entry("levels", l.Name, l.Doc)
		number("levels", l.Name, l.Value, 0, 127)
	}
	for _, a := range t.Attributes {
		entry("attributes", a.Name, a.Doc)
	}
	for _, c := range t.Capabilities {
		entry("capabilities", c.Name, c.Doc)
		number("capabilities", c.Name, c.Bit, 0, 7)
	}
	for _, f := range t.Functions {
		entry("functions", f.Name, f.Doc)
		since("functions", f.Name, f.Since)
		if f.Capability != "" && !names["capabilities "+f.Capability] {
			mistake("functions %s: no capability is called %q", f.Name, f.Capability)
		}
		for _, p := range f.Params {
			if !slices.Contains(paramTypes, p.Type) {
				mistake("functions %s: parameter %s has the unknown type %q", f.Name, p.Name, p.Type)
			}
		}
		if !slices.Contains(resultTypes, f.Result) {
			mistake("functions %s: unknown result type %q", f.Name, f.Result)
		}
		for _, e := range f.Errors {
			if !names["statuses "+e] {
				mistake("functions %s: no status is called %q", f.Name, e)
			}
		}
	}
	granted := func(c capability) bool { return c.Default }
	if !slices.ContainsFunc(t.Capabilities, granted) {
		mistake("capabilities: none is granted by default")
	}
	return errors.Join(mistakes...)
}
