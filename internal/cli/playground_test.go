package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestThePlaygroundServesItself(t *testing.T) {
	p := playgroundHandler(func() playgroundInfo { return playgroundInfo{} })
	for _, tc := range []struct {
		name, method, target, path string // path is what is left of target; "" as it is
		status                     int
		contentType                string // of the answer, or Location when it redirects
	}{
		{"the page is at the root", "GET", "/", "/", 200, "text/html; charset=utf-8"},
		{"the page is below a prefix", "GET", "/_weir/play/", "/", 200, "text/html; charset=utf-8"},
		{"a prefix may be stripped with its slash", "GET", "/play/", "", 200, "text/html; charset=utf-8"},
		{"a page without its slash is sent to the one with it", "GET", "/_weir/play?x=1", "", 301, "play/"},
		{"the style is CSS", "GET", "/playground.css", "", 200, "text/css; charset=utf-8"},
		{"the script is JavaScript", "GET", "/playground.js", "", 200, "text/javascript; charset=utf-8"},
		{"its module too", "GET", "/play/scenario.mjs", "/scenario.mjs", 200, "text/javascript; charset=utf-8"},
		{"the state is JSON", "GET", "/state", "", 200, "application/json"},
		{"HEAD is answered", "HEAD", "/events", "", 200, "text/event-stream"},
		{"what is not there is 404", "GET", "/secrets.txt", "", 404, "text/plain; charset=utf-8"},
		{"a folder is 404", "GET", "/.", "", 404, "text/plain; charset=utf-8"},
		{"no path leads out", "GET", "/../demo/index.html", "", 404, "text/plain; charset=utf-8"},
		{"POST is refused", "POST", "/state", "", 405, "text/plain; charset=utf-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, tc.target, nil)
			switch {
			case tc.path != "":
				r.URL.Path = tc.path
			case strings.Contains(tc.target, "play/") || strings.Contains(tc.target, "play?"):
				r.URL.Path = "" // as http.StripPrefix leaves it
			}
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			got := w.Header().Get("Content-Type")
			if tc.status == 301 {
				got = w.Header().Get("Location")
			}
			if w.Code != tc.status || got != tc.contentType {
				t.Errorf("got %d %q, want %d %q", w.Code, got, tc.status, tc.contentType)
			}
			for name, part := range map[string]string{
				"Content-Security-Policy":      "default-src 'self'; connect-src 'self' ws: wss:;",
				"X-Content-Type-Options":       "nosniff",
				"Referrer-Policy":              "no-referrer",
				"Cross-Origin-Resource-Policy": "same-origin",
				"Cache-Control":                "no-",
			} {
				if !strings.Contains(w.Header().Get(name), part) {
					t.Errorf("%s is %q, want %q in it", name, w.Header().Get(name), part)
				}
			}
		})
	}
}

// What the policy forbids, and what would make the page heavy, is not there.
func TestThePlaygroundIsPlainAndLight(t *testing.T) {
	files, err := playgroundFiles.ReadDir("playground")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, f := range files {
		text, err := playgroundFiles.ReadFile("playground/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		total += len(text)
		for _, no := range []string{"http://", "https://", "//cdn", "style=", "<style", "onclick=\"", "innerHTML", "insertAdjacentHTML", "document.write", "eval(", "@import"} {
			if strings.Contains(string(text), no) {
				t.Errorf("%s has %q", f.Name(), no)
			}
		}
		if strings.Contains(string(text), "<script>") {
			t.Errorf("%s has a script inline", f.Name())
		}
	}
	if total > 60_000 {
		t.Errorf("%d bytes, want at most 60,000", total)
	}
}

func TestTheStateIsWhatTheInfoSays(t *testing.T) {
	want := playgroundInfo{
		Base:    "ws://127.0.0.1:8080",
		Subject: "../weir.yaml",
		Modules: []playgroundModule{{"chat", 3, "00ff", 8075}},
		Routes:  []playgroundRoute{{"/chat/{room}", "chat", []string{"chat.v1"}}},
		Build:   playgroundBuild{buildFailed, "chat.go:7:2: undefined: \"<b>\"\n", 412},
	}
	w := httptest.NewRecorder()
	playgroundHandler(func() playgroundInfo { return want }).ServeHTTP(w, httptest.NewRequest("GET", "/state", nil))
	var got playgroundInfo
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v (%v), want %+v", got, err, want)
	}
	if b := w.Body.String(); strings.ContainsAny(b, "\n\r") {
		t.Errorf("a line break in %q would break an event", b)
	}

	w = httptest.NewRecorder()
	playgroundHandler(func() playgroundInfo { return playgroundInfo{} }).ServeHTTP(w, httptest.NewRequest("GET", "/state", nil))
	if got, want := w.Body.String(), `{"modules":[],"routes":[],"build":{"state":""}}`; got != want {
		t.Errorf("nothing known is %s, want %s", got, want)
	}
}

