package host

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"weir/internal/certtest"
	"weir/netpoll"
)

// secure is a world that speaks TLS, with the authority that its clients trust.
type secure struct {
	*world
	ca        *certtest.Authority
	folder    string
	cert, key string
}

func startTLS(t *testing.T, change ...func(*setup)) *secure {
	t.Helper()
	s := &secure{ca: certtest.New(t), folder: t.TempDir()}
	s.cert, s.key = certtest.Write(t, s.folder, s.ca.Issue("first"))
	s.world = start(t, append([]func(*setup){func(set *setup) {
		set.opts.Server.TLS.Cert, set.opts.Server.TLS.Key = s.cert, s.key
	}}, change...)...)
	return s
}

// config is that of a client who trusts the authority.
func (s *secure) config(change ...func(*tls.Config)) *tls.Config {
	c := &tls.Config{RootCAs: s.ca.Pool(), ServerName: "localhost", NextProtos: []string{"http/1.1"}}
	for _, f := range change {
		f(c)
	}
	return c
}

func upTo12(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }

// tlsPeer is a client with TLS over a TCP connection of the test's.
type tlsPeer struct {
	t    *testing.T
	tcp  *net.TCPConn
	conn *tls.Conn
	r    *bufio.Reader
}

// connect opens TLS. over, if not nil, is put between TLS and the socket.
func (s *secure) connect(over func(net.Conn) net.Conn, change ...func(*tls.Config)) *tlsPeer {
	s.t.Helper()
	p, err := s.try(over, change...)
	check(s.t, err)
	return p
}

func (s *secure) try(over func(net.Conn) net.Conn, change ...func(*tls.Config)) (*tlsPeer, error) {
	s.t.Helper()
	tcp, err := net.Dial("tcp", s.addr)
	check(s.t, err)
	s.t.Cleanup(func() { tcp.Close() })
	check(s.t, tcp.SetDeadline(time.Now().Add(20*time.Second)))
	var wire net.Conn = tcp
	if over != nil {
		wire = over(tcp)
	}
	p := &tlsPeer{t: s.t, tcp: tcp.(*net.TCPConn), conn: tls.Client(wire, s.config(change...))}
	p.r = bufio.NewReader(p.conn)
	return p, p.conn.Handshake()
}

// upgrade makes a WebSocket of it.
func (p *tlsPeer) upgrade() *tlsPeer {
	p.t.Helper()
	p.send(upgradeHead)
	resp, err := http.ReadResponse(p.r, nil)
	check(p.t, err)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		p.t.Fatalf("the upgrade was answered %s", resp.Status)
	}
	return p
}

func (p *tlsPeer) send(text string) {
	p.t.Helper()
	_, err := io.WriteString(p.conn, text)
	check(p.t, err)
}

// settledGoroutines counts those that are there when nothing ends any more.
func settledGoroutines() int {
	n := goruntime.NumGoroutine()
	for range 1000 {
		goruntime.Gosched()
		n = min(n, goruntime.NumGoroutine())
	}
	return n
}

// echoes expects the frame of a message that was sent masked.
func (p *tlsPeer) echoes(payload string) {
	p.t.Helper()
	got := p.frame()
	if got != payload {
		p.t.Fatalf("got %d bytes %.60q, want %d bytes %.60q", len(got), got, len(payload), payload)
	}
}

// frame reads one unmasked frame and returns its payload.
func (p *tlsPeer) frame() string {
	p.t.Helper()
	f, err := readFrame(p.r)
	check(p.t, err)
	return string(f.Payload)
}

// closed expects the end of the stream with close_notify before it.
func (p *tlsPeer) closed() {
	p.t.Helper()
	if _, err := p.r.ReadByte(); !errors.Is(err, io.EOF) {
		p.t.Errorf("the connection ended with %v, want EOF", err)
	}
}

// holder keeps what is written until it is let go.
type holder struct {
	net.Conn
	mu   sync.Mutex
	on   bool
	kept bytes.Buffer
}

func (h *holder) hold() {
	h.mu.Lock()
	h.on = true
	h.mu.Unlock()
}

func (h *holder) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.on {
		return h.kept.Write(p)
	}
	return h.Conn.Write(p)
}

// SetWriteDeadline does nothing: a tls.Conn that has said its last word sets one.
func (h *holder) SetWriteDeadline(time.Time) error { return nil }

