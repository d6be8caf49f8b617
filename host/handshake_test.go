package host

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"weir/netpoll"
	"weir/pool"
)

// ask is the good request with one part of it replaced; the part must occur
// once.
func changed(old, new string) string {
	if strings.Count(upgradeHead, old) != 1 {
		panic(fmt.Sprintf("%q occurs %d times in the request", old, strings.Count(upgradeHead, old)))
	}
	return strings.Replace(upgradeHead, old, new, 1)
}

// with is the good request with more lines.
func with(lines ...string) string {
	return strings.TrimSuffix(upgradeHead, "\r\n") + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// without is the good request without a field.
func without(name string) string {
	head := slices.DeleteFunc(strings.SplitAfter(upgradeHead, "\r\n"), func(line string) bool { return strings.HasPrefix(line, name+":") })
	return strings.Join(head, "")
}

const (
	firstLine   = "GET / HTTP/1.1\r\n"
	hostLine    = "Host: test\r\n"
	upgradeLine = "Upgrade: websocket\r\n"
	connLine    = "Connection: Upgrade\r\n"
	versionLine = "Sec-WebSocket-Version: 13\r\n"
	keyLine     = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

type refusal struct {
	name, request string
	status        int
}

func refusals() []refusal {
	all := []refusal{
		// Where lines end.
		{"bare LF everywhere", strings.ReplaceAll(upgradeHead, "\r\n", "\n"), 400},
		{"bare LF behind the request line", changed(firstLine, "GET / HTTP/1.1\n"), 400},
		{"bare LF behind a field", changed(hostLine, "Host: test\n"), 400},
		{"bare LF instead of the empty line", strings.TrimSuffix(upgradeHead, "\r\n") + "\n", 400},
		{"LF CR", strings.ReplaceAll(upgradeHead, "\r\n", "\n\r"), 400},
		{"a lone CR behind the request line", changed(firstLine, "GET / HTTP/1.1\r"), 400},
		{"nothing but CRs", strings.ReplaceAll(upgradeHead, "\r\n", "\r"), 400},
		{"a lone CR in a value", changed("Host: test", "Host: te\rst"), 400},
		{"a CR too many", changed(hostLine, "Host: test\r\r\n"), 400},
		{"an empty line first", "\r\n" + upgradeHead, 400},
		{"a folded line", changed(hostLine, "Host: test\r\n folded\r\n"), 400},
		{"a line folded with a tab", changed(hostLine, "Host: test\r\n\tX: y\r\n"), 400},
		{"white space before the first field", changed(firstLine, firstLine+" X: y\r\n"), 400},

		// The request line.
		{"no target", changed("GET / ", "GET  "), 400},
		{"no version", changed("GET / HTTP/1.1", "GET /"), 400},
		{"no method", changed("GET / ", " / "), 400},
		{"nothing but a method", changed("GET / HTTP/1.1", "GET"), 400},
		{"two spaces", changed("GET / ", "GET /  "), 400},
		{"a tab for a space", changed("GET / ", "GET\t/ "), 400},
		{"a space in the target", changed("GET / ", "GET /a b "), 400},
		{"a space behind the version", changed("HTTP/1.1\r", "HTTP/1.1 \r"), 400},
		{"NUL in the target", changed("GET / ", "GET /\x00 "), 400},
		{"DEL in the target", changed("GET / ", "GET /\x7F "), 400},
		{"a control in the target", changed("GET / ", "GET /\x1B[2J "), 400},
		{"UTF-8 in the target", changed("GET / ", "GET /é "), 400},
		{"a fragment in the target", changed("GET / ", "GET /#top "), 400},
		{"half a percent escape", changed("GET / ", "GET /%4 "), 400},
		{"a percent escape that is none", changed("GET / ", "GET /%zz "), 400},
		{"an absolute target", changed("GET / ", "GET http://test/ "), 400},
		{"a target without a slash", changed("GET / ", "GET chat "), 400},
		{"an asterisk", changed("GET / ", "GET * "), 400},
		{"a method with a separator", changed("GET / ", "G@T / "), 400},
		{"a version without a number", changed("HTTP/1.1", "HTTP/1.?"), 400},
		{"a version of two digits", changed("HTTP/1.1", "HTTP/1.10"), 400},
		{"a version with a zero before", changed("HTTP/1.1", "HTTP/01.1"), 400},
		{"a version in lower case", changed("HTTP/1.1", "http/1.1"), 400},
		{"another protocol", changed("HTTP/1.1", "ICE/1.1"), 400},
		{"HTTP/1.0", changed("HTTP/1.1", "HTTP/1.0"), 505},
		{"HTTP/0.9", changed("HTTP/1.1", "HTTP/0.9"), 505},
		{"HTTP/2.0", changed("HTTP/1.1", "HTTP/2.0"), 505},
		{"HTTP/1.2", changed("HTTP/1.1", "HTTP/1.2"), 505},

		// Fields.
		{"a space before the colon", changed("Host:", "Host :"), 400},
		{"a tab before the colon", changed("Host:", "Host\t:"), 400},
		{"an empty name", with(": x"), 400},
		{"a name with a space", with("X Y: z"), 400},
		{"a name with a control", with("X\x01: z"), 400},
		{"a name with a bracket", with("X[]: z"), 400},
		{"a name that is not ASCII", with("Xé: z"), 400},
		{"a field without a colon", with("X"), 400},
		{"NUL in a value", with("X: a\x00b"), 400},
		{"a control in a value", with("X: \x08"), 400},
		{"ESC in a value", with("X: \x1B[2J"), 400},
		{"DEL in a value", with("X: \x7F"), 400},

		// Fields that say who and what.
		{"no Host", without("Host"), 400},
		{"an empty Host", changed("Host: test", "Host:"), 400},
		{"two Hosts", with("Host: test"), 400},
		{"two Hosts that differ", with("host: evil"), 400},
		{"a Host with a user", changed("Host: test", "Host: me@test"), 400},
		{"a Host with a path", changed("Host: test", "Host: test/path"), 400},
		{"a Host with a space", changed("Host: test", "Host: test evil"), 400},
		{"a Host with a quote", changed("Host: test", "Host: \"test\""), 400},
		{"a Host that is not ASCII", changed("Host: test", "Host: tést"), 400},
		{"Upgrade twice", with("Upgrade: websocket"), 400},
		{"Upgrade to more than one protocol", changed(upgradeLine, "Upgrade: h2c, websocket\r\n"), 400},
		{"no Connection", without("Connection"), 400},
		{"Connection without upgrade", changed(connLine, "Connection: keep-alive\r\n"), 400},
		{"Connection with a word that looks like upgrade", changed(connLine, "Connection: upgraded\r\n"), 400},
		{"Connection twice", with("Connection: keep-alive"), 400},
		{"Connection that is no list", changed(connLine, "Connection: \"x, Upgrade\r\n"), 400},
		{"no version of WebSocket", without("Sec-WebSocket-Version"), 400},
		{"two versions", with("Sec-WebSocket-Version: 13"), 400},
		{"version 8", changed(versionLine, "Sec-WebSocket-Version: 8\r\n"), 426},
		{"version 0", changed(versionLine, "Sec-WebSocket-Version: 0\r\n"), 426},
		{"version 130", changed(versionLine, "Sec-WebSocket-Version: 130\r\n"), 426},
		{"version 013", changed(versionLine, "Sec-WebSocket-Version: 013\r\n"), 426},
		{"a list of versions", changed(versionLine, "Sec-WebSocket-Version: 13, 8\r\n"), 426},
		{"no key", without("Sec-WebSocket-Key"), 400},
		{"an empty key", changed(keyLine, "Sec-WebSocket-Key:\r\n"), 400},
		{"two keys", with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400},
		{"a key of 15 bytes", changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j"), 400},
		{"a key of 17 bytes", changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWU="), 400},
		{"a key of 18 bytes without padding", changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWVl"), 400},
		{"a key without its padding", changed("ZQ==", "ZQ"), 400},
		{"24 characters that are no base64", changed("dGhlIHNhbXBsZSBub25jZQ==", "!!!!!!!!!!!!!!!!!!!!!!=="), 400},
		{"a key in the alphabet of URLs", changed("dGhlIHNhbXBsZSBub25jZQ==", "-_-_-_-_-_-_-_-_-_-_-A=="), 400},
		{"a key with a space in it", changed("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBu 5jZQ=="), 400},
		{"two Origins", with("Origin: http://test", "Origin: http://test"), 400},
		{"a page of another site", with("Cookie: session=secret", "Origin: https://evil.example"), 403},
		{"no route", changed("GET / ", "GET /nowhere "), 404},

		// Bodies.
		{"a body with its length", with("Content-Length: 5") + "hello", 400},
		{"a body in chunks", with("Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n", 400},
		{"a body with length and chunks", with("Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400},
		{"Transfer-Encoding identity", with("Transfer-Encoding: identity"), 400},
		{"two lengths", with("Content-Length: 0", "Content-Length: 0"), 400},
		{"a list of lengths", with("Content-Length: 0, 0"), 400},
		{"a length with a sign", with("Content-Length: +0"), 400},
		{"a negative length", with("Content-Length: -1"), 400},

		// Subprotocols.
		{"an empty list of subprotocols", with("Sec-WebSocket-Protocol:"), 400},
		{"a subprotocol that is no token", with("Sec-WebSocket-Protocol: a/b"), 400},
		{"a quoted subprotocol", with("Sec-WebSocket-Protocol: \"a\""), 400},
		{"a subprotocol missing between commas", with("Sec-WebSocket-Protocol: a,,b"), 400},
		{"subprotocols without a comma", with("Sec-WebSocket-Protocol: a b"), 400},

		// Limits.
		{"a target of one byte too many", changed("GET / ", "GET /"+strings.Repeat("u", 8<<10)+" "), 414},
		{"a target without end", "GET /" + strings.Repeat("u", 1<<20), 414},
		{"a field without end", strings.TrimSuffix(upgradeHead, "\r\n") + "X: " + strings.Repeat("v", 1<<20), 431},
		{"a head of one byte too many", with("X: " + strings.Repeat("v", 16<<10-len(with("X: "))+1)), 431},
		{"one field too many", with(slices.Repeat([]string{"a: b"}, 64-5+1)...), 431},
		{"10,000 fields", with(slices.Repeat([]string{"a: b"}, 10_000)...), 431},
		{"64 KiB of subprotocols", with("Sec-WebSocket-Protocol: " + strings.Repeat("token, ", 9_000) + "last"), 431},
		{"10,000 parameters of an extension", with("Sec-WebSocket-Extensions: x" + strings.Repeat("; a", 10_000)), 431},

		// Who speaks something else.
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03", 400},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		{"SOCKS", "\x05\x01\x00", 400},
		{"a PROXY header of version 2", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0C", 400},
		{"a PROXY header of version 1", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + upgradeHead, 400},
		{"WebSocket frames", frame(0x81, "hello"), 400},
		{"garbage", "\x00\xFF\x80\x01 garbage", 400},
		{"text lines", "hello server\r\nhow are you\r\n\r\n", 400},
	}
	for _, method := range []string{"POST", "PUT", "OPTIONS", "HEAD", "DELETE", "CONNECT", "get"} {
		all = append(all, refusal{"method " + method, changed("GET", method), 405})
	}
	return all
}

// oneRoute serves "/" and nothing else.
func oneRoute(s *setup) {
	s.opts.Routes = []Route{{Path: "/", Module: "puppet", Protocols: []string{"b", "a"}}}
}

func TestMalformedHandshakesAreRefused(t *testing.T) {
	w := start(t, oneRoute)
	cases := refusals()
	if len(cases) < 100 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := w.raw()
			c.t = t
			// A naive proxy might let its next client's request, or frames, follow.
			sent := make(chan struct{})
			go func() { // ends when the server has read, or thrown away, all of it
				defer close(sent)
				_, _ = io.WriteString(c.Conn, tc.request+upgradeHead+frame(0x81, "publish gone smuggled"))
			}()
			answer := c.rest()
			c.Close()
			<-sent
			checkRefusal(t, answer, tc.status)
		})
	}
	if st := w.srv.Stats(); st.Upgraded != 0 || st.MessagesReceived != 0 || st.Rejected != uint64(len(cases)) || st.HTTP != 0 {
		t.Errorf("%d upgraded, %d messages, %d rejected, %d given to net/http", st.Upgraded, st.MessagesReceived, st.Rejected, st.HTTP)
	}
	if log := w.log.String(); !strings.Contains(log, "https://evil.example") || strings.Contains(log, "secret") {
		t.Error("the log must name the foreign origin, and no cookie")
	} else if strings.Contains(log, "after it was checked") {
		t.Error("a check is laxer than ws.Upgrader's")
	}
}

// checkRefusal checks that answer is one HTTP response and nothing else.
func checkRefusal(t *testing.T, answer string, status int) {
	t.Helper()
	r := bufio.NewReader(strings.NewReader(answer))
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("the answer is %q: %v", clip(answer, 200), err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || len(body) == 0 {
		t.Errorf("the answer's body is %q (%v)", body, err)
	}
	if resp.StatusCode != status {
		t.Errorf("answered %s, want %d", resp.Status, status)
	}
	if !resp.Close {
		t.Error("the answer does not say Connection: close")
	}
	if more, _ := io.ReadAll(r); len(more) > 0 {
		t.Errorf("more than one answer: %q", clip(string(more), 200))
	}
	switch status {
	case http.StatusUpgradeRequired:
		if resp.Header.Get("Sec-WebSocket-Version") != "13" {
			t.Error("426 does not say which version is served (RFC 6455 §4.2.2)")
		}
	case http.StatusMethodNotAllowed:
		if resp.Header.Get("Allow") != "GET" {
			t.Error("405 does not say which method is allowed (RFC 9110 §15.5.6)")
		}
	case http.StatusServiceUnavailable:
		if resp.Header.Get("Retry-After") == "" {
			t.Error("503 does not say when to try again")
		}
	}
}

func TestHandshakesThatLookOddAreServed(t *testing.T) {
	w := start(t, oneRoute)
	for _, tc := range []struct{ name, request, protocol string }{
		{"as it should be", upgradeHead, ""},
		{"names in lower case", strings.Replace(strings.ToLower(upgradeHead), "get / http/1.1", "GET / HTTP/1.1", 1), ""}, // another key, but a key
		{"values in upper case", changed(upgradeLine, "Upgrade: WEBSOCKET\r\n"), ""},
		{"a list in Connection", changed(connLine, "Connection: keep-alive ,  UPGRADE\r\n"), ""},
		{"white space around values", changed(hostLine, "Host: \t test \t \r\n"), ""},
		{"no white space", strings.ReplaceAll(upgradeHead, ": ", ":"), ""},
		{"a length of 0", with("Content-Length: 0"), ""},
		{"a Host with a port", changed("Host: test", "Host: test:8080"), ""},
		{"a Host that is an IPv6 address", changed("Host: test", "Host: [::1]:8080"), ""},
		{"a query", changed("GET / ", "GET /?a=%zz&b=| "), ""},
		{"any bytes above ASCII in a value", with("X: \xFF\xFE"), ""},
		{"extensions, which are declined", with("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x; y=\"z\""), ""},
		{"1000 offers of compression", with("Sec-WebSocket-Extensions: " + strings.Repeat("x-a;b,", 1000) + "permessage-deflate"), ""},
		{"a subprotocol", with("Sec-WebSocket-Protocol: a"), "a"},
		{"the client's first subprotocol that is served", with("Sec-WebSocket-Protocol: c, a, b"), "a"},
		{"subprotocols in two fields", with("Sec-WebSocket-Protocol: c", "Sec-WebSocket-Protocol: b, a"), "b"},
		{"no subprotocol that is served", with("Sec-WebSocket-Protocol: c, A"), ""},
		{"thousands of subprotocols", with("Sec-WebSocket-Protocol: " + strings.Repeat("c,", 7000) + "b"), "b"},
		{"the longest target", changed("GET / ", "GET /?"+strings.Repeat("q", 8<<10-2)+" "), ""},
		{"the longest head", with("X: " + strings.Repeat("v", 16<<10-len(with("X: ")))), ""},
		{"the most fields", with(slices.Repeat([]string{"a: b"}, 64-5)...), ""},
		{"the page of the same host", with("Origin: http://test"), ""},
		{"a program's empty Origin", with("Origin:"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := w.raw()
			c.t = t
			c.send(tc.request + frame(0x82, "behind it"))
			head := c.head()
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head)), nil)
			if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("answered %q (%v)", clip(head, 200), err)
			}
			h := resp.Header
			if got := h.Get("Sec-WebSocket-Protocol"); got != tc.protocol || len(h.Values("Sec-WebSocket-Protocol")) > 1 {
				t.Errorf("subprotocol %q, want %q", h.Values("Sec-WebSocket-Protocol"), tc.protocol)
			}
			if !strings.EqualFold(h.Get("Upgrade"), "websocket") || !strings.EqualFold(h.Get("Connection"), "Upgrade") || h.Get("Sec-WebSocket-Extensions") != "" {
				t.Errorf("the answer is %q", head)
			}
			if accept := h.Get("Sec-WebSocket-Accept"); strings.Contains(tc.request, "dGhlIHNhbXBsZSBub25jZQ==") && accept != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Errorf("accept key %q is not that of RFC 6455 §1.3", accept)
			}
			c.expect(binaryFrame("behind it"))
		})
	}
}

func TestOrigins(t *testing.T) {
	for _, tc := range []struct {
		name    string
		allowed []string
		host    string
		yes, no []string
	}{
		{
			name: "by default only pages of the same host and port", host: "app.example.com",
			yes: []string{"", "https://app.example.com", "http://app.example.com", "https://APP.Example.COM", "https://app.example.com:443", "http://app.example.com:80"},
			no: []string{
				"null", "https://evil.example", "https://app.example.com.evil", "https://app.example.com.", "https://xapp.example.com", "https://example.com",
				"https://app.example.com:8443", "http://app.example.com:443", "https://app.example.com:", "https://app.example.com:0443",
				"https://app.example.com@evil", "https://app.example.com:443@evil", "https://me@app.example.com", "https://me:pw@app.example.com",
				"https://app.example.com/", "https://app.example.com/path", "https://app.example.com?", "https://app.example.com?q", "https://app.example.com#", "https://app.example.com#f",
				"https:app.example.com", "//app.example.com", "app.example.com", "https:///app.example.com", "https:/app.example.com", "https://",
				"ftp://app.example.com", "file://app.example.com", "file://", "chrome-extension://app.example.com", "data:app.example.com", "javascript://app.example.com",
				"https://app.example.com https://evil.example", "https://evil.example, https://app.example.com", "https://аpp.example.com", // Cyrillic а
				"https://app%2eexample.com", "https://app.example.com%00.evil", "https://app.example.com\\.evil", "https://*.example.com", "*",
				"https://app。example.com", "https://app.example.com\u212A",
			},
		},
		{
			name: "the port belongs to the host", host: "localhost:8080",
			yes: []string{"http://localhost:8080", "https://localhost:8080"},
			no:  []string{"http://localhost", "https://localhost", "http://localhost:8081", "http://127.0.0.1:8080", "http://localhost:18080", "http://localhost:80801"},
		},
		{
			name: "an IPv6 address is a host", host: "[::1]:8080",
			yes: []string{"http://[::1]:8080"},
			no:  []string{"http://[::1]", "http://[::2]:8080", "http://::1:8080"},
		},
		{
			name: "an IPv6 address without a port", host: "[::1]",
			yes: []string{"http://[::1]", "http://[::1]:80", "https://[::1]:443"},
			no:  []string{"http://[::1]:443", "http://[::1]:8080"},
		},
		{
			name: "a list allows exactly what it names", host: "app.example.com",
			allowed: []string{"https://app.example.com", "http://localhost:3000", "app://local"},
			yes:     []string{"", "https://app.example.com", "https://app.example.com:443", "HTTPS://APP.EXAMPLE.COM", "http://localhost:3000", "app://local"},
			no: []string{
				"http://app.example.com", "https://app.example.com:80", "https://app.example.com:8443", "https://localhost:3000", "http://localhost", "null",
				"https://app.example.com.evil", "https://evil.example", "http://app.example.com:443", "app://local2",
			},
		},
		{
			name: "a list replaces the same host", host: "app.example.com", allowed: []string{"https://other.example"},
			yes: []string{"https://other.example"},
			no:  []string{"https://app.example.com"},
		},
		{
			name: "a star allows everything", host: "x", allowed: []string{"*"},
			yes: []string{"", "null", "https://evil.example", "nonsense"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			check(t, Options{Server: ServerOptions{AllowedOrigins: tc.allowed}}.Validate())
			o := newOrigins(tc.allowed)
			allow := func(origin, host string) bool {
				return o.plainlySame([]byte(origin), []byte(host)) || o.allow(origin, host)
			}
			for _, origin := range tc.yes {
				if !allow(origin, tc.host) {
					t.Errorf("%q may not open a WebSocket to %s", origin, tc.host)
				}
			}
			for _, origin := range tc.no {
				if allow(origin, tc.host) {
					t.Errorf("%q may open a WebSocket to %s", origin, tc.host)
				}
			}
		})
	}
	for _, bad := range []string{"", "example.com", "https://a/", "https://a?", "https://me@a", "https://tést.example", "null"} {
		if (Options{Server: ServerOptions{AllowedOrigins: []string{bad}}}).Validate() == nil {
			t.Errorf("%q passes for an allowed origin, and would allow nobody", bad)
		}
	}
}

func TestAForeignPageNeverReachesTheHandler(t *testing.T) {
	l := newLab(t)
	defer l.close()
	for _, origin := range []string{"null", "https://evil.example", "https://test.evil"} {
		c := l.knock()
		c.write(strings.Replace(with("Origin: "+origin, "Cookie: id=1"), "GET / ", "GET /?trap=1 ", 1)) // traps if asked
		l.settle()
		checkRefusal(t, string(c.take()), 403)
		c.hangUp()
		l.settle()
	}
	if n := l.srv.Stats().HandlerFailures; n != 0 {
		t.Errorf("the handler was asked %d times", n)
	}
}

func TestARequestMeansTheSameSplitAnywhere(t *testing.T) {
	behind := frame(0x81, "one") + frame(0x02, "tw") + frame(0x89, "p") + frame(0x80, "o") + frame(0x81, "three")
	want := textFrame("one") + pongFrame("p") + binaryFrame("two") + textFrame("three")
	whole := upgradeHead + behind

	t.Run("in memory", func(t *testing.T) {
		l := newLab(t, withEcho)
		defer l.close()
		try := func(chunks ...string) {
			t.Helper()
			c := l.knock()
			for _, chunk := range chunks {
				c.write(chunk)
				l.settle()
			}
			c.upgraded()
			if got := string(c.buf); got != want {
				t.Fatalf("in chunks of %s: %q, want %q", lengths(chunks), got, want)
			}
			c.hangUp()
			l.settle()
			l.wires = l.wires[:0]
		}
		try(whole)
		try(pieces(whole, 1)...)
		for i := 1; i < len(whole); i++ {
			try(whole[:i], whole[i:])
		}
		for i := 1; i < len(whole); i += 7 {
			for j := i; j < len(whole); j += 11 {
				try(whole[:i], whole[i:j], whole[j:])
			}
		}
	})
	t.Run("on the network", func(t *testing.T) {
		w := start(t, withEcho)
		for i := range len(whole) {
			c := w.raw()
			c.t = t
			c.send(whole[:i])
			c.send(whole[i:])
			c.head()
			c.expect(want)
			c.send(peerClose(1000, ""))
			if got := c.rest(); got != closeFrame(1000, "") {
				t.Fatalf("split at %d: the end is %q", i, got)
			}
			c.Close()
		}
	})
	t.Run("a refusal", func(t *testing.T) {
		l := newLab(t, oneRoute)
		defer l.close()
		for _, tc := range refusals() {
			if len(tc.request) > 1000 {
				continue
			}
			for _, chunks := range [][]string{{tc.request}, pieces(tc.request, 1), pieces(tc.request, 13)} {
				c := l.knock()
				for _, chunk := range chunks {
					c.write(chunk)
					l.settle()
				}
				answer := string(c.take())
				if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", tc.status)) || !c.shut {
					t.Fatalf("%s, in %d chunks: answered %q; ended: %v", tc.name, len(chunks), clip(answer, 60), c.shut)
				}
				c.hangUp()
				l.settle()
				l.wires = l.wires[:0]
			}
		}
	})
}

func TestASlowRequestIsAnswered408(t *testing.T) {
	const timeout = 5 * time.Second
	drip := pieces(upgradeHead, 1)[:50]
	for _, tc := range []struct {
		name string
		drip []string // one every tenth of the time and more
	}{
		{"nothing", nil},
		{"half a request", []string{upgradeHead[:100]}},
		{"a byte now and then", drip},
		{"a field now and then", slices.Repeat([]string{"X: y\r\n"}, 30)},
		{"all but the last byte", []string{upgradeHead[:len(upgradeHead)-1]}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			defer l.close()
			c := l.knock()
			if tc.name == "a field now and then" {
				c.write(firstLine)
			}
			l.settle()
			for i := range 10 {
				if i < len(tc.drip) {
					c.write(tc.drip[i])
				}
				if p := c.take(); len(p) > 0 {
					t.Fatalf("after %d tenths of the time: %q", i, p)
				}
				l.pass(timeout / 10)
			}
			l.pass(wheelTick)
			checkRefusal(t, string(c.take()), 408)
			if !c.shut {
				t.Error("the server's side is open")
			}
			c.write(upgradeHead) // too late
			l.pass(lingerTimeout + wheelTick)
			if len(c.take()) > 0 || !c.gone() {
				t.Error("the connection outlives its answer")
			}
			if st := l.srv.Stats(); st.Closes["handshake_timeout"] != 1 || st.Handshakes != 0 {
				t.Errorf("counted %v, %d handshakes", st.Closes, st.Handshakes)
			}
		})
	}
	t.Run("but not one that is whole in time", func(t *testing.T) {
		l := newLab(t)
		defer l.close()
		c := l.knock()
		c.write(upgradeHead[:50])
		l.pass(timeout - wheelTick)
		c.write(upgradeHead[50:])
		l.settle()
		c.upgraded()
		late := l.knock() // its last byte is there, but the server looks at its clock first
		late.write(upgradeHead[:50])
		l.settle()
		late.write(upgradeHead[50:])
		l.clock.ns.Add(int64(timeout + time.Second))
		l.srv.Advance()
		l.settle()
		late.upgraded()
		l.pass(timeout) // and then it is over with the handshake's time
		if c.shut || late.shut {
			t.Error("an open connection was cut")
		}
	})
	t.Run("on the network", func(t *testing.T) {
		w := start(t, withFakeClock)
		idle, half, neighbour := w.raw(), w.raw(), w.dial("/")
		half.send(upgradeHead[:100])
		w.until("three are accepted, and 100 bytes of a request read", func(s Stats) bool { return s.Accepted == 3 && s.InboundBytes == 100 })
		w.pass(timeout)
		checkRefusal(t, idle.rest(), 408)
		checkRefusal(t, half.rest(), 408)
		neighbour.say("echo unaffected")
		neighbour.want("unaffected")
	})
}