// events opens the stream of a playground that is served at url.
func events(t *testing.T, url string) (next func() string, end func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	r, err := http.NewRequestWithContext(ctx, "GET", url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	answer, err := client.Do(r)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	if got := answer.Header.Get("Content-Type"); answer.StatusCode != 200 || got != "text/event-stream" {
		t.Errorf("got %d %q", answer.StatusCode, got)
	}
	lines := bufio.NewScanner(answer.Body)
	return func() string { // "" at the end
			for lines.Scan() {
				if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
					return data
				}
			}
			return ""
		}, func() {
			cancel()
			answer.Body.Close()
			client.CloseIdleConnections()
		}
}

func TestEventsFollowTheState(t *testing.T) {
	var generation atomic.Uint64
	generation.Store(1)
	p := playgroundHandler(func() playgroundInfo {
		return playgroundInfo{Modules: []playgroundModule{{Name: "chat", Generation: generation.Load()}}}
	})
	web := httptest.NewServer(p)
	defer web.Close()
	next, end := events(t, web.URL)
	defer end()
	if got := next(); !strings.Contains(got, `"generation":1`) {
		t.Errorf("the first event is %q, want the state", got)
	}
	p.changed() // nothing has, so nothing is sent
	generation.Store(2)
	p.changed()
	if got := next(); !strings.Contains(got, `"generation":2`) {
		t.Errorf("got %q, want the change", got)
	}
	p.close()
	if got := next(); got != "" {
		t.Errorf("got %q after close", got)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest("GET", "/events", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("after close a new stream is answered %d, want 503", w.Code)
	}
}

// The server's bounds on a request are for answers that end: a stream outlives
// them. It ends, and is forgotten, when the page goes.
func TestAStreamOutlivesTheServersTimeouts(t *testing.T) {
	var n atomic.Uint64
	p := playgroundHandler(func() playgroundInfo { return playgroundInfo{Subject: fmt.Sprint(n.Load())} })
	gone := make(chan struct{})
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// As if http.Server.WriteTimeout had passed.
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now()); err != nil {
			t.Error(err)
		}
		p.ServeHTTP(w, r)
		close(gone)
	}))
	web.Start()
	defer web.Close()
	next, end := events(t, web.URL)
	if got := next(); !strings.Contains(got, `"subject":"0"`) {
		t.Errorf("got %q", got)
	}
	n.Store(1)
	p.changed()
	if got := next(); !strings.Contains(got, `"subject":"1"`) {
		t.Errorf("got %q", got)
	}
	end()
	<-gone
	p.watchers.mu.Lock()
	defer p.watchers.mu.Unlock()
	if len(p.watchers.subs) != 0 {
		t.Errorf("%d watchers are left", len(p.watchers.subs))
	}
}

func TestWatchersAreBounded(t *testing.T) {
	var b broadcaster
	var cancels []func()
	for range maxWatchers {
		_, cancel, err := b.subscribe()
		if err != nil {
			t.Fatal(err)
		}
		cancels = append(cancels, cancel)
	}
	if _, _, err := b.subscribe(); err != errTooManyWatchers {
		t.Errorf("one too many: %v", err)
	}
	cancels[0]()
	cancels[0]() // twice does no harm
	if _, _, err := b.subscribe(); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	for range 1000 {
		b.notify() // nobody reads, and it comes back
	}
	b.close()
	b.close()
	b.notify()
	cancels[1]()
	if _, _, err := b.subscribe(); err != errNoMoreEvents {
		t.Errorf("after close: %v", err)
	}
}

func TestWatchersUnderFire(t *testing.T) {
	var b broadcaster
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				c, cancel, err := b.subscribe()
				if err != nil {
					return // closed
				}
				b.notify()
				<-c // a wake-up or the end: one of both is certain
				cancel()
			}
		})
	}
	wg.Go(func() {
		for range 2000 {
			b.notify()
		}
	})
	wg.Go(b.close)
	wg.Wait()
}
