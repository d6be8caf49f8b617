package peers

import (
	"net"
	"sync"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// gobwasServer has a goroutine for each connection, which upgrades it without
// net/http, then reads and writes in turn: the library's README.
type gobwasServer struct {
	*connServer
	active sync.WaitGroup
}

func startGobwas(address string) (Server, error) {
	g := new(gobwasServer)
	s, err := listenConns(address, func(s *connServer, c net.Conn) {
		g.active.Go(func() { // ends when c does
			defer s.leave(c)
			gobwasEcho(c)
		})
	})
	if err != nil {
		return nil, err
	}
	g.connServer = s
	return g, nil
}

func gobwasEcho(c net.Conn) {
	if _, err := ws.Upgrade(c); err != nil {
		return
	}
	for {
		message, op, err := wsutil.ReadClientData(c)
		if err != nil {
			return
		}
		if err := wsutil.WriteServerMessage(c, op, message); err != nil {
			return
		}
	}
}

// Close implements Server.
func (g *gobwasServer) Close() error {
	err := g.closeAll(func(c net.Conn) { _ = c.Close() })
	g.active.Wait()
	return err
}
