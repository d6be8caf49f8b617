package peers

import (
	"errors"
	"fmt"
	"net"
	goruntime "runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawServer is the floor: one epoll loop on one goroutine. It reads without
// blocking, writes what it read, and knows nothing else. Interest is edge
// triggered; a read that does not fill the buffer has left the socket dry, so
// that a message costs its share of one epoll_wait, one recvfrom and one sendto.
type rawServer struct {
	addr   *net.TCPAddr
	listen int // the listening socket
	epoll  int
	wake   int // an eventfd; readable means stop
	all    bool
	loop   sync.WaitGroup

	// The loop's own.
	conns []*rawConn // by descriptor; nil where there is none
	open  []*rawConn // in no order, for all
	buf   []byte
	err   error // why the loop ended, unless it was told to
}

// rawConn is a connection; rest is what the socket would not take yet.
type rawConn struct {
	fd    int
	place int // in rawServer.open
	rest  []byte
}

// rawBufferBytes is larger than any burst of the workloads.
const rawBufferBytes = 256 << 10

// maxRawRestBytes ends a connection that does not read what it is sent.
const maxRawRestBytes = 16 << 20

func startRawEcho(address string) (Server, error)    { return startRaw(address, false) }
func startRawPublish(address string) (Server, error) { return startRaw(address, true) }

func startRaw(address string, all bool) (_ Server, err error) {
	want, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, err
	}
	s := &rawServer{listen: -1, epoll: -1, wake: -1, all: all, buf: make([]byte, rawBufferBytes)}
	defer func() {
		if err != nil {
			s.closeAll()
		}
	}()
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	if s.listen, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|flags, 0); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err = unix.SetsockoptInt(s.listen, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, fmt.Errorf("SO_REUSEADDR: %w", err)
	}
	sa := &unix.SockaddrInet4{Port: want.Port}
	copy(sa.Addr[:], want.IP.To4())
	if err = unix.Bind(s.listen, sa); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	if err = unix.Listen(s.listen, 4096); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	bound, err := unix.Getsockname(s.listen)
	if err != nil {
		return nil, fmt.Errorf("getsockname: %w", err)
	}
	in4 := bound.(*unix.SockaddrInet4)
	s.addr = &net.TCPAddr{IP: in4.Addr[:], Port: in4.Port}
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if s.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	for _, fd := range []int{s.listen, s.wake} {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		if err = unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return nil, fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	s.loop.Go(s.run) // ends when Close makes wake readable
	return s, nil
}

// Addr implements Server.
func (s *rawServer) Addr() net.Addr { return s.addr }

// Close implements Server.
func (s *rawServer) Close() error {
	_, err := unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	if err != nil {
		return fmt.Errorf("write eventfd: %w", err)
	}
	s.loop.Wait()
	s.closeAll()
	return s.err
}

func (s *rawServer) closeAll() {
	for _, c := range s.open {
		_ = unix.Close(c.fd)
	}
	for _, fd := range []int{s.listen, s.epoll, s.wake} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	s.open, s.conns, s.listen, s.epoll, s.wake = nil, nil, -1, -1, -1
}

func (s *rawServer) run() {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	events := make([]unix.EpollEvent, 512)
	for {
		n, err := unix.EpollWait(s.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			s.err = fmt.Errorf("epoll_wait: %w", err)
			return
		}
		for i := range max(n, 0) {
			switch fd := int(events[i].Fd); fd {
			case s.wake:
				return
			case s.listen:
				s.accept()
			default:
				if c := s.conns[fd]; c != nil {
					s.ready(c, events[i].Events)
				}
			}
		}
	}
}

func (s *rawServer) accept() {
	for {
		fd, errno := rawAccept(s.listen)
		if errno != 0 {
			return // dry, or a connection that is gone already; then epoll tells again
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd)}
		if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			_ = unix.Close(fd)
			continue
		}
		for fd >= len(s.conns) {
			s.conns = append(s.conns, nil)
		}
		c := &rawConn{fd: fd, place: len(s.open)}
		s.conns[fd] = c
		s.open = append(s.open, c)
	}
}

// ready moves bytes until the socket is dry. The connection's table entry is
// cleared before its descriptor is closed, so an event that was fetched
// together with this one and is stale by now finds nobody.
func (s *rawServer) ready(c *rawConn, events uint32) {
	if len(c.rest) > 0 && !s.send(c, nil) {
		return
	}
	if events&^unix.EPOLLOUT == 0 {
		return // nothing but room to write
	}
	for {
		n, errno := rawRecv(c.fd, s.buf)
		switch {
		case errno == unix.EAGAIN:
			return
		case errno == unix.EINTR:
			continue
		case errno != 0 || n == 0:
			s.drop(c)
			return
		}
		if !s.all {
			if !s.send(c, s.buf[:n]) {
				return
			}
		} else {
			for i := len(s.open) - 1; i >= 0; i-- { // send may drop the one at i
				s.send(s.open[i], s.buf[:n])
			}
			if s.conns[c.fd] != c {
				return
			}
		}
		if n < len(s.buf) && events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) == 0 {
			return
		}
	}
}

// send writes what was left over and then p; false means that c is gone.
func (s *rawServer) send(c *rawConn, p []byte) bool {
	if len(c.rest) > 0 {
		c.rest = append(c.rest, p...)
		p = c.rest
	}
	n, errno := 0, unix.Errno(0)
	for n < len(p) {
		var k int
		if k, errno = rawSend(c.fd, p[n:]); errno == unix.EINTR {
			continue
		} else if errno != 0 {
			break
		}
		n += k
	}
	if errno != 0 && errno != unix.EAGAIN || len(p)-n > maxRawRestBytes {
		s.drop(c)
		return false
	}
	c.rest = append(c.rest[:0], p[n:]...)
	return true
}

func (s *rawServer) drop(c *rawConn) {
	s.conns[c.fd] = nil
	last := s.open[len(s.open)-1]
	s.open[c.place], last.place = last, c.place
	s.open = s.open[:len(s.open)-1]
	_ = unix.Close(c.fd)
}

// rawAccept, rawRecv and rawSend cannot block, so Go's scheduler need not know of them.
func rawAccept(fd int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), errno
}

func rawRecv(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
	return int(n), errno
}

func rawSend(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}
