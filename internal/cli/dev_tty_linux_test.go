package cli

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"unsafe"
)

// A terminal of the kernel's own gives keys without Enter, and is as before in
// the end.
func TestATerminalGivesEachKeyAndIsRestored(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer master.Close()
	ask := func(request uintptr, value *int32) {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(value))); errno != 0 {
			t.Skip(errno)
		}
	}
	var number, unlock int32
	ask(syscall.TIOCSPTLCK, &unlock)
	ask(syscall.TIOCGPTN, &number)
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer terminal.Close()
	var before, during, after syscall.Termios
	must(t, termios(terminal, getTermios, &before))
	restore, single := eachKey(terminal)
	if !single {
		t.Fatal("it is no terminal")
	}
	must(t, termios(terminal, getTermios, &during))
	if during.Lflag&(syscall.ICANON|syscall.ECHO) != 0 || during.Lflag&syscall.ISIG == 0 || during.Oflag != before.Oflag {
		t.Errorf("the terminal is %+v, was %+v", during, before)
	}
	if _, err := master.WriteString("r"); err != nil {
		t.Fatal(err)
	}
	var key [1]byte
	if n, err := terminal.Read(key[:]); n != 1 || key[0] != 'r' {
		t.Errorf("read %q, %v", key[:n], err)
	}
	restore()
	must(t, termios(terminal, getTermios, &after))
	if after != before {
		t.Errorf("the terminal is %+v, was %+v", after, before)
	}
	if _, single := eachKey(os.Stdin); single {
		t.Log("standard input is a terminal")
	}
}
