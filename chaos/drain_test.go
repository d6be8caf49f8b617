package chaos

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// echoSite is a configuration with the canary's module under every path and an admin listener. server is what else its
// section of that name has, settings are more lines at the outermost level.
func echoSite(t *testing.T, server, settings string) string {
	t.Helper()
	wasm, err := os.ReadFile(canaryPath)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	text := "server: {" + server + "}\nlog: {format: json, level: info}\nadmin: {listen: \"127.0.0.1:0\"}\n" +
		"modules: {echo: {path: echo.wasm}}\nroutes: [{path: '/{path...}', module: echo}]\n" + settings
	for name, content := range map[string][]byte{"weir.yaml": []byte(text), "echo.wasm": wasm} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "weir.yaml")
}

const anyPort = `listen: ["127.0.0.1:0"]`

// started launches a server and waits until it listens.
func started(t *testing.T, config string) *server {
	t.Helper()
	s := launch(t, config, runAddressKiB)
	if !s.start(loadWithin) {
		t.Fatalf("the server does not start: %v\n%s", s.failed, s.said())
	}
	return s
}

// adminURL is where its admin listener is; after start.
func (s *server) adminURL(t *testing.T) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.log {
		if r.Message == "metrics and health are served" {
			return r.URL
		}
	}
	t.Fatal("the server does not say where its metrics are")
	return ""
}

// status asks for a page and returns its status; 0 when nobody answers.
func status(url string) int {
	client := http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	r, err := client.Get(url)
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// ended waits for the end of the process and returns its exit code.
func (s *server) ended(t *testing.T, within time.Duration) int {
	t.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-s.exited:
		return s.code()
	case <-late.C:
		t.Fatalf("the server has not ended within %v\n%s", within, s.said())
		return 0
	}
}

func (s *server) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// crowd is a number of clients who each send one message after the other, and wait for its echo.
type crowd struct {
	clients []*client
	done    sync.WaitGroup
	echoes  atomic.Int64

	mu    sync.Mutex // below
	codes map[int]int
	wrong error // the first
	first time.Time
	last  time.Time // of the Close frames
}

func gather(t *testing.T, address string, n int) *crowd {
	t.Helper()
	cr := &crowd{codes: map[int]int{}}
	for range n {
		c, err := dial(address, "/crowd")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.drop)
		cr.clients = append(cr.clients, c)
	}
	return cr
}

// talk lets every client talk until it is told to go, pausing between messages.
func (cr *crowd) talk(pause time.Duration) {
	for i, c := range cr.clients {
		cr.done.Go(func() { // ends with the connection
			code, err := c.talk(i, pause, &cr.echoes)
			cr.mu.Lock()
			defer cr.mu.Unlock()
			if err != nil && cr.wrong == nil {
				cr.wrong = fmt.Errorf("client %d: %w", i, err)
			}
			cr.codes[code]++
			cr.last = time.Now()
			if cr.first.IsZero() {
				cr.first = cr.last
			}
		})
	}
}

// talk returns the code of the Close frame that ends it. A message that the server has not begun to handle by then may
// stay without an answer; one that comes twice, late or changed is an error.
func (c *client) talk(number int, pause time.Duration, echoes *atomic.Int64) (code int, err error) {
	for n := 0; ; n++ {
		want := strconv.Itoa(number) + ":" + strconv.Itoa(n)
		sendErr := c.send(opText, want) // fails when the server has closed already; its reason is still to be read
		op, got, err := c.next()
		switch {
		case err != nil:
			return 0, errors.Join(sendErr, err)
		case op == opClose:
			_ = c.send(opClose, got)
			if _, _, err := c.frame(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				return closeCode(got), fmt.Errorf("after its Close the server sends more, or keeps the connection: %v", err)
			}
			return closeCode(got), nil
		case got != want:
			return 0, fmt.Errorf("sent %q, got %q", want, got)
		}
		echoes.Add(1)
		time.Sleep(pause) // the load is what this is: so many messages a second
	}
}

// T-105: who runs a server may stop it while it is busy, and nobody is cut off.
func TestATermUnderLoad(t *testing.T) {
	needBinary(t)
	const clients = 1000
	s := started(t, echoSite(t, anyPort, "drain: {spread: 2s, timeout: 30s}\n"))
	ready := s.adminURL(t) + "/readyz"
	if got := status(ready); got != http.StatusOK {
		t.Errorf("/readyz is %d before", got)
	}
	cr := gather(t, s.address(), clients)
	cr.talk(200 * time.Millisecond)
	if !eventually(func() bool { return cr.echoes.Load() > 5*clients }) {
		t.Fatalf("only %d echoes", cr.echoes.Load())
	}
	if u := s.usage(t); u.threads > 2+32 {
		t.Errorf("T-067: %d threads for %d connections", u.threads, clients)
	}
	begun := time.Now()
	s.signal(t, syscall.SIGTERM)
	if !eventually(func() bool { return status(ready) == http.StatusServiceUnavailable }) {
		t.Error("/readyz does not become 503 while the server drains")
	}
	if conn, err := net.DialTimeout("tcp", s.address(), patience); err == nil {
		_ = conn.Close()
		t.Error("a server that drains takes new connections")
	}
	cr.done.Wait()
	if code := s.ended(t, time.Minute); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.said())
	}
	if cr.wrong != nil {
		t.Error(cr.wrong)
	}
	if cr.codes[1001] != clients {
		t.Errorf("the connections ended with %v, want 1001 for each of %d", cr.codes, clients)
	}
	spread := cr.last.Sub(cr.first)
	if spread < 500*time.Millisecond {
		t.Errorf("the Close frames came within %v; they are to be spread over 2s", spread)
	}
	tell(t, "T-105", "SIGTERM while 1,000 clients send 5,000 messages a second", "%d echoes before and while; all closed with 1001 over %v, ended after %v", cr.echoes.Load(), spread.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
}

