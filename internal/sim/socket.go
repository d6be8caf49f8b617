package sim

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"

	"weir/host"
)

// socket implements host.Socket: the server's end of a connection. It keeps to
// the contract of netpoll and reports an owner who does not.
type socket struct {
	w     *World
	id    int // number of the connection
	shard *shard
	fd    int
	addr  netip.AddrPort
	down  *pipe // to the client
	calm  bool  // no faults here

	handler  host.Handler
	interest bool // WantWrite is on
	edged    bool
	noSpace  bool // somebody found no room since there was some
	refused  bool // the poller did not take it
	shut     bool // our FIN is out
	closed   bool

	rx  []byte // arrived, not read
	fin bool   // the client's FIN follows rx
	err error  // what reads, once rx is empty, and writes end with

	buffer int // size of the send buffer
	fresh  int // so many bytes more are always taken: a new buffer is empty
	used   int // bytes in it: on their way, or not read by the client

	reading, writing, changing bool // owners inside
}

func (s *socket) room() int { return s.buffer - s.used }

func (s *socket) state() host.Event {
	var ev host.Event
	if len(s.rx) > 0 || s.fin || s.err != nil {
		ev |= host.Readable
	}
	if s.fin || s.err != nil {
		ev |= host.Hangup
	}
	if s.err != nil || s.interest && s.room() > 0 {
		ev |= host.Writable
	}
	return ev
}

func (s *socket) tell(ev host.Event) {
	if s.handler != nil {
		s.w.trace.note(s.w.clock.ns, s.id, "ready", int(ev))
		s.handler.Ready(ev)
	}
}

func (s *socket) queued() *bool { return &s.edged }

func (s *socket) edge() {
	if s.handler != nil && !s.closed {
		s.shard.edge(s)
	}
}

// arrive takes what the client has sent.
func (s *socket) arrive(seg segment) {
	w := s.w
	if s.closed {
		if len(seg.data) > 0 {
			s.reset()
		}
		return
	}
	if s.err != nil {
		return
	}
	switch {
	case seg.end == endRST:
		s.err = syscall.ECONNRESET
		w.trace.note(w.clock.ns, s.id, "reset arrives", 0)
	case seg.end == endFIN:
		s.fin = true
		w.trace.note(w.clock.ns, s.id, "FIN arrives", 0)
	case len(seg.data) == 0:
		return
	default:
		s.rx = append(s.rx, seg.data...)
		w.trace.note(w.clock.ns, s.id, "bytes arrive", len(seg.data))
	}
	s.edge()
}

// taken makes room: the client has read n bytes.
func (s *socket) taken(n int) {
	s.used -= n
	if s.noSpace && s.room() > 0 {
		s.noSpace = false
		if s.interest {
			s.edge()
		}
	}
}

// refuse answers a connection that nobody will accept.
func (s *socket) refuse() {
	s.closed = true
	s.reset()
}

// reset tells the client that nobody is here, once.
func (s *socket) reset() {
	if s.down != nil {
		s.down.put(segment{end: endRST})
		s.down = nil
	}
}

// check reports an owner who comes while another is inside, and who comes late.
func (s *socket) check(call string, overlaps bool) {
	switch {
	case s.closed:
		s.w.violate("one connection, one owner", "#%d: %s after Close", s.id, call)
	case overlaps:
		s.w.violate("one connection, one owner", "#%d: %s while another call is under way", s.id, call)
	}
}

// Start implements host.Socket.
func (s *socket) Start(h host.Handler) error {
	s.check("Start", s.changing || s.handler != nil)
	if !s.calm && s.w.faults.Has(StartErrors) && s.w.rng.IntN(16) == 0 {
		s.refused = true
		s.w.trace.note(s.w.clock.ns, s.id, "start fails", 0)
		return syscall.ENOSPC
	}
	s.changing = true
	s.handler = h
	if s.state() != 0 {
		s.edge()
	}
	s.w.preempt()
	s.changing = false
	return nil
}

// Read implements host.Socket.
func (s *socket) Read(p []byte) (int, error) {
	s.check("Read", s.reading || s.changing)
	if s.closed {
		return 0, host.ErrClosed
	}
	s.reading = true
	s.w.preempt()
	s.reading = false
	n, err := s.receive(p)
	s.w.trace.note(s.w.clock.ns, s.id, "read", n)
	return n, err
}

