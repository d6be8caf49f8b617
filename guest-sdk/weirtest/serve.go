package weirtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/host"
	"weir/netpoll"
	"weir/pool"
	"weir/runtime"
)

// Serve starts a server on a free port of this machine and returns its address,
// ws://127.0.0.1:PORT. It is what weir serve runs: real sockets, real time; only
// the seed and the faults of a world are not for it. A configuration's own
// addresses are not bound, and it speaks no TLS.
//
// When the test ends, connections are cut and the server stops. When the last
// server of the process has stopped, goroutines of it and descriptors that are
// left are an error; the test closes its own clients first.
func Serve(t testing.TB, with ...Option) (url string) {
	t.Helper()
	o := gather(t, with)
	settings, modules := o.site(t)
	settings.Server.Listen = []string{"127.0.0.1:0"}
	settings.Server.TLS = host.TLSOptions{}
	leaks.begin()
	s := &served{}
	t.Cleanup(func() {
		t.Helper()
		if err := s.stop(); err != nil {
			t.Errorf("weirtest: stop the server: %v", err)
		}
		if left := leaks.end(); left != "" {
			t.Errorf("weirtest: the server has stopped, and this is left:\n%s", left)
		}
	})
	if err := s.start(settings, modules, logHandler(t)); err != nil {
		t.Fatalf("weirtest: %v", err)
	}
	return "ws://" + s.server.Addrs()[0].String()
}

// served is a server with what it stands on.
type served struct {
	engine *runtime.Engine
	poller *netpoll.Poller
	pool   *pool.Pool
	server *host.Server
}

func (s *served) start(settings host.Options, modules []host.Module, log slog.Handler) (err error) {
	logger := slog.New(log)
	if s.engine, err = runtime.NewEngine(runtime.Options{Jail: "off", Logger: logger}); err != nil {
		return err
	}
	if s.poller, err = netpoll.Open(netpoll.Options{OnError: func(err error) { logger.Error("the poller stopped", "err", err) }}); err != nil {
		return err
	}
	s.pool = pool.New(pool.Options{})
	s.server, err = host.New(settings, host.Deps{Engine: s.engine, Poller: s.poller, Pool: s.pool, Logger: logger, HTTP: http.NotFoundHandler()})
	if err != nil {
		return err
	}
	for _, m := range modules {
		if err := s.server.Load(context.Background(), m); err != nil {
			return err
		}
	}
	return s.server.Listen()
}

// stop takes down what there is, from the top.
func (s *served) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var errs []error
	if s.server != nil {
		errs = append(errs, s.server.Close())
	}
	if s.pool != nil {
		errs = append(errs, s.pool.Close(ctx))
	}
	if s.poller != nil {
		errs = append(errs, s.poller.Close())
	}
	if s.engine != nil {
		errs = append(errs, s.engine.Close(ctx))
	}
	return errors.Join(errs...)
}

// leaks is what the process had before its first server.
var leaks leakCheck

// leakCheck compares before the first and after the last of several servers.
type leakCheck struct {
	mu          sync.Mutex
	servers     int
	descriptors map[string]string
}

func (l *leakCheck) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.servers++; l.servers == 1 {
		if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
			_ = ln.Close() // Go's own poller has its descriptors from now on
		}
		l.descriptors = descriptors()
	}
}

// leakPatience is how long what ends may take to be gone.
var leakPatience = 3 * time.Second

// end says what is left, once the last server is gone.
func (l *leakCheck) end() (left string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.servers--; l.servers > 0 {
		return ""
	}
	for until := time.Now().Add(leakPatience); ; time.Sleep(10 * time.Millisecond) {
		left = l.left()
		if left == "" || time.Now().After(until) {
			return left
		}
	}
}

func (l *leakCheck) left() string {
	var b strings.Builder
	for _, stack := range goroutines() {
		fmt.Fprintf(&b, "%s\n\n", stack)
	}
	for fd, is := range descriptors() {
		if l.descriptors[fd] != is {
			fmt.Fprintf(&b, "descriptor %s: %s\n", fd, is)
		}
	}
	return strings.TrimSpace(b.String())
}

// goroutines are the stacks of those that a server has.
func goroutines() []string {
	buf := make([]byte, 1<<20)
	buf = buf[:goruntime.Stack(buf, true)]
	var all []string
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		for _, folder := range []string{"host", "netpoll", "pool", "runtime"} {
			if strings.Contains(stack, "\nweir/"+folder+".") || strings.Contains(stack, "created by weir/"+folder+".") {
				if !strings.Contains(stack, "weirtest.(*leakCheck)") {
					all = append(all, stack)
				}
				break
			}
		}
	}
	return all
}

// descriptors are sockets and epoll sets of the process, by number; nil where the
// system does not tell.
func descriptors() map[string]string {
	const folder = "/proc/self/fd"
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	all := map[string]string{}
	for _, e := range entries {
		is, err := os.Readlink(folder + "/" + e.Name())
		if err == nil && (strings.HasPrefix(is, "socket:") || strings.Contains(is, "eventpoll") || strings.Contains(is, "eventfd")) {
			all[e.Name()] = is
		}
	}
	return all
}
