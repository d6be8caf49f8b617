package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of one request. Scrapers send short ones, and read what is written.
const (
	readTimeout    = 5 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 2 * time.Minute // more than a minute between two scrapes of one connection
	maxHeaderBytes = 16 << 10
)

// Listener serves /metrics, /healthz and /readyz to whoever reaches it, and
// nothing else. Until Watch it tells of the process only, and is not ready.
type Listener struct {
	ln      net.Listener
	http    *http.Server
	subject atomic.Pointer[Subject]
	wg      sync.WaitGroup
}

// Listen binds a TCP address, "host:port", and begins to serve. The caller
// closes the Listener. logger gets what goes wrong with single requests.
func Listen(address string, logger *slog.Logger) (*Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	l := &Listener{ln: ln}
	l.http = &http.Server{
		Handler:           l.handler(),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	l.wg.Go(func() { // ends with Close
		if err := l.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("the admin listener stopped", "err", err)
		}
	})
	return l, nil
}

// Addr is the address that was bound.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Watch makes s what the Listener tells of. Its server must listen already, and
// everything in s must stay until the Listener is closed.
func (l *Listener) Watch(s Subject) { l.subject.Store(&s) }

// Close ends serving. Requests that run are waited for until ctx ends; then they
// are cut.
func (l *Listener) Close(ctx context.Context) error {
	err := l.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, l.http.Close())
	}
	l.wg.Wait()
	return err
}

// handler answers GET and HEAD of the paths there are. All else is not found:
// who finds the port learns nothing from it.
func (l *Listener) handler() http.Handler {
	pages := map[string]http.Handler{
		"/metrics": metricsHandler(l.subject.Load),
		"/healthz": http.HandlerFunc(alive),
		"/readyz":  readyHandler(l.subject.Load),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := pages[r.URL.Path]
		if page == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.NotFound(w, r)
			return
		}
		page.ServeHTTP(w, r)
	})
}