func TestHalfSaidThingsHoldNoWorker(t *testing.T) {
	w := start(t, func(s *setup) {
		s.pool = pool.Options{Workers: 1}
		s.modules[0].Instances = 1
	})
	const each = 50
	for range each {
		w.raw() // says nothing
		w.raw().send(upgradeHead[:100])
		c := w.raw()
		c.upgrade()
		c.send(frame(0x82, "half a frame")[:9])
		c = w.raw()
		c.upgrade()
		c.send(frame(0x01, "a fragment of a message, the rest of which never comes"))
	}
	w.until("all are accepted", func(s Stats) bool { return s.Accepted == 4*each && s.Upgraded == 2*each })
	neighbour := w.dial("/")
	for i := range 100 {
		text := fmt.Sprint("message ", i)
		neighbour.say("echo " + text)
		neighbour.want(text)
	}
}

func TestAdmission(t *testing.T) {
	refused := func(t *testing.T, c *labClient) {
		t.Helper()
		c.lab.settle()
		checkRefusal(t, string(c.take()), 503)
		if !c.shut || !c.gone() {
			t.Errorf("ended: %v, closed: %v", c.shut, c.gone())
		}
	}
	t.Run("connections", func(t *testing.T) {
		l := newLab(t, func(s *setup) { s.opts.Server.MaxConnections = 3 })
		defer l.close()
		first := l.connect("/")
		l.connect("/")
		l.knock()
		refused(t, l.knock())
		first.leave()
		l.connect("/")
		refused(t, l.knock())
		if st := l.srv.Stats(); st.Shed != 2 || st.Open != 3 || st.Accepted != 4 {
			t.Errorf("%d shed, %d open, %d accepted", st.Shed, st.Open, st.Accepted)
		}
	})
	t.Run("connections of one address", func(t *testing.T) {
		l := newLab(t, func(s *setup) { s.opts.Server.MaxConnectionsPerIP = 2 })
		defer l.close()
		from := func(addr string) *labClient {
			w := l.wire()
			w.addr = netip.MustParseAddrPort(addr)
			l.srv.welcome(w)
			conn, _ := w.handler.(*Conn)
			return &labClient{wire: w, t: t, lab: l, conn: conn}
		}
		a := from("192.0.2.1:1000")
		from("192.0.2.1:1001")
		refused(t, from("192.0.2.1:1002"))
		from("192.0.2.2:1000")
		last := from("[2001:db8::1]:1000")
		a.hangUp()
		l.settle()
		from("192.0.2.1:1003")
		refused(t, from("192.0.2.1:1004"))
		last.hangUp()
		l.settle()
		if n := len(l.srv.perIP); n != 2 {
			t.Errorf("%d addresses are remembered, 2 are connected", n)
		}
	})
	t.Run("an overloaded pool", func(t *testing.T) {
		l := newLab(t)
		defer l.close()
		open := l.connect("/")
		l.tasks.busy.Store(true)
		refused(t, l.knock())
		if got := open.ask("echo unaffected"); got != "unaffected" {
			t.Errorf("who is connected heard %q", got)
		}
		l.tasks.busy.Store(false)
		l.connect("/")
	})
}

