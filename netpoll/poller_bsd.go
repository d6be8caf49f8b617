//go:build darwin

package netpoll

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	easypoll "github.com/mailru/easygo/netpoll"
	"golang.org/x/sys/unix"
)

// Identifiers, impossible for descriptors, of timers that fire at once on the
// goroutine of a kqueue. easygo's Kqueue.Close does nothing; its wait loop
// ends when an event of identifier -1 arrives.
const (
	identEnd     = -1
	identBarrier = -2
)

// shard is one kqueue with the goroutine that waits on it.
type shard struct {
	kqueue *easypoll.Kqueue
	closed atomic.Bool
	dead   chan struct{} // closed when the wait loop failed
	counters
}

func openShard(onError func(error)) (*shard, error) {
	s := &shard{dead: make(chan struct{})}
	kq, err := easypoll.KqueueCreate(&easypoll.KqueueConfig{OnWaitError: func(err error) {
		close(s.dead)
		onError(err)
	}})
	if err != nil {
		return nil, fmt.Errorf("create kqueue: %w", err)
	}
	s.kqueue = kq // no close-on-exec needed: a child never inherits a kqueue
	return s, nil
}

// readier is a socket or a listener.
type readier interface{ ready(Event) }

// kevents returns one change in the form that easygo takes.
func kevents(filter easypoll.KeventFilter, flags easypoll.KeventFlag) easypoll.Kevents {
	return easypoll.Kevents{{Filter: filter, Flags: flags}}
}

// add registers fd for reading. EV_CLEAR is kqueue's edge trigger.
func (s *shard) add(fd int, r readier) error {
	if s.closed.Load() {
		return ErrClosed
	}
	s.registered.Add(1)
	err := s.kqueue.Add(fd, kevents(easypoll.EVFILT_READ, easypoll.EV_ADD|easypoll.EV_CLEAR), 1,
		func(ev easypoll.Kevent) {
			if !s.closed.Load() {
				r.ready(eventFrom(ev))
			}
		})
	if err == nil {
		return nil
	}
	s.registered.Add(-1)
	if !errors.Is(err, easypoll.ErrRegistered) {
		s.kqueue.Del(fd) // easygo keeps the callback of an Add that failed
	}
	return fmt.Errorf("netpoll: register: %w", os.NewSyscallError("kevent", err))
}

// mod sets the write interest of fd. Adding it, also anew, makes the kernel
// look whether there is room already.
func (s *shard) mod(fd int, write bool) error {
	if s.closed.Load() {
		return ErrClosed
	}
	flags := easypoll.KeventFlag(easypoll.EV_DELETE)
	if write {
		flags = easypoll.EV_ADD | easypoll.EV_CLEAR
	}
	return os.NewSyscallError("kevent", s.kqueue.Mod(fd, kevents(easypoll.EVFILT_WRITE, flags), 1))
}

// del forgets the callback of fd; the kernel forgets its filters when the
// descriptor is closed, which follows.
func (s *shard) del(fd int) {
	s.registered.Add(-1)
	s.kqueue.Del(fd)
}

// close makes sure that no callback runs or will run, then lets the goroutine
// end, which closes the kqueue.
func (s *shard) close() error {
	s.closed.Store(true)
	passed := make(chan struct{})
	once := kevents(easypoll.EVFILT_TIMER, easypoll.EV_ADD|easypoll.EV_ONESHOT)
	if err := s.kqueue.Add(identBarrier, once, 1, func(easypoll.Kevent) { close(passed) }); err != nil {
		return os.NewSyscallError("kevent", err)
	}
	select {
	case <-passed:
	case <-s.dead:
		return nil
	}
	return os.NewSyscallError("kevent", s.kqueue.Add(identEnd, once, 1, func(easypoll.Kevent) {}))
}

func eventFrom(ev easypoll.Kevent) Event {
	out := Readable
	if ev.Filter == easypoll.EVFILT_WRITE {
		out = Writable
	}
	if ev.Flags&easypoll.EV_EOF != 0 {
		out |= Readable | Hangup
	}
	return out
}

// read: see Socket.Read.
func (s *rawSocket) read(p []byte) (int, error) {
	if s.state.Load()&stateClosed != 0 {
		return 0, ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(int(s.fd), p)
		switch {
		case err == nil && n == 0:
			return 0, io.EOF
		case err == nil:
			return n, nil
		case err == unix.EAGAIN:
			return 0, ErrWouldBlock
		case err != unix.EINTR:
			return 0, err
		}
	}
}

// write: see Socket.Write. SIGPIPE needs no care: the Go runtime drops it for
// descriptors other than 1 and 2.
func (s *rawSocket) write(p []byte) (int, error) {
	if s.state.Load()&stateClosed != 0 {
		return 0, ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Write(int(s.fd), p)
		switch {
		case err == nil:
			return n, nil
		case err == unix.EAGAIN:
			return 0, ErrWouldBlock
		case err != unix.EINTR:
			return 0, err
		}
	}
}

// prepareListener has nothing to do: acceptFD sets the options.
func prepareListener(int, ListenOptions) error { return nil }

// acceptFD takes a connection without waiting: the listening socket is
// non-blocking. There is no accept4, so forking waits for the mark.
func acceptFD(fd int) (accepted, syscall.Errno) {
	syscall.ForkLock.RLock()
	nfd, sa, err := unix.Accept(fd)
	if err == nil {
		unix.CloseOnExec(nfd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return accepted{}, errnoOf(err)
	}
	a := accepted{fd: int32(nfd)}
	err = unix.SetNonblock(nfd, true)
	if err == nil {
		switch sa := sa.(type) {
		case *unix.SockaddrInet4:
			a.remote = remoteFrom4(sa.Addr, uint16(sa.Port))
			err = unix.SetsockoptInt(nfd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		case *unix.SockaddrInet6:
			a.remote = remoteFrom6(sa.Addr, uint16(sa.Port), sa.ZoneId)
			err = unix.SetsockoptInt(nfd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		}
	}
	if err != nil {
		unix.Close(nfd)
		if err == unix.EINVAL { // macOS says so when the other side has left
			return accepted{}, unix.ECONNABORTED
		}
		return accepted{}, errnoOf(err)
	}
	return a, 0
}

func errnoOf(err error) syscall.Errno {
	if errno, ok := err.(syscall.Errno); ok {
		return errno
	}
	return unix.EIO
}
