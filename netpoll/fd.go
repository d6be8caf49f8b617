//go:build linux || darwin

package netpoll

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// The systems whose pollers we use directly, on raw descriptors that Go's own
// poller has never seen. What differs between them is the shard (add, mod, del,
// close), accept, recv and send, in poller_linux.go and poller_bsd.go.
type (
	sysPoller   = rawPoller
	sysListener = rawListener
	sysSocket   = rawSocket
)

// rawPoller deals sockets to its shards.
type rawPoller struct {
	shards []*shard      // constant
	turn   atomic.Uint32 // whose turn it is to get a socket
	closed atomic.Bool

	probing sync.Mutex // below
	probes  []*probe   // one a shard, or none
}

func openSys(o Options) (*rawPoller, error) {
	p := &rawPoller{}
	for i := range o.Shards {
		sh, err := openShard(func(err error) { o.OnError(fmt.Errorf("netpoll: shard %d: %w", i, err)) })
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.shards = append(p.shards, sh)
	}
	return p, nil
}

func (p *rawPoller) nextShard() *shard {
	return p.shards[int(p.turn.Add(1)%uint32(len(p.shards)))]
}

func (p *rawPoller) stats() Stats {
	var s Stats
	for _, sh := range p.shards {
		s.sum(sh.read())
	}
	return s
}

func (p *rawPoller) close() error {
	if p.closed.Swap(true) {
		return nil
	}
	var errs []error
	p.probing.Lock()
	defer p.probing.Unlock()
	for _, pr := range p.probes {
		pr.shard.del(pr.near)
	}
	left := int64(0)
	for _, sh := range p.shards {
		left += sh.registered.Load()
		errs = append(errs, sh.close())
	}
	for _, pr := range p.probes { // now that no shard reads from them
		pr.closePair()
	}
	if left != 0 {
		errs = append(errs, fmt.Errorf("%d sockets or listeners are still open", left))
	}
	return errors.Join(errs...)
}

// rawListener owns a listening descriptor.
type rawListener struct {
	poller *rawPoller // constant, as the next three
	shard  *shard
	addr   net.Addr
	file   *socketFile // of a unix socket with a name, else nil

	h      Handler // constant after Start
	closed atomic.Bool

	mu      sync.Mutex // so that nobody accepts from the descriptor's next owner
	fd      int
	reserve int // a descriptor to close when there are no more; -1: it is gone
	started bool
}

// listen lets package net resolve, bind and listen.
func (p *rawPoller) listen(network, address string, o ListenOptions) (*rawListener, error) {
	if p.closed.Load() {
		return nil, ErrClosed
	}
	lc := net.ListenConfig{Control: o.control}
	lc.SetMultipathTCP(false) // it would be on, and slows down every accepted socket
	named := network == "unix" && address != "" && address[0] != '@'
	if named {
		defer lockFolder(address)()
		if err := makeWay(address); err != nil {
			return nil, fmt.Errorf("listen %s %s: %w", network, address, err)
		}
	}
	ln, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	l, err := p.adopt(ln, o)
	if named {
		file, merr := made(address, o.Mode)
		switch {
		case err == nil && merr == nil:
			l.file = file
		case err == nil:
			unix.Close(l.fd)
			unix.Close(l.reserve)
			err = merr
		}
	}
	if err != nil {
		if named {
			os.Remove(address) // ours: the folder is locked
		}
		return nil, fmt.Errorf("listen %s %s: %w", network, address, err)
	}
	return l, nil
}

// adopt takes a duplicate of the descriptor of ln, which it closes: package net
// forgets the original, so that only we watch it. The file of a unix socket stays.
func (p *rawPoller) adopt(ln net.Listener, o ListenOptions) (*rawListener, error) {
	l := &rawListener{poller: p, shard: p.nextShard(), addr: ln.Addr(), fd: -1}
	u, isUnix := ln.(*net.UnixListener)
	if isUnix {
		u.SetUnlinkOnClose(false)
	}
	var err error
	if p.closed.Load() {
		err = ErrClosed
	}
	if err == nil {
		l.fd, err = duplicate(ln.(syscall.Conn))
	}
	if cerr := ln.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = mustListen(l.fd)
	}
	if err == nil && !isUnix {
		err = prepareListener(l.fd, o)
	}
	if err == nil {
		l.reserve, err = openReserve()
	}
	if err != nil {
		if l.fd >= 0 {
			unix.Close(l.fd)
		}
		return nil, err
	}
	return l, nil
}

// mustListen refuses a socket that nobody can connect to.
func mustListen(fd int) error {
	switch listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); {
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case listens == 0:
		return errors.New("the socket does not listen")
	}
	return nil
}

// duplicate returns a second descriptor for what c has open.
func duplicate(c syscall.Conn) (int, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	if err := rc.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, err
	}
	return fd, os.NewSyscallError("fcntl", dupErr)
}

func (l *rawListener) address() net.Addr { return l.addr }

func (l *rawListener) start(h Handler) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return ErrClosed
	}
	if l.started {
		return errStarted
	}
	l.h = h
	if err := l.shard.add(l.fd, l); err != nil {
		return err
	}
	l.started = true
	return nil
}

