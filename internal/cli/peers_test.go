package cli

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	coder "github.com/coder/websocket"
)

// peer is a server whose connections f serves; it ends them with 1000.
func peer(t *testing.T, f func(ctx context.Context, ws *coder.Conn)) (url string) {
	t.Helper()
	s := httptest.NewServer(peerHandler(t, f))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

func peerHandler(t *testing.T, f func(ctx context.Context, ws *coder.Conn)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := coder.Accept(w, r, &coder.AcceptOptions{Subprotocols: []string{"chat.v2"}, InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		ws.SetReadLimit(-1)
		f(r.Context(), ws)
		ws.Close(coder.StatusNormalClosure, "")
		ws.CloseNow()
	})
}

// echoing sends everything back until the client closes.
func echoing(ctx context.Context, ws *coder.Conn) {
	for {
		kind, data, err := ws.Read(ctx)
		if err != nil || ws.Write(ctx, kind, data) != nil {
			return
		}
	}
}

// deaf reads everything and answers nothing.
func deaf(ctx context.Context, ws *coder.Conn) {
	for {
		if _, _, err := ws.Read(ctx); err != nil {
			return
		}
	}
}
