package netpoll

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"reflect"
	goruntime "runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	easypoll "github.com/mailru/easygo/netpoll"
	"golang.org/x/sys/unix"
)

// openDescriptors lists what the process has open, by number. Go's own poller
// is made to exist first, since it stays.
func openDescriptors(t testing.TB) map[int]string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	open := make(map[int]string)
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			t.Fatal(err)
		}
		if fd == int(dir.Fd()) {
			continue
		}
		if target, err := os.Readlink("/proc/self/fd/" + name); err == nil {
			open[fd] = target
		}
	}
	return open
}

func TestDescriptorsCloseOnExec(t *testing.T) {
	before := openDescriptors(t)
	w := newWorld(t, func(o Options) (testPoller, error) {
		p, err := Open(o)
		return nativePoller{p}, err
	}, Options{Shards: 3}, "tcp")
	w.pair()
	fresh := 0
	for fd, target := range openDescriptors(t) {
		if before[fd] == target {
			continue
		}
		fresh++
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d (%s): flags %#x, %v", fd, target, flags, err)
		}
	}
	if fresh < 3*2+3 { // two a shard, the listener, two ends
		t.Errorf("only %d new descriptors seen", fresh)
	}
}

func TestAcceptedSocketsSendSmallPacketsAtOnce(t *testing.T) {
	w := newWorld(t, func(o Options) (testPoller, error) {
		p, err := Open(o)
		return nativePoller{p}, err
	}, Options{}, "tcp")
	_, s, _ := w.pair()
	fd := int(s.(*Socket).sys.fd)
	if on, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); on == 0 || err != nil {
		t.Errorf("TCP_NODELAY = %d, %v", on, err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); flags&unix.O_NONBLOCK == 0 || err != nil {
		t.Errorf("flags %#x, %v: not non-blocking", flags, err)
	}
}

// Out of descriptors, Accept says EMFILE and the connection waits.
func TestAcceptWithoutDescriptors(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(Options) (testPoller, error)) {
		w := newWorld(t, open, Options{}, "tcp")
		for range 2 {
			var old unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
				t.Fatal(err)
			}
			// The client gets a socket while there still are; what is free
			// below the new limit is used up.
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
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
			port := w.ln.Addr().(*net.TCPAddr).Port
			connectErr := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
			w.conns.wait(t, Readable)
			var acceptErr error
			for acceptErr = ErrWouldBlock; acceptErr == ErrWouldBlock; goruntime.Gosched() {
				_, acceptErr = w.ln.Accept()
			}
			for _, n := range fillers {
				unix.Close(n)
			}
			if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &old, nil); err != nil {
				t.Fatal(err)
			}
			if connectErr != nil || acceptErr != unix.EMFILE {
				t.Errorf("connect: %v; Accept: %v, want EMFILE", connectErr, acceptErr)
			}
			var s testSocket // the owner comes back by itself
			for s == nil {
				s, err = w.ln.Accept()
				if err != nil && err != ErrWouldBlock && err != unix.EMFILE {
					t.Fatal(err)
				}
				goruntime.Gosched()
			}
			s.Close()
			unix.Close(fd)
		}
	})
}

// A shard that can wait no longer says so.
func TestOnError(t *testing.T) {
	failed := make(chan error, 1)
	p, err := Open(Options{Shards: 1, OnError: func(err error) { failed <- err }})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := p.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Start(newTold()); err != nil {
		t.Fatal(err)
	}
	// Put something else under the number of the epoll set, then wake it.
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	epfd := int(reflect.ValueOf(p.sys.shards[0].epoll).Elem().FieldByName("fd").Int())
	if err := unix.Dup3(pipe[0], epfd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-failed; !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "shard 0") {
		t.Errorf("OnError got %v", err)
	}
	if err := errors.Join(ln.Close(), p.Close()); err != nil {
		t.Error(err)
	}
}