// scriptedListener gives what the test says, then would block.
type scriptedListener struct {
	clock   Clock
	results []any   // error or Socket
	calls   []int64 // when Accept was called, Mono ns
	closed  bool
}

func (l *scriptedListener) Start(netpoll.Handler) error { return nil }
func (l *scriptedListener) Addr() net.Addr              { return &net.TCPAddr{} }

func (l *scriptedListener) Close() error {
	l.closed = true
	return nil
}

func (l *scriptedListener) Accept() (Socket, error) {
	l.calls = append(l.calls, l.clock.Mono())
	if len(l.results) == 0 {
		return nil, netpoll.ErrWouldBlock
	}
	next := l.results[0]
	l.results = l.results[1:]
	if err, ok := next.(error); ok {
		return nil, err
	}
	return next.(Socket), nil
}

func TestAcceptingPausesAfterAnErrorAndGoesOn(t *testing.T) {
	l := newLab(t)
	defer l.close()
	ln := &scriptedListener{clock: l.clock}
	for range 12 {
		ln.results = append(ln.results, syscall.EMFILE)
	}
	ln.results = append(ln.results, l.wire(), syscall.ENFILE, l.wire())
	a := &acceptor{srv: l.srv, ln: ln}
	a.node.owner = a
	a.Ready(netpoll.Readable)
	l.pass(10 * time.Second)
	if st := l.srv.Stats(); st.Accepted != 2 || st.AcceptErrors != 13 {
		t.Fatalf("%d accepted, %d errors", st.Accepted, st.AcceptErrors)
	}
	// Doubled each time up to a second; a success starts anew.
	pauses := []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000, 0, 5, 0}
	if len(ln.calls) != len(pauses)+1 {
		t.Fatalf("accept was called %d times, want %d", len(ln.calls), len(pauses)+1)
	}
	for i, pause := range pauses {
		pause *= time.Millisecond
		if got := time.Duration(ln.calls[i+1] - ln.calls[i]); got < pause || got > pause+wheelTick || pause == 0 && got != 0 {
			t.Errorf("pause %d is %v, want %v", i, got, pause)
		}
	}
	check(t, a.stop())
	a.Ready(netpoll.Readable)
	l.pass(time.Minute)
	if !ln.closed || len(ln.calls) != len(pauses)+1 {
		t.Error("it accepts after its end")
	}
}

