package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of one request, but for those of which bounds.go says otherwise.
// Scrapers send short ones, and read what is written.
const (
	readTimeout    = 5 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 2 * time.Minute // more than a minute between two scrapes of one connection
	maxHeaderBytes = 16 << 10
)

// Options say where the listener is and who may call its API.
type Options struct {
	// Listen is "host:port" or "unix:/path". Required, unless there is a File.
	Listen string
	// File is a socket that listens already and is used instead of Listen. It stays
	// the caller's, who may close it afterwards.
	File *os.File
	// Token is what the API asks for. Empty means that one is made, where only this
	// machine can connect; elsewhere, that there is no API.
	Token string
	// AllowedHosts are names for the API beside those that are this machine's.
	AllowedHosts []string
	// TLSCert and TLSKey are files (PEM); both or neither.
	TLSCert, TLSKey string
	// Pprof serves profiles of the process, with the token.
	Pprof bool
	// CacheDir is where a token that is made is kept, see TokenFile; empty keeps it
	// nowhere.
	CacheDir string
	// MaxModuleBytes bounds an upload. 0 means 8<<20.
	MaxModuleBytes int
	// Version is that of weir.
	Version string
	// Logger gets what is changed, and what goes wrong with single requests. nil
	// discards it.
	Logger *slog.Logger
	// Logs are what /v1/logs tells. nil tells nothing.
	Logs *LogRing
}

// Listener serves /metrics, /healthz and /readyz to whoever reaches it, and the
// API to who has the token. Until Watch it tells of the process only, is not
// ready, and has no API.
type Listener struct {
	options Options
	logger  *slog.Logger
	ln      net.Listener
	http    *http.Server
	subject atomic.Pointer[Subject]
	started time.Time

	guard     *guard // nil: there is no API
	generated bool   // its token is
	tokenFile string // that keeps it; empty: none does

	streams context.Context // ends what would never end by itself
	cut     context.CancelFunc
	wg      sync.WaitGroup
}

// Listen binds the address and begins to serve. The caller closes the Listener.
func Listen(o Options) (*Listener, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxModuleBytes == 0 {
		o.MaxModuleBytes = defaultMaxModuleBytes
	}
	ln, err := o.bind()
	if err != nil {
		return nil, err
	}
	l := &Listener{options: o, logger: o.Logger, ln: newPatient(ln, o.Logger), started: time.Now()}
	l.streams, l.cut = context.WithCancel(context.Background())
	if err := l.secure(); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	l.http = &http.Server{
		Handler:           l.handler(),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	l.wg.Go(func() { // ends with Close
		if err := l.http.Serve(l.ln); !errors.Is(err, http.ErrServerClosed) {
			l.logger.Error("the admin listener stopped", "err", err)
		}
	})
	return l, nil
}

// bind returns the socket to listen on.
func (o *Options) bind() (net.Listener, error) {
	if o.File != nil {
		return net.FileListener(o.File)
	}
	return bind(o.Listen)
}

// secure decides whether there is an API, wraps the listener with TLS, and makes
// a token where one is wanted.
func (l *Listener) secure() error {
	o := &l.options
	private := isPrivate(l.ln.Addr())
	if !private && o.Token != "" && o.TLSCert == "" {
		return errors.New("the API on an address that others reach needs TLS: set admin.tls_cert and admin.tls_key, or listen on 127.0.0.1, or leave out admin.token to serve metrics and health only")
	}
	if private && o.Token == "" {
		o.Token, l.generated = newToken(), true
		if o.CacheDir != "" {
			l.tokenFile = TokenFile(o.CacheDir, addressOf(l.ln.Addr()))
			if err := writeToken(l.tokenFile, o.Token); err != nil {
				l.logger.Warn("the admin token cannot be kept for the commands of weir", "err", err)
				l.tokenFile = ""
			}
		}
	}
	if o.Token != "" {
		l.guard = newGuard(o.Token, o.AllowedHosts, l.ln.Addr(), l.logger)
	}
	if o.TLSCert == "" && o.TLSKey == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
	if err != nil {
		return errors.Join(err, l.forget())
	}
	l.ln = tls.NewListener(l.ln, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	return nil
}

// Addr is the address that was bound.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// URL is where a client finds it: "http://127.0.0.1:9100", "https://…", or
// "unix:/path".
func (l *Listener) URL() string {
	switch {
	case l.ln.Addr().Network() == "unix":
		return "unix:" + l.ln.Addr().String()
	case l.options.TLSCert != "":
		return "https://" + l.ln.Addr().String()
	}
	return "http://" + l.ln.Addr().String()
}

// HasAPI reports whether it serves more than metrics and health.
func (l *Listener) HasAPI() bool { return l.guard != nil }

// GeneratedToken is the token that was made at Listen, and the file that keeps it;
// both empty when one was configured.
func (l *Listener) GeneratedToken() (token, file string) {
	if !l.generated {
		return "", ""
	}
	return l.options.Token, l.tokenFile
}

// SetToken makes token the one that the API asks for, from the next request on.
// An empty one, and one where there is no API, change nothing.
func (l *Listener) SetToken(token string) {
	if l.guard != nil && token != "" {
		l.guard.expect(token)
	}
}

// Watch makes s what the Listener tells of. Its server must listen already, and
// everything in s must stay until the Listener is closed.
func (l *Listener) Watch(s Subject) { l.subject.Store(&s) }

// Close ends serving. Requests that run are waited for until ctx ends, but for
// those that only end with the server; then they are cut.
func (l *Listener) Close(ctx context.Context) error {
	l.cut()
	err := l.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, l.http.Close())
	}
	l.wg.Wait()
	return errors.Join(err, l.forget())
}

// forget removes the file of a token that was made.
func (l *Listener) forget() error {
	if l.tokenFile == "" {
		return nil
	}
	return removeToken(l.tokenFile, l.options.Token)
}

// handler answers GET and HEAD of the pages that ask for no token, and the API.
// All else is not found: who finds the port learns nothing from it.
func (l *Listener) handler() http.Handler {
	pages := map[string]http.Handler{
		"/metrics": metricsHandler(l.subject.Load),
		"/healthz": http.HandlerFunc(alive),
		"/readyz":  readyHandler(l.subject.Load),
	}
	api := l.api()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := pages[r.URL.Path]
		switch {
		case page != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			page.ServeHTTP(w, r)
		case l.guard != nil && isOfAPI(r.URL.Path):
			api.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}
