package host

import (
	"bytes"
	"net/url"
	"strings"
)

// origins decides whose pages may open a WebSocket. Browsers send cookies with
// the request whatever page asks, so without this check any page could act as
// its visitor (RFC 6455 §10.2).
type origins struct {
	any     bool
	allowed map[string]bool // "scheme://host:port", lower case, port always there
}

func newOrigins(patterns []string) origins {
	o := origins{allowed: make(map[string]bool)}
	for _, p := range patterns {
		if p == "*" {
			o.any = true
			continue
		}
		if scheme, host, ok := splitOrigin(p); ok {
			o.allowed[scheme+"://"+host] = true
		}
	}
	return o
}

// allow reports whether a request for host (the Host field) may come from
// origin. An empty origin means a program, not a page.
func (o *origins) allow(origin, host string) bool {
	if origin == "" || o.any {
		return true
	}
	scheme, from, ok := splitOrigin(origin)
	if !ok {
		return false
	}
	if len(o.allowed) > 0 {
		return o.allowed[scheme+"://"+from]
	}
	return (scheme == "http" || scheme == "https") && from == withPort(strings.ToLower(host), scheme)
}

// plainlySame reports, at no cost, the usual case: pages of the same host are
// allowed, and both name it alike. false says nothing.
func (o *origins) plainlySame(origin, host []byte) bool {
	if len(o.allowed) > 0 {
		return false
	}
	from, ok := bytes.CutPrefix(origin, []byte("https://"))
	if !ok {
		from, ok = bytes.CutPrefix(origin, []byte("http://"))
	}
	if !ok || !bytes.Equal(from, host) {
		return false
	}
	// What else a host may look like, allow judges.
	name, port, hasPort := bytes.Cut(host, []byte(":"))
	for _, b := range name {
		if lower := lowerByte(b); (lower < 'a' || lower > 'z') && !isDigit(b) && b != '.' && b != '-' && b != '_' {
			return false
		}
	}
	for _, b := range port {
		if !isDigit(b) {
			return false
		}
	}
	return len(name) > 0 && (!hasPort || len(port) > 0)
}

// splitOrigin parses "scheme://host[:port]" and nothing more ("null" and
// origins with a path or user are nobody's). Browsers write the host in ASCII.
func splitOrigin(s string) (scheme, hostPort string, ok bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" || len(u.Scheme)+len("://")+len(u.Host) != len(s) {
		return "", "", false
	}
	for i := range len(s) {
		if s[i] >= 0x80 {
			return "", "", false
		}
	}
	scheme = strings.ToLower(u.Scheme)
	return scheme, withPort(strings.ToLower(u.Host), scheme), true
}

// withPort adds the scheme's default port to a host that has none. The server
// cannot know whether a proxy before it speaks TLS; the page's own scheme tells.
func withPort(host, scheme string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host
	}
	switch scheme {
	case "https", "wss":
		return host + ":443"
	default:
		return host + ":80"
	}
}
