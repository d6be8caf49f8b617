package netpoll

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The reference: the contract of this package over plain net.Conns, for
// systems whose poller we do not use, and for the tests on all systems. Each
// connection costs a parked goroutine and a small buffer, and another
// goroutine while it writes.

const (
	refReadBytes  = 4 << 10  // what is read ahead of the owner
	refWriteBytes = 16 << 10 // what Write takes ahead of the connection

	// refLinger is how long a closed socket may still send what Write took;
	// elsewhere the kernel does that.
	refLinger = 5 * time.Second
)

// refPoller deals sockets to its shards.
type refPoller struct {
	shards []*refShard
	turn   atomic.Uint32
	closed atomic.Bool
	wg     sync.WaitGroup // every goroutine but the shards'
}

func openRef(o Options) (*refPoller, error) {
	p := &refPoller{}
	for range o.Shards {
		sh := &refShard{ended: make(chan struct{})}
		sh.wake.L = &sh.mu
		p.shards = append(p.shards, sh)
		go sh.run() // ends with refShard.close
	}
	return p, nil
}

func (p *refPoller) nextShard() *refShard {
	return p.shards[int(p.turn.Add(1)%uint32(len(p.shards)))]
}

func (p *refPoller) stats() Stats {
	var s Stats
	for _, sh := range p.shards {
		s.sum(sh.read())
	}
	return s
}

func (p *refPoller) close() error {
	if p.closed.Swap(true) {
		return nil
	}
	left := int64(0)
	for _, sh := range p.shards {
		left += sh.registered.Load()
	}
	if left == 0 {
		p.wg.Wait() // else for ever
	}
	for _, sh := range p.shards {
		sh.close()
	}
	if left != 0 {
		return fmt.Errorf("%d sockets or listeners are still open", left)
	}
	return nil
}

// refShard calls handlers one after another, as the goroutine of a real
// poller does.
type refShard struct {
	counters
	ended chan struct{} // closed when run returned

	mu     sync.Mutex // taken after refSocket.mu and refListener.mu
	wake   sync.Cond
	queue  []*refSource
	closed bool
}

// refSource is a socket or listener as its shard sees it.
type refSource struct {
	ready   func(Event)
	pending Event // 0 when not queued; under refShard.mu
}

func (s *refShard) run() {
	defer close(s.ended)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.queue) == 0 && !s.closed {
			s.wake.Wait()
		}
		if s.closed {
			return
		}
		src := s.queue[0]
		s.queue = s.queue[1:]
		ev := src.pending
		src.pending = 0
		s.mu.Unlock()
		src.ready(ev)
		s.mu.Lock()
	}
}

// notify queues an event.
func (s *refShard) notify(src *refSource, ev Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if src.pending == 0 {
		s.queue = append(s.queue, src)
		s.wake.Signal()
	}
	src.pending |= ev
}

func (s *refShard) close() {
	s.mu.Lock()
	s.closed = true
	s.wake.Signal()
	s.mu.Unlock()
	<-s.ended
}

// refListener accepts one connection ahead of its owner.
type refListener struct {
	poller *refPoller
	shard  *refShard
	ln     net.Listener
	src    refSource
	h      Handler // constant after start

	mu      sync.Mutex
	taken   sync.Cond // next and err were emptied, or closed was set
	next    net.Conn
	err     error
	started bool
	closed  bool
}

