//go:build linux || darwin

package netpoll

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// control is net.ListenConfig's: it sets what must be set before bind.
func (o ListenOptions) control(network, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		switch {
		case network == "unix":
			if o.Mode != 0 {
				// So that nobody whom Mode keeps out can connect before it is set on the
				// file. Where that is not to be had, the file's is what counts.
				_ = unix.Fchmod(int(fd), uint32(o.Mode.Perm()))
			}
		case o.ReusePort:
			err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		}
	})
	return errors.Join(cerr, err)
}

// socketFile is the file of a unix socket, known by what it is and not only by
// its name, so that nobody else's is removed.
type socketFile struct {
	path string
	info fs.FileInfo
}

// lockFolder keeps others who use this package from making or removing files of
// sockets in the same folder as path. Nothing is left behind, since it is the
// folder itself that is locked; one that cannot be locked goes without.
func lockFolder(path string) (unlock func()) {
	fd, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return func() {}
	}
	for range 100 { // a second at most: whoever locks it by intent lets go at once
		if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != unix.EINTR && err != unix.EWOULDBLOCK {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return func() { unix.Close(fd) }
}

// makeWay removes the file of a socket that nobody listens on any more, such as
// one that a killed server has left. The folder is locked.
func makeWay(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return nil // bind will say what is wrong, if anything is
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	defer unix.Close(fd)
	if err := unix.SetNonblock(fd, true); err != nil { // its backlog may be full
		return os.NewSyscallError("fcntl", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != unix.ECONNREFUSED {
		return nil // somebody is there, or we may not know
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// made notes the file that bind has made, and sets its permissions.
func made(path string, mode fs.FileMode) (*socketFile, error) {
	info, err := os.Lstat(path)
	if err == nil && mode != 0 {
		err = os.Chmod(path, mode.Perm())
	}
	return &socketFile{path: path, info: info}, err
}

// remove removes the file unless it is another one by now. nil is no file.
func (f *socketFile) remove() error {
	if f == nil || f.info == nil {
		return nil
	}
	defer lockFolder(f.path)()
	if now, err := os.Lstat(f.path); err != nil || !os.SameFile(now, f.info) {
		return nil
	}
	if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// openReserve opens a descriptor that is good for nothing but to be closed.
func openReserve() (int, error) {
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return fd, os.NewSyscallError("open", err)
}

// refuse: see Listener.Refuse.
func (l *rawListener) refuse(answer []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return ErrClosed
	}
	if l.reserve < 0 { // somebody else got it the last time
		var err error
		if l.reserve, err = openReserve(); err != nil {
			l.reserve = -1
			return err
		}
	}
	unix.Close(l.reserve)
	l.reserve = -1
	a, err := l.acceptLocked()
	if err == nil {
		sayAndClose(int(a.fd), answer)
	}
	if fd, oerr := openReserve(); oerr == nil {
		l.reserve = fd
	} else if err == nil {
		err = oerr
	}
	return err
}

// sayAndClose sends p and closes the socket, which does not block. What has come
// is read before, as far as it goes: a socket that is closed with unread bytes
// answers with a reset, which can overtake p.
func sayAndClose(fd int, p []byte) {
	_, _ = unix.Write(fd, p) // SIGPIPE is nothing to a Go program but on descriptors 1 and 2
	_ = unix.Shutdown(fd, unix.SHUT_WR)
	var unread [4 << 10]byte
	_, _ = unix.Read(fd, unread[:])
	unix.Close(fd)
}
