package netpoll

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
)

// Event says why a handler was called. The bits are hints for statistics and
// short cuts only: an event may be late and its bits untrue, so whatever they
// are the owner tries the reads and writes it is interested in.
type Event uint8

// The bits of an Event.
const (
	// Readable: bytes, connections, the end of the stream or an error wait.
	Readable Event = 1 << iota
	// Writable: there is room, or an error that a write would report.
	Writable
	// Hangup: the other side has ended its stream, or the connection broke.
	Hangup
)

// Handler is whom the poller tells.
type Handler interface {
	// Ready runs on the goroutine of the socket's shard, so never twice at
	// the same time for one socket. Every socket of the shard waits until it
	// returns: it never blocks, and hands the work over or does one bounded
	// turn of it. It may close the socket.
	//
	// Readiness is told once, when it arises. Who is told reads (accepts,
	// writes) until ErrWouldBlock, or comes back by itself.
	Ready(ev Event)
}

var (
	// ErrWouldBlock means that there is nothing to read, no connection to
	// accept or no room to write to now. Ready will be called when that
	// changes (for writing: only while WantWrite is on).
	ErrWouldBlock = errors.New("netpoll: would block")

	// ErrClosed means that the socket, listener or poller was closed before,
	// or the socket detached.
	ErrClosed = errors.New("netpoll: closed")

	errStarted    = errors.New("netpoll: already started")
	errNotStarted = errors.New("netpoll: not started")
)

// Poller watches sockets. Its methods may be called from any goroutine.
type Poller struct {
	sys *sysPoller
}

// Open starts a poller with o.Shards goroutines. The caller closes it.
func Open(o Options) (*Poller, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("netpoll: %w", err)
	}
	sys, err := openSys(o.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("netpoll: open: %w", err)
	}
	return &Poller{sys: sys}, nil
}

// ListenFile accepts from a stream socket that listens already, such as one that
// was passed to this process, with every connection that waits in it. f stays
// the caller's and may be closed afterwards: the listener has a duplicate, and
// its Close ends neither the listening of who else has the socket nor removes the
// file of a unix socket. Of o only UserTimeout counts. The socket becomes non-blocking for all who have it. The
// caller closes the listener.
func (p *Poller) ListenFile(f *os.File, o ListenOptions) (*Listener, error) {
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("netpoll: %s is no listening socket: %w", f.Name(), err)
	}
	sys, err := p.sys.adopt(ln, o)
	if errors.Is(err, ErrClosed) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("netpoll: listen on %s: %w", f.Name(), err)
	}
	return &Listener{sys: sys}, nil
}

// Probe returns when every shard has told a handler of its own of an event, which
// proves that none of them hangs, or when ctx ends. One call at a time; ErrClosed
// once the poller is closed. The first call takes two descriptors a shard until
// Close.
func (p *Poller) Probe(ctx context.Context) error {
	err := p.sys.probe(ctx)
	if err != nil && !errors.Is(err, ErrClosed) {
		return fmt.Errorf("netpoll: probe: %w", err)
	}
	return err
}

// Close ends the shards and waits for their goroutines, thus for the calls of
// Ready that are under way; it must not be called from Ready, which would wait
// for itself. Sockets and listeners are closed by their owners before: those
// that are left hear of nothing any more, and the error tells their number.
// They can still be closed. A second Close does nothing.
func (p *Poller) Close() error {
	if err := p.sys.close(); err != nil {
		return fmt.Errorf("netpoll: close: %w", err)
	}
	return nil
}

// Stats returns the poller's numbers of this moment.
func (p *Poller) Stats() Stats { return p.sys.stats() }

// Listener is a listening socket. Its methods may be called from any
// goroutine, also at the same time.
type Listener struct {
	sys *sysListener
}

// Start makes the poller tell h when connections wait; if some wait already,
// at once. Only Close ends that. It can be called once.
func (l *Listener) Start(h Handler) error { return l.sys.start(h) }

