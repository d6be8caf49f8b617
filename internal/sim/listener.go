package sim

import (
	"net"
	"syscall"

	"weir/host"
)

// listener implements host.Listener: a backlog of connections.
type listener struct {
	w       *World
	shard   *shard
	fd      int
	address addr
	handler host.Handler
	backlog []*socket
	edged   bool
	closed  bool
}

// addr is an address that nobody can dial.
type addr struct{ network, address string }

func (a addr) Network() string { return a.network }
func (a addr) String() string  { return a.address }

func (l *listener) state() host.Event {
	if len(l.backlog) > 0 {
		return host.Readable
	}
	return 0
}

func (l *listener) tell(ev host.Event) {
	if l.handler != nil {
		l.handler.Ready(ev)
	}
}

func (l *listener) queued() *bool { return &l.edged }

// Start implements host.Listener.
func (l *listener) Start(h host.Handler) error {
	l.handler = h
	if len(l.backlog) > 0 {
		l.shard.edge(l)
	}
	return nil
}

// arrive puts a connection into the backlog.
func (l *listener) arrive(s *socket) {
	if l.closed {
		s.refuse()
		return
	}
	l.backlog = append(l.backlog, s)
	if l.handler != nil {
		l.shard.edge(l)
	}
}

// Accept implements host.Listener.
func (l *listener) Accept() (host.Socket, error) {
	w := l.w
	if l.closed {
		return nil, host.ErrClosed
	}
	if len(l.backlog) == 0 {
		return nil, host.ErrWouldBlock
	}
	if w.faults.Has(AcceptErrors) && w.rng.IntN(8) == 0 {
		w.trace.note(w.clock.ns, -1, "accept fails", 0)
		return nil, syscall.EMFILE
	}
	s := l.backlog[0]
	l.backlog[0] = nil
	l.backlog = l.backlog[1:]
	s.shard = w.shards[w.rng.IntN(len(w.shards))]
	s.fd = w.takeNumber(s)
	w.trace.note(w.clock.ns, s.id, "accepted as", s.fd)
	if w.wrap != nil {
		return w.wrap(s), nil
	}
	return s, nil
}

// Addr implements host.Listener.
func (l *listener) Addr() net.Addr { return l.address }

// Close implements host.Listener: who waits in the backlog is reset.
func (l *listener) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	l.shard.forget(l)
	l.w.freeNumber(l.fd)
	for _, s := range l.backlog {
		s.refuse()
	}
	l.backlog = nil
	return nil
}
