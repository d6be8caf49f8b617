package admin

import (
	"io"
	"net/http"
)

// alive answers /healthz: a process that answers lives. What it stands on is
// not looked at, since a restart would cure none of it.
func alive(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "alive") }

// readyHandler answers /readyz: 200 while new connections are welcome, 503
// before the modules are loaded and once the server drains.
func readyHandler(subject func() *Subject) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch s := subject(); {
		case s == nil:
			say(w, http.StatusServiceUnavailable, "starting")
		case !s.Server.Accepting():
			say(w, http.StatusServiceUnavailable, "draining")
		default:
			say(w, http.StatusOK, "ready")
		}
	})
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // whoever asked may have gone
}
