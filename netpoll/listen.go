package netpoll

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"
)

// ListenOptions say how a listener is set up. The zero value leaves it to the
// system.
type ListenOptions struct {
	// ReusePort lets several listeners, of this process or of others of the same
	// user, bind one TCP address (SO_REUSEPORT). The system deals the connections
	// among them.
	ReusePort bool
	// UserTimeout is how long what was sent over a TCP connection may stay
	// unacknowledged, or the other side's window closed, before the system breaks
	// the connection (TCP_USER_TIMEOUT), in milliseconds' resolution; only Linux
	// has it. 0 means the system's, some fifteen minutes.
	UserTimeout time.Duration
	// Mode is the permissions of a unix socket's file: who may write to it may
	// connect. 0 means those that the umask leaves.
	Mode fs.FileMode
}

// Listen is ListenWith with the zero options.
func (p *Poller) Listen(network, address string) (*Listener, error) {
	return p.ListenWith(network, address, ListenOptions{})
}

// ListenWith binds address and listens. The network is "tcp", "tcp4", "tcp6" or
// "unix"; address is as for net.Listen, with "127.0.0.1:0" for any free port.
// "tcp" with no host binds all addresses of both families, "tcp6" never one of
// IPv4. The file of a unix socket may be there already if nobody listens on it any
// more; somebody's who does is left alone, and EADDRINUSE the error.
//
// Connections queue in the kernel until the listener is started. The caller
// closes the listener.
func (p *Poller) ListenWith(network, address string, o ListenOptions) (*Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "unix":
	default:
		return nil, fmt.Errorf("netpoll: listen %s: %w", address, net.UnknownNetworkError(network))
	}
	sys, err := p.sys.listen(network, address, o)
	if errors.Is(err, ErrClosed) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("netpoll: %w", err)
	}
	return &Listener{sys: sys}, nil
}

// Refuse takes the next connection when Accept cannot for want of descriptors
// (EMFILE, ENFILE): with the one that the listener keeps in reserve. It sends
// answer, as far as the system takes it at once, and closes the connection.
// ErrWouldBlock means that none waits; other errors that the reserve does not help
// or is gone.
func (l *Listener) Refuse(answer []byte) error { return l.sys.refuse(answer) }
