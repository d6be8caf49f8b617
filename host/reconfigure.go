package host

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
)

// settings are the options of a server, with what is made of them. They are
// replaced, never changed, so that whoever has loaded them once sees one of two
// configurations and no mixture.
type settings struct {
	Options // with defaults
	inline  bool
	origins origins
	trust   trust
	inbound inboundLimits
	deflate *DeflateOptions // of Options; nil while compression is off
	routes  []*route        // nil until Listen
	web     http.Handler
}

// opts are the settings in force; one atomic load.
func (s *Server) opts() *settings { return s.settings.Load() }

// newSettings makes all of the options but routes. They must be valid.
func newSettings(o Options) *settings {
	o = o.WithDefaults()
	set := &settings{
		Options: o,
		inline:  o.Handler.Inline == inlineAuto,
		origins: newOrigins(o.Server.AllowedOrigins),
		trust:   newTrust(o.Server.TrustedProxies),
		inbound: newInboundLimits(&o.WebSocket),
	}
	if o.WebSocket.Compression == compressionOn {
		set.deflate = &set.WebSocket.Deflate
	}
	return set
}

// Reconfigure replaces the options of a server that listens, all of them at once
// and with every connection open. What bounds a connection or a handler holds from
// its next event on, what bounds a request from the next request; a connection
// stays on the route that it came by. Server.Listen and Server.MaxHeaderSize stay as they
// are, whatever o says. An error changes nothing; each of those joined begins with its key.
//
// Any goroutine.
func (s *Server) Reconfigure(o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	s.reconfiguring.Lock()
	defer s.reconfiguring.Unlock()
	now := s.opts()
	o.Server.Listen, o.Server.MaxHeaderSize = now.Server.Listen, now.Server.MaxHeaderSize
	next := newSettings(o)
	for _, name := range slices.Sorted(maps.Keys(s.tenants)) {
		if ServesPool(o.Routes, name) != ServesPool(now.Routes, name) {
			return fmt.Errorf("routes: whether module %q has the scope %q is settled when the server starts", name, scopePool)
		}
	}
	if err := s.makeRoutes(next); err != nil {
		return err
	}
	if err := s.changeTLS(o.Server.TLS); err != nil { // comes last, for it can be seen at once
		return err
	}
	s.settings.Store(next)
	if next.WebSocket != now.WebSocket {
		s.hub.each(func(c *Conn) { c.wakeUp(inDeadline) }) // a deadline may have come nearer
	}
	return nil
}

// openRoutes makes the first routes, once every module is loaded.
func (s *Server) openRoutes() error {
	next := newSettings(s.opts().Options)
	if err := s.makeRoutes(next); err != nil {
		return err
	}
	s.settings.Store(next)
	return nil
}

// makeRoutes makes the routes of the settings ready. Those that s has already are
// taken over, with what they remember.
func (s *Server) makeRoutes(set *settings) error {
	now := s.opts()
	var errs []error
	for i, r := range set.Routes {
		if at := slices.IndexFunc(now.Routes, func(other Route) bool { return reflect.DeepEqual(other, r) }); at >= 0 && now.routes != nil {
			set.routes = append(set.routes, now.routes[at])
			continue
		}
		rt, err := s.makeRoute(r)
		if err != nil {
			errs = append(errs, fmt.Errorf("routes[%d].%w", i, err))
		}
		set.routes = append(set.routes, rt)
	}
	set.web = webHandler(set.routes, s.next)
	return errors.Join(errs...)
}

func (s *Server) makeRoute(r Route) (*route, error) {
	p, err := parsePattern(r.Path)
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	rt := &route{pattern: p, protocols: r.Protocols}
	if rt.scope, rt.key, err = r.checkScope(&p); err != nil {
		return nil, err
	}
	if r.Module != "" {
		if rt.tenant = s.tenants[r.Module]; rt.tenant == nil {
			return nil, fmt.Errorf("module: no module %q is loaded", r.Module)
		}
		if rt.scope == poolScope {
			rt.cell = &rt.tenant.pool
		}
	}
	if r.Static != "" {
		if info, err := os.Stat(r.Static); err != nil {
			return nil, fmt.Errorf("static: %w", err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("static: %s is not a folder", r.Static)
		}
		rt.static = http.FileServer(http.Dir(r.Static))
	}
	return rt, nil
}

// serveWeb answers requests that are no upgrades, by the routes as they are now.
func (s *Server) serveWeb(w http.ResponseWriter, r *http.Request) {
	if conn, ok := r.Context().Value(tlsKey{}).(*tls.Conn); ok {
		state := conn.ConnectionState()
		r.TLS = &state
	}
	s.opts().web.ServeHTTP(w, r)
}

// ServesPool reports whether a module serves the scope pool: some route leads there,
// or none leads to the module at all. Reconfigure cannot change it.
func ServesPool(routes []Route, module string) bool {
	named := false
	for _, r := range routes {
		if r.Module == module {
			if scope, _ := parseScope(r.Scope); scope == poolScope {
				return true
			}
			named = true
		}
	}
	return !named
}

// FindRoutes tells which of the routes serve a path: the index of the one whose
// module takes its WebSocket connections, and of the one whose folder answers other
// requests; -1 where there is none. Routes must be valid.
func FindRoutes(routes []Route, path string) (module, static int) {
	module, static = -1, -1
	for i, r := range routes {
		p, err := parsePattern(r.Path)
		if err != nil {
			continue
		}
		if module < 0 && r.Module != "" && p.match(path) {
			module = i
		}
		if static < 0 && r.Static != "" && under(path, r.Path) {
			static = i
		}
	}
	return module, static
}
