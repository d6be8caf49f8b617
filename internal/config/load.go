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
	r := Read(s)
	return r.Config, r.Err()
}

// Reading is what Read has found. It is not changed any more.
type Reading struct {
	// Config is the result without defaults filled in; nil when there are mistakes.
	Config *Config
	// Mistakes are all that were found, in the order of the sources.
	Mistakes []Mistake
	// Files are those that were read or should have been: the configuration's, and
	// those that its values refer to.
	Files []string

	tree    map[string]any // of all sources, merged
	at      origins
	secrets map[string]secret // by their keys
}

// Read is Load for who wants to know more.
func Read(s Source) *Reading {
	l := loader{source: s, k: koanf.New(delim), at: origins{}, secrets: map[string]secret{}}
	for _, name := range s.Files {
		l.file(name)
	}
	l.environment(s.Environ)
	for _, o := range s.Overrides {
		l.override(o)
	}
	l.resolveReferences()
	var c Config
	l.mistakes = append(l.mistakes, decode(l.k, &c, l.at)...)
	l.validate(c)
	l.keepSecrets()
	sortMistakes(l.mistakes)
	r := &Reading{Mistakes: l.mistakes, Files: l.files, tree: l.k.Raw(), at: l.at, secrets: l.secrets}
	if len(l.mistakes) == 0 {
		r.Config = &c
	}
	return r
}

// Err joins the mistakes; nil when there are none.
func (r *Reading) Err() error {
	errs := make([]error, len(r.Mistakes))
	for i, m := range r.Mistakes {
		errs[i] = m
	}
	return errors.Join(errs...)
}

type loader struct {
	source   Source
	k        *koanf.Koanf
	at       origins
	secrets  map[string]secret // by their keys
	referred bool              // a text refers to another
	files    []string
	texts    []*sourceText
	rank     int // of the source being read
	mistakes []Mistake
}

func (l *loader) bad(m Mistake) { l.mistakes = append(l.mistakes, m) }

func (l *loader) file(name string) {
	l.rank++
	text, err := l.read(name)
	if err != nil {
		l.bad(Mistake{Origin: Origin{Name: name, rank: l.rank}, Problem: err.Error()})
		return
	}
	f := yamlFile{name: name, rank: l.rank, source: &sourceText{text: string(text)}, at: l.at}
	l.texts = append(l.texts, f.source)
	var mistake Mistake
	if err := l.k.Load(f, f); errors.As(err, &mistake) {
		l.bad(mistake)
	} else if err != nil {
		l.bad(Mistake{Origin: Origin{Name: name, rank: l.rank}, Problem: err.Error()})
	}
}

// read is Source.ReadFile, remembers the file, and leaves its name out of an
// error.
func (l *loader) read(name string) ([]byte, error) {
	if !slices.Contains(l.files, name) {
		l.files = append(l.files, name)
	}
	text, err := l.source.ReadFile(name)
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return text, err
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
				base, inFile := strings.CutSuffix(variable, fileSuffix)
				if f, known = variables()[base]; !known || !inFile {
					names := slices.Sorted(maps.Keys(variables()))
					l.bad(Mistake{Origin: origin, Problem: "unknown variable" + hint(variable, names)})
					return "", nil
				}
				switch {
				case f.kind() != "text":
					l.bad(Mistake{Origin: origin, Problem: "only a text can be read from a file; set " + base})
					return "", nil
				case text == "":
				case slices.ContainsFunc(sorted, func(v string) bool { return strings.HasPrefix(v, base+"=") && v != base+"=" }):
					l.bad(Mistake{Origin: origin, Problem: base + " is set too; set one of them"})
					return "", nil
				default:
					text = "${file:" + text + "}"
				}
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
	if f, ok := fieldOf(o.Key); ok && f.secret {
		origin.Name, _, _ = strings.Cut(o.Flag, "=") // what follows is the value
	}
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

// moduleKey is overrideKey for what follows "modules.".
func moduleKey(key, rest string) ([]string, reflect.Type, error) {
	name, path, ok := splitModule(rest)
	if !ok {
		return nil, nil, errors.New("unknown key" + hintKey(key))
	}
	elements := []string{"modules", name}
	if below, ok := strings.CutPrefix(rest, name+".config."); ok {
		return append(append(elements, "config"), strings.Split(below, ".")...), nil, nil
	}
	f, ok := fieldOf("modules.*." + path)
	if !ok || !f.leaf() || strings.Contains(rest, "[") {
		return nil, nil, errors.New("only single values can be set here; write this one in a file")
	}
	return append(elements, strings.Split(rest[len(name)+1:], ".")...), f.typ, nil
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
