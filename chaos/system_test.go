package chaos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// metric reads one series of the server's metrics, such as weir_connections{route="/"}. A series that is not there is 0.
func (s *server) metric(t *testing.T, series string) float64 {
	t.Helper()
	client := http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	r, err := client.Get(s.adminURL(t) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// echoes reports what is wrong with one message on a connection of its own.
func echoes(address string) error {
	c, err := dial(address, "/canary")
	if err != nil {
		return err
	}
	defer c.drop()
	if err := c.send(opText, "well?"); err != nil {
		return err
	}
	if _, got, err := c.next(); err != nil || got != "well?" {
		return fmt.Errorf("the echo is %q: %w", got, err)
	}
	return c.goodbye()
}

// T-053, T-054: connections come and go as fast as they can, with and without a request, with a FIN and with a reset.
func TestAnAcceptStorm(t *testing.T) {
	needBinary(t)
	s := started(t, echoSite(t, anyPort, ""))
	if err := echoes(s.address()); err != nil {
		t.Fatal(err)
	}
	before := s.usage(t)
	const storm, callers = 3 * time.Second, 16
	var calls, refused atomic.Int64
	var callersDone sync.WaitGroup
	begun := time.Now()
	for i := range callers {
		callersDone.Go(func() { // ends with the storm
			for n := i; time.Since(begun) < storm; n++ {
				calls.Add(1)
				if err := call(s.address(), n%5); err != nil {
					refused.Add(1)
				}
			}
		})
	}
	for time.Since(begun) < storm { // a canary of its own, on new connections
		if err := echoes(s.address()); err != nil {
			t.Errorf("during the storm: %v", err)
			break
		}
	}
	callersDone.Wait()
	left := before
	if !eventually(func() bool { left = s.usage(t); return left.descriptors <= before.descriptors+leftDescriptors }) {
		t.Errorf("before %v, after %v", before, left)
	}
	if err := s.stop(2 * patience); err != nil {
		t.Error(err)
	}
	tell(t, "T-053 T-054", "connections come and go as fast as they can, in five ways", "%d connections in %v, %d of them could not be made; before %v, after %v", calls.Load(), storm, refused.Load(), before, left)
}

// call connects and leaves in one of five ways.
func call(address string, way int) error {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	const request = "GET /x HTTP/1.1\r\nHost: chaos\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	switch way {
	case 0: // says nothing
	case 1: // goes in the middle of its request
		_, err = io.WriteString(conn, request[:40])
	case 2: // is gone before the answer
		_, err = io.WriteString(conn, request)
	case 3: // resets instead of closing
		_, err = io.WriteString(conn, request)
		_ = conn.(*net.TCPConn).SetLinger(0)
	case 4: // is turned away
		if _, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"); err == nil {
			_, err = io.Copy(io.Discard, conn)
		}
	}
	return err
}