// letGo sends what was kept in pieces of n bytes, and what follows at once.
func (h *holder) letGo(t *testing.T, n int) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.on = false
	for h.kept.Len() > 0 {
		_, err := h.Conn.Write(h.kept.Next(n))
		check(t, err)
	}
}

func TestAWebSocketOverTLS(t *testing.T) {
	for name, change := range map[string]func(*tls.Config){"TLS 1.3": func(*tls.Config) {}, "TLS 1.2": upTo12} {
		t.Run(name, func(t *testing.T) {
			s := startTLS(t)
			p := s.connect(nil, change).upgrade()
			if got := p.conn.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
				t.Errorf("ALPN says %q", got)
			}
			for _, n := range []int{0, 1, 125, 126, 16 << 10, 60_000} {
				p.send(frame(0x82, strings.Repeat("x", n)))
				p.echoes(strings.Repeat("x", n))
			}
			p.send(frame(0x88, "\x03\xe8"))
			p.echoes("\x03\xe8")
			p.closed()
			check(t, p.tcp.Close())
			s.until("the connection is gone", func(st Stats) bool { return st.Open == 0 })
			if st := s.srv.Stats(); st.Closes["peer_closed"] != 1 || st.TLS.Handshakes != 1 {
				t.Errorf("closed by %v after %d handshakes", st.Closes, st.TLS.Handshakes)
			}
		})
	}
}

func TestClientsOfOthersOverTLS(t *testing.T) {
	s := startTLS(t)
	dialer := websocket.Dialer{TLSClientConfig: s.config(func(c *tls.Config) { c.NextProtos = nil }), HandshakeTimeout: 10 * time.Second}
	ws, _, err := dialer.Dial("wss://"+s.addr+"/", nil)
	check(t, err)
	defer ws.Close()
	for _, message := range []string{"a", strings.Repeat("é", 30_000)} {
		check(t, ws.WriteMessage(websocket.TextMessage, []byte("echo "+message)))
		_, got, err := ws.ReadMessage()
		check(t, err)
		if string(got) != message && string(got) != "echo "+message {
			t.Errorf("got %.40q", got)
		}
	}
	check(t, ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "")))
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, 1000) {
		t.Errorf("it ended with %v", err)
	}
}

func TestRecordsMayComeInAnyPieces(t *testing.T) {
	for name, change := range map[string]func(*tls.Config){"TLS 1.3": func(*tls.Config) {}, "TLS 1.2": upTo12} {
		for _, piece := range []int{1, 7, 100, 1 << 20} {
			t.Run(fmt.Sprintf("%s, %d bytes at a time", name, piece), func(t *testing.T) {
				s := startTLS(t)
				var h *holder
				p := s.connect(func(c net.Conn) net.Conn { h = &holder{Conn: c}; return h }, change)
				h.hold()
				p.send(upgradeHead)
				h.letGo(t, piece)
				resp, err := http.ReadResponse(p.r, nil)
				check(t, err)
				if resp.StatusCode != 101 {
					t.Fatal(resp.Status)
				}
				h.hold() // many records, in pieces that know nothing of their bounds
				const messages = 50
				for i := range messages {
					p.send(frame(0x82, fmt.Sprintf("message %d", i)))
				}
				h.letGo(t, piece)
				for i := range messages {
					p.echoes(fmt.Sprintf("message %d", i))
				}
				if st := s.srv.Stats(); st.InboundBytes != 0 {
					t.Errorf("%d bytes are counted as incomplete", st.InboundBytes)
				}
			})
		}
	}
}

func TestAFrameMayBeSpreadOverRecords(t *testing.T) {
	s := startTLS(t)
	p := s.connect(nil).upgrade()
	whole := frame(0x82, strings.Repeat("y", 300))
	for i := range whole { // a record a byte
		p.send(whole[i : i+1])
	}
	p.echoes(strings.Repeat("y", 300))
}

// The records that one readiness event brings are more than one read of the host
// takes: what is decrypted and not taken has no event of its own.
func TestRecordsBehindOneEventAreAllRead(t *testing.T) {
	s := startTLS(t)
	var h *holder
	p := s.connect(func(c net.Conn) net.Conn { h = &holder{Conn: c}; return h }).upgrade()
	h.hold()
	const messages = 40
	for i := range messages {
		p.send(frame(0x82, strings.Repeat(string(rune('a'+i%26)), 10_000)))
	}
	go h.letGo(t, 1<<20) // ends when the server has read it
	for i := range messages {
		p.echoes(strings.Repeat(string(rune('a'+i%26)), 10_000))
	}
}

