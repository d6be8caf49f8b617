package chaos

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// handshakeFaults are what a peer can do before a WebSocket is open.
func handshakeFaults() []fault {
	return []fault{
		{"T-001", "1,000 connections send their request byte by byte, four a second", func(t *testing.T, w *wire) string {
			return w.slowRequests(t, 1000, func(i int) string { return goodHead("/echo")[i : i+1] })
		}},
		{"T-002", "500 connections say nothing", func(t *testing.T, w *wire) string {
			return w.slowRequests(t, 500, nil)
		}},
		{"T-003", "a header line of 64 MB", func(t *testing.T, w *wire) string {
			return w.endless(t, strings.TrimSuffix(goodHead("/echo"), "\r\n")+"X: "+strings.Repeat("v", 64<<20), 431)
		}},
		{"T-004", "10,000 header fields", func(t *testing.T, w *wire) string {
			return refusedWith(t, w, 431, with(slices.Repeat([]string{"a: b"}, 10_000)...))
		}},
		{"T-005", "a request target of 1 MB", func(t *testing.T, w *wire) string {
			return w.endless(t, "GET /"+strings.Repeat("u", 1<<20)+" HTTP/1.1\r\n", 414)
		}},
		{"T-006", "40 requests that two parsers could read differently", func(t *testing.T, w *wire) string {
			all := malformedRequests()
			if len(all) < 40 {
				t.Fatalf("only %d", len(all))
			}
			answers := new(tally)
			for name, m := range all {
				if _, err := refuses(w.server.address(), m.request, m.status); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				answers.add(strconv.Itoa(m.status), 0)
			}
			return "answered: " + answers.String()
		}},
		{"T-007", "two Hosts, keys, versions, Upgrades, Origins", func(t *testing.T, w *wire) string {
			return refusedWith(t, w, 400, with("Host: chaos"), with("host: other"), with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
				with("Sec-WebSocket-Version: 13"), with("Upgrade: websocket"), with("Connection: Upgrade"), with("Origin: http://chaos", "Origin: http://chaos"))
		}},
		{"T-008", "a request with a body: with its length, in chunks, both", func(t *testing.T, w *wire) string {
			return refusedWith(t, w, 400, with("Content-Length: 5")+"hello", with("Transfer-Encoding: chunked")+"5\r\nhello\r\n0\r\n\r\n",
				with("Content-Length: 5", "Transfer-Encoding: chunked")+"0\r\n\r\n", with("Content-Length: 0, 0"), with("Content-Length: +0"))
		}},
		{"T-009", "version 8, and a second request behind it, as through a naive proxy", func(t *testing.T, w *wire) string {
			resp, err := refuses(w.server.address(), swapped("Version: 13", "Version: 8"), 426)
			if err != nil {
				t.Error(err)
			} else if got := resp.Header.Get("Sec-WebSocket-Version"); got != "13" {
				t.Errorf("the answer names version %q", got)
			}
			return "answered 426 with Sec-WebSocket-Version: 13; what comes behind it is not read"
		}},
		{"T-010", "keys of a wrong length, and that are no base64", func(t *testing.T, w *wire) string {
			const key = "dGhlIHNhbXBsZSBub25jZQ=="
			var all []string
			for _, bad := range []string{"", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZWU=", "dGhlIHNhbXBsZSBub25jZQ", "!!!!!!!!!!!!!!!!!!!!!!==", "-_-_-_-_-_-_-_-_-_-_-A==", "dGhlIHNhbXBsZSBu 5jZQ==", strings.Repeat("A", 4096)} {
				all = append(all, swapped(key, bad))
			}
			return refusedWith(t, w, 400, all...)
		}},
		{"T-011", "a page of another site, with the user's cookie", foreignPage},
		{"T-012", "Origins that look like ours", func(t *testing.T, w *wire) string {
			var all []string
			for _, origin := range []string{
				"null", "http://chaos.evil", "http://evil-chaos", "http://chaos.", "http://chaos:8080", "http://chaos@evil", "http://me@chaos", "http://chaos/",
				"http://chaos/path", "http://chaos?", "http://chaos#", "http:chaos", "//chaos", "chaos", "ftp://chaos", "file://", "http://сhaos", "http://chaos%00",
				"http://chaos http://evil", "http://evil, http://chaos", "http://*", "*",
			} {
				all = append(all, with("Origin: "+origin))
			}
			happened := refusedWith(t, w, 403, all...)
			for _, origin := range []string{"http://chaos", "https://CHAOS", "http://chaos:80"} {
				if answer, err := converse(w.server.address(), with("Origin: "+origin)+closeWith(1000, "")); err != nil || !strings.HasPrefix(answer, "HTTP/1.1 101 ") {
					t.Errorf("%s: answered %.60q (%v)", origin, answer, err)
				}
			}
			return happened + "; the same host in other letters or with the scheme's port may"
		}},
		{"T-013", "frames in the same segment as the request, which is cut at every byte", splitRequests},
		{"T-014", "10,000 subprotocols, and an extension with 10,000 parameters", longLists},
		{"T-015", "other methods, HTTP/2, TLS and garbage", func(t *testing.T, w *wire) string {
			lines := len(w.server.everything())
			answers := new(tally)
			for _, m := range []malformed{
				{swapped("GET", "POST"), 405}, {swapped("GET", "PUT"), 405}, {swapped("GET", "OPTIONS"), 405}, {swapped("GET", "CONNECT"), 405}, {swapped("GET", "HEAD"), 405},
				{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505}, {"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03", 400}, {"\x05\x01\x00", 400}, {"\x00\xFF\x80\x01 garbage", 400},
				{"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0C", 400}, {"hello server\r\nhow are you\r\n\r\n", 400}, {masked(0x81, "hello"), 400},
			} {
				for range 20 {
					if _, err := refuses(w.server.address(), m.request, m.status); err != nil {
						t.Errorf("%.20q: %v", m.request, err)
					}
					answers.add(strconv.Itoa(m.status), 0)
				}
			}
			lines = len(w.server.everything()) - lines
			if lines > 60 {
				t.Errorf("they caused %d lines of log", lines)
			}
			return fmt.Sprintf("answered: %v; %d lines of log", answers, lines)
		}},
		{"T-016", "a handler refuses with a header value that holds a line break", func(t *testing.T, w *wire) string {
			answer, err := converse(w.server.address(), goodHead("/puppet?evil"))
			if err != nil {
				t.Error(err)
			} else if resp, err := refusal(answer); err != nil || resp.StatusCode != 403 {
				t.Errorf("answered %.80q (%v)", answer, err)
			}
			if strings.Contains(answer, "Cookie") || strings.Contains(answer, "X-Evil") {
				t.Errorf("the field got through: %q", answer)
			}
			return "the host call answers invalid; 403 without the field"
		}},
		{"T-017", "1,500 connections with half a request each; max_handshakes is 1,024", halfOpen},
	}
}

