package load

import (
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sourceAddresses is how many addresses of 127.0.0.0/8 the connections of a run
// start from, in turn, so that tens of thousands do not exhaust the ports of
// one.
const sourceAddresses = 8

// dialer starts non-blocking connections to one loopback address.
type dialer struct {
	to   unix.SockaddrInet4
	next int // source address to use
}

func newDialer(address string) (*dialer, error) {
	a, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, err
	}
	d := &dialer{to: unix.SockaddrInet4{Port: a.Port}}
	copy(d.to.Addr[:], a.IP.To4())
	if d.to.Addr[0] != 127 {
		return nil, fmt.Errorf("load: %s is not a loopback address", address)
	}
	return d, nil
}

// dial begins a connection; the descriptor is writable when it stands.
func (d *dialer) dial() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	from := unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + d.next%sourceAddresses)}}
	d.next++
	err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil {
		// The port is then chosen at connect, where the pair with the
		// destination is known to be free, not here.
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &from)
	}
	if err == nil {
		if err = unix.Connect(fd, &d.to); err == unix.EINPROGRESS {
			err = nil
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

// socketError returns and clears the pending error of a connecting socket.
func socketError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if n != 0 {
		return unix.Errno(n)
	}
	return nil
}

// recv and send never block, so Go's scheduler need not know of them.
func recv(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
	return int(n), errno
}

func send(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}