func TestAPeerMayCloseItsSideFirst(t *testing.T) {
	for name, shut := range map[string]func(p *tlsPeer){
		"by close_notify alone":   func(p *tlsPeer) { check(p.t, p.conn.CloseWrite()) },
		"by close_notify and FIN": func(p *tlsPeer) { check(p.t, errors.Join(p.conn.CloseWrite(), p.tcp.CloseWrite())) },
		"by FIN alone":            func(p *tlsPeer) { check(p.t, p.tcp.CloseWrite()) },
	} {
		t.Run(name, func(t *testing.T) {
			s := startTLS(t)
			var h *holder
			p := s.connect(func(c net.Conn) net.Conn { h = &holder{Conn: c}; return h }).upgrade()
			h.hold() // the message and the end in one segment
			p.send(frame(0x82, "the last word"))
			if strings.Contains(name, "notify") {
				check(t, p.conn.CloseWrite())
			}
			h.letGo(t, 1<<20)
			shut(p)
			p.echoes("the last word")
			p.closed()
			check(t, p.tcp.Close())
			s.until("the connection is gone", func(st Stats) bool { return st.Open == 0 })
			if st := s.srv.Stats(); st.Closes["peer_lost"] != 1 {
				t.Errorf("closed by %v", st.Closes)
			}
		})
	}
}

func TestAResetEndsAConnectionOverTLS(t *testing.T) {
	s := startTLS(t)
	p := s.connect(nil).upgrade()
	check(t, p.tcp.SetLinger(0))
	check(t, p.tcp.Close())
	s.until("the connection is gone", func(st Stats) bool { return st.Open == 0 && st.Closes["peer_lost"] == 1 })
}

func TestARecordThatWasForgedEndsTheConnection(t *testing.T) {
	s := startTLS(t)
	p := s.connect(nil).upgrade()
	_, err := p.tcp.Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("?", 32)))
	check(t, err)
	if _, err := p.r.ReadByte(); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("the client was told %v", err)
	}
	s.until("the connection is gone", func(st Stats) bool { return st.Open == 0 })
}

func TestASessionIsTakenUpAgain(t *testing.T) {
	for name, change := range map[string]func(*tls.Config){"TLS 1.3": func(*tls.Config) {}, "TLS 1.2": upTo12} {
		t.Run(name, func(t *testing.T) {
			s := startTLS(t)
			cache := tls.NewLRUClientSessionCache(1)
			remember := func(c *tls.Config) { c.ClientSessionCache = cache }
			for i := range 2 {
				p := s.connect(nil, change, remember).upgrade()
				p.send(frame(0x82, "x"))
				p.echoes("x")
				if resumed := p.conn.ConnectionState().DidResume; resumed != (i == 1) {
					t.Errorf("connection %d: resumed is %v", i, resumed)
				}
				p.tcp.Close()
			}
			if st := s.srv.Stats().TLS; st.Handshakes != 2 || st.Resumed != 1 {
				t.Errorf("%d handshakes, %d resumed", st.Handshakes, st.Resumed)
			}
		})
	}
}