// ready runs on the shard's goroutine.
func (l *rawListener) ready(ev Event) {
	if l.closed.Load() {
		l.shard.stale.Add(1)
		return
	}
	l.shard.deliver(l.h, ev)
}

func (l *rawListener) accept() (accepted, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return accepted{}, ErrClosed
	}
	return l.acceptLocked()
}

func (l *rawListener) acceptLocked() (accepted, error) {
	for {
		a, errno := acceptFD(l.fd)
		switch errno {
		case 0:
			return a, nil
		case unix.EAGAIN:
			return accepted{}, ErrWouldBlock
		case unix.EINTR, unix.ECONNABORTED, unix.EPROTO:
			// each of the latter two took a dead connection from the queue
		default:
			return accepted{}, errno
		}
	}
}

func (l *rawListener) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Swap(true) {
		return nil
	}
	if l.started {
		l.shard.del(l.fd)
	}
	if l.reserve >= 0 {
		unix.Close(l.reserve)
	}
	// The file first: once nobody listens, another may make its own in its place.
	err := l.file.remove()
	return errors.Join(err, os.NewSyscallError("close", unix.Close(l.fd)))
}

// accepted is a new connection on its way from the kernel into a Socket.
type accepted struct {
	fd     int32
	remote netip.AddrPort
}

// remoteFrom decodes what accept tells about the other side.
func remoteFrom4(addr [4]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(addr), port)
}

func remoteFrom6(addr [16]byte, port uint16, scope uint32) netip.AddrPort {
	ip := netip.AddrFrom16(addr).Unmap()
	if scope != 0 {
		ip = ip.WithZone(strconv.FormatUint(uint64(scope), 10)) // link-local only; Unmap'ed ones stay without
	}
	return netip.AddrPortFrom(ip, port)
}

// rawSocket owns the descriptor of a connection. It is kept small, 64 B, for
// there are as many as connections.
type rawSocket struct {
	h      Handler // constant after Start
	shard  *shard  // constant, as the next two
	remote netip.AddrPort
	fd     int32
	state  atomic.Uint32
}

// Bits of rawSocket.state.
const (
	stateStarted = 1 << iota // the shard may know the descriptor
	stateClosed              // and must forget it, or has
	stateWriting             // write interest is on; only the writer touches this bit
)

func (s *rawSocket) init(l *rawListener, a accepted) {
	s.shard = l.poller.nextShard()
	s.fd = a.fd
	s.remote = a.remote
}

func (s *rawSocket) remoteAddr() netip.AddrPort { return s.remote }

func (s *rawSocket) start(h Handler) error {
	switch old := s.state.Load(); {
	case old&stateClosed != 0:
		return ErrClosed
	case old&stateStarted != 0:
		return errStarted
	}
	// All of this comes before add: from then on the handler may run, and the
	// socket be closed, before add returns.
	s.h = h
	s.state.Or(stateStarted)
	if err := s.shard.add(int(s.fd), s); err != nil {
		s.state.And(^uint32(stateStarted))
		return err
	}
	return nil
}

// ready runs on the shard's goroutine, perhaps for an event of the
// descriptor's former owner, perhaps after close.
func (s *rawSocket) ready(ev Event) {
	if s.state.Load()&stateClosed != 0 {
		s.shard.stale.Add(1)
		return
	}
	s.shard.deliver(s.h, ev)
}

func (s *rawSocket) wantWrite(on bool) error {
	switch old := s.state.Load(); {
	case old&stateClosed != 0:
		return ErrClosed
	case old&stateStarted == 0:
		return errNotStarted
	case !on && old&stateWriting == 0:
		return nil
	}
	if err := s.shard.mod(int(s.fd), on); err != nil {
		return err
	}
	if on {
		s.state.Or(stateWriting)
	} else {
		s.state.And(^uint32(stateWriting))
	}
	return nil
}

func (s *rawSocket) closeWrite() error {
	if s.state.Load()&stateClosed != 0 {
		return ErrClosed
	}
	return os.NewSyscallError("shutdown", unix.Shutdown(int(s.fd), unix.SHUT_WR))
}

// retire makes the socket closed for everybody and reports whether it was us.
func (s *rawSocket) retire() bool {
	old := s.state.Or(stateClosed)
	if old&stateClosed != 0 {
		return false
	}
	if old&stateStarted != 0 {
		s.shard.del(int(s.fd)) // before close: the number may have a new owner at once
	}
	return true
}

func (s *rawSocket) close() error {
	if !s.retire() {
		return nil
	}
	// Also after EINTR the descriptor is gone, so never a second time.
	return os.NewSyscallError("close", unix.Close(int(s.fd)))
}

func (s *rawSocket) detach() (net.Conn, error) {
	if !s.retire() {
		return nil, ErrClosed
	}
	// net.FileConn takes a duplicate; closing f closes our number.
	f := os.NewFile(uintptr(s.fd), "")
	c, err := net.FileConn(f)
	if cerr := f.Close(); err == nil && cerr != nil {
		c.Close()
		return nil, fmt.Errorf("netpoll: detach: %w", cerr)
	}
	if err != nil {
		return nil, fmt.Errorf("netpoll: detach: %w", err)
	}
	return c, nil
}
