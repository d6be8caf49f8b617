package host

import (
	"errors"
	"net"
	"net/netip"

	"weir/netpoll"
	"weir/pool"
)

// proxied is a socket whose stream begins with a PROXY header: it takes the
// header off, and its RemoteAddr is whom the header names. Whatever wraps it,
// such as TLS, sees the stream that the balancer's client sent.
type proxied struct {
	Socket
	required bool           // no header is an error
	known    bool           // the header is behind
	err      error          // it was malformed: nothing can be read any more
	client   netip.AddrPort // whom it named; zero: nobody
	head     []byte         // what has come of it
	rest     []byte         // what came behind it and was not read yet
}

// behindProxy is sock, or what takes the PROXY header off that may come first.
func (s *Server) behindProxy(sock Socket) Socket {
	o := s.opts()
	if o.Server.ProxyProtocol == proxyOff || !o.trust.has(sock.RemoteAddr().Addr()) {
		return sock
	}
	return &proxied{Socket: sock, required: o.Server.ProxyProtocol == proxyRequire}
}

// Read implements Socket. Less than len(p) means that the socket is dry, as
// theirs does.
func (s *proxied) Read(p []byte) (int, error) {
	if !s.known {
		if err := s.readHeader(); err != nil {
			return 0, err
		}
	}
	if len(s.rest) == 0 {
		return s.Socket.Read(p)
	}
	n := copy(p, s.rest)
	if s.rest = s.rest[n:]; len(s.rest) > 0 {
		return n, nil
	}
	s.rest = nil
	if n == len(p) {
		return n, nil
	}
	// A short read says that nothing is left to read, so see to that.
	more, err := s.Socket.Read(p[n:])
	if err != nil && !errors.Is(err, netpoll.ErrWouldBlock) {
		s.err = err
		s.known = false // the next read tells
	}
	return n + more, nil
}

func (s *proxied) readHeader() error {
	if s.err != nil {
		return s.err
	}
	const mostBytes = 512 // of a header, and a request behind it
	buf := pool.Take(mostBytes)
	defer buf.Release()
	for {
		n, err := s.Socket.Read(buf.B)
		if err != nil {
			return err
		}
		s.head = append(s.head, buf.B[:n]...)
		client, headerBytes, err := parseProxyHeader(s.head)
		switch {
		case errors.Is(err, errNoProxyHeader) && !s.required:
		case err != nil:
			s.err, s.head = errProxyHeader, nil
			return s.err
		case headerBytes == 0 && n < len(buf.B):
			return netpoll.ErrWouldBlock
		case headerBytes == 0:
			continue
		}
		s.known, s.client, s.rest, s.head = true, client, s.head[headerBytes:], nil
		return nil
	}
}

// badProxyHeader tells of a trusted proxy that does not say whom it speaks for.
// There is nobody to answer: a balancer would hand the answer to its client.
func (c *Conn) badProxyHeader(t *turn) {
	t.stats.rejected.Add(1)
	c.srv.rejected[rejectedProxyHeader].Add(1)
	if c.srv.strangers.pass(t.now) {
		c.srv.log.Warn("connection cut: a trusted proxy sent no PROXY header, or a malformed one", "peer", c.sock.RemoteAddr())
	}
}

// RemoteAddr implements Socket.
func (s *proxied) RemoteAddr() netip.AddrPort {
	if s.client.IsValid() {
		return s.client
	}
	return s.Socket.RemoteAddr()
}

// Detach implements Socket.
func (s *proxied) Detach() (net.Conn, error) {
	c, err := s.Socket.Detach()
	if err != nil {
		return nil, err
	}
	return &addressed{Conn: c, unread: s.rest, remote: s.RemoteAddr()}, nil
}

// forwarded is a socket of a client that a proxy has named.
type forwarded struct {
	Socket
	client netip.AddrPort // port 0: not told
}

// RemoteAddr implements Socket.
func (s *forwarded) RemoteAddr() netip.AddrPort { return s.client }

// Detach implements Socket.
func (s *forwarded) Detach() (net.Conn, error) {
	c, err := s.Socket.Detach()
	if err != nil {
		return nil, err
	}
	return &addressed{Conn: c, remote: s.client}, nil
}

// addressed is a connection that says whom a proxy speaks for, and begins with
// bytes read before.
type addressed struct {
	net.Conn
	unread []byte
	remote netip.AddrPort
}

func (c *addressed) Read(p []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

func (c *addressed) RemoteAddr() net.Addr {
	if !c.remote.IsValid() {
		return c.Conn.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(c.remote)
}