type malformed struct {
	request string
	status  int
}

// malformedRequests are those of T-006.
func malformedRequests() map[string]malformed {
	head := goodHead("/echo")
	const (
		first = "GET /echo HTTP/1.1\r\n"
		host  = "Host: chaos\r\n"
	)
	bad := func(request string) malformed { return malformed{request, 400} }
	return map[string]malformed{
		"bare LF everywhere":                    bad(strings.ReplaceAll(head, "\r\n", "\n")),
		"bare LF behind the request line":       bad(swapped(first, "GET /echo HTTP/1.1\n")),
		"bare LF behind a field":                bad(swapped(host, "Host: chaos\n")),
		"bare LF instead of the empty line":     bad(strings.TrimSuffix(head, "\r\n") + "\n"),
		"LF CR":                                 bad(strings.ReplaceAll(head, "\r\n", "\n\r")),
		"nothing but CRs":                       bad(strings.ReplaceAll(head, "\r\n", "\r")),
		"a lone CR behind the request line":     bad(swapped(first, "GET /echo HTTP/1.1\r")),
		"a lone CR in a value":                  bad(swapped("Host: chaos", "Host: cha\ros")),
		"a CR too many":                         bad(swapped(host, "Host: chaos\r\r\n")),
		"an empty line first":                   bad("\r\n" + head),
		"a folded line":                         bad(swapped(host, "Host: chaos\r\n folded\r\n")),
		"a line folded with a tab":              bad(swapped(host, "Host: chaos\r\n\tX: y\r\n")),
		"white space before the first field":    bad(swapped(first, first+" X: y\r\n")),
		"a space before the colon":              bad(swapped("Host:", "Host :")),
		"a tab before the colon":                bad(swapped("Host:", "Host\t:")),
		"an empty name":                         bad(with(": x")),
		"a name with a space":                   bad(with("X Y: z")),
		"a name with a control":                 bad(with("X\x01: z")),
		"a name that is not ASCII":              bad(with("Xé: z")),
		"a field without a colon":               bad(with("X")),
		"NUL in a value":                        bad(with("X: a\x00b")),
		"a control in a value":                  bad(with("X: \x08")),
		"ESC in a value":                        bad(with("X: \x1B[2J")),
		"DEL in a value":                        bad(with("X: \x7F")),
		"NUL in the target":                     bad(swapped("GET /echo", "GET /echo\x00")),
		"a control in the target":               bad(swapped("GET /echo", "GET /echo\x1B[2J")),
		"DEL in the target":                     bad(swapped("GET /echo", "GET /echo\x7F")),
		"UTF-8 in the target":                   bad(swapped("GET /echo", "GET /échö")),
		"a space in the target":                 bad(swapped("GET /echo", "GET /echo a")),
		"a fragment in the target":              bad(swapped("GET /echo", "GET /echo#top")),
		"a percent escape that is none":         bad(swapped("GET /echo", "GET /echo%zz")),
		"an absolute target":                    bad(swapped("GET /echo", "GET http://chaos/echo")),
		"a target without a slash":              bad(swapped("GET /echo", "GET echo")),
		"no target":                             bad(swapped("GET /echo ", "GET  ")),
		"no version":                            bad(swapped("GET /echo HTTP/1.1", "GET /echo")),
		"two spaces":                            bad(swapped("GET /echo", "GET  /echo")),
		"a tab for a space":                     bad(swapped("GET /echo", "GET\t/echo")),
		"a space behind the version":            bad(swapped("HTTP/1.1\r", "HTTP/1.1 \r")),
		"a version without a number":            bad(swapped("HTTP/1.1", "HTTP/1.?")),
		"a version of two digits":               bad(swapped("HTTP/1.1", "HTTP/1.10")),
		"a version in lower case":               bad(swapped("HTTP/1.1", "http/1.1")),
		"a method with a separator":             bad(swapped("GET", "G@T")),
		"no Host":                               bad(swapped(host, "")),
		"a Host with a user":                    bad(swapped("Host: chaos", "Host: me@chaos")),
		"a Host with a path":                    bad(swapped("Host: chaos", "Host: chaos/path")),
		"HTTP/1.0":                              {swapped("HTTP/1.1", "HTTP/1.0"), 505},
		"HTTP/1.2":                              {swapped("HTTP/1.1", "HTTP/1.2"), 505},
		"HTTP/2.0, though in the form of 1.1":   {swapped("HTTP/1.1", "HTTP/2.0"), 505},
		"HTTP/0.9, with the fields of HTTP/1.1": {swapped("HTTP/1.1", "HTTP/0.9"), 505},
	}
}