func TestPlainRequestsOverTLS(t *testing.T) {
	folder := t.TempDir()
	long := strings.Repeat("0123456789abcdef", 1<<16)
	check(t, os.WriteFile(folder+"/long.txt", []byte(long), 0o644))
	s := startTLS(t, func(set *setup) {
		set.opts.Routes = append(set.opts.Routes, Route{Path: "/files", Static: folder})
		set.http = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body) // else net/http may reset the connection
			fmt.Fprintf(w, "%v", r.TLS != nil && err == nil)
		})
	})
	client := http.Client{Transport: &http.Transport{TLSClientConfig: s.config(), DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := client.Get("https://" + s.addr + "/files/long.txt")
	check(t, err)
	body, err := io.ReadAll(resp.Body)
	check(t, err)
	resp.Body.Close()
	if string(body) != long {
		t.Errorf("got %d bytes of the file, want %d", len(body), len(long))
	}
	resp, err = client.Post("https://"+s.addr+"/none", "text/plain", strings.NewReader(long))
	check(t, err)
	body, err = io.ReadAll(resp.Body)
	check(t, err)
	resp.Body.Close()
	if string(body) != "true" {
		t.Errorf("the request is of a TLS connection: %s", body)
	}
	s.until("net/http is done with them", func(st Stats) bool { return st.Open == 0 })
}

func TestWhoSpeaksPlainlyIsToldSo(t *testing.T) {
	s := startTLS(t)
	for name, tc := range map[string]struct{ say, hear string }{
		"a WebSocket's request": {upgradeHead, "TLS is spoken here; connect with wss:// or https://."},
		"a long request":        {"POST / HTTP/1.1\r\nHost: a\r\n\r\n" + strings.Repeat("x", 8000), "TLS is spoken here"},
		"anything else":         {"\x00\x01\x02 hello", ""},
	} {
		t.Run(name, func(t *testing.T) {
			tcp, err := net.Dial("tcp", s.addr)
			check(t, err)
			defer tcp.Close()
			check(t, tcp.SetDeadline(time.Now().Add(20*time.Second)))
			_, err = io.WriteString(tcp, tc.say)
			check(t, err)
			got, err := io.ReadAll(tcp)
			check(t, err)
			if !strings.Contains(string(got), tc.hear) || tc.hear == "" && len(got) > 0 {
				t.Errorf("it was told %q", got)
			}
		})
	}
	s.until("they are gone", func(st Stats) bool { return st.Open == 0 })
	if st := s.srv.Stats(); st.TLS.Refused["not_tls"] != 3 || st.Rejections["tls"] != 3 || st.Closes["tls"] != 3 {
		t.Errorf("%v, %v, %v", st.TLS.Refused, st.Rejections, st.Closes)
	}
}

func TestHandshakesThatFailAreCountedByReason(t *testing.T) {
	s := startTLS(t)
	must := func(name string, p *tlsPeer, err error, says string) {
		t.Helper()
		if err == nil { // TLS 1.3: the client has finished before the server
			_, err = p.r.ReadByte()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: the client was told %v, want %q", name, err, says)
		}
	}
	p, err := s.try(nil, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11; c.MinVersion = tls.VersionTLS10 })
	must("version", p, err, "protocol version not supported")
	p, err = s.try(nil, func(c *tls.Config) { c.NextProtos = []string{"h2"} })
	must("protocol", p, err, "no application protocol")
	p, err = s.try(nil, upTo12, func(c *tls.Config) {
		c.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256} // for another kind of key
	})
	must("cipher", p, err, "handshake failure")
	p, err = s.try(nil, func(c *tls.Config) { c.RootCAs = certtest.New(t).Pool() })
	must("alert", p, err, "certificate")
	tcp, err := net.Dial("tcp", s.addr)
	check(t, err)
	check(t, tcp.Close())
	want := map[string]uint64{"version": 1, "protocol": 1, "cipher": 1, "alert": 1, "gone": 1}
	s.until("they are counted", func(st Stats) bool { return st.Closes["tls"] == 5 && st.Open == 0 })
	for reason, n := range s.srv.Stats().TLS.Refused {
		if n != want[reason] {
			t.Errorf("%s: %d, want %d", reason, n, want[reason])
		}
	}
}