// Accept takes the next connection. It never blocks: ErrWouldBlock means that
// none waits. A failure of the system is a syscall.Errno (EMFILE, ENFILE,
// ENOBUFS, ENOMEM), after which connections may still wait: the caller comes
// back by itself, since Ready is called for new ones only. Connections that
// died while they waited are passed over. Small packets are sent at once
// (TCP_NODELAY). The caller owns the socket and closes it.
func (l *Listener) Accept() (*Socket, error) {
	a, err := l.sys.accept()
	if err != nil {
		return nil, err
	}
	s := new(Socket)
	s.sys.init(l.sys, a)
	return s, nil
}

// Addr returns the address that the listener is bound to.
func (l *Listener) Addr() net.Addr { return l.sys.address() }

// Close ends listening; connections that wait are reset by the system, unless
// another process has the socket too. The file of a unix socket that Listen has
// made is removed. A second Close does nothing.
func (l *Listener) Close() error { return l.sys.close() }

// Socket is one connection. It owns its descriptor until Close or Detach.
//
// The owner calls Read from one goroutine at a time, and Write, WantWrite and
// CloseWrite from one goroutine at a time, which may be another; none of them
// while Start, Close or Detach runs. Afterwards they return ErrClosed.
type Socket struct {
	sys sysSocket
}

// Start makes the poller tell h about the socket, from now to Close: Ready is
// called when bytes arrive and when the other side hangs up, at once for what
// has happened already. It can be called once. When it fails h will not be
// called and the socket is still to be closed.
func (s *Socket) Start(h Handler) error { return s.sys.start(h) }

// Read reads what has arrived, up to len(p) bytes. It never blocks:
// ErrWouldBlock means that nothing has. io.EOF means that the other side ended
// its stream; a broken connection is a syscall.Errno. An empty p reads nothing
// and is no error.
//
// Less than len(p) means that the socket is dry, as ErrWouldBlock does: bytes
// that arrive later are told anew. Only the end of the stream may have been
// told before, by an event with Hangup; after one, read on to the end.
//
// Hot path, 0 allocs (TestSocketAllocs).
func (s *Socket) Read(p []byte) (int, error) { return s.sys.read(p) }

// Write hands as much of p to the system as it takes now, and returns how
// much that was; less than len(p) is no error and means that there is no more
// room. It never blocks: ErrWouldBlock means no room at all. A broken connection is a syscall.Errno
// (EPIPE, ECONNRESET), never a signal. An empty p is no error.
//
// Hot path, 0 allocs (TestSocketAllocs).
func (s *Socket) Write(p []byte) (int, error) { return s.sys.write(p) }

// WantWrite switches on or off that Ready is called with Writable. Switching
// on calls it soon if there is room already, also when it was on before.
// Sockets start with off, and it should be on only while a write would block.
// The socket must have been started.
func (s *Socket) WantWrite(on bool) error { return s.sys.wantWrite(on) }

// CloseWrite ends our stream: the other side reads what was written, then the
// end. Reading goes on.
func (s *Socket) CloseWrite() error { return s.sys.closeWrite() }

// Close takes the socket from the poller and closes its descriptor. Events
// that are on their way are dropped and counted. No call of Ready starts
// afterwards; one that had been chosen to start may still be running on the
// shard's goroutine, and Close does not wait for it. A second Close does
// nothing and returns nil.
func (s *Socket) Close() error { return s.sys.close() }

// Detach takes the socket from the poller and turns it into an ordinary
// connection with all that has arrived and was not read; the caller owns it.
// It is for connections that leave for net/http. Afterwards the socket is as
// after Close, also when Detach fails: then the connection is closed.
func (s *Socket) Detach() (net.Conn, error) { return s.sys.detach() }

// RemoteAddr returns the other side's address as it was when the connection
// was accepted, an IPv4 one never in its IPv6 form. It is the zero value for
// unix sockets. It works after Close too.
func (s *Socket) RemoteAddr() netip.AddrPort { return s.sys.remoteAddr() }
