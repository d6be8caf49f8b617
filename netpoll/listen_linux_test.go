package netpoll

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func openForTest(t *testing.T) *Poller {
	t.Helper()
	p, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func listenForTest(t *testing.T, p *Poller, network, address string, o ListenOptions) *Listener {
	t.Helper()
	ln, err := p.ListenWith(network, address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func TestSeveralListenersShareAnAddressIfAllWant(t *testing.T) {
	p := openForTest(t)
	first := listenForTest(t, p, "tcp", "127.0.0.1:0", ListenOptions{ReusePort: true})
	address := first.Addr().String()
	second := listenForTest(t, p, "tcp", address, ListenOptions{ReusePort: true})
	if _, err := p.Listen("tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a listener that does not want to share: %v", err)
	}
	told := newTold()
	for _, ln := range []*Listener{first, second} {
		if err := ln.Start(told); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", address) // who is left gets all
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	told.wait(t, Readable)
	s, err := second.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestAcceptedSocketsHaveTheUserTimeout(t *testing.T) {
	p := openForTest(t)
	for _, timeout := range []time.Duration{0, 35 * time.Second} {
		ln := listenForTest(t, p, "tcp", "127.0.0.1:0", ListenOptions{UserTimeout: timeout})
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s := acceptOne(t, ln)
		got, err := unix.GetsockoptInt(int(s.sys.fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if want := int(timeout.Milliseconds()); got != want || err != nil {
			t.Errorf("TCP_USER_TIMEOUT = %d ms, %v, want %d", got, err, want)
		}
		s.Close()
	}
}

// acceptOne takes the connection that a Dial has made.
func acceptOne(t *testing.T, ln *Listener) *Socket {
	t.Helper()
	told := newTold()
	if err := ln.Start(told); err != nil {
		t.Fatal(err)
	}
	told.wait(t, Readable)
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBothFamiliesBindTheSamePort(t *testing.T) {
	p := openForTest(t)
	six, err := p.Listen("tcp6", "[::]:0")
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	defer six.Close()
	_, port, _ := net.SplitHostPort(six.Addr().String())
	if c, err := net.Dial("tcp4", "127.0.0.1:"+port); err == nil {
		c.Close()
		t.Error("a listener of IPv6 answers IPv4")
	}
	four := listenForTest(t, p, "tcp4", "0.0.0.0:"+port, ListenOptions{})
	c, err := net.Dial("tcp4", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := acceptOne(t, four)
	if got := s.RemoteAddr(); !got.Addr().Is4() {
		t.Errorf("the peer is %v", got)
	}
	s.Close()
	both := listenForTest(t, p, "tcp", ":0", ListenOptions{})
	_, port, _ = net.SplitHostPort(both.Addr().String())
	for _, address := range []string{"127.0.0.1:" + port, "[::1]:" + port} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

func TestFilesOfUnixSockets(t *testing.T) {
	p := openForTest(t)
	folder := t.TempDir()
	// stale leaves the file of a socket that nobody listens on.
	stale := func(path string) {
		t.Helper()
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		ln.(*net.UnixListener).SetUnlinkOnClose(false)
		ln.Close()
	}
	t.Run("one that nobody listens on is replaced", func(t *testing.T) {
		path := filepath.Join(folder, "stale")
		stale(path)
		ln := listenForTest(t, p, "unix", path, ListenOptions{})
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("it is left: %v", err)
		}
	})
	t.Run("one that somebody listens on is not", func(t *testing.T) {
		path := filepath.Join(folder, "live")
		first := listenForTest(t, p, "unix", path, ListenOptions{})
		if _, err := p.Listen("unix", path); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("the error is %v", err)
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal("the first is no longer reached:", err)
		}
		c.Close()
		first.Close()
	})
	t.Run("neither is one that somebody listens on whose backlog is full", func(t *testing.T) {
		path := filepath.Join(folder, "full")
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			var c int
			if c, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(c)
			err = unix.Connect(c, &unix.SockaddrUnix{Name: path})
		}
		if _, err := p.Listen("unix", path); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("another file is not", func(t *testing.T) {
		path := filepath.Join(folder, "notes")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Listen("unix", path); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("the error is %v", err)
		}
		if got, err := os.ReadFile(path); string(got) != "precious" {
			t.Errorf("it holds %q, %v", got, err)
		}
	})
	t.Run("a file that took the place of ours stays", func(t *testing.T) {
		path := filepath.Join(folder, "moved")
		ln := listenForTest(t, p, "unix", path, ListenOptions{})
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		other := listenForTest(t, p, "unix", path, ListenOptions{})
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		other.Close()
	})
	t.Run("it has the permissions that were asked for", func(t *testing.T) {
		for _, mode := range []os.FileMode{0o600, 0o660, 0o666} {
			path := filepath.Join(folder, "mode")
			ln := listenForTest(t, p, "unix", path, ListenOptions{Mode: mode})
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != mode {
				t.Errorf("its permissions are %v, want %v", got, mode)
			}
			ln.Close()
		}
	})
	t.Run("one without a name has no file", func(t *testing.T) {
		ln := listenForTest(t, p, "unix", "@weir-test-"+filepath.Base(folder), ListenOptions{Mode: 0o600})
		c, err := net.Dial("unix", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
}

// Out of descriptors, the reserve answers whoever waits, and is there again
// afterwards.
func TestTheReserveAnswersWhenThereAreNoDescriptors(t *testing.T) {
	p := openForTest(t)
	ln := listenForTest(t, p, "tcp", "127.0.0.1:0", ListenOptions{})
	if err := ln.Refuse(nil); err != ErrWouldBlock {
		t.Fatalf("nobody waits: %v", err)
	}
	const clients = 3
	var conns []net.Conn
	for range clients {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		mustWrite(t, c, "a request that nobody reads")
		conns = append(conns, c)
	}
	told := newTold()
	if err := ln.Start(told); err != nil {
		t.Fatal(err)
	}
	told.wait(t, Readable)

	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	top := 0
	for n := range openDescriptors(t) {
		top = max(top, n)
	}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(top) + 1, Max: old.Max}, nil); err != nil {
		t.Fatal(err)
	}
	var fillers []int
	for {
		n, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			break
		}
		fillers = append(fillers, n)
	}
	var errs []error
	for range clients {
		_, err := ln.Accept()
		errs = append(errs, err, ln.Refuse([]byte("no")))
	}
	last := ln.Refuse([]byte("no"))
	for _, n := range fillers {
		unix.Close(n)
	}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &old, nil); err != nil {
		t.Fatal(err)
	}
	for i, err := range errs {
		if want := []error{unix.EMFILE, nil}[i%2]; err != want {
			t.Errorf("call %d: %v, want %v", i, err, want)
		}
	}
	if last != ErrWouldBlock {
		t.Errorf("nobody waits: %v", last)
	}
	for _, c := range conns {
		c.SetDeadline(time.Now().Add(patience))
		if got, err := io.ReadAll(c); string(got) != "no" || err != nil {
			t.Errorf("the client read %q, %v", got, err)
		}
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	told.wait(t, Readable)
	s, err := ln.Accept()
	if err != nil {
		t.Fatal("there are descriptors again:", err)
	}
	s.Close()
}