// T-106: whatever else happens, a drain ends.
func TestADrainAlwaysEnds(t *testing.T) {
	needBinary(t)
	t.Run("a second signal stops at once", func(t *testing.T) {
		s := started(t, echoSite(t, anyPort, "drain: {spread: 30s, timeout: 60s}\n"))
		gather(t, s.address(), 200)
		s.signal(t, syscall.SIGTERM)
		if !eventually(func() bool { return status(s.adminURL(t)+"/readyz") == http.StatusServiceUnavailable }) {
			t.Fatal("no drain begins")
		}
		s.signal(t, syscall.SIGTERM)
		if code := s.ended(t, patience); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		tell(t, "T-106", "a second SIGTERM while it drains", "exit code 1 at once")
	})
	t.Run("clients that never close are cut", func(t *testing.T) {
		s := started(t, echoSite(t, anyPort, "websocket: {close_timeout: 1s}\ndrain: {spread: 10ms, timeout: 20s}\n"))
		cr := gather(t, s.address(), 50)
		s.signal(t, syscall.SIGTERM)
		if code := s.ended(t, 10*time.Second); code != 0 {
			t.Errorf("exit code %d, want 0\n%s", code, s.said())
		}
		for _, c := range cr.clients {
			if op, payload, err := c.next(); err != nil || op != opClose || closeCode(payload) != 1001 {
				t.Errorf("opcode %d, %q, %v; want a Close with 1001", op, payload, err)
				break
			}
		}
		tell(t, "T-106", "clients that never answer the Close of a drain", "they are cut after close_timeout; exit code 0")
	})
	t.Run("a reload that runs does not hold it up", func(t *testing.T) {
		config := echoSite(t, anyPort, "drain: {spread: 10ms, timeout: 20s}\n")
		s := started(t, config)
		other, err := os.ReadFile("../examples/echo-wat/echo.wasm")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(config), "echo.wasm"), other, 0o600); err != nil {
			t.Fatal(err)
		}
		s.signal(t, syscall.SIGHUP)
		s.signal(t, syscall.SIGTERM)
		if code := s.ended(t, 10*time.Second); code != 0 {
			t.Errorf("exit code %d, want 0\n%s", code, s.said())
		}
		tell(t, "T-106", "SIGTERM while a module is loaded anew", "it drains; exit code 0")
	})
}

// T-107: after a restart everybody comes back at once.
func TestARestartStorm(t *testing.T) {
	needBinary(t)
	const clients = 2000
	listen := freeAddress(t)
	config := echoSite(t, "listen: [\""+listen+"\"], max_handshakes: 64", "")
	s := started(t, config)
	cr := gather(t, s.address(), clients)
	s.signal(t, syscall.SIGKILL)
	s.kill()
	for _, c := range cr.clients {
		c.drop()
	}

	s = started(t, config)
	begun := time.Now()
	var back sync.WaitGroup
	var turnedAway, failed atomic.Int64
	for range clients {
		back.Go(func() {
			for time.Since(begun) < 4*patience {
				c, err := dial(listen, "/crowd")
				if err == nil {
					if err := c.send(opText, "back"); err != nil {
						failed.Add(1)
					} else if _, got, err := c.next(); err != nil || got != "back" {
						failed.Add(1)
					}
					c.drop()
					return
				}
				if errors.Is(err, refusedError(http.StatusServiceUnavailable)) || errors.Is(err, syscall.ECONNRESET) {
					turnedAway.Add(1)
				}
				time.Sleep(50 * time.Millisecond) // as the answer asks for, only sooner
			}
			failed.Add(1)
		})
	}
	back.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d clients did not come back", failed.Load(), clients)
	}
	tell(t, "T-107", "a restart, after which every client comes back at once", "%d clients were back after %v; %d times one was turned away", clients, time.Since(begun).Round(time.Millisecond), turnedAway.Load())
	if err := s.stop(2 * patience); err != nil {
		t.Error(err)
	}
}

// freeAddress is a loopback address that nobody listens on. Whoever is faster may take it; a test then fails to start.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
