package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// Any text may refer to another: ${file:PATH} is what a file holds, without the
// newline at its end, and ${env:NAME} a variable of the environment. $${ stands
// for itself. What else begins with ${ is left alone.
const (
	fileReference = "${file:"
	envReference  = "${env:"
)

func hasReference(text string) bool {
	return strings.Contains(text, fileReference) || strings.Contains(text, envReference)
}

// resolveReferences replaces every text of the merged tree that refers to others.
// What is overridden by a stronger source is not looked up.
func (l *loader) resolveReferences() {
	tree := l.k.Raw() // a copy
	l.resolve("", tree)
	if !l.referred {
		return
	}
	l.k = koanf.New(delim)
	if err := l.k.Load(confmap.Provider(tree, ""), nil); err != nil {
		l.bad(Mistake{Problem: err.Error()})
	}
}

// resolve is v, whose key is given, with its references resolved; maps and lists
// are changed where they are.
func (l *loader) resolve(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			below := name
			if key != "" {
				below = key + "." + name
			}
			v[name] = l.resolve(below, v[name])
		}
	case []any:
		for i := range v {
			v[i] = l.resolve(fmt.Sprintf("%s[%d]", key, i), v[i])
		}
	case string:
		f, known := fieldOf(key)
		if !hasReference(v) {
			if known && f.secret {
				l.secrets[key] = secret{value: v}
			}
			return v
		}
		text, err := l.expand(v, l.at.find(key))
		l.secrets[key] = secret{text, v}
		l.referred = true
		if err != nil {
			l.bad(Mistake{l.at.find(key), key, err.Error()})
			return v
		}
		return text
	}
	return v
}

// expand resolves the references in a text that was written at that place.
func (l *loader) expand(text string, at Origin) (string, error) {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(text, "${")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		reference, rest, closed := strings.Cut(after, "}")
		scheme, name, _ := strings.Cut(reference, ":")
		switch {
		case scheme != "file" && scheme != "env":
			b.WriteString("${")
			text = after
			continue
		case strings.HasSuffix(before, "$"):
			text = after
			b.WriteString("{")
			continue
		case !closed:
			return "", fmt.Errorf("${%s:… has no closing brace", scheme)
		}
		value, err := l.lookUp(scheme, name, at)
		if err != nil {
			return "", fmt.Errorf("${%s}: %w", reference, err)
		}
		b.WriteString(value)
		text = rest
	}
}

// maxReferenced bounds the file that a reference names, in bytes.
const maxReferenced = 64 << 10

func (l *loader) lookUp(scheme, name string, at Origin) (string, error) {
	if scheme == "env" {
		for _, v := range l.source.Environ {
			if variable, value, _ := strings.Cut(v, "="); variable == name {
				return value, nil
			}
		}
		return "", errors.New("there is no such variable in the environment")
	}
	if at.Line > 0 && !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(at.Name), name)
	}
	if l.source.ReadFile == nil {
		return "", errors.New("files cannot be read here")
	}
	text, err := l.read(name)
	switch {
	case err != nil:
		return "", err
	case len(text) > maxReferenced:
		return "", fmt.Errorf("the file is longer than %d bytes", maxReferenced)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// keepSecrets takes what nobody may see out of the mistakes and their excerpts.
func (l *loader) keepSecrets() {
	for i, m := range l.mistakes {
		secret := l.secrets[m.Key]
		quoted := fmt.Sprintf("%q", secret.value)
		if secret.value == "" || !strings.Contains(m.Problem, secret.value) && !strings.Contains(m.Problem, quoted[1:len(quoted)-1]) {
			continue
		}
		l.mistakes[i].Problem = "its value is not right"
		if secret.written != "" {
			l.mistakes[i].Problem = "what " + secret.written + " stands for is not right"
		}
	}
	for _, text := range l.texts {
		for _, secret := range l.secrets {
			if secret.written == "" && secret.value != "" {
				text.hidden = append(text.hidden, secret.value)
			}
		}
	}
}

// secret is a text that nobody may see: one that came by a reference, or that of a
// secret key.
type secret struct {
	value   string
	written string // with its references; empty when it has none
}
