package host

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// route is a Route made ready.
type route struct {
	pattern   pattern
	tenant    *tenant // nil: only static files
	scope     scope
	key       []keyPart // of the scope key
	cell      *cell     // whom its connections share; nil: attach makes or finds it, with a route of its own
	base      *route    // of a cell's route: the one that it was made from
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
	_, ok := walk(p, path, "")
	return ok
}

// param returns a parameter's value in a path that matches.
func (p *pattern) param(path, name string) (string, bool) {
	if !p.hasParam(name) {
		return "", false
	}
	value, _ := walk(p, path, name)
	return value, true
}

// hasParam reports whether a path has that parameter.
func (p *pattern) hasParam(name string) bool {
	return name != "" && slices.ContainsFunc(p.segments, func(s segment) bool { return s.name == name })
}

// walk matches path and picks the value of the parameter want on its way. A
// request's path need not become a string for that.
func walk[T ~string | ~[]byte](p *pattern, path T, want string) (value T, ok bool) {
	var none T
	if len(path) == 0 || path[0] != '/' {
		return none, false
	}
	rest := path[1:]
	for i := range p.segments {
		s := &p.segments[i]
		if s.rest {
			if s.name == want {
				value = rest
			}
			return value, true
		}
		end := 0
		for end < len(rest) && rest[end] != '/' {
			end++
		}
		part, more := rest[:end], end < len(rest)
		if s.name == "" && string(part) != s.literal || s.name != "" && len(part) == 0 {
			return none, false
		}
		if s.name != "" && s.name == want {
			value = part
		}
		last := i == len(p.segments)-1
		if last == more {
			return none, false // one of the two has more segments
		}
		if more {
			rest = rest[end+1:]
		}
	}
	return value, true
}

// routeFor returns the first route with a module that path matches.
func (s *Server) routeFor(path []byte) *route {
	for _, r := range s.opts().routes {
		if r.tenant == nil {
			continue
		}
		if _, ok := walk(&r.pattern, path, ""); ok {
			return r
		}
	}
	return nil
}
