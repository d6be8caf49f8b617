package peers

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// httpServer is what the peers on net/http share: the listener, and the
// connections that were hijacked from it, which http.Server forgets.
type httpServer struct {
	ln    net.Listener
	srv   *http.Server
	serve sync.WaitGroup // the accept loop

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	active sync.WaitGroup // what runs for the hijacked connections
}

// startHTTP serves "/" with echo and, unless nil, "/publish" with publish. Each
// gets the server to enrol its connections with. connContext may be nil.
func startHTTP(address string, echo, publish func(*httpServer) http.HandlerFunc, connContext func(context.Context, net.Conn) context.Context) (Server, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return serveHTTP(ln, echo, publish, connContext), nil
}

// serveHTTP is startHTTP on a listener.
func serveHTTP(ln net.Listener, echo, publish func(*httpServer) http.HandlerFunc, connContext func(context.Context, net.Conn) context.Context) Server {
	s := &httpServer{ln: ln, conns: make(map[net.Conn]struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/", echo(s))
	if publish != nil {
		mux.HandleFunc("/publish", publish(s))
	}
	s.srv = &http.Server{Handler: mux, ConnContext: connContext}
	s.serve.Go(func() { _ = s.srv.Serve(ln) }) // ends when Close closes ln
	return s
}

// Addr implements Server.
func (s *httpServer) Addr() net.Addr { return s.ln.Addr() }

// Close implements Server.
func (s *httpServer) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	err := s.srv.Close()
	s.serve.Wait()
	s.active.Wait()
	return err
}

// enter enrols a hijacked connection, which Close will then close and wait for.
// It reports false, having closed the connection, if Close came first.
func (s *httpServer) enter(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.conns[c] = struct{}{}
	s.active.Add(1)
	return true
}

// leave ends what enter began.
func (s *httpServer) leave(c net.Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.active.Done()
}
