package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
)

// Source is where a configuration comes from. The zero value gives the
// defaults.
type Source struct {
	// Files are configuration files (YAML); a later one overrides an earlier.
	// Mappings are merged, lists replaced.
	Files []string
	// ReadFile reads one of them. Required when there are any.
	ReadFile func(name string) ([]byte, error)
	// Environ is the environment as "NAME=value". Variables that begin with
	// WEIR_ override files; an empty value counts as not set; a name that is not
	// in the table is a mistake.
	Environ []string
	// Overrides come last, in order.
	Overrides []Override
}

// Override is one value from the command line.
type Override struct {
	// Flag is how the user wrote it, for messages: "--listen" or "--set a.b=c".
	Flag string
	// Key is the key as in a file, such as "server.listen".
	Key string
	// Value is the value as text: lists have commas between their items.
	Value string
}

// ParseSet reads the argument of --set, KEY=VALUE.
func ParseSet(argument string) (Override, error) {
	key, value, ok := strings.Cut(argument, "=")
	key = strings.TrimSpace(key)
	if !ok || key == "" {
		return Override{}, fmt.Errorf("--set %s: write it as KEY=VALUE, such as server.max_connections=1000", argument)
	}
	return Override{Flag: "--set " + argument, Key: key, Value: value}, nil
}

// delim separates the elements of a key inside koanf. Names of modules hold
// dots, so it is a character that no key holds.
const delim = "\x1f"

// Load merges the sources, checks every key and value, and returns the result
// without defaults filled in. The error joins every Mistake found, in the order
// of the sources; the Config is then nil.
func Load(s Source) (*Config, error) {
	l := loader{k: koanf.New(delim), at: origins{}}
	for _, name := range s.Files {
		l.file(name, s.ReadFile)
	}
	l.environment(s.Environ)
	for _, o := range s.Overrides {
		l.override(o)
	}
	var c Config
	l.mistakes = append(l.mistakes, decode(l.k, &c, l.at)...)
	l.validate(c)
	if len(l.mistakes) == 0 {
		return &c, nil
	}
	sortMistakes(l.mistakes)
	errs := make([]error, len(l.mistakes))
	for i, m := range l.mistakes {
		errs[i] = m
	}
	return nil, errors.Join(errs...)
}

type loader struct {
	k        *koanf.Koanf
	at       origins
	rank     int // of the source being read
	mistakes []Mistake
}

func (l *loader) bad(m Mistake) { l.mistakes = append(l.mistakes, m) }

func (l *loader) file(name string, read func(string) ([]byte, error)) {
	l.rank++
	text, err := read(name)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err // the name is said already
		}
		l.bad(Mistake{Origin: Origin{Name: name, rank: l.rank}, Problem: err.Error()})
		return
	}
	f := yamlFile{name: name, rank: l.rank, text: text, at: l.at}
	var mistake Mistake
	if err := l.k.Load(f, f); errors.As(err, &mistake) {
		l.bad(mistake)
	} else if err != nil {
		l.bad(Mistake{Origin: Origin{Name: name, rank: l.rank}, Problem: err.Error()})
	}
}

func (l *loader) environment(environ []string) {
	l.rank++
	// The variables are read in a fixed order, so that mistakes are too.
	sorted := slices.Sorted(slices.Values(environ))
	err := l.k.Load(env.Provider(delim, env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return sorted },
		TransformFunc: func(variable, text string) (string, any) {
			origin := Origin{Name: variable, rank: l.rank}
			f, known := variables()[variable]
			if !known {
				names := slices.Sorted(maps.Keys(variables()))
				l.bad(Mistake{Origin: origin, Problem: "unknown variable" + hint(variable, names)})
				return "", nil
			}
			if text == "" {
				return "", nil
			}
			value, err := parseText(f.typ, text)
			if err != nil {
				l.bad(Mistake{origin, f.path, err.Error()})
				return "", nil
			}
			l.at[f.path] = origin
			return strings.ReplaceAll(f.path, ".", delim), value
		},
	}), nil)
	if err != nil {
		l.bad(Mistake{Origin: Origin{Name: envPrefix + "*", rank: l.rank}, Problem: err.Error()})
	}
}

func (l *loader) override(o Override) {
	l.rank++
	origin := Origin{Name: o.Flag, rank: l.rank}
	elements, t, err := overrideKey(o.Key)
	if err != nil {
		l.bad(Mistake{origin, o.Key, err.Error()})
		return
	}
	var value any
	if t == nil {
		value, err = parseYAML(o.Value)
	} else {
		value, err = parseText(t, o.Value)
	}
	if err != nil {
		l.bad(Mistake{origin, o.Key, err.Error()})
		return
	}
	l.at[o.Key] = origin
	key := strings.Join(elements, delim)
	if err := l.k.Load(confmap.Provider(map[string]any{key: value}, delim), nil); err != nil {
		l.bad(Mistake{origin, o.Key, err.Error()})
	}
}

// overrideKey takes a key from the command line apart. The type is nil below a
// module's config, where anything may stand.
func overrideKey(key string) ([]string, reflect.Type, error) {
	if rest, ok := strings.CutPrefix(key, "modules."); ok {
		return moduleKey(key, rest)
	}
	for _, f := range schema() {
		switch {
		case f.path != key:
		case f.leaf():
			return strings.Split(key, "."), f.typ, nil
		default:
			return nil, nil, errors.New("only single values can be set here; write this one in a file")
		}
	}
	if strings.HasPrefix(key, "routes") {
		return nil, nil, errors.New("routes cannot be set here; write them in a file")
	}
	return nil, nil, errors.New("unknown key" + hintKey(key))
}

// moduleKey splits NAME.FIELD, where the name may hold dots: the first dot that
// is followed by a field ends it.
func moduleKey(key, rest string) ([]string, reflect.Type, error) {
	for i := range len(rest) {
		if rest[i] != '.' {
			continue
		}
		name, after := rest[:i], rest[i+1:]
		if below, ok := strings.CutPrefix(after, "config."); ok {
			return append([]string{"modules", name, "config"}, strings.Split(below, ".")...), nil, nil
		}
		for _, f := range schema() {
			if f.path == "modules.*."+after && f.leaf() {
				return []string{"modules", name, after}, f.typ, nil
			}
		}
	}
	return nil, nil, errors.New("unknown key" + hintKey(key))
}

// validate adds what is wrong with values of the right type, except where the
// key was found wrong before.
func (l *loader) validate(c Config) {
	found := map[string]bool{}
	for _, m := range l.mistakes {
		found[m.Key] = true
	}
	for _, err := range flatten(c.Validate()) {
		key, problem, ok := strings.Cut(err.Error(), ": ")
		if !ok {
			l.bad(Mistake{Problem: err.Error()})
		} else if !found[key] {
			l.bad(Mistake{l.at.find(key), key, problem})
		}
	}
}