// A failed registration leaves nothing in easygo's table that would refuse
// the next socket with that number.
func TestFailedStartLeavesNothing(t *testing.T) {
	p, err := Open(Options{Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sh := p.sys.shards[0]
	for range 2 { // epoll takes no regular files
		if err := sh.add(int(f.Fd()), &rawSocket{}); !errors.Is(err, unix.EPERM) {
			t.Fatalf("add = %v, want EPERM", err)
		}
	}
	if n := p.Stats().Registered; n != 0 {
		t.Errorf("%d registered", n)
	}
}

func TestEventFrom(t *testing.T) {
	for ev, want := range map[easypoll.EpollEvent]Event{
		easypoll.EPOLLIN:                       Readable,
		easypoll.EPOLLOUT:                      Writable,
		easypoll.EPOLLIN | easypoll.EPOLLRDHUP: Readable | Hangup,
		easypoll.EPOLLRDHUP:                    Readable | Hangup,
		easypoll.EPOLLHUP:                      Readable | Writable | Hangup,
		easypoll.EPOLLERR | easypoll.EPOLLIN:   Readable | Writable | Hangup,
	} {
		if got := eventFrom(ev); got != want {
			t.Errorf("eventFrom(%v) = %b, want %b", ev, got, want)
		}
	}
}

// echoing echoes until the socket is dry, on the shard's goroutine.
type echoing struct {
	s   testSocket
	buf []byte
}

func (e *echoing) Ready(Event) {
	for {
		n, err := e.s.Read(e.buf)
		if err != nil {
			return
		}
		e.s.Write(e.buf[:n])
	}
}

// From readiness to the reply, an echo allocates nothing.
func TestSocketAllocs(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			w := newWorld(t, func(o Options) (testPoller, error) {
				p, err := Open(o)
				return nativePoller{p}, err
			}, Options{}, network)
			c := w.dial()
			s := w.accept()
			if err := s.Start(&echoing{s: s, buf: make([]byte, 4096)}); err != nil {
				t.Fatal(err)
			}
			p := make([]byte, 128)
			var failure error
			if n := testing.AllocsPerRun(1000, func() {
				if _, err := c.Write(p); err != nil {
					failure = err
				}
				if _, err := io.ReadFull(c, p); err != nil {
					failure = err
				}
			}); n != 0 {
				t.Errorf("an echo costs %v allocations, want 0", n)
			}
			if failure != nil {
				t.Error(failure)
			}
		})
	}
}

const threadsEnv = "WEIR_NETPOLL_COUNT_THREADS"

// With 2,000 connections that all echo, the process has at most
// GOMAXPROCS + 32 threads: none is pinned by a blocking call. It is counted in
// a process of its own, since threads that other tests made stay.
func TestThreads(t *testing.T) {
	if os.Getenv(threadsEnv) != "" {
		countThreads(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestThreads$", "-test.count=1")
	cmd.Env = append(os.Environ(), threadsEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func countThreads(t *testing.T) {
	const conns = 2000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*conns+100 {
		t.Skipf("needs %d descriptors: %+v, %v", 2*conns+100, limit, err)
	}
	p, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := p.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, poller: nativePoller{p}, ln: nativeListener{ln}, conns: newTold()}
	if err := ln.Start(w.conns); err != nil {
		t.Fatal(err)
	}
	var socks []testSocket
	var clients []net.Conn
	for range conns {
		c := w.dial()
		s := w.accept()
		if err := s.Start(&echoing{s: s, buf: make([]byte, 64)}); err != nil {
			t.Fatal(err)
		}
		clients, socks = append(clients, c), append(socks, s)
	}
	for range 2 {
		for _, c := range clients {
			c.SetDeadline(time.Now().Add(patience))
			mustWrite(t, c, "hello")
		}
		for _, c := range clients {
			mustRead(t, c, "hello")
		}
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	if most := goruntime.GOMAXPROCS(0) + 32; len(tasks) > most {
		t.Errorf("%d threads with %d connections, want at most %d", len(tasks), conns, most)
	}
	for _, s := range socks {
		s.Close()
	}
	if err := errors.Join(ln.Close(), p.Close()); err != nil {
		t.Error(err)
	}
}