func TestHandshakesHeldOpenAreBounded(t *testing.T) {
	l := newLab(t, func(s *setup) { s.opts.Server.MaxHandshakes = 10 })
	defer l.close()
	open := l.connect("/")
	for range 10 {
		l.knock()
	}
	shed := l.knock()
	l.settle()
	checkRefusal(t, string(shed.take()), 503)
	if !shed.gone() {
		t.Error("a connection that was refused is still open")
	}
	if got := open.ask("echo unaffected"); got != "unaffected" {
		t.Errorf("a neighbour heard %q", got)
	}
	l.pass(6 * time.Second)
	l.connect("/") // there is room again
}

func TestAClientThatLeavesDuringTheHandshakeLeavesNothing(t *testing.T) {
	l := newLab(t)
	defer l.close()
	for i := range len(upgradeHead) {
		c := l.knock()
		c.write(upgradeHead[:i])
		l.settle()
		if c.hangUp(); i%2 == 0 {
			c.reset()
		}
		l.settle()
		if !c.gone() || len(c.take()) > 0 {
			t.Fatalf("after %d bytes: closed is %v", i, c.gone())
		}
	}
	if st := l.srv.Stats(); st.Open != 0 || st.Handshakes != 0 || st.InboundBytes != 0 {
		t.Errorf("%d open, %d handshakes, %d bytes", st.Open, st.Handshakes, st.InboundBytes)
	}
}

