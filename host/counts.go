package host

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
)

// RouteStats are a route's figures.
type RouteStats struct {
	Open int64 // WebSockets now
	// Closed counts those that were closed, by close code: "1000" to "1015" as
	// they are, 3000 to 3999 as "3xxx" and 4000 to 4999 as "4xxx", since peers
	// may send any of those. "1006" is an end without a Close frame.
	Closed map[string]uint64
}

const (
	codeFirst = 1000
	codeLast  = 1015
	code3xxx  = codeLast - codeFirst + 1 // index of all those
	code4xxx  = code3xxx + 1
	codeKinds = code4xxx + 1
)

// routeCounts are what a route counts. Connections come and go seldom enough for
// one line of counters.
type routeCounts struct {
	open   atomic.Int64
	closed [codeKinds]atomic.Uint64
}

// countsByRoute are by the pattern of a route, so that they outlive a change of
// the options.
type countsByRoute struct {
	mu sync.Mutex // below
	by map[string]*routeCounts
}

func (c *countsByRoute) of(path string) *routeCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	rc := c.by[path]
	if rc == nil {
		if c.by == nil {
			c.by = make(map[string]*routeCounts)
		}
		rc = new(routeCounts)
		c.by[path] = rc
	}
	return rc
}

// stats has the routes that lead to a module, and those that did.
func (c *countsByRoute) stats(routes []*route) map[string]RouteStats {
	for _, rt := range routes {
		if rt.tenant != nil {
			c.of(rt.pattern.text)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]RouteStats, len(c.by))
	for path, rc := range c.by {
		all[path] = rc.stats()
	}
	return all
}

// close counts the end of a connection that was counted open.
func (rc *routeCounts) close(end *closeInfo) {
	rc.open.Add(-1)
	kind := codeAbnormal - codeFirst
	if end != nil {
		switch code := int(end.code); {
		case code >= codeFirst && code <= codeLast:
			kind = code - codeFirst
		case code >= 3000 && code <= 3999:
			kind = code3xxx
		case code >= 4000 && code <= 4999:
			kind = code4xxx
		}
	}
	rc.closed[kind].Add(1)
}

func (rc *routeCounts) stats() RouteStats {
	rs := RouteStats{Open: rc.open.Load(), Closed: make(map[string]uint64)}
	for kind := range rc.closed {
		n := rc.closed[kind].Load()
		switch {
		case n == 0:
		case kind == code3xxx:
			rs.Closed["3xxx"] = n
		case kind == code4xxx:
			rs.Closed["4xxx"] = n
		default:
			rs.Closed[strconv.Itoa(codeFirst+kind)] = n
		}
	}
	return rs
}

// rejection says why a connection did not become a WebSocket.
type rejection uint8

const (
	notRejected rejection = iota
	rejectedDraining
	rejectedOverloaded
	rejectedMaxConnections
	rejectedMaxHandshakes
	rejectedMaxPerIP
	rejectedMalformed
	rejectedOrigin
	rejectedNoRoute
	rejectedMethod
	rejectedTimeout
	rejectedURITooLong
	rejectedVersion
	rejectedHeaderTooLarge
	rejectedHTTPVersion
	rejectedUnavailable
	rejectedByHandler
	rejectedHandlerFailed
	rejectedTLS
	rejectedNotProxy
	rejectedProxyHeader
	rejectedDescriptors
	rejections // how many there are
)

var rejectionLabels = [rejections]string{
	notRejected:            "none",
	rejectedDraining:       "draining",
	rejectedOverloaded:     "overloaded",
	rejectedMaxConnections: "max_connections",
	rejectedMaxHandshakes:  "max_handshakes",
	rejectedMaxPerIP:       "max_connections_per_ip",
	rejectedMalformed:      "malformed",
	rejectedOrigin:         "origin",
	rejectedNoRoute:        "no_route",
	rejectedMethod:         "method",
	rejectedTimeout:        "timeout",
	rejectedURITooLong:     "uri_too_long",
	rejectedVersion:        "version",
	rejectedHeaderTooLarge: "header_too_large",
	rejectedHTTPVersion:    "http_version",
	rejectedUnavailable:    "handler_unavailable",
	rejectedByHandler:      "handler",
	rejectedHandlerFailed:  "handler_failed",
	rejectedTLS:            "tls",
	rejectedNotProxy:       "not_a_proxy",
	rejectedProxyHeader:    "proxy_header",
	rejectedDescriptors:    "descriptors",
}

// answer is what a connection is told that is turned away for that reason before
// it has said anything.
func (r rejection) answer() response {
	if r == rejectedNotProxy {
		return response{status: http.StatusForbidden, text: "Clients come here by way of a proxy."}
	}
	return answers[http.StatusServiceUnavailable]
}

// String is the label in counters and logs.
func (r rejection) String() string { return rejectionLabels[r] }