func (s *socket) receive(p []byte) (int, error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case len(s.rx) > 0:
		n := copy(p, s.rx)
		if s.rx = s.rx[n:]; len(s.rx) == 0 {
			s.rx = nil
		}
		return n, nil
	case s.err != nil:
		return 0, s.err
	case s.fin:
		return 0, io.EOF
	default:
		return 0, host.ErrWouldBlock
	}
}

// Write implements host.Socket.
func (s *socket) Write(p []byte) (int, error) {
	s.check("Write", s.writing || s.changing)
	if s.closed {
		return 0, host.ErrClosed
	}
	if s.shut {
		s.w.violate("one connection, one owner", "#%d: Write after CloseWrite", s.id)
	}
	s.writing = true
	s.w.preempt()
	n, err := s.transmit(p)
	s.w.trace.note(s.w.clock.ns, s.id, "write", n)
	s.w.trace.bytes(p[:n])
	s.w.preempt()
	s.writing = false
	return n, err
}

func (s *socket) transmit(p []byte) (int, error) {
	w := s.w
	switch {
	case len(p) == 0:
		return 0, nil
	case s.err != nil || s.shut || s.down == nil:
		return 0, syscall.EPIPE
	}
	n := min(len(p), s.room())
	if n < len(p) {
		s.noSpace = true
	}
	if s.fresh == 0 && n > 0 && !s.calm && w.faults.Has(Choke) && w.rng.IntN(4) == 0 {
		n = w.rng.IntN(n + 1)
	}
	if n == 0 {
		return 0, host.ErrWouldBlock
	}
	s.fresh = max(0, s.fresh-n)
	s.used += n
	s.down.send(append([]byte(nil), p[:n]...))
	return n, nil
}

// WantWrite implements host.Socket.
func (s *socket) WantWrite(on bool) error {
	s.check("WantWrite", s.writing || s.changing)
	if s.closed {
		return host.ErrClosed
	}
	if s.handler == nil {
		return errors.New("the socket was not started")
	}
	s.interest = on
	s.w.trace.note(s.w.clock.ns, s.id, "want write", btoi(on))
	if s.state() != 0 { // as EPOLL_CTL_MOD: what is ready is told anew
		s.edge()
	} else if on {
		s.noSpace = true
	}
	s.writing = true
	s.w.preempt()
	s.writing = false
	return nil
}

// CloseWrite implements host.Socket.
func (s *socket) CloseWrite() error {
	s.check("CloseWrite", s.writing || s.changing)
	if s.closed {
		return host.ErrClosed
	}
	s.finish()
	s.writing = true
	s.w.preempt()
	s.writing = false
	return nil
}

// finish sends our FIN, once.
func (s *socket) finish() {
	if s.shut || s.down == nil || s.err != nil {
		return
	}
	s.shut = true
	s.w.trace.note(s.w.clock.ns, s.id, "FIN", 0)
	s.down.put(segment{end: endFIN})
}

// Close implements host.Socket. Bytes that nobody read make it a reset, as the
// system does.
func (s *socket) Close() error {
	if s.closed {
		return nil
	}
	s.check("Close", s.reading || s.writing || s.changing)
	s.closed = true
	s.w.trace.note(s.w.clock.ns, s.id, "close", len(s.rx))
	s.shard.forget(s)
	s.w.freeNumber(s.fd)
	s.w.closed++
	switch {
	case s.err != nil:
	case len(s.rx) > 0:
		s.reset()
	default:
		s.finish()
	}
	s.rx = nil
	s.changing = true
	s.w.preempt()
	s.changing = false
	return nil
}

// Detach implements host.Socket. net/http runs on goroutines of its own and on
// real time, so it has no place here.
func (s *socket) Detach() (net.Conn, error) {
	err := s.Close()
	return nil, errors.Join(errors.New("the simulator has no net/http"), err)
}

// RemoteAddr implements host.Socket.
func (s *socket) RemoteAddr() netip.AddrPort { return s.addr }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
