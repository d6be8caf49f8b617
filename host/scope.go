package host

import (
	"fmt"
	"strings"
)

// scope says which instance serves a connection.
type scope uint8

const (
	poolScope       scope = iota // any free one
	connectionScope              // one of its own
	keyScope                     // the one of a key, which comes from the path
	singletonScope               // the one that there is
)

// Values of Route.Scope.
const (
	scopePool       = "pool"
	scopeConnection = "connection"
	scopeKey        = "key"
	scopeSingleton  = "singleton"
)

var scopeNames = [...]string{poolScope: scopePool, connectionScope: scopeConnection, keyScope: scopeKey, singletonScope: scopeSingleton}

// parseScope reads Route.Scope.
func parseScope(name string) (scope, bool) {
	if name == "" {
		return poolScope, true
	}
	for s, known := range scopeNames {
		if name == known {
			return scope(s), true
		}
	}
	return 0, false
}

// keyPart is a piece of Route.Key: text, and the parameter of the path that
// follows it; no name at the end.
type keyPart struct{ text, param string }

// parseKey reads Route.Key, whose parameters the path must have.
func parseKey(key string, path *pattern) (parts []keyPart, err error) {
	for rest, params := key, 0; ; params++ {
		text, behind, found := strings.Cut(rest, "{")
		if strings.Contains(text, "}") {
			return nil, fmt.Errorf("%q: a \"}\" closes nothing", key)
		}
		if !found {
			if params == 0 {
				return nil, fmt.Errorf("%q names no parameter of the path, such as {room}", key)
			}
			return append(parts, keyPart{text: text}), nil
		}
		name, behind, found := strings.Cut(behind, "}")
		if !found {
			return nil, fmt.Errorf("%q: a \"{\" is not closed", key)
		}
		if !path.hasParam(name) {
			return nil, fmt.Errorf("%q: the path has no parameter {%s}", key, name)
		}
		parts = append(parts, keyPart{text, name})
		rest = behind
	}
}

// checkScope reads the scope and the key of a route.
func (r Route) checkScope(path *pattern) (s scope, key []keyPart, err error) {
	s, ok := parseScope(r.Scope)
	switch {
	case !ok:
		return s, nil, fmt.Errorf("scope: %q is not one of %q, %q, %q, %q", r.Scope, scopePool, scopeConnection, scopeKey, scopeSingleton)
	case s == keyScope:
		if key, err = parseKey(r.Key, path); err != nil {
			return s, nil, fmt.Errorf("key: %w", err)
		}
	case r.Key != "":
		return s, nil, fmt.Errorf("key: only the scope %q has one", scopeKey)
	}
	return s, key, nil
}

// keyOf is the key that a path has.
func (r *route) keyOf(path []byte) string {
	var b strings.Builder
	for _, part := range r.key {
		b.WriteString(part.text)
		if part.param != "" {
			value, _ := walk(&r.pattern, path, part.param)
			b.Write(value)
		}
	}
	return b.String()
}
