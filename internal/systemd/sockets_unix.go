//go:build unix

package systemd

import (
	"net"
	"os"
	"syscall"
)

func open(fd int, name string) (Socket, error) {
	if _, err := syscall.Getsockname(fd); err != nil { // before the number becomes a file's to close
		return Socket{}, os.NewSyscallError("getsockname", err)
	}
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), name)
	ln, err := net.FileListener(f) // of a duplicate
	if err != nil {
		_ = f.Close()
		return Socket{}, err
	}
	defer ln.Close()
	return Socket{name, f, ln.Addr()}, nil
}