// listen knows no options: they are for servers, and this is not for those.
func (p *refPoller) listen(network, address string, _ ListenOptions) (*refListener, error) {
	if p.closed.Load() {
		return nil, ErrClosed
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	return p.adopt(ln, ListenOptions{})
}

// adopt makes ln the poller's. Package net knows whose the file of a unix socket
// is.
func (p *refPoller) adopt(ln net.Listener, _ ListenOptions) (*refListener, error) {
	if p.closed.Load() {
		ln.Close()
		return nil, ErrClosed
	}
	l := &refListener{poller: p, shard: p.nextShard(), ln: ln}
	l.taken.L = &l.mu
	l.src.ready = l.ready
	return l, nil
}

// probe has every shard call a function.
func (p *refPoller) probe(ctx context.Context) error {
	if p.closed.Load() {
		return ErrClosed
	}
	heard := make(chan struct{}, len(p.shards)) // shards may answer after nobody waits any more
	for _, sh := range p.shards {
		sh.notify(&refSource{ready: func(Event) { heard <- struct{}{} }}, Readable)
	}
	for range p.shards {
		select {
		case <-heard:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (l *refListener) address() net.Addr { return l.ln.Addr() }

func (l *refListener) start(h Handler) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.poller.closed.Load() {
		return ErrClosed
	}
	if l.started {
		return errStarted
	}
	l.started = true
	l.h = h
	l.shard.registered.Add(1)
	l.poller.wg.Go(l.acceptLoop) // ends when close closes ln
	return nil
}

func (l *refListener) acceptLoop() {
	failed := false
	for {
		c, err := l.ln.Accept()
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			if err == nil {
				c.Close()
			}
			return
		}
		l.next, l.err = c, err
		// A failure that lasts is told once: the owner comes back by itself.
		if err == nil || !failed {
			l.shard.notify(&l.src, Readable)
		}
		failed = err != nil
		for (l.next != nil || l.err != nil) && !l.closed {
			l.taken.Wait()
		}
		l.mu.Unlock()
	}
}

func (l *refListener) ready(ev Event) {
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		l.shard.stale.Add(1)
		return
	}
	l.shard.deliver(l.h, ev)
}

func (l *refListener) accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	c, err := l.next, l.err
	if c == nil && err == nil {
		return nil, ErrWouldBlock
	}
	l.next, l.err = nil, nil
	l.taken.Signal()
	return c, plainError(err)
}

// refuse has no descriptor in reserve.
func (l *refListener) refuse([]byte) error { return errors.ErrUnsupported }

func (l *refListener) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.taken.Signal()
	if l.started {
		l.shard.registered.Add(-1)
	}
	if l.next != nil {
		l.next.Close()
	}
	return l.ln.Close()
}

// refSocket reads and writes ahead of its owner.
type refSocket struct {
	poller *refPoller
	shard  *refShard
	conn   net.Conn
	remote netip.AddrPort
	src    refSource
	h      Handler // constant after start

	readEnded chan struct{} // closed when readLoop returned

	mu       sync.Mutex
	started  bool
	closed   bool // by close or detach
	detached bool

	in      []byte    // read and not yet taken by the owner
	inErr   error     // what follows in
	drained sync.Cond // in was emptied, or closed was set

	out      []byte // taken from the owner and not yet in writeLoop's hands
	spare    []byte // writeLoop's buffer between two rounds
	outErr   error
	writing  bool          // writeLoop runs
	want     bool          // the owner wants Writable
	shut     bool          // the stream ends after out
	outEnded chan struct{} // made by detach while writing; closed by writeLoop
}

func (s *refSocket) init(l *refListener, c net.Conn) {
	s.poller = l.poller
	s.shard = l.poller.nextShard()
	s.conn = c
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		s.remote = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	s.src.ready = s.ready
	s.drained.L = &s.mu
	s.readEnded = make(chan struct{})
}

func (s *refSocket) remoteAddr() netip.AddrPort { return s.remote }

func (s *refSocket) start(h Handler) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.poller.closed.Load() {
		return ErrClosed
	}
	if s.started {
		return errStarted
	}
	s.started = true
	s.h = h
	s.shard.registered.Add(1)
	s.poller.wg.Go(s.readLoop) // ends when close or detach interrupts the read
	return nil
}

func (s *refSocket) readLoop() {
	defer close(s.readEnded)
	buf := make([]byte, refReadBytes)
	for {
		n, err := s.conn.Read(buf)
		s.mu.Lock()
		s.in, s.inErr = buf[:n], err
		if !s.closed {
			ev := Readable
			if err != nil {
				ev |= Hangup
			}
			s.shard.notify(&s.src, ev)
		}
		for len(s.in) > 0 && !s.closed {
			s.drained.Wait()
		}
		end := s.closed || err != nil
		s.mu.Unlock()
		if end {
			return
		}
	}
}

func (s *refSocket) ready(ev Event) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		s.shard.stale.Add(1)
		return
	}
	s.shard.deliver(s.h, ev)
}

