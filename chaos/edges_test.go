package chaos

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// puppetSite is a configuration with the puppet under /puppet and the canary's module under /canary. module is more of
// the puppet's section.
func puppetSite(t *testing.T, module, settings string) string {
	t.Helper()
	puppet, err1 := filepath.Abs(puppetPath)
	canary, err2 := filepath.Abs(canaryPath)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	text := "server: {" + anyPort + "}\nlog: {format: json, level: info}\nadmin: {listen: \"127.0.0.1:0\"}\nmodules:\n" +
		fmt.Sprintf("  canary: {path: %q}\n  puppet: {path: %q, capabilities: [topics, timers]%s}\n", canary, puppet, module) +
		"routes: [{path: /puppet, module: puppet}, {path: /canary, module: canary}]\n" + settings
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// underShell starts the server by a line of sh in which "$@" is its command.
func underShell(t *testing.T, line, config string) *server {
	t.Helper()
	s := &server{listens: make(chan struct{}), exited: make(chan struct{})}
	s.cmd = exec.Command("/bin/sh", "-c", line, "sh", needBinary(t), "serve", "--config", config)
	s.run(t)
	if !s.start(loadWithin) {
		t.Fatalf("the server does not start: %v\n%s", s.failed, s.said())
	}
	return s
}

// T-051: of 1,000 connects to a server that may open 256 descriptors, those that are too many are told 503, by its own
// limit or, when that is set too high, by the descriptor in reserve. It neither spins nor stays deaf.
func TestTooFewDescriptors(t *testing.T) {
	needBinary(t)
	for _, tc := range []struct{ name, server string }{
		{"max_connections follows the limit", anyPort},
		{"max_connections is set too high", anyPort + ", max_connections: 100000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := underShell(t, `ulimit -n 256; exec "$@"`, echoSite(t, tc.server, ""))
			before := s.usage(t)
			var open []*client
			refused := 0
			for range 1000 {
				c, err := dial(s.address(), "/canary")
				var status refusedError
				switch {
				case err == nil:
					open = append(open, c)
				case errors.As(err, &status) && status == http.StatusServiceUnavailable:
					refused++
				default:
					t.Fatalf("after %d open and %d refused connections: %v", len(open), refused, err)
				}
			}
			if len(open) < 128 || refused != 1000-len(open) {
				t.Errorf("%d are open, %d were answered 503", len(open), refused)
			}
			used := s.cpu(t)
			const while = time.Second
			time.Sleep(while) // what is measured is what it does in that time
			if used = s.cpu(t) - used; used > while/5 {
				t.Errorf("it used %v of %v with nothing to do", used, while)
			}
			for _, c := range open {
				if err := c.send(opText, "well?"); err != nil {
					t.Fatal(err)
				}
				if _, got, err := c.next(); got != "well?" {
					t.Fatalf("an open connection heard %q, %v", got, err)
				}
				c.drop()
			}
			if !eventually(func() bool { return echoes(s.address()) == nil }) {
				t.Error("nobody is let in although there are descriptors again")
			}
			left := before
			if !eventually(func() bool { left = s.usage(t); return left.descriptors <= before.descriptors+leftDescriptors }) {
				t.Errorf("before %v, after %v", before, left)
			}
			t.Logf("%d open, %d refused, %v of processor time within %v", len(open), refused, used, while)
			if err := s.stop(2 * patience); err != nil {
				t.Error(err)
			}
		})
	}
}

// T-052: accept fails for a while, with every error that there is for it.
func TestAcceptFails(t *testing.T) {
	needBinary(t)
	strace := needTool(t, "strace")
	if said, err := exec.Command(strace, "-qqq", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("no process may be traced here: %v: %s", err, said)
	}
	for _, errno := range []string{"EMFILE", "ENFILE", "ENOMEM", "ECONNABORTED", "EPERM"} {
		t.Run(errno, func(t *testing.T) {
			// The counter of when= is a thread's, so there are more failures than one thread's five.
			line := fmt.Sprintf(`exec %s -D -f -qqq -o /dev/null -e trace=accept4 -e inject=accept4:error=%s:when=1..5 "$@"`, strace, errno)
			s := underShell(t, line, echoSite(t, anyPort, ""))
			begun := time.Now()
			if !eventually(func() bool { return echoes(s.address()) == nil }) {
				t.Errorf("nobody is let in after %v", time.Since(begun))
			}
			if !s.alive() {
				t.Fatal("the server ended")
			}
			failed := strings.Contains(strings.Join(s.everything(), "\n"), "cannot accept")
			if !failed && errno != "ECONNABORTED" { // which is a connection that left by itself
				t.Error("nothing failed: this tested nothing")
			}
		})
	}
}