func TestClientsShowCertificates(t *testing.T) {
	clients := certtest.New(t)
	own, others := clients.Issue("a client"), certtest.New(t).Issue("a stranger")
	show := func(pair *tls.Certificate) func(*tls.Config) {
		return func(c *tls.Config) { // whatever the server says it wants
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, tc := range []struct {
			auth, name string
			pair       *tls.Certificate
			welcome    bool
		}{
			{"require", "its own", &own, true},
			{"require", "a stranger's", &others, false},
			{"require", "none", &tls.Certificate{}, false},
			{"request", "its own", &own, true},
			{"request", "a stranger's", &others, false},
			{"request", "none", &tls.Certificate{}, true},
			{"none", "a stranger's", &others, true},
		} {
			t.Run(fmt.Sprintf("%s %s, %s", tc.auth, tc.name, tls.VersionName(version)), func(t *testing.T) {
				s := startTLS(t, func(set *setup) {
					set.opts.Server.TLS.ClientAuth = tc.auth
					if tc.auth != "none" {
						set.opts.Server.TLS.ClientCA = clients.WriteCA(t.TempDir())
					}
				})
				p, err := s.try(nil, show(tc.pair), func(c *tls.Config) { c.MaxVersion = version })
				if tc.welcome {
					check(t, err)
					p.upgrade()
					return
				}
				if err == nil {
					_, _ = io.WriteString(p.conn, upgradeHead) // the alert must arrive all the same
					_, err = p.r.ReadByte()
				}
				// TLS 1.2 has no alert for one that is missing.
				if err == nil || !strings.Contains(err.Error(), "certificate") && !strings.Contains(err.Error(), "handshake failure") {
					t.Errorf("the client was told %v", err)
				}
				check(t, p.tcp.Close())
				s.until("it is gone", func(st Stats) bool { return st.Open == 0 })
				if st := s.srv.Stats().TLS; st.Refused["client_certificate"] != 1 {
					t.Errorf("refused: %v", st.Refused)
				}
			})
		}
	}
}

// The goroutine of a handshake ends when its time is up; the client is told by a
// FIN, since without keys there are no words.
func TestAHandshakeThatIsNotFinishedEndsInTime(t *testing.T) {
	for name, begin := range map[string]string{
		"nothing at all":        "",
		"one byte":              "\x16",
		"a header of a record":  "\x16\x03\x01\x02\x00",
		"a part of ClientHello": clientHello(t)[:100],
		"all of ClientHello":    clientHello(t),
	} {
		t.Run(name, func(t *testing.T) {
			s := startTLS(t, withFakeClock)
			tcp, err := net.Dial("tcp", s.addr)
			check(t, err)
			defer tcp.Close()
			check(t, tcp.SetDeadline(time.Now().Add(20*time.Second)))
			_, err = io.WriteString(tcp, begin)
			check(t, err)
			s.until("it is there", func(st Stats) bool { return st.Handshakes == 1 })
			s.pass(4 * time.Second)
			if st := s.srv.Stats(); st.Handshakes != 1 {
				t.Errorf("after 4 s: %d handshakes", st.Handshakes)
			}
			s.pass(2 * time.Second)
			if got, err := io.ReadAll(tcp); err != nil || len(got) > 0 && !strings.HasPrefix(name, "all") {
				t.Errorf("it was told %q, %v", got, err)
			}
			check(t, tcp.Close())
			s.until("it is gone", func(st Stats) bool { return st.Open == 0 })
			if st := s.srv.Stats(); st.Closes["handshake_timeout"] != 1 || st.TLS.Refused["unfinished"] != 1 {
				t.Errorf("%v, %v", st.Closes, st.TLS.Refused)
			}
		})
	}
}

// clientHello is a client's first record.
func clientHello(t *testing.T) string {
	t.Helper()
	a, b := net.Pipe()
	go func() { _ = tls.Client(a, &tls.Config{ServerName: "localhost"}).Handshake() }() // ends with b
	defer b.Close()
	head := make([]byte, 5)
	_, err := io.ReadFull(b, head)
	check(t, err)
	body := make([]byte, int(head[3])<<8|int(head[4]))
	_, err = io.ReadFull(b, body)
	check(t, err)
	return string(head) + string(body)
}

// trickle writes a byte at a time.
type trickle struct{ net.Conn }

func (c trickle) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestAHandshakeMayComeByteByByte(t *testing.T) {
	for name, change := range map[string]func(*tls.Config){"TLS 1.3": func(*tls.Config) {}, "TLS 1.2": upTo12} {
		t.Run(name, func(t *testing.T) {
			s := startTLS(t)
			p := s.connect(func(c net.Conn) net.Conn { return trickle{c} }, change).upgrade()
			p.send(frame(0x82, "hello"))
			p.echoes("hello")
		})
	}
}

func TestWhoSaysNothingHasNoGoroutine(t *testing.T) {
	s := startTLS(t)
	before := settledGoroutines()
	const conns = 100
	for range conns {
		tcp, err := net.Dial("tcp", s.addr)
		check(t, err)
		defer tcp.Close()
	}
	s.until("all are there", func(st Stats) bool { return st.Handshakes == conns })
	if after := settledGoroutines(); after > before+10 {
		t.Errorf("%d goroutines before, %d with %d more connections", before, after, conns)
	}
}

func TestAServerWithUnfinishedHandshakesCloses(t *testing.T) {
	s := startTLS(t)
	for range 10 {
		tcp, err := net.Dial("tcp", s.addr)
		check(t, err)
		defer tcp.Close()
		_, err = io.WriteString(tcp, "\x16\x03\x01")
		check(t, err)
	}
	s.until("all are there", func(st Stats) bool { return st.Handshakes == 10 })
	s.close() // goleak sees what is left
	if n := s.srv.Stats().TLS.Refused["unfinished"]; n != 10 {
		t.Errorf("%d unfinished", n)
	}
}

func TestAConnectionTooManyIsNotAnswered(t *testing.T) {
	s := startTLS(t, func(set *setup) { set.opts.Server.MaxConnections = 1 })
	s.connect(nil).upgrade()
	if _, err := s.try(nil); err == nil {
		t.Error("the second was welcome")
	}
	if st := s.srv.Stats(); st.Shed != 1 {
		t.Errorf("%d were shed", st.Shed)
	}
}

func TestACertificateIsReplacedWithConnectionsOpen(t *testing.T) {
	s := startTLS(t)
	subject := func(p *tlsPeer) string { return p.conn.ConnectionState().PeerCertificates[0].Subject.CommonName }
	old := s.connect(nil).upgrade()
	certtest.Write(t, s.folder, s.ca.Issue("second"))
	if changed, err := s.srv.ReloadCertificates(); err != nil || !changed {
		t.Fatalf("changed: %v, %v", changed, err)
	}
	fresh := s.connect(nil).upgrade()
	if a, b := subject(old), subject(fresh); a != "first" || b != "second" {
		t.Errorf("the old one has seen %q, the new one %q", a, b)
	}
	check(t, os.WriteFile(s.key, []byte("not a key"), 0o600))
	_, err := s.srv.ReloadCertificates()
	if err == nil || !strings.HasPrefix(err.Error(), "server.tls.cert: ") {
		t.Errorf("a broken pair: %v", err)
	}
	check(t, os.Remove(s.key))
	if _, err := s.srv.ReloadCertificates(); err == nil || !strings.HasPrefix(err.Error(), "server.tls.key: ") {
		t.Errorf("a missing key: %v", err)
	}
	if got := subject(s.connect(nil).upgrade()); got != "second" {
		t.Errorf("after that it shows %q", got)
	}
	for _, p := range []*tlsPeer{old, fresh} {
		p.send(frame(0x82, "still here"))
		p.echoes("still here")
	}
	if st := s.srv.Stats().TLS.Certificates; st.Loaded != 1 || st.Refused != 2 || st.NotAfter.IsZero() {
		t.Errorf("%+v", st)
	}
}

func TestTLSChangesForNewConnections(t *testing.T) {
	s := startTLS(t)
	old := s.connect(nil, upTo12).upgrade()
	o := s.srv.opts().Options
	o.Server.TLS.MinVersion = "1.3"
	check(t, s.srv.Reconfigure(o))
	if _, err := s.try(nil, upTo12); err == nil {
		t.Error("TLS 1.2 is spoken still")
	}
	o.Server.TLS.Cert = s.folder + "/none.pem"
	if err := s.srv.Reconfigure(o); err == nil || !strings.HasPrefix(err.Error(), "server.tls.cert: ") {
		t.Errorf("a certificate that is not there: %v", err)
	}
	s.connect(nil).upgrade()
	o.Server.TLS = TLSOptions{}
	check(t, s.srv.Reconfigure(o))
	s.dial("/") // plainly
	old.send(frame(0x82, "still here"))
	old.echoes("still here")
	o.Server.TLS = TLSOptions{Cert: s.cert, Key: s.key}
	check(t, s.srv.Reconfigure(o))
	s.connect(nil).upgrade()
}

func TestIdleTLSConnectionsHaveNoGoroutines(t *testing.T) {
	s := startTLS(t)
	s.connect(nil).upgrade()
	s.until("the handshake's goroutine is gone", func(st Stats) bool { return st.Handshakes == 0 })
	before := settledGoroutines()
	const conns = 100
	for range conns {
		p := s.connect(nil).upgrade()
		p.send(frame(0x82, "x"))
		p.echoes("x")
	}
	if after := settledGoroutines(); after > before+10 {
		t.Errorf("%d goroutines before, %d with %d more connections", before, after, conns)
	}
}

// stingy is a socket that takes a few bytes at a time, or none, as a full one
// does, and always has room soon.
type stingy struct {
	Socket
	rng *rand.Rand // the writer's
}

func (s *stingy) Write(p []byte) (int, error) {
	n := min(len(p), s.rng.IntN(40))
	if n == 0 {
		return 0, netpoll.ErrWouldBlock
	}
	return s.Socket.Write(p[:n])
}

// What a full socket does not take is sent later, once, in order, to the last byte
// of close_notify.
func TestASocketMayTakeAnyPartOfARecord(t *testing.T) {
	for name, change := range map[string]func(*tls.Config){"TLS 1.3": func(*tls.Config) {}, "TLS 1.2": upTo12} {
		t.Run(name, func(t *testing.T) {
			s := startTLS(t, func(set *setup) {
				set.wrap = func(raw Socket) Socket { return &stingy{raw, rand.New(rand.NewPCG(1, 2))} }
			})
			p := s.connect(nil, change).upgrade()
			sizes := []int{0, 1, 2, 100, 125, 126, 3, 5000, 20_000, 1, 1, 1}
			for i, n := range sizes {
				p.send(frame(0x82, strings.Repeat(string(rune('a'+i)), n)))
			}
			for i, n := range sizes {
				p.echoes(strings.Repeat(string(rune('a'+i)), n))
			}
			p.send(frame(0x88, "\x03\xe8bye"))
			p.echoes("\x03\xe8")
			p.closed()
			check(t, p.tcp.Close())
			s.until("the connection is gone", func(st Stats) bool { return st.Open == 0 })
			if st := s.srv.Stats(); st.OutboundBytes != 0 {
				t.Errorf("%d bytes are counted as waiting", st.OutboundBytes)
			}
		})
	}
}

func TestASlowReaderOverTLSGetsEverythingInOrder(t *testing.T) {
	s := startTLS(t, func(set *setup) {
		set.opts.WebSocket.OutboundQueueSize, set.opts.WebSocket.OutboundQueueMessages = 64<<20, 1<<20
		set.opts.WebSocket.WriteTimeout = time.Minute
	})
	p := s.connect(nil).upgrade()
	const messages, size = 300, 60_000
	sent := make(chan error, 1)
	go func() { // ends when the server has read all, which it does before it can write all
		for i := range messages {
			if _, err := io.WriteString(p.conn, frame(0x82, fmt.Sprintf("%6d", i)+strings.Repeat("z", i%size))); err != nil {
				sent <- err
				return
			}
			if _, err := io.WriteString(p.conn, frame(0x82, strings.Repeat("y", size))); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	s.until("the socket is full", func(st Stats) bool { return st.OutboundBytes > 1<<20 })
	for i := range messages {
		p.echoes(fmt.Sprintf("%6d", i) + strings.Repeat("z", i%size))
		p.echoes(strings.Repeat("y", size))
	}
	check(t, <-sent)
	s.until("nothing waits", func(st Stats) bool { return st.OutboundBytes == 0 })
}

func TestAPeerOverTLSThatNeverReadsIsClosed(t *testing.T) {
	s := startTLS(t, func(set *setup) { set.opts.WebSocket.OutboundQueueSize = 64 << 10 })
	p := s.connect(nil).upgrade()
	go func() { // ends with the connection
		for {
			if _, err := io.WriteString(p.conn, frame(0x82, strings.Repeat("y", 30_000))); err != nil {
				return
			}
		}
	}()
	s.until("it is closed", func(st Stats) bool { return st.Closes["slow_consumer"] == 1 })
	p.tcp.Close()
	s.until("nothing waits", func(st Stats) bool { return st.OutboundBytes == 0 && st.Open == 0 })
}

// heldBy is how many bytes a connection keeps for reading.
func heldBy(c *Conn) int {
	conn := c.sock.(*tlsSocket).conn
	return tlsLayout.rawInputOf(conn).Cap() + tlsLayout.handOf(conn).Cap()
}

func TestBuffersOfAnIdleTLSConnectionAreReturned(t *testing.T) {
	if !tlsLayout.known {
		t.Fatal("crypto/tls.Conn has other fields than it had; see tlsbuffers.go")
	}
	s := startTLS(t)
	var h *holder
	p := s.connect(func(c net.Conn) net.Conn { h = &holder{Conn: c}; return h }).upgrade()
	var c *Conn
	s.srv.hub.each(func(only *Conn) { c = only })
	idle := func(what string, want int64, atMost int) {
		t.Helper()
		p.send(frame(0x82, "x")) // what comes behind it is read with it, or kept
		p.echoes("x")
		s.until("the bytes are counted", func(st Stats) bool { return st.InboundBytes == want })
		s.withLane(c, func() {
			if n := heldBy(c); n > atMost {
				t.Errorf("%s: it holds %d bytes", what, n)
			}
			if c.sock.(*tlsSocket).lent != nil {
				t.Errorf("%s: it has a buffer", what)
			}
		})
	}
	idle("after the upgrade", 0, 0)
	p.send(frame(0x82, strings.Repeat("x", 50_000)))
	p.echoes(strings.Repeat("x", 50_000))
	idle("after a long message", 0, 0)
	h.hold()
	p.send(frame(0x82, strings.Repeat("x", 10_000)))
	record := h.kept.Next(1000)
	_, err := h.Conn.Write(record)
	check(t, err)
	s.until("a part of a record has come", func(st Stats) bool { return st.InboundBytes == 1000 })
	s.withLane(c, func() {
		if n := heldBy(c); n > 1100 {
			t.Errorf("it holds %d bytes for 1000 of a record", n)
		}
	})
	h.letGo(t, 1<<20)
	p.echoes(strings.Repeat("x", 10_000))
	idle("after the rest of it", 0, 0)
}

// withLane calls f while nobody else has the connection's lane.
func (w *world) withLane(c *Conn, f func()) {
	w.until("the lane is free", func(Stats) bool { return c.inbox.CompareAndSwap(0, owned) })
	f()
	if !c.letGo() {
		w.srv.exec.Submit(c)
	}
}

// Clients come, talk, misbehave and go while certificates change.
func TestTLSHammer(t *testing.T) {
	s := startTLS(t, func(set *setup) { set.opts.Server.HandshakeTimeout = 20 * time.Second })
	var clients sync.WaitGroup
	stop := make(chan struct{})
	reloads := make(chan struct{})
	go func() { // ends with stop
		defer close(reloads)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			certtest.Write(t, s.folder, s.ca.Issue(fmt.Sprint(i)))
			_, _ = s.srv.ReloadCertificates()
		}
	}()
	config := s.config()
	for n := range 8 {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 3))
			for range 15 {
				tcp, err := net.Dial("tcp", s.addr)
				if err != nil {
					t.Error(err)
					return
				}
				_ = tcp.SetDeadline(time.Now().Add(20 * time.Second))
				hammerTLS(t, rng, tcp, config)
				tcp.Close()
			}
		})
	}
	clients.Wait()
	close(stop)
	<-reloads
	s.until("all are gone", func(st Stats) bool { return st.Open == 0 && st.InboundBytes == 0 && st.OutboundBytes == 0 })
}

