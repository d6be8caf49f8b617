package host

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
)

// route is a Route made ready.
type route struct {
	pattern   pattern
	tenant    *tenant // nil: only static files
	protocols []string
	static    http.Handler // nil: none

	// lastAttrs is what the connection before said: connections of one route
	// mostly say the same, and then share it.
	lastAttrs atomic.Pointer[attrs]
}

// pattern is a path with parameters: "/chat/{room}", "/files/{rest...}".
type pattern struct {
	text     string
	segments []segment
}

type segment struct {
	literal string // when name is empty
	name    string
	rest    bool // {name...}: everything that is left
}

// String is the pattern as it was written.
func (p pattern) String() string { return p.text }

// parsePattern reads a path pattern.
func parsePattern(text string) (pattern, error) {
	p := pattern{text: text}
	if !strings.HasPrefix(text, "/") {
		return p, fmt.Errorf("%q does not begin with \"/\"", text)
	}
	seen := make(map[string]bool)
	parts := strings.Split(text[1:], "/")
	for i, part := range parts {
		name, ok := strings.CutPrefix(part, "{")
		if !ok {
			if strings.ContainsAny(part, "{}?#") {
				return p, fmt.Errorf("%q: %q is not a path segment; a parameter is a whole segment, {name}", text, part)
			}
			p.segments = append(p.segments, segment{literal: part})
			continue
		}
		name, ok = strings.CutSuffix(name, "}")
		if !ok {
			return p, fmt.Errorf("%q: %q has no closing brace at its end", text, part)
		}
		name, rest := strings.CutSuffix(name, "...")
		switch {
		case !isToken(name):
			return p, fmt.Errorf("%q: %q is not a parameter name", text, name)
		case seen[name]:
			return p, fmt.Errorf("%q has two parameters %q", text, name)
		case rest && i != len(parts)-1:
			return p, errors.New("\"" + text + "\": {" + name + "...} must come last")
		}
		seen[name] = true
		p.segments = append(p.segments, segment{name: name, rest: rest})
	}
	return p, nil
}

// match reports whether path fits.
func (p *pattern) match(path string) bool {
	_, ok := p.walk(path, "")
	return ok
}

// param returns a parameter's value in a path that matches.
func (p *pattern) param(path, name string) (string, bool) {
	if name == "" {
		return "", false
	}
	value, _ := p.walk(path, name)
	for i := range p.segments {
		if p.segments[i].name == name {
			return value, true
		}
	}
	return "", false
}

// walk matches path and picks the value of the parameter want on its way.
func (p *pattern) walk(path, want string) (value string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return "", false
	}
	for i := range p.segments {
		s := &p.segments[i]
		if s.rest {
			if s.name == want {
				value = rest
			}
			return value, true
		}
		part, after, more := strings.Cut(rest, "/")
		if s.name == "" && part != s.literal || s.name != "" && part == "" {
			return "", false
		}
		if s.name != "" && s.name == want {
			value = part
		}
		last := i == len(p.segments)-1
		if last == more {
			return "", false // one of the two has more segments
		}
		rest = after
	}
	return value, true
}

// routeFor returns the first route with a module that path matches.
func (s *Server) routeFor(path string) *route {
	for _, r := range s.routes {
		if r.tenant != nil && r.pattern.match(path) {
			return r
		}
	}
	return nil
}
