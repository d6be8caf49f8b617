package cli

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

// The playground's page. It is served as it lies here; there is no build step.
//
//go:embed playground
var playgroundFiles embed.FS

// playgroundInfo is what the page knows of the server: the answer to GET state
// and the data of each event.
type playgroundInfo struct {
	// Base is where the WebSocket routes are, "ws://host:port". Empty means where
	// the page came from.
	Base string `json:"base,omitempty"`
	// Subject is what a saved scenario is about, relative to the folder that it
	// is saved in: a module ("../chat.wasm") or a configuration ("../weir.yaml").
	// Empty lets the page guess from the module's name.
	Subject string             `json:"subject,omitempty"`
	Modules []playgroundModule `json:"modules"`
	Routes  []playgroundRoute  `json:"routes"`
	Build   playgroundBuild    `json:"build"`
}

// playgroundModule is one module that is in service.
type playgroundModule struct {
	Name       string `json:"name"`
	Generation uint64 `json:"generation"` // from 1
	Digest     string `json:"digest"`     // SHA-256, hexadecimal
	Bytes      int64  `json:"bytes"`
}

// playgroundRoute is one route that leads to a module; others do not belong
// here.
type playgroundRoute struct {
	Path      string   `json:"path"` // as configured: "/chat/{room}"
	Module    string   `json:"module"`
	Protocols []string `json:"protocols,omitempty"`
}

// playgroundBuild is the last build of the handlers.
type playgroundBuild struct {
	State   string `json:"state"`             // a build… constant; empty = nothing is built here
	Message string `json:"message,omitempty"` // the compiler's words
	Millis  int64  `json:"ms,omitempty"`      // how long it took; 0 = unknown
}

const (
	buildOK      = "ok"
	buildRunning = "building"
	buildFailed  = "failed"
)

const (
	// maxWatchers bounds the open event streams. Each holds a connection and a
	// goroutine; a page that comes too late asks for the state every now and then.
	maxWatchers = 64
	// streamPause is the longest time without a byte on a stream: what is between
	// keeps it open, and a page that has gone is noticed.
	streamPause = 15 * time.Second
	// streamWrite is how long a page may take to read an event.
	streamWrite = 10 * time.Second
)

// playgroundPolicy lets the page load its own files and open WebSockets, on any
// port: the page may be served by another listener than the routes.
const playgroundPolicy = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; " +
	"object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// playground serves the page, GET state and GET events. All of its methods may
// be called from any goroutine.
type playground struct {
	info     func() playgroundInfo
	watchers broadcaster
}

// playgroundHandler serves the page under any prefix, stripped or the root, as
// long as the page's own URL ends with a slash. info is called for each request
// and after each call of changed, from any goroutine.
//
// Call close before the server waits for its requests: an open page is one.
func playgroundHandler(info func() playgroundInfo) *playground { return &playground{info: info} }

// changed tells every open page to show what info says now. It never blocks.
func (p *playground) changed() { p.watchers.notify() }

// close ends the event streams and admits no more.
func (p *playground) close() { p.watchers.close() }

var playgroundTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".mjs":  "text/javascript; charset=utf-8",
}

// ServeHTTP implements http.Handler.
func (p *playground) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", playgroundPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache") // another version of weir brings another page
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "Only GET and HEAD are served here.", http.StatusMethodNotAllowed)
		return
	}
	switch name := strings.TrimPrefix(r.URL.Path, "/"); name {
	case "state":
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		w.Write(p.snapshot())
	case "events":
		p.stream(w, r)
	case "":
		// Below a page without the slash, relative addresses would miss.
		if asked, _, _ := strings.Cut(r.RequestURI, "?"); asked != "" && !strings.HasSuffix(asked, "/") {
			h.Set("Location", path.Base(asked)+"/")
			w.WriteHeader(http.StatusMovedPermanently)
			return
		}
		name = "index.html"
		fallthrough
	default:
		file, err := playgroundFiles.ReadFile("playground/" + name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		h.Set("Content-Type", playgroundTypes[path.Ext(name)])
		w.Write(file)
	}
}

// snapshot is the state as JSON, without a line break.
func (p *playground) snapshot() []byte {
	info := p.info()
	if info.Modules == nil {
		info.Modules = []playgroundModule{}
	}
	if info.Routes == nil {
		info.Routes = []playgroundRoute{}
	}
	b, err := json.Marshal(info)
	if err != nil {
		panic(err) // strings and numbers always can
	}
	return b
}

// stream sends the state now and after each change, until the page goes or
// close is called. States that come faster than the page reads are skipped.
func (p *playground) stream(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	changes, cancel, err := p.watchers.subscribe()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer cancel()
	// The server's own bounds are for answers that end.
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events back
	send := func(event []byte) bool {
		err := control.SetWriteDeadline(time.Now().Add(streamWrite))
		if err != nil && !errors.Is(err, http.ErrNotSupported) {
			return false
		}
		if _, err := w.Write(event); err != nil {
			return false
		}
		return control.Flush() == nil
	}

	pause := time.NewTicker(streamPause)
	defer pause.Stop()
	var last []byte
	for {
		if now := p.snapshot(); !bytes.Equal(now, last) {
			last = now
			if !send([]byte("data: " + string(now) + "\n\n")) {
				return
			}
			pause.Reset(streamPause)
		}
		select {
		case _, open := <-changes:
			if !open {
				return
			}
		case <-pause.C:
			if !send([]byte(": \n\n")) {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

var (
	errTooManyWatchers = errors.New("too many pages are open; this one has to ask for state")
	errNoMoreEvents    = errors.New("the server stops")
)

// broadcaster wakes whoever subscribed. It carries no values: who is woken looks
// for itself, so one wake-up pending is as good as many and notify never waits.
type broadcaster struct {
	mu     sync.Mutex
	subs   map[chan struct{}]struct{} // capacity 1: a wake-up pending or not
	closed bool
}

// subscribe returns a channel that gets a value after notify, and is closed by
// close. cancel must be called once it is no longer read.
func (b *broadcaster) subscribe() (changes <-chan struct{}, cancel func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return nil, nil, errNoMoreEvents
	case len(b.subs) >= maxWatchers:
		return nil, nil, errTooManyWatchers
	case b.subs == nil:
		b.subs = make(map[chan struct{}]struct{})
	}
	c := make(chan struct{}, 1)
	b.subs[c] = struct{}{}
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, c)
	}, nil
}

func (b *broadcaster) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.subs {
		select {
		case c <- struct{}{}:
		default: // it will look anyway
		}
	}
}

func (b *broadcaster) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for c := range b.subs {
		close(c)
	}
	b.subs = nil
}