func TestRequestsThatAreNoUpgradesGoToHTTP(t *testing.T) {
	w := start(t, oneRoute, func(s *setup) {
		s.http = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %q %v", r.Method, r.RequestURI, body, err)
		})
	})
	for _, tc := range []struct{ name, request, want string }{
		{"a page", "GET /page?x=1 HTTP/1.1\r\nHost: test\r\n\r\n", `GET /page?x=1 "" <nil>`},
		{"a page at a WebSocket's path", "GET / HTTP/1.1\r\nHost: test\r\n\r\n", `GET / "" <nil>`},
		{"a body behind its head", "POST /form HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello", `POST /form "hello" <nil>`},
		{"a body in chunks", "PUT /file HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", `PUT /file "hello" <nil>`},
		{"an upgrade to something else", "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", `GET / "" <nil>`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, cut := range []int{0, 1, strings.Index(tc.request, "\r\n\r\n") + 4, len(tc.request) - 1} {
				c := w.raw()
				c.t = t
				c.send(tc.request[:cut])
				c.send(tc.request[cut:] + upgradeHead + frame(0x81, "trap"))
				answer := c.rest()
				resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
				check(t, err)
				body, err := io.ReadAll(resp.Body)
				check(t, err)
				if resp.StatusCode != 200 || string(body) != tc.want {
					t.Errorf("cut at %d: %s %q, want %q", cut, resp.Status, body, tc.want)
				}
				if strings.Count(answer, "HTTP/1.1 ") != 1 {
					t.Errorf("cut at %d: more than one answer: %q", cut, clip(answer, 300))
				}
				c.Close()
			}
		})
	}
	if st := w.srv.Stats(); st.Upgraded != 0 || st.Rejected != 0 {
		t.Errorf("%d upgraded, %d rejected", st.Upgraded, st.Rejected)
	}
	w.until("net/http gives every connection back", func(s Stats) bool { return s.Open == 0 })
}

func TestATLSClientLearnsThatThisIsPlainHTTP(t *testing.T) {
	w := start(t)
	conn, err := net.Dial("tcp", w.addr)
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	err = tls.Client(conn, &tls.Config{ServerName: "test"}).Handshake()
	if err == nil || !strings.Contains(err.Error(), "HTTP response to HTTPS client") && !strings.Contains(err.Error(), "does not look like a TLS handshake") {
		t.Errorf("the TLS client says %v", err)
	}
}

func TestARefusedClientCanReadWhy(t *testing.T) {
	w := start(t, oneRoute)
	for status, path := range map[int]string{401: "/?reject=401", 404: "/nowhere"} {
		_, resp, err := websocket.DefaultDialer.Dial("ws://"+w.addr+path, nil)
		if err == nil || resp == nil || resp.StatusCode != status {
			t.Errorf("%s: %v, %v", path, resp, err)
		}
	}
}
