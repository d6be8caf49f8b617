package host

import (
	"net"
	"net/netip"
	"time"

	"weir/netpoll"
	"weir/pool"
)

// The words of the seams, so that who stands in for sockets or goroutines needs
// no other package.
type (
	// Handler is whom a Socket or Listener tells of readiness.
	Handler = netpoll.Handler
	// Event says why a Handler was called.
	Event = netpoll.Event
	// Task is what an Executor runs.
	Task = pool.Task
)

// The bits of an Event.
const (
	Readable = netpoll.Readable
	Writable = netpoll.Writable
	Hangup   = netpoll.Hangup
)

// What a Socket or Listener answers when it can do nothing now, or ever.
var (
	ErrWouldBlock = netpoll.ErrWouldBlock
	ErrClosed     = netpoll.ErrClosed
)

// Socket is a connection's transport. No method blocks. Read and Write return
// netpoll.ErrWouldBlock when the socket is dry or full; the Handler given to
// Start hears of readiness by edges. *netpoll.Socket is the real one.
//
// One goroutine at a time reads; one at a time writes; neither overlaps Close.
type Socket interface {
	// Start begins to report readiness to h, what is ready already included.
	Start(h netpoll.Handler) error
	// Read reads what is there; io.EOF after the peer's FIN. It may return bytes
	// together with the error behind them. Less than len(p) means that there is no
	// more, as ErrWouldBlock does.
	Read(p []byte) (int, error)
	// Write may take only a part of p, with a nil error.
	Write(p []byte) (int, error)
	// WantWrite switches the report of writability.
	WantWrite(on bool) error
	// CloseWrite sends a FIN.
	CloseWrite() error
	// Close releases the socket; more calls do nothing.
	Close() error
	// Detach gives the socket to Go's own poller, for net/http; it is then as
	// closed.
	Detach() (net.Conn, error)
	// RemoteAddr is the peer, or the zero value for a unix socket.
	RemoteAddr() netip.AddrPort
}

// Listener hands out accepted sockets, as *netpoll.Listener does.
type Listener interface {
	Start(h netpoll.Handler) error
	Accept() (Socket, error)
	Addr() net.Addr
	Close() error
}

// Executor runs lanes on goroutines of its own; *pool.Pool is the real one.
type Executor interface {
	// Submit queues t and never blocks; false once it was closed.
	Submit(t pool.Task) bool
	// Overloaded reports that queued work has grown past its mark.
	Overloaded() bool
}

// Clock tells the time. The server reads no other.
type Clock interface {
	// Mono is nanoseconds since some fixed moment; it never goes back.
	Mono() int64
	// UnixMilli is the wall clock in milliseconds since 1970.
	UnixMilli() int64
}

type systemClock struct{ start time.Time }

func (c systemClock) Mono() int64    { return int64(time.Since(c.start)) }
func (systemClock) UnixMilli() int64 { return time.Now().UnixMilli() }

// polledListener gives the poller's sockets as the interface.
type polledListener struct{ *netpoll.Listener }

func (l polledListener) Accept() (Socket, error) {
	s, err := l.Listener.Accept()
	if err != nil {
		return nil, err // a typed nil must not hide in the interface
	}
	return s, nil
}

// Polled gives a poller's listener as Deps.Bind returns it.
func Polled(ln *netpoll.Listener) Listener { return polledListener{ln} }

// Next is the time of Deps.Clock at which Advance should be called again, or
// false when nothing is scheduled. Only for servers that have a clock of the
// caller's.
func (s *Server) Next() (monoNs int64, ok bool) { return s.wheel.next() }

// BeginDrain does what Drain begins with, and returns: for a caller who drives
// the server on one goroutine, and therefore cannot wait inside Drain. What is
// still open at the drain's timeout is cut. The drain is over when
// Stats().Open is 0; Close must follow.
func (s *Server) BeginDrain() {
	start := s.clock.Mono()
	s.at(start+int64(s.opts().Drain.Timeout), s.cutAll)
	s.beginDrain(start)
}

// BeginClose does what Close begins with, as BeginDrain does for Drain.
func (s *Server) BeginClose() {
	s.refusing.Store(true)
	s.leave()
	for _, tn := range s.tenants {
		tn.resume()
	}
	s.cutAll()
}