// refusedWith expects each of the requests to be answered with that status.
func refusedWith(t *testing.T, w *wire, status int, requests ...string) string {
	t.Helper()
	for _, request := range requests {
		if _, err := refuses(w.server.address(), request, status); err != nil {
			t.Errorf("%.120q: %v", request, err)
		}
	}
	return fmt.Sprintf("%d × answered %d", len(requests), status)
}

// endless is a request of which the server must keep little, and say what it thinks of it before it has come.
func (w *wire) endless(t *testing.T, request string, status int) string {
	before := w.server.usage(t)
	w.server.forgetPeak(t)
	answer, err := converse(w.server.address(), request)
	if err != nil {
		t.Error(err)
	} else if resp, err := refusal(answer); err != nil || resp.StatusCode != status {
		t.Errorf("answered %.80q (%v)", answer, err)
	}
	peak := w.server.usage(t).peakKiB
	const most = 8 << 10 // of which the canaries' messages and the collector's timing are most
	if grown := peak - before.residentKiB; grown > most {
		t.Errorf("the server took %d KiB more", grown)
	}
	return fmt.Sprintf("answered %d; the server took %d KiB more at its peak", status, max(0, peak-before.residentKiB))
}

// forgetPeak makes usage.peakKiB begin anew.
func (s *server) forgetPeak(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "clear_refs"), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// slowRequests opens n connections and sends on each what drip says, until the server answers 408.
func (w *wire) slowRequests(t *testing.T, n int, drip func(i int) string) string {
	t.Helper()
	before := w.figures(t)
	ends := new(tally)
	var clients sync.WaitGroup
	for range n {
		clients.Go(func() {
			what, took := slowRequest(w.server.address(), drip)
			ends.add(what, took)
		})
	}
	held := eventually(func() bool { return w.figures(t)["weir_handshakes"] == float64(n) })
	idle := eventually(func() bool {
		f := w.figures(t)
		return f["weir_pool_queue_length"] == 0 && f[`weir_pool_workers{state="busy"}`] == 0
	})
	clients.Wait()
	least, most := ends.span()
	if !held || !idle {
		t.Errorf("all were held at once: %v; no worker was busy with them: %v", held, idle)
	}
	if got := ends.String(); got != fmt.Sprintf("%d × 408", n) {
		t.Errorf("%s, want 408 for all of %d", got, n)
	}
	w.wantEnds(t, before, "handshake_timeout", n)
	if least < handshakeTimeout-50*time.Millisecond { // the server's clock is coarse
		t.Errorf("one was answered after %v, its time is %v", least, handshakeTimeout)
	}
	return fmt.Sprintf("%v, after %.2f to %.2f s; no worker was held", ends, least.Seconds(), most.Seconds())
}

