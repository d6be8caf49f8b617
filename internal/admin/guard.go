package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Who shows a wrong token is told so at this rate, after a burst; then to come
// later. The right token is never kept waiting, and is too long to be found by
// trying.
const (
	wrongTokensPerSecond = 10
	wrongTokensBurst     = 20
)

// guard says who may call the API. Any goroutine.
type guard struct {
	token   atomic.Pointer[[sha256.Size]byte]
	hosts   map[string]bool // lower case, without ports
	anyIP   bool            // it listens on all addresses of the machine
	anyHost bool            // on a unix socket, to which no page's name leads
	logger  *slog.Logger
	origins http.CrossOriginProtection

	mu     sync.Mutex // below
	tries  float64    // that are left
	filled time.Time  // when they were counted
	told   bool       // the log has it that they are spent
}

func newGuard(token string, hosts []string, bound net.Addr, logger *slog.Logger) *guard {
	g := &guard{hosts: map[string]bool{"localhost": true}, logger: logger, tries: wrongTokensBurst, filled: time.Now()}
	g.expect(token)
	for _, h := range hosts {
		g.hosts[strings.ToLower(h)] = true
	}
	switch a := bound.(type) {
	case *net.TCPAddr:
		g.hosts[a.IP.String()] = true
		g.anyIP = a.IP.IsUnspecified()
	default:
		g.anyHost = true
	}
	return g
}

// expect makes token the right one.
func (g *guard) expect(token string) {
	sum := sha256.Sum256([]byte(token))
	g.token.Store(&sum)
}

// admits answers what may not go on. open says that no token is asked for.
func (g *guard) admits(w http.ResponseWriter, r *http.Request, open bool) bool {
	if !g.knows(r.Host) {
		deny(w, CodeForbiddenHost, "this server is not called "+quoted(r.Host)+" here; if that name is right, add it to admin.allowed_hosts")
		return false
	}
	if err := g.origins.Check(r); err != nil {
		deny(w, CodeCrossOrigin, "pages of another origin may not call this API")
		return false
	}
	if open {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	shown := sha256.Sum256([]byte(strings.TrimSpace(token))) // so that neither content nor length shows in the time it takes
	right := subtle.ConstantTimeCompare(shown[:], g.token.Load()[:]) == 1
	switch {
	case right && strings.EqualFold(scheme, "Bearer"):
		return true
	case token == "":
		w.Header().Set("WWW-Authenticate", `Bearer realm="weir"`)
		deny(w, CodeUnauthorized, "a token is needed: Authorization: Bearer TOKEN")
	case g.mayTry(time.Now(), r):
		w.Header().Set("WWW-Authenticate", `Bearer realm="weir", error="invalid_token"`)
		deny(w, CodeUnauthorized, "that is not the token of this server")
	default:
		w.Header().Set("Retry-After", "1")
		deny(w, CodeTooManyRequests, "too many wrong tokens")
	}
	return false
}

// knows reports whether a Host header names this server: a page on a name that
// was made to lead here (DNS rebinding) sends another. Addresses cannot be made to.
func (g *guard) knows(host string) bool {
	if g.anyHost {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if g.hosts[host] {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (g.anyIP || ip.IsLoopback())
}

// mayTry counts a wrong token, and reports whether it is answered as one.
func (g *guard) mayTry(now time.Time, r *http.Request) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tries = min(wrongTokensBurst, g.tries+now.Sub(g.filled).Seconds()*wrongTokensPerSecond)
	g.filled = now
	if g.tries == wrongTokensBurst {
		g.logger.Warn("somebody shows a wrong token to the admin API", "remote", remoteOf(r))
		g.told = false
	}
	if g.tries < 1 {
		if !g.told {
			g.logger.Warn("wrong tokens come too fast", "remote", remoteOf(r))
		}
		g.told = true
		return false
	}
	g.tries--
	return true
}

// remoteOf is who asks.
func remoteOf(r *http.Request) string {
	if r.RemoteAddr == "" || r.RemoteAddr == "@" {
		return "unix"
	}
	return r.RemoteAddr
}
