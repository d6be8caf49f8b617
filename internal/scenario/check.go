package scenario

import (
	"fmt"
	"slices"
	"strings"

	"weir/internal/config"
)

// check holds a node against a shape and notes what does not fit. key is where
// the node stands, such as "scenarios[0].steps[2].send".
func (m *mistakes) check(n *config.Node, s *shape, key string) {
	switch {
	case s.either != nil:
		if m.varies(n) {
			return
		}
		if fitting := s.choose(n); fitting != nil {
			m.check(n, fitting, key)
			return
		}
		m.at(n, key, "%s is not %s%s", describe(n), s.is, s.hint(n))
	case s.leaf != nil:
		m.checkLeaf(n, s, key)
	case !s.takes(n):
		m.at(n, key, "%s is not %s%s", describe(n), s.is, s.wants())
	case len(n.Items) < s.least:
		m.at(n, key, "is empty; it is %s", s.is)
	case s.item != nil:
		for i, item := range n.Items {
			m.check(item, s.item, fmt.Sprintf("%s[%d]", key, i))
		}
	case s.value != nil:
		for i, k := range n.Keys {
			m.check(n.Items[i], s.value, below(key, k.Scalar.(string)))
		}
	default:
		m.checkFields(n, s, key)
	}
}

// variableOf is what stands for the number of a repeat's turn in texts.
func variableOf(n *config.Node) string {
	if as := n.Get("as"); as != nil && as.Kind == config.TextNode {
		return "${" + as.Scalar.(string) + "}"
	}
	return "${i}"
}

// choose is the alternative for a node of that kind; nil when there is none.
func (s *shape) choose(n *config.Node) *shape {
	for _, alternative := range s.either {
		if alternative.takes(n) {
			return alternative
		}
	}
	return nil
}

// takes reports that a node is of the right kind, whatever it holds.
func (s *shape) takes(n *config.Node) bool {
	switch {
	case s.either != nil:
		return s.choose(n) != nil
	case s.leaf != nil:
		return slices.Contains(s.leaf.kinds, n.Kind)
	case s.item != nil:
		return n.Kind == config.ListNode
	default:
		return n.Kind == config.MapNode
	}
}

// hint helps with a value of the wrong kind.
func (s *shape) hint(n *config.Node) string {
	if s.leaf != nil && s.leaf.hint != nil {
		return s.leaf.hint(n)
	}
	for _, alternative := range s.either {
		if h := alternative.hint(n); h != "" {
			return h
		}
	}
	if at := slices.IndexFunc(s.either, func(a *shape) bool { return a.exactly != nil }); at >= 0 {
		return s.either[at].wants()
	}
	return ""
}

// wants tells what to write instead, where is does not.
func (s *shape) wants() string {
	switch {
	case s.item != nil:
		return "; lists are written [a, b], or with a dash before each item"
	case s.exactly != nil:
		return "; write {" + s.exactly[0] + ": …} or another of " + strings.Join(s.exactly, ", ")
	case s.fields != nil:
		return "; its keys are " + strings.Join(s.names(), ", ")
	default:
		return "; mappings are written {key: value}"
	}
}

func (m *mistakes) checkLeaf(n *config.Node, s *shape, key string) {
	if m.varies(n) {
		return // it is checked when the variable has its value
	}
	if !s.takes(n) {
		m.at(n, key, "%s is not %s%s", describe(n), s.is, s.hint(n))
		return
	}
	if s.leaf.check == nil {
		return
	}
	if err := s.leaf.check(n); err != nil {
		m.at(n, key, "%v", err)
	}
}

// varies reports that a text holds a variable of a repeat around it.
func (m *mistakes) varies(n *config.Node) bool {
	s, ok := n.Scalar.(string)
	return ok && slices.ContainsFunc(m.vars, func(v string) bool { return strings.Contains(s, v) })
}

func (m *mistakes) checkFields(n *config.Node, s *shape, key string) {
	if s == repeatShape {
		m.vars = append(m.vars, variableOf(n))
		defer func() { m.vars = m.vars[:len(m.vars)-1] }()
	}
	for i, k := range n.Keys {
		name := k.Scalar.(string)
		f := s.field(name)
		if f == nil {
			h := hint(name, s.names())
			if h == "" {
				h = "; " + s.is + " has " + strings.Join(s.names(), ", ")
			}
			m.at(k, below(key, name), "unknown key%s", h)
			continue
		}
		m.check(n.Items[i], f.shape, below(key, name))
	}
	unknown := slices.ContainsFunc(n.Keys, func(k *config.Node) bool { return s.field(k.Scalar.(string)) == nil })
	for _, f := range s.fields {
		if f.required && n.Get(f.name) == nil && !unknown {
			m.at(n, key, "%s is missing: %s", f.name, lower(f.doc))
		}
	}
	m.checkExactly(n, s, key, unknown)
	for _, pair := range s.forbidden {
		if a, b := n.Get(pair[0]), n.Get(pair[1]); a != nil && b != nil {
			m.at(b, below(key, pair[1]), "goes without %s only", pair[0])
		}
	}
}

// checkExactly notes that not exactly one of some fields is there. An unknown key
// has been noted already, and may be the one.
func (m *mistakes) checkExactly(n *config.Node, s *shape, key string, unknown bool) {
	var there []string
	for _, k := range n.Keys {
		name := k.Scalar.(string)
		if !slices.Contains(s.exactly, name) {
			continue
		}
		if there = append(there, name); len(there) > 1 {
			m.at(k, below(key, name), "stands beside %s; %s has one of %s%s", there[0], s.is, strings.Join(s.exactly, ", "), beginsItem(s))
		}
	}
	if len(there) == 0 && len(s.exactly) > 0 && !unknown {
		m.at(n, key, "%s has one of %s", s.is, strings.Join(s.exactly, ", "))
	}
}

func beginsItem(s *shape) string {
	if s == stepShape {
		return ", and the next step begins with a dash"
	}
	return ""
}

func below(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func lower(sentence string) string {
	return strings.ToLower(sentence[:1]) + strings.TrimSuffix(sentence[1:], ".")
}

// describe names a value.
func describe(n *config.Node) string {
	switch n.Kind {
	case config.NullNode:
		return "nothing"
	case config.ListNode:
		return "a list"
	case config.MapNode:
		return "a mapping"
	case config.TextNode:
		return fmt.Sprintf("%q", n.Scalar)
	default:
		return fmt.Sprint(n.Scalar)
	}
}
