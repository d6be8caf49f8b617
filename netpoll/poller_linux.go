package netpoll

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"syscall"
	"unsafe"

	easypoll "github.com/mailru/easygo/netpoll"
	"golang.org/x/sys/unix"
)

// What a socket is registered for. Edge-triggered, so that reading until
// ErrWouldBlock re-arms it without a system call.
const (
	interestRead  = easypoll.EPOLLIN | easypoll.EPOLLRDHUP | easypoll.EPOLLET
	interestWrite = interestRead | easypoll.EPOLLOUT

	// epollClosed is easygo's own mark in the callbacks that Epoll.Close makes.
	epollClosed = 0x20
)

// shard is one epoll set with the goroutine that waits on it.
type shard struct {
	epoll *easypoll.Epoll
	counters
}

func openShard(onError func(error)) (*shard, error) {
	// Nobody may fork between the birth of easygo's descriptors and our mark.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	ep, err := easypoll.EpollCreate(&easypoll.EpollConfig{OnWaitError: onError})
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	closeOnExec(ep)
	return &shard{epoll: ep}, nil
}

// closeOnExec marks the two descriptors of ep, which easygo does not do, so
// that no child process inherits them. It finds them by the names of their
// fields; should those change, the descriptors stay as they are and
// TestDescriptorsCloseOnExec fails.
func closeOnExec(ep *easypoll.Epoll) {
	v := reflect.ValueOf(ep).Elem()
	for _, name := range []string{"fd", "eventFd"} {
		if f := v.FieldByName(name); f.IsValid() && f.CanInt() {
			unix.CloseOnExec(int(f.Int()))
		}
	}
}

// readier is a socket or a listener.
type readier interface{ ready(Event) }

// add registers fd. One allocation, the closure, that lives as long.
func (s *shard) add(fd int, r readier) error {
	s.registered.Add(1)
	err := s.epoll.Add(fd, interestRead, func(ev easypoll.EpollEvent) {
		if ev != epollClosed {
			r.ready(eventFrom(ev))
		}
	})
	if err == nil {
		return nil
	}
	s.registered.Add(-1)
	if errors.Is(err, easypoll.ErrClosed) {
		return ErrClosed
	}
	if !errors.Is(err, easypoll.ErrRegistered) {
		s.epoll.Del(fd) // easygo keeps the callback of an Add that failed
	}
	return fmt.Errorf("netpoll: register: %w", os.NewSyscallError("epoll_ctl", err))
}

// mod sets the write interest of fd; the kernel then looks anew at what is
// ready and tells.
func (s *shard) mod(fd int, write bool) error {
	interest := easypoll.EpollEvent(interestRead)
	if write {
		interest = interestWrite
	}
	err := s.epoll.Mod(fd, interest)
	if errors.Is(err, easypoll.ErrClosed) {
		return ErrClosed
	}
	return os.NewSyscallError("epoll_ctl", err)
}

// del forgets fd. It cannot fail in a way that matters: at worst the set is
// closed, and the kernel forgets a descriptor by itself when it is closed.
func (s *shard) del(fd int) {
	s.registered.Add(-1)
	s.epoll.Del(fd)
}

// close ends the goroutine and waits for it.
func (s *shard) close() error { return s.epoll.Close() }

func eventFrom(ev easypoll.EpollEvent) Event {
	var out Event
	if ev&easypoll.EPOLLIN != 0 {
		out |= Readable
	}
	if ev&easypoll.EPOLLOUT != 0 {
		out |= Writable
	}
	if ev&easypoll.EPOLLRDHUP != 0 {
		out |= Readable | Hangup
	}
	if ev&(easypoll.EPOLLHUP|easypoll.EPOLLERR) != 0 {
		out |= Readable | Writable | Hangup
	}
	return out
}

// The socket calls below never sleep in the kernel, so they are made without
// telling the Go scheduler (RawSyscall), which spares 5–8 % of an echo server's
// CPU time and most of its context switches.

// maxRawBytes bounds the copying that one such call may do, because a thread
// inside it can be neither preempted nor stopped for the garbage collector:
// 256 KiB are some 30 µs.
const maxRawBytes = 256 << 10

// read: see Socket.Read.
func (s *rawSocket) read(p []byte) (int, error) {
	if s.state.Load()&stateClosed != 0 {
		return 0, ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, errno := s.transfer(unix.SYS_RECVFROM, p, 0)
	switch {
	case n > 0:
		return n, nil
	case errno == unix.EAGAIN:
		return 0, ErrWouldBlock
	case errno == 0:
		return 0, io.EOF
	}
	return 0, errno
}

// write: see Socket.Write.
func (s *rawSocket) write(p []byte) (int, error) {
	if s.state.Load()&stateClosed != 0 {
		return 0, ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, errno := s.transfer(unix.SYS_SENDTO, p, unix.MSG_NOSIGNAL)
	switch {
	case n > 0:
		return n, nil
	case errno == unix.EAGAIN:
		return 0, ErrWouldBlock
	}
	return 0, errno
}

// transfer receives into p or sends it, until all is done, the kernel moves
// less than asked for, or an error. An error behind some bytes is dropped: it,
// or the end of the stream, comes again.
func (s *rawSocket) transfer(trap uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	done := 0
	for {
		chunk := p[done:min(len(p), done+maxRawBytes)]
		n, _, errno := unix.RawSyscall6(trap, uintptr(s.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(chunk))), uintptr(len(chunk)), flags, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return done, errno
		}
		done += int(n)
		if int(n) < len(chunk) || done == len(p) {
			return done, 0
		}
	}
}

// prepareListener sets TCP_NODELAY on the listening socket: on Linux accepted
// sockets inherit it, which saves a system call for each. The same goes for
// TCP_USER_TIMEOUT, which a socket of MPTCP that was passed to us may not have.
func prepareListener(fd int, o ListenOptions) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil && o.UserTimeout > 0 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(max(o.UserTimeout.Milliseconds(), 1), math.MaxInt32)))
		if err == unix.ENOPROTOOPT {
			err = nil
		}
	}
	return os.NewSyscallError("setsockopt", err)
}

// acceptFD takes a connection without waiting: the listening socket is
// non-blocking.
func acceptFD(fd int) (accepted, syscall.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd),
		uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return accepted{}, errno
	}
	a := accepted{fd: int32(n)}
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(&sa))
		a.remote = remoteFrom4(in.Addr, ntohs(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(&sa))
		a.remote = remoteFrom6(in.Addr, ntohs(in.Port), in.Scope_id)
	}
	return a, 0
}

// ntohs turns a port as the kernel stores it, big-endian, into a number.
func ntohs(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}