func slowRequest(address string, drip func(i int) string) (what string, took time.Duration) {
	begun := time.Now()
	conn, err := connect(address)
	if err != nil {
		return err.Error(), 0
	}
	defer conn.Close()
	var drips sync.WaitGroup
	defer drips.Wait()
	stop := make(chan struct{})
	defer close(stop)
	if drip != nil {
		drips.Go(func() { // ends with the answer
			ticks := time.NewTicker(250 * time.Millisecond)
			defer ticks.Stop()
			for i := 0; ; i++ {
				select {
				case <-ticks.C:
				case <-stop:
					return
				}
				if _, err := io.WriteString(conn, drip(i)); err != nil {
					return
				}
			}
		})
	}
	answer, err := io.ReadAll(conn)
	took = time.Since(begun)
	if err != nil && len(answer) == 0 {
		return err.Error(), took
	}
	resp, err := refusal(string(answer))
	if err != nil {
		return err.Error(), took
	}
	return strconv.Itoa(resp.StatusCode), took
}

func foreignPage(t *testing.T, w *wire) string {
	before, from := w.figures(t), len(w.server.everything())
	for _, path := range []string{"/echo", "/puppet?trap=1"} { // the handler would trap if it were asked
		request := strings.TrimSuffix(goodHead(path), "\r\n") + "Origin: https://evil.example\r\nCookie: session=planted-secret\r\n\r\n"
		if _, err := refuses(w.server.address(), request, 403); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	after := w.figures(t)
	if n := after.sum("weir_module_traps_total") - before.sum("weir_module_traps_total"); n != 0 {
		t.Errorf("the handler was asked %v times", n)
	}
	if n := after.rejected("origin") - before.rejected("origin"); n != 2 {
		t.Errorf("%v refusals for their origin are counted, want 2", n)
	}
	var log string
	named := eventually(func() bool {
		log = strings.Join(w.server.everything()[from:], "\n")
		return strings.Contains(log, "https://evil.example")
	})
	if !named || strings.Contains(log, "planted-secret") {
		t.Errorf("the log must name the origin, and no cookie:\n%s", log)
	}
	return "2 × answered 403; the log has the origin and no cookie, the handler was not asked"
}

func splitRequests(t *testing.T, w *wire) string {
	behind := masked(0x81, "one") + masked(0x02, "tw") + masked(0x89, "p") + masked(0x80, "o") + masked(0x81, "three") + closeWith(1000, "")
	want := plain(0x81, "one") + plain(0x8A, "p") + plain(0x82, "two") + plain(0x81, "three") + plain(0x88, "\x03\xE8")
	whole := goodHead("/echo") + behind
	for i := range whole {
		conn, err := connect(w.server.address())
		if err != nil {
			t.Fatal(err)
		}
		_, err1 := io.WriteString(conn, whole[:i])
		_, err2 := io.WriteString(conn, whole[i:])
		answer, err3 := io.ReadAll(conn)
		conn.Close()
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatalf("cut at %d: %v", i, err)
		}
		if _, got, _ := strings.Cut(string(answer), "\r\n\r\n"); got != want {
			t.Errorf("cut at %d: the server says %q, want %q", i, got, want)
		}
	}
	return fmt.Sprintf("%d cuts: every message came back once and in order", len(whole))
}

