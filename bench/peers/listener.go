package peers

import (
	"net"
	"sync"
)

// connServer is what the peers share that take connections from net.Listener
// themselves: an accept loop and the connections it accepted.
type connServer struct {
	ln     net.Listener
	accept sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// listenConns accepts connections, and hands each, enrolled, to serve, which
// must not block for long and sees to it that leave is called at the end.
func listenConns(address string, serve func(s *connServer, c net.Conn)) (*connServer, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &connServer{ln: ln, conns: make(map[net.Conn]struct{})}
	s.accept.Go(func() { // ends when close closes ln
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if s.enter(c) {
				serve(s, c)
			}
		}
	})
	return s, nil
}

// Addr implements Server.
func (s *connServer) Addr() net.Addr { return s.ln.Addr() }

func (s *connServer) enter(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// leave closes and forgets c.
func (s *connServer) leave(c net.Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	_ = c.Close()
}

// closeAll stops accepting and runs end on every connection, by default Close.
func (s *connServer) closeAll(end func(net.Conn)) error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		end(c)
	}
	s.mu.Unlock()
	err := s.ln.Close()
	s.accept.Wait()
	return err
}
