package host

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// toHTTP hands a connection whose request is not an upgrade to net/http: files,
// pages, health. It leaves the event loop for good, with what was read already
// before it. One request each: keep-alive would hold a goroutine.
func (c *Conn) toHTTP(t *turn) {
	read, _ := t.reader.Peek(t.reader.Buffered())
	prefix := append([]byte(nil), read...)
	t.reader.Reset(&t.src)
	s := c.srv
	c.leaveHandshake()
	c.mu.Lock()
	c.dead, c.sealed = true, true
	c.mu.Unlock()
	c.phase = phaseDead
	c.end = &closeInfo{cause: causeHTTP}
	s.wheel.cancel(&c.node)
	s.hub.remove(c)
	conn, err := c.sock.Detach()
	if err != nil {
		s.log.Warn("connection lost on its way to the HTTP server", "err", err)
		s.closed(c)
		return
	}
	t.stats.http.Add(1)
	s.web.give(&handedConn{Conn: conn, prefix: prefix, closed: func() { s.closed(c) }})
}

// handedConn is a connection that begins with bytes read before.
type handedConn struct {
	net.Conn
	prefix []byte
	once   sync.Once
	closed func()
}

func (c *handedConn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

func (c *handedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.closed)
	return err
}

// webServer is net/http behind a listener that connections are handed to.
type webServer struct {
	srv   *http.Server
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
}

func newWebServer(h http.Handler, log *slog.Logger) *webServer {
	w := &webServer{
		// As many as can be handed over while net/http starts a goroutine for one.
		queue: make(chan net.Conn, 64),
		done:  make(chan struct{}),
	}
	w.srv = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		MaxHeaderBytes:    1 << 20,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext:       withTLS,
	}
	w.srv.SetKeepAlivesEnabled(false)
	w.wg.Go(func() { // ends with shutdown or close
		_ = w.srv.Serve(w) // at once, and without closing w, if it was shut down before
		w.Close()
		w.drop()
	})
	return w
}

// tlsKey is where a request's context has its *tls.Conn.
type tlsKey struct{}

// withTLS remembers the TLS below a connection, which net/http finds only in its
// own kind of connection.
func withTLS(ctx context.Context, c net.Conn) context.Context {
	if handed, ok := c.(*handedConn); ok {
		inner := handed.Conn
		if a, ok := inner.(*addressed); ok {
			inner = a.Conn
		}
		if conn, ok := inner.(*tls.Conn); ok {
			return context.WithValue(ctx, tlsKey{}, conn)
		}
	}
	return ctx
}

// give hands a connection over; when too many wait it is cut, since nobody may
// block here.
func (w *webServer) give(c net.Conn) {
	select {
	case <-w.done:
		c.Close()
		return
	default:
	}
	select {
	case w.queue <- c:
	default:
		c.Close()
	}
	select {
	case <-w.done: // perhaps it came too late for Accept
		w.drop()
	default:
	}
}

// drop closes what nobody will accept.
func (w *webServer) drop() {
	for {
		select {
		case c := <-w.queue:
			c.Close()
		default:
			return
		}
	}
}

// Accept implements net.Listener.
func (w *webServer) Accept() (net.Conn, error) {
	select {
	case c := <-w.queue:
		return c, nil
	case <-w.done:
	}
	select {
	case c := <-w.queue: // given before the end: it is served
		return c, nil
	default:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (w *webServer) Close() error {
	w.once.Do(func() { close(w.done) })
	return nil
}

// Addr implements net.Listener.
func (w *webServer) Addr() net.Addr { return &net.TCPAddr{} }

// shutdown lets requests that run finish until ctx ends; then it cuts them.
func (w *webServer) shutdown(ctx context.Context) {
	if err := w.srv.Shutdown(ctx); err != nil {
		w.srv.Close()
	}
}

func (w *webServer) close() {
	w.srv.Close()
	w.wg.Wait()
}

// webHandler answers plain requests: the first route with files whose path
// holds the request's, else next, else a hint.
func webHandler(routes []*route, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, rt := range routes {
			if rt.static != nil && under(r.URL.Path, rt.pattern.text) {
				if r.Method != http.MethodGet && r.Method != http.MethodHead {
					w.Header().Set("Allow", "GET, HEAD")
					http.Error(w, "Only GET and HEAD are served here.", http.StatusMethodNotAllowed)
					return
				}
				http.StripPrefix(strings.TrimSuffix(rt.pattern.text, "/"), rt.static).ServeHTTP(w, r)
				return
			}
		}
		if next != nil {
			next.ServeHTTP(w, r)
			return
		}
		for _, rt := range routes {
			if rt.tenant != nil && rt.pattern.match(r.URL.Path) {
				w.Header().Set("Upgrade", "websocket")
				http.Error(w, "This path speaks WebSocket; connect with ws:// or wss://.", http.StatusUpgradeRequired)
				return
			}
		}
		http.NotFound(w, r)
	})
}

// under reports whether path is base or below it.
func under(path, base string) bool {
	base = strings.TrimSuffix(base, "/")
	return path == base || strings.HasPrefix(path, base+"/")
}
