package config

import (
	"encoding/json"
	"maps"
)

// Secrets are the keys of values that nobody may see: those that came by a
// reference, and those of secret keys.
type Secrets map[string]bool

// Secrets are the reading's.
func (r *Reading) Secrets() Secrets {
	all := Secrets{}
	for key := range r.secrets {
		all[key] = true
	}
	return all
}

// With is both together: what a server has that took some of its values from one
// reading and some from the next.
func (s Secrets) With(more Secrets) Secrets {
	all := maps.Clone(s)
	if all == nil {
		all = Secrets{}
	}
	maps.Copy(all, more)
	return all
}

// concealed stands for a secret in what Shown returns.
const concealed = "(secret)"

// Shown is the configuration as everybody may see it, defaults filled in: a JSON
// object of the form of a configuration file.
func (c *Config) Shown(secrets Secrets) ([]byte, error) {
	r := &Reading{Config: c, secrets: map[string]secret{}}
	for key := range secrets {
		r.secrets[key] = secret{written: concealed}
	}
	tree := map[string]any{}
	for _, s := range r.Settings() {
		tree[s.Name] = s.plain()
	}
	return json.Marshal(tree)
}

// plain is the setting's value, or that of a section as a map or a list.
func (s Setting) plain() any {
	value, _ := s.Value.(string)
	switch {
	case value == hidden: // of a secret key
		return concealed
	case s.Value != nil:
		return s.Value
	case s.List:
		list := make([]any, len(s.Inside))
		for i, below := range s.Inside {
			list[i] = below.plain()
		}
		return list
	}
	m := make(map[string]any, len(s.Inside))
	for _, below := range s.Inside {
		m[below.Name] = below.plain()
	}
	return m
}