func (s *refSocket) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return 0, ErrClosed
	case len(p) == 0:
		return 0, nil
	case len(s.in) > 0:
		n := copy(p, s.in)
		s.in = s.in[n:]
		if len(s.in) == 0 {
			s.drained.Signal()
		}
		return n, nil
	case s.inErr != nil:
		return 0, plainError(s.inErr)
	}
	return 0, ErrWouldBlock
}

func (s *refSocket) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := refWriteBytes - len(s.out)
	switch {
	case s.closed:
		return 0, ErrClosed
	case len(p) == 0:
		return 0, nil
	case s.outErr != nil:
		return 0, plainError(s.outErr)
	case s.shut:
		return 0, syscall.EPIPE
	case room == 0:
		return 0, ErrWouldBlock
	}
	n := min(len(p), room)
	s.out = append(s.out, p[:n]...)
	if !s.writing {
		s.writing = true
		s.poller.wg.Go(s.writeLoop) // ends when out is empty or the connection broken
	}
	return n, nil
}

func (s *refSocket) writeLoop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.out) > 0 && s.outErr == nil {
		chunk := s.out
		s.out = s.spare[:0]
		s.spare = nil
		s.mu.Unlock()
		_, err := s.conn.Write(chunk)
		s.mu.Lock()
		s.spare = chunk
		s.outErr = err
		if s.want && !s.closed {
			s.shard.notify(&s.src, Writable)
		}
	}
	s.writing = false
	if s.shut {
		s.shutLocked()
	}
	switch {
	case s.detached:
		close(s.outEnded)
	case s.closed:
		s.conn.Close()
	}
}

func (s *refSocket) wantWrite(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case !s.started:
		return errNotStarted
	}
	s.want = on
	if on && (len(s.out) < refWriteBytes || s.outErr != nil) {
		s.shard.notify(&s.src, Writable)
	}
	return nil
}

func (s *refSocket) closeWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.shut = true
	if s.writing {
		return nil // writeLoop does it behind the last byte
	}
	return s.shutLocked()
}

func (s *refSocket) shutLocked() error {
	if c, ok := s.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// retireLocked makes the socket closed for everybody, and the reader end.
func (s *refSocket) retireLocked() {
	s.closed = true
	s.drained.Signal()
	if s.started {
		s.shard.registered.Add(-1)
	}
	s.conn.SetReadDeadline(time.Unix(1, 0))
}

func (s *refSocket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.retireLocked()
	if s.writing {
		s.conn.SetWriteDeadline(time.Now().Add(refLinger))
		return nil // writeLoop closes it
	}
	return s.conn.Close()
}

func (s *refSocket) detach() (net.Conn, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	s.retireLocked()
	s.detached = true
	if s.writing {
		s.outEnded = make(chan struct{})
	}
	started := s.started
	s.mu.Unlock()
	if started {
		<-s.readEnded // soon: its read has been interrupted
	}
	s.conn.SetReadDeadline(time.Time{})
	return &refConn{Conn: s.conn, pending: s.in, flushed: s.outEnded}, nil
}

// refConn is a connection that still has to give what the socket had read
// from it, and to wait for what the socket is writing to it.
type refConn struct {
	net.Conn
	pending []byte          // the reader's
	flushed <-chan struct{} // nil or closed when nothing is on its way
}

func (c *refConn) Read(p []byte) (int, error) {
	if len(c.pending) > 0 {
		n := copy(p, c.pending)
		c.pending = c.pending[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

func (c *refConn) Write(p []byte) (int, error) {
	c.flush()
	return c.Conn.Write(p)
}

func (c *refConn) CloseWrite() error {
	c.flush()
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

func (c *refConn) Close() error {
	if c.flushed != nil {
		c.Conn.SetWriteDeadline(time.Now().Add(refLinger))
		c.flush()
	}
	return c.Conn.Close()
}

func (c *refConn) flush() {
	if c.flushed != nil {
		<-c.flushed
	}
}

// plainError turns an error of package net into what a system call returns.
func plainError(err error) error {
	var errno syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.As(err, &errno):
		return errno
	}
	return err
}