// T-019: an address that a stranger claims is ignored; one that a trusted proxy tells counts.
func TestClaimedAddresses(t *testing.T) {
	needBinary(t)
	for _, tc := range []struct{ name, trusted, preface, header, want string }{
		{"a stranger's header", "192.0.2.0/24", "", "X-Forwarded-For: 203.0.113.7", "127.0.0.1:"},
		{"a stranger's header that names a proxy", "192.0.2.0/24", "", "X-Forwarded-For: 203.0.113.7, 192.0.2.1", "127.0.0.1:"},
		{"a proxy's header", "127.0.0.0/8", "", "X-Forwarded-For: 6.6.6.6, 203.0.113.7", "203.0.113.7"},
		{"a proxy's PROXY header", "127.0.0.0/8", "PROXY TCP4 203.0.113.8 127.0.0.1 1234 80\r\n", "X-Forwarded-For: 6.6.6.6", "203.0.113.8:1234"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			site := puppetSite(t, "", "")
			s := underShell(t, `WEIR_SERVER_TRUSTED_PROXIES=`+tc.trusted+` WEIR_SERVER_PROXY_PROTOCOL=accept exec "$@"`, site)
			conn, err := net.DialTimeout("tcp", s.address(), patience)
			if err != nil {
				t.Fatal(err)
			}
			c := &prefaced{Conn: conn, preface: tc.preface, header: tc.header}
			w, err := over(c, "/puppet")
			if err != nil {
				t.Fatal(err)
			}
			defer w.drop()
			if err := w.send(opText, "attr remote_addr"); err != nil {
				t.Fatal(err)
			}
			if _, got, err := w.next(); err != nil || !strings.HasPrefix(got, tc.want) {
				t.Errorf("the handler is told %q, %v, want %s", got, err, tc.want)
			}
		})
	}
}

// prefaced writes something before the request and a field into it.
type prefaced struct {
	net.Conn
	preface, header string
}