// T-057: in a container of 256 MiB, clients and handlers ask for a multiple of that at once.
func TestAMemoryLimitIsKept(t *testing.T) {
	needBinary(t)
	const limit = 256 << 20
	group := memoryGroup(t, limit)
	hog, err := filepath.Abs(filepath.Join(hostileFolder, "memory-swarm.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	publish, err := filepath.Abs("../examples/publish-c/publish.wasm")
	if err != nil {
		t.Fatal(err)
	}
	config := echoSite(t, anyPort, "websocket: {max_message_size: 1MiB}\n")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	site := strings.Replace(string(text), "modules: {echo: {path: echo.wasm}}",
		"modules: {echo: {path: echo.wasm}, hog: {path: '"+hog+"', instances: 64}, publish: {path: '"+publish+"', capabilities: [topics]}}", 1)
	site = strings.Replace(site, "routes: [", "routes: [{path: /hog, module: hog}, {path: /publish, module: publish}, ", 1)
	if err := os.WriteFile(config, []byte(site), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{listens: make(chan struct{}), exited: make(chan struct{})}
	s.cmd = exec.Command("/bin/sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, group, needBinary(t), "serve", "--config", config)
	s.run(t)
	if !s.start(loadWithin) {
		t.Fatalf("the server does not start: %v\n%s", s.failed, s.said())
	}

	stop := make(chan struct{})
	var floods sync.WaitGroup
	flood := func(f func() error) {
		floods.Go(func() { // ends with stop
			for {
				select {
				case <-stop:
					return
				default:
				}
				if f() != nil {
					time.Sleep(20 * time.Millisecond) // turned away, as it should be
				}
			}
		})
	}
	for range 150 {
		flood(func() error { return unfinished(s.address(), 1<<20, stop) })
	}
	for range 150 {
		flood(func() error { return stalled(s.address(), stop) })
	}
	for range 4 {
		flood(func() error { return publishing(s.address(), stop) })
	}
	for range 8 {
		flood(func() error {
			c, err := dial(s.address(), "/hog")
			if err != nil {
				return err
			}
			defer c.drop()
			if err := c.send(opText, "x"); err != nil {
				return err
			}
			_, _, err = c.next()
			return err
		})
	}
	begun, worst, calls := time.Now(), time.Duration(0), 0
	tripped := func(budget string) bool {
		return s.metric(t, `weir_connections_ended_total{cause="`+budget+`_budget"}`) > 0
	}
	for s.alive() && (time.Since(begun) < 3*time.Second || time.Since(begun) < 90*time.Second && !(tripped("inbound") && tripped("outbound"))) {
		sent := time.Now()
		if err := echoes(s.address()); err != nil && !errors.Is(err, refusedError(http.StatusServiceUnavailable)) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a well-behaved client: %v", err)
			break
		}
		worst, calls = max(worst, time.Since(sent)), calls+1
	}
	close(stop)
	floods.Wait()
	peak, control := groupFile(t, group, "memory.max_usage_in_bytes"), groupFile(t, group, "memory.oom_control")
	if !s.alive() {
		t.Fatalf("the server is gone: %v\n%s\n%s", s.failed, control, s.said())
	}
	if !strings.Contains(control, "oom_kill 0") {
		t.Errorf("the system had to kill: %s", control)
	}
	if !tripped("inbound") || !tripped("outbound") {
		t.Error("the floods were too small to trip a budget")
	}
	tell(t, "T-057", "a control group of 256 MiB, and clients and handlers that ask for a multiple of it", "%d good calls, the slowest %v; at most %s bytes of %d; now %v; inbound %.0f, outbound %.0f", calls, worst.Round(time.Millisecond), peak, limit,
		s.usage(t), s.metric(t, "weir_inbound_bytes"), s.metric(t, "weir_outbound_bytes"))
	if err := s.stop(4 * patience); err != nil {
		t.Error(err)
	}
}

// memoryGroup makes a control group (version 1) with a memory limit, or skips.
func memoryGroup(t *testing.T, limit int) string {
	t.Helper()
	group := filepath.Join("/sys/fs/cgroup/memory", fmt.Sprintf("weir-chaos-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skipf("no control group can be made here: %v", err)
	}
	t.Cleanup(func() {
		eventually(func() bool { return os.Remove(group) == nil }) // once its last process is gone
	})
	if err := os.WriteFile(filepath.Join(group, "memory.limit_in_bytes"), []byte(strconv.Itoa(limit)), 0o644); err != nil {
		t.Skipf("its memory cannot be limited: %v", err)
	}
	return group
}

func groupFile(t *testing.T, group, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(group, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// unfinished sends all of a message but its end, and waits to be thrown out.
func unfinished(address string, n int, stop <-chan struct{}) error {
	c, err := dial(address, "/canary")
	if err != nil {
		return err
	}
	defer c.drop()
	head := append([]byte{0x82, 0xFF}, binary.BigEndian.AppendUint64(nil, uint64(n))...)
	c.soon()
	if _, err := c.conn.Write(append(append(head, 0, 0, 0, 0), make([]byte, n-1)...)); err != nil {
		return err
	}
	return c.linger(stop)
}

// stalled joins a topic and never reads what is published there.
func stalled(address string, stop <-chan struct{}) error {
	c, err := dial(address, "/publish")
	if err != nil {
		return err
	}
	defer c.drop()
	_ = c.conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	select {
	case <-stop:
	case <-time.After(4 * patience):
	}
	return nil
}

// publishing sends large messages to everybody in the topic, and reads what comes.
func publishing(address string, stop <-chan struct{}) error {
	c, err := dial(address, "/publish")
	if err != nil {
		return err
	}
	over := make(chan struct{})
	defer close(over)
	var reader sync.WaitGroup
	reader.Go(func() { _ = c.linger(over) }) // ends with the connection
	defer reader.Wait()
	defer c.drop()
	const n = 32 << 10
	frame := append([]byte{0x82, 0xFE}, binary.BigEndian.AppendUint16(nil, n)...)
	frame = append(append(frame, 0, 0, 0, 0), make([]byte, n)...)
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
		if _, err := c.conn.Write(frame); err != nil {
			return err
		}
	}
}

// linger waits until the server ends the connection or the test is over.
func (c *client) linger(stop <-chan struct{}) error {
	_ = c.conn.SetDeadline(time.Time{})
	gone := make(chan struct{})
	go func() { // ends with the connection
		defer close(gone)
		_, _ = io.Copy(io.Discard, c.in)
	}()
	select {
	case <-gone:
		return io.EOF
	case <-stop:
		c.drop()
		<-gone
		return nil
	}
}
