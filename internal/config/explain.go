package config

import (
	"errors"
	"slices"
	"strings"
)

// Knob is what there is to know about a key, whatever its value.
type Knob struct {
	// Key is the key as in a file; NAME stands for any name, [] for any index.
	Key string
	// Doc says what the key means, in lines of some 80 characters.
	Doc string
	// Type is the type of its value in words, such as "duration".
	Type string
	// OneOf lists the words that the value is one of; nil when it is not of words.
	OneOf []string
	// Default is what leaving the key out means; empty when that is no fixed value.
	Default string
	// Variable is the variable of the environment that sets the key; empty when none
	// does.
	Variable string
	// Reload says when a change takes effect in a server that runs.
	Reload Class
	// Secret says that the value must not be shown.
	Secret bool
	// Required says that there is no default.
	Required bool
	// Keys are the keys directly below; nil when Key is no section.
	Keys []string
}

// Explain finds a key: as it stands in a file, such as "modules.chat.path", or in
// general, "modules.NAME.path". The empty key is the whole configuration. The
// error names the key that was probably meant.
func Explain(key string) (Knob, error) {
	if key == "" {
		return Knob{Doc: "The whole configuration.", Type: "mapping", Reload: ClassRestart, Keys: keysOf(fieldsIn(""))}, nil
	}
	f, ok := fieldOf(strings.ReplaceAll(key, "NAME", "*"))
	if !ok {
		// One routes entry or module, not one of its keys.
		section := strings.TrimSuffix(strings.TrimSuffix(general(key), "[]"), ".*")
		if f, ok = fieldOf(section); !ok || f.leaf() || f.free() || section == general(key) {
			return Knob{}, errors.New("unknown key" + hintKey(key))
		}
	}
	k := Knob{
		Key: readable(f.path), Doc: strings.ReplaceAll(f.text(), "`", ""), Type: f.kind(), OneOf: slices.Clone(f.oneOf),
		Default: f.defaultText(), Variable: f.variable(), Reload: f.class, Secret: f.secret, Required: f.required(),
	}
	if !f.leaf() && !f.free() {
		k.Keys = keysOf(fieldsIn(f.path))
	}
	return k, nil
}

// Keys lists every key that holds a value, in the order of docs/config.md.
func Keys() []string {
	return keysOf(slices.DeleteFunc(slices.Clone(schema()), func(f field) bool { return !f.leaf() && !f.free() }))
}

func keysOf(fields []field) []string {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = readable(f.path)
	}
	return keys
}

// readable is a path as people read it.
func readable(path string) string { return strings.ReplaceAll(path, "*", "NAME") }
