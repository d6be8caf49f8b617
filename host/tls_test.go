package host

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"weir/internal/certtest"
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
	h, payload := readFrame(p.t, p.r)
	_ = h
	return payload
}

func readFrame(t *testing.T, r *bufio.Reader) (first byte, payload string) {
	t.Helper()
	var head [2]byte
	_, err := io.ReadFull(r, head[:])
	check(t, err)
	n := int(head[1])
	switch n {
	case 126:
		var ext [2]byte
		_, err = io.ReadFull(r, ext[:])
		n = int(ext[0])<<8 | int(ext[1])
	case 127:
		var ext [8]byte
		_, err = io.ReadFull(r, ext[:])
		n = 0
		for _, b := range ext {
			n = n<<8 | int(b)
		}
	}
	check(t, err)
	body := make([]byte, n)
	_, err = io.ReadFull(r, body)
	check(t, err)
	return head[0], string(body)
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
		set.opts.Routes = append(set.opts.Routes, Route{Path: "/", Static: folder})
		set.http = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%v", r.TLS != nil)
		})
	})
	client := http.Client{Transport: &http.Transport{TLSClientConfig: s.config(), DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := client.Get("https://" + s.addr + "/long.txt")
	check(t, err)
	body, err := io.ReadAll(resp.Body)
	check(t, err)
	resp.Body.Close()
	if string(body) != long {
		t.Errorf("got %d bytes of the file, want %d", len(body), len(long))
	}
	resp, err = client.Post("https://"+s.addr+"/none", "text/plain", strings.NewReader(long))
	check(t, err)
	resp.Body.Close()
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
