//go:build linux || darwin

package cli

import (
	"io"
	"os"
	"syscall"
	"unsafe"
)

// eachKey makes a terminal deliver every key at once and show none. What it
// prints and what Ctrl-C does stays. single is false when in is no terminal, or
// none that can be changed: then keys come with the Enter after them.
func eachKey(in io.Reader) (restore func(), single bool) {
	file, ok := in.(*os.File)
	if !ok {
		return func() {}, false
	}
	var before syscall.Termios
	if err := termios(file, getTermios, &before); err != nil {
		return func() {}, false
	}
	raw := before
	raw.Lflag &^= syscall.ICANON | syscall.ECHO
	raw.Cc[syscall.VMIN], raw.Cc[syscall.VTIME] = 1, 0
	if err := termios(file, setTermios, &raw); err != nil {
		return func() {}, false
	}
	return func() { _ = termios(file, setTermios, &before) }, true // a terminal that has gone needs no care
}

func termios(file *os.File, request uintptr, t *syscall.Termios) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	if err := conn.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(t)))
	}); err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}