// cpu is the processor time that the server has used, in the system's ticks of 10 ms.
func (w *wire) cpu(t *testing.T) time.Duration {
	return time.Duration(w.figures(t)["process_cpu_seconds_total"] * float64(time.Second))
}

func longLists(t *testing.T, w *wire) string {
	const times = 100
	var said []string
	for _, tc := range []struct {
		name, line string
		status     int
	}{
		{"64 KiB of subprotocols", "Sec-WebSocket-Protocol: " + strings.Repeat("token, ", 9_000) + "last", 431},
		{"7,000 subprotocols", "Sec-WebSocket-Protocol: " + strings.Repeat("c,", 7_000) + "b", 101},
		{"7,000 that are none", "Sec-WebSocket-Protocol: " + strings.Repeat("c,", 7_000), 400},
		{"10,000 parameters", "Sec-WebSocket-Extensions: x" + strings.Repeat("; a", 10_000), 431},
		{"5,000 parameters", "Sec-WebSocket-Extensions: x" + strings.Repeat("; a", 5_000), 101},
	} {
		begun := w.cpu(t)
		for range times {
			answer, err := converse(w.server.address(), with(tc.line)+closeWith(1000, ""))
			if err != nil || !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", tc.status)) {
				t.Fatalf("%s: answered %.60q (%v), want %d", tc.name, answer, err, tc.status)
			}
		}
		each := (w.cpu(t) - begun) / times
		said = append(said, fmt.Sprintf("%s: %d, %s ms", tc.name, tc.status, ms(each)))
		if each > 20*time.Millisecond { // with the canaries'; what is quadratic takes longer
			t.Errorf("%s: each takes %v of the processor", tc.name, each)
		}
	}
	return strings.Join(said, "; ") + " of processor time each, the canaries' included"
}

func halfOpen(t *testing.T, w *wire) string {
	const n = 1500
	open, err := dial(w.server.address(), "/echo") // it must not notice
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range n {
		conn, err := connect(w.server.address())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		_, _ = io.WriteString(conn, goodHead("/echo")[:60]) // who is refused at once may have closed
	}
	if held := w.figures(t)["weir_handshakes"]; held > maxHandshakes {
		t.Errorf("%v are held, %d may be", held, maxHandshakes)
	}
	if err := open.send(opText, "unaffected"); err != nil {
		t.Error(err)
	}
	if _, got, err := open.next(); got != "unaffected" {
		t.Errorf("who is connected heard %q (%v)", got, err)
	}
	ends := new(tally)
	for _, conn := range conns {
		answer, err := io.ReadAll(conn)
		conn.Close()
		resp, bad := refusal(string(answer))
		switch {
		case bad == nil:
			ends.add(resp.Status, 0)
			if resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
		case errors.Is(err, syscall.ECONNRESET):
			ends.add("reset", 0)
		default:
			ends.add(bad.Error(), 0)
		}
	}
	if err := open.goodbye(); err != nil {
		t.Error(err)
	}
	if answered := ends.of["408 Request Timeout"] + ends.of["503 Service Unavailable"] + ends.of["reset"]; answered != n || ends.of["503 Service Unavailable"] == 0 || ends.of["408 Request Timeout"] > maxHandshakes {
		t.Errorf("%v, want 408 for up to %d of %d and 503 for the others", ends, maxHandshakes, n)
	}
	late, err := dial(w.server.address(), "/echo")
	if err != nil {
		t.Fatalf("there is no room afterwards: %v", err)
	}
	if err := late.goodbye(); err != nil {
		t.Error(err)
	}
	return ends.String()
}
