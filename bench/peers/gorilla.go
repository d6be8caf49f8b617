package peers

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// gorillaUpgrader has the library's default buffer sizes, spelled out, and
// takes its write buffers from a pool, as its documentation advises for many
// connections that are mostly quiet.
var gorillaUpgrader = websocket.Upgrader{
	ReadBufferSize:  4096,
	WriteBufferSize: 4096,
	WriteBufferPool: &sync.Pool{},
	CheckOrigin:     func(*http.Request) bool { return true },
}

func startGorilla(address string) (Server, error) {
	return startHTTP(address, gorillaEcho(&gorillaUpgrader), gorillaPublish, nil)
}

// startGorillaTLS is startGorilla with TLS, as http.Server.ServeTLS has it, less
// HTTP/2, which has no place for the library.
func startGorillaTLS(address string, config *tls.Config) (Server, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	return serveHTTP(tls.NewListener(ln, config), gorillaEcho(&gorillaUpgrader), gorillaPublish, nil), nil
}

// gorillaEcho reads and writes in turn on the goroutine that net/http gave the
// request: the library's own echo example.
func gorillaEcho(u *websocket.Upgrader) func(*httpServer) http.HandlerFunc {
	return func(s *httpServer) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			c, err := u.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			defer c.Close()
			if !s.enter(c.NetConn()) {
				return
			}
			defer s.leave(c.NetConn())
			for {
				kind, message, err := c.ReadMessage()
				if err != nil {
					return
				}
				if err := c.WriteMessage(kind, message); err != nil {
					return
				}
			}
		}
	}
}

// gorillaMember is one connection of the topic. The library allows one writer
// at a time.
type gorillaMember struct {
	mu sync.Mutex
	c  *websocket.Conn
}

// gorillaPublish sends each message as one PreparedMessage to every member,
// from the goroutine that read it.
func gorillaPublish(s *httpServer) http.HandlerFunc {
	var mu sync.RWMutex
	members := make(map[*gorillaMember]struct{})
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := gorillaUpgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		if !s.enter(c.NetConn()) {
			return
		}
		defer s.leave(c.NetConn())
		m := &gorillaMember{c: c}
		mu.Lock()
		members[m] = struct{}{}
		mu.Unlock()
		defer func() {
			mu.Lock()
			delete(members, m)
			mu.Unlock()
		}()
		for {
			kind, message, err := c.ReadMessage()
			if err != nil {
				return
			}
			prepared, err := websocket.NewPreparedMessage(kind, message)
			if err != nil {
				return
			}
			mu.RLock()
			for to := range members {
				to.mu.Lock()
				if err := to.c.WritePreparedMessage(prepared); err != nil {
					_ = to.c.Close() // its own reader then ends and leaves
				}
				to.mu.Unlock()
			}
			mu.RUnlock()
		}
	}
}
