package host

import (
	"bytes"
	"net/netip"
)

// Members is how many connections a topic of that module has. Any goroutine.
func (s *Server) Members(module, topic string) int {
	tn := s.tenants[module]
	if tn == nil {
		return 0
	}
	tp := tn.topics.find([]byte(topic))
	if tp == nil {
		return 0
	}
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return len(tp.members)
}

// State is the attachment that a handler has given the connection from that
// address; false when there is no such connection. It looks at every connection
// of the server: for tests. The caller owns the result. Any goroutine.
func (s *Server) State(peer netip.AddrPort) (state []byte, ok bool) {
	s.hub.each(func(c *Conn) {
		if ok || c.sock.RemoteAddr() != peer {
			return
		}
		ok = true
		c.mu.Lock()
		if c.more != nil {
			state = bytes.Clone(c.more.state)
		}
		c.mu.Unlock()
	})
	return state, ok
}
