package peers

import (
	"context"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// coderConnKey is where the request's context keeps its net.Conn, since the
// library does not give it away.
type coderConnKey struct{}

func startCoder(address string) (Server, error) {
	return startHTTP(address, coderEcho, nil, func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, coderConnKey{}, c)
	})
}

// coderEcho reads and writes in turn, as the library's README does. Its read
// limit is lifted, as any server with larger messages must.
func coderEcho(s *httpServer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		raw := r.Context().Value(coderConnKey{}).(net.Conn)
		if !s.enter(raw) {
			return
		}
		defer s.leave(raw)
		c.SetReadLimit(1 << 20)
		ctx := context.Background()
		for {
			kind, message, err := c.Read(ctx)
			if err != nil {
				return
			}
			if err := c.Write(ctx, kind, message); err != nil {
				return
			}
		}
	}
}
