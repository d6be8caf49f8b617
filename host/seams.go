package host

import (
	"net"
	"net/netip"
	"time"

	"weir/netpoll"
	"weir/pool"
)

// Socket is a connection's transport. No method blocks. Read and Write return
// netpoll.ErrWouldBlock when the socket is dry or full; the Handler given to
// Start hears of readiness by edges. *netpoll.Socket is the real one.
//
// One goroutine at a time reads; one at a time writes; neither overlaps Close.
type Socket interface {
	// Start begins to report readiness to h, what is ready already included.
	Start(h netpoll.Handler) error
	// Read reads what is there; io.EOF after the peer's FIN.
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