// hammerTLS plays one client.
func hammerTLS(t *testing.T, rng *rand.Rand, tcp net.Conn, config *tls.Config) {
	if rng.IntN(8) == 0 {
		_, _ = io.WriteString(tcp, []string{"", "\x16\x03", "GET / HTTP/1.1\r\n\r\n"}[rng.IntN(3)])
		return
	}
	conn := tls.Client(tcp, config)
	if _, err := io.WriteString(conn, upgradeHead); err != nil {
		t.Errorf("handshake: %v", err)
		return
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Errorf("upgrade: %v", err)
		return
	}
	for range 1 + rng.IntN(5) {
		batch := 1 + rng.IntN(20)
		size := rng.IntN(4000)
		go func() { // ends with tcp, or when the server has read it
			_, _ = io.WriteString(conn, strings.Repeat(frame(0x82, strings.Repeat("h", size)), batch))
		}()
		if rng.IntN(10) == 0 {
			return // in the middle of it
		}
		for range batch {
			var head [4]byte
			n := 2
			if size > 125 {
				n = 4
			}
			if _, err := io.ReadFull(r, head[:n]); err != nil {
				t.Errorf("read: %v", err)
				return
			}
			if _, err := r.Discard(size); err != nil {
				t.Errorf("read: %v", err)
				return
			}
		}
	}
	if rng.IntN(2) == 0 {
		_ = conn.CloseWrite()
		_, _ = io.Copy(io.Discard, r)
	}
}
