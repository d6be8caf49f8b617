package peers

import (
	"net/http"
	"sync"

	"github.com/lxzan/gws"
)

// gwsOptions are the library's defaults but for what its README turns on:
// Recovery is kept, compression is left out because no client here offers it,
// and ParallelEnabled is left out because it loses the order of messages and
// costs a goroutine each; without it gws is at its best.
var gwsOptions = gws.ServerOption{Recovery: gws.Recovery}

// gwsDeflateOptions are the same with the compression that weir has by default.
var gwsDeflateOptions = gws.ServerOption{
	Recovery:          gws.Recovery,
	PermessageDeflate: gws.PermessageDeflate{Enabled: true, Level: 1, Threshold: 512},
}

func startGWSDeflate(address string) (Server, error) {
	echo := func(s *httpServer) http.HandlerFunc {
		return gwsServe(s, gws.NewUpgrader(&gwsEchoHandler{}, &gwsDeflateOptions))
	}
	return startHTTP(address, echo, nil, nil)
}

func startGWS(address string) (Server, error) {
	return startHTTP(address, gwsEcho, gwsPublish, nil)
}

func gwsEcho(s *httpServer) http.HandlerFunc {
	return gwsServe(s, gws.NewUpgrader(&gwsEchoHandler{}, &gwsOptions))
}

func gwsPublish(s *httpServer) http.HandlerFunc {
	h := &gwsPublishHandler{members: make(map[*gws.Conn]struct{})}
	return gwsServe(s, gws.NewUpgrader(h, &gwsOptions))
}

// gwsServe reads on a goroutine of its own, so that net/http's request can be
// collected while the connection lives, as the README recommends.
func gwsServe(s *httpServer, u *gws.Upgrader) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		socket, err := u.Upgrade(w, r)
		if err != nil {
			return
		}
		c := socket.NetConn()
		if !s.enter(c) {
			return
		}
		go func() { // ends when the connection does; Close waits for leave
			defer s.leave(c)
			socket.ReadLoop()
		}()
	}
}

// gwsEchoHandler sends every message back.
type gwsEchoHandler struct{ gws.BuiltinEventHandler }

// OnMessage implements gws.Event.
func (*gwsEchoHandler) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer message.Close()
	_ = socket.WriteMessage(message.Opcode, message.Bytes())
}

// gwsPublishHandler sends every message to all members.
type gwsPublishHandler struct {
	gws.BuiltinEventHandler
	mu      sync.RWMutex
	members map[*gws.Conn]struct{}
}

// OnOpen implements gws.Event.
func (h *gwsPublishHandler) OnOpen(socket *gws.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.members[socket] = struct{}{}
}

// OnClose implements gws.Event.
func (h *gwsPublishHandler) OnClose(socket *gws.Conn, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.members, socket)
}

// OnMessage implements gws.Event.
func (h *gwsPublishHandler) OnMessage(_ *gws.Conn, message *gws.Message) {
	defer message.Close()
	b := gws.NewBroadcaster(message.Opcode, message.Bytes())
	defer b.Close()
	h.mu.RLock()
	defer h.mu.RUnlock()
	for to := range h.members {
		_ = b.Broadcast(to)
	}
}