func (c *prefaced) Write(p []byte) (int, error) {
	if c.header != "" {
		text := c.preface + strings.Replace(string(p), "\r\n\r\n", "\r\n"+c.header+"\r\n\r\n", 1)
		c.header = ""
		if _, err := io.WriteString(c.Conn, text); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// T-038: a client that sends as fast as it can is held up by TCP and never closed, and the canary does not notice.
func TestAFloodIsHeldUp(t *testing.T) {
	needBinary(t)
	s := started(t, puppetSite(t, "", "websocket: {inbound_rate: 200, inbound_burst: 400}\n"))
	flooder, err := dial(s.address(), "/puppet")
	if err != nil {
		t.Fatal(err)
	}
	defer flooder.drop()
	_ = flooder.conn.SetDeadline(time.Time{})
	message := []byte("\x81\x8A\x00\x00\x00\x00nothing 10")
	batch := []byte(strings.Repeat(string(message), 1000))
	var written atomic.Int64
	done := make(chan error, 1)
	go func() { // ends when the connection does
		for {
			n, err := flooder.conn.Write(batch)
			written.Add(int64(n))
			if err != nil {
				done <- err
				return
			}
		}
	}()
	stalled := func() bool { // nothing more was written for a while
		before := written.Load()
		time.Sleep(200 * time.Millisecond)
		return before > 0 && written.Load()-before < int64(len(batch))
	}
	if !eventually(stalled) {
		t.Error("the flood is not held up")
	}
	received := s.metric(t, "weir_messages_received_total")
	begun := time.Now()
	for range 100 {
		if err := echoes(s.address()); err != nil {
			t.Fatal(err)
		}
	}
	for time.Since(begun) < time.Second {
		time.Sleep(50 * time.Millisecond)
	}
	rate := (s.metric(t, "weir_messages_received_total") - received - 100) / time.Since(begun).Seconds()
	if rate < 100 || rate > 300 {
		t.Errorf("it is read at %.0f messages a second, want 200", rate)
	}
	select {
	case err := <-done:
		t.Errorf("the flooder was closed: %v", err)
	default:
	}
	if n := s.metric(t, `weir_connections{route="/puppet"}`); n != 1 {
		t.Errorf("%v connections are open", n)
	}
	t.Logf("%d KiB were taken; then %.0f messages a second", written.Load()>>10, rate)
	flooder.drop()
	<-done
}

// T-041, T-043: a subscriber stops reading. Without a policy it is closed; with one it stays, and is told of every gap.
// Who reads hears everything, in order.
func TestASubscriberStopsReading(t *testing.T) {
	needBinary(t)
	for _, policy := range []string{"disconnect", "drop_oldest", "conflate"} {
		t.Run(policy, func(t *testing.T) {
			const messages = 2000 // of 10 KiB each: more than the kernel and a queue hold
			s := started(t, puppetSite(t, fmt.Sprintf(", topics: [{pattern: 'news*', when_slow: %s}]", policy), ""))
			subscribe := func() *client {
				c, err := dial(s.address(), "/puppet?open=join+news")
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			slow, good, publisher := subscribe(), subscribe(), subscribe()
			defer slow.drop()
			defer good.drop()
			defer publisher.drop()
			_ = slow.conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			heard := make(chan error, 1)
			var upTo atomic.Int64
			go func() { // ends with the last message
				for n := int64(1); n <= messages; n++ {
					op, text, err := good.next()
					if want := fmt.Sprint(n, " "); err != nil || op != opText || !strings.HasPrefix(text, want) {
						heard <- fmt.Errorf("message %d is %.20q, %v", n, text, err)
						return
					}
					upTo.Store(n)
				}
				heard <- nil
			}()
			padding := strings.Repeat("x", 10<<10)
			for n := 1; n <= messages; n++ {
				if err := publisher.say(fmt.Sprintf("publishx news %d %s", n, padding)); err != nil {
					t.Fatal(err)
				}
				for int64(n)-upTo.Load() > 100 && len(heard) == 0 { // who reads keeps up
					time.Sleep(time.Millisecond)
				}
			}
			if err := <-heard; err != nil {
				t.Fatal(err)
			}
			next, lost, gaps := uint64(1), uint64(0), 0.0
			for next <= messages {
				op, text, err := slow.next()
				if err == nil && op == opClose && policy == "disconnect" {
					if code := closeCode(text); code != 1013 {
						t.Errorf("closed with %d", code)
					}
					break
				}
				if err != nil || op != opText {
					t.Fatalf("after message %d: a frame %d %.40q, %v", next-1, op, text, err)
				}
				var gap struct{ From, To, Dropped uint64 }
				if json.Unmarshal([]byte(text), &gap) == nil && gap.To > 0 {
					if gap.From != next || gap.Dropped != gap.To-gap.From+1 {
						t.Fatalf("%s, and %d is missing first", text, next)
					}
					next, lost, gaps = gap.To+1, lost+gap.Dropped, gaps+1
					continue
				}
				if want := fmt.Sprint(next, " "); !strings.HasPrefix(text, want) {
					t.Fatalf("heard %.20q, want message %d", text, next)
				}
				next++
			}
			if policy == "disconnect" {
				if next > messages {
					t.Error("nothing was too much for it: this tested nothing")
				}
				return
			}
			if lost == 0 {
				t.Error("nothing was dropped: this tested nothing")
			}
			counted := s.metric(t, `weir_messages_dropped_total{reason="slow_reader"}`)
			if n := s.metric(t, `weir_gaps_total{module="puppet"}`); n != gaps || counted != float64(lost) {
				t.Errorf("%v gaps and %v messages are counted; it was told of %v and %d", n, counted, gaps, lost)
			}
			t.Logf("%d of %d messages in %v gaps", lost, messages, gaps)
		})
	}
}

// over shakes hands on a connection that the test has made.
func over(conn net.Conn, path string) (*client, error) {
	c := &client{conn: conn, in: bufio.NewReaderSize(conn, 4<<10)}
	if err := c.shakeHands(path); err != nil {
		c.drop()
		return nil, err
	}
	return c, nil
}

// say sends a text of any length up to 64 KiB.
func (c *client) say(text string) error {
	frame := []byte{0x80 | opText, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}
	c.soon()
	_, err := c.conn.Write(append(frame, text...))
	return err
}
