package host

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// behind makes the lab's clients trusted proxies: they come from 10.0.0.0/8.
func behind(mode string) func(*setup) {
	return func(s *setup) {
		s.opts.Server.TrustedProxies = []string{"10.0.0.0/8", "127.0.0.1"}
		s.opts.Server.ProxyProtocol = mode
	}
}

// from connects with an address of its own.
func (l *lab) from(ip string) *labClient {
	w := l.wire()
	w.addr = netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(1000+len(l.wires)))
	l.srv.welcome(l.srv.behindProxy(w))
	conn, _ := w.handler.(*Conn)
	return &labClient{wire: w, t: l.t, lab: l, conn: conn}
}

const proxyV1For7 = "PROXY TCP4 192.0.2.7 10.0.0.1 50099 443\r\n"

func TestAProxyHeaderNamesTheClientHoweverItIsSplit(t *testing.T) {
	for _, header := range []string{proxyV1For7, proxyV2(proxyV2Proxy, proxyTCP4, v4Addresses, "")} {
		stream := header + upgradeHead + frame(0x81, "attr remote_addr")
		l := newLab(t, behind("accept"), withoutPings)
		for i := range len(header) + 20 {
			c := l.knock()
			c.write(stream[:i])
			l.settle()
			c.write(stream[i:])
			l.settle()
			c.upgraded()
			c.want("192.0.2.7:50099")
			c.leave()
		}
		c := l.wire() // all of it before it is accepted
		c.write(stream)
		l.srv.welcome(l.srv.behindProxy(c))
		l.settle()
		client := &labClient{wire: c, t: t, lab: l}
		client.upgraded()
		client.want("192.0.2.7:50099")
		c = l.wire() // and a byte at a time
		l.srv.welcome(l.srv.behindProxy(c))
		client = &labClient{wire: c, t: t, lab: l}
		for i := range len(stream) {
			c.write(stream[i : i+1])
			l.settle()
		}
		client.upgraded()
		client.want("192.0.2.7:50099")
		l.close()
	}
}

func TestAProxyHeaderIsNobodyElsesToSend(t *testing.T) {
	l := newLab(t, behind("accept"), withoutPings)
	c := l.from("198.51.100.1")
	c.write(proxyV1For7 + upgradeHead)
	l.settle()
	if got := string(c.take()); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("a stranger's header was answered %q", got)
	}
	direct := l.from("198.51.100.2")
	direct.write(strings.Replace(upgradeHead, "\r\n\r\n", "\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n", 1))
	l.settle()
	direct.upgraded()
	if got := direct.ask("attr remote_addr"); !strings.HasPrefix(got, "198.51.100.2:") {
		t.Errorf("a stranger's header made it %s", got)
	}
	bare := l.connect("/")
	if got := bare.ask("attr remote_addr"); !strings.HasPrefix(got, "10.") {
		t.Errorf("a proxy without a header is %s", got)
	}
	l.close()
}

func TestAProxyHeaderMayBeRequired(t *testing.T) {
	l := newLab(t, behind("require"), withoutPings)
	stranger := l.from("198.51.100.1")
	if got := string(stranger.take()); !strings.HasPrefix(got, "HTTP/1.1 403 ") || !stranger.gone() {
		t.Errorf("a stranger was answered %q", got)
	}
	for _, sent := range []string{upgradeHead, "PROXY TCP4 1.2.3.4\r\n", "\r\n\r\n\x00\r\nQUIT\n\x31"} {
		c := l.knock()
		c.write(sent)
		l.settle()
		if got := string(c.take()); got != "" || !c.gone() {
			t.Errorf("%q was answered %q", sent, got)
		}
	}
	silent := l.knock()
	silent.write("PROXY TC")
	l.settle()
	l.pass(6 * time.Second)
	if !silent.gone() {
		t.Error("half a header outlives the handshake timeout")
	}
	check := l.knock() // the balancer's own
	check.write(proxyV2(proxyV2Local, proxyUnspec, "", "") + upgradeHead)
	l.settle()
	check.upgraded()
	if got := check.ask("attr remote_addr"); !strings.HasPrefix(got, "10.") {
		t.Errorf("the balancer itself is %s", got)
	}
	if st := l.srv.Stats(); st.Rejections["proxy_header"] != 3 || st.Rejections["not_a_proxy"] != 1 {
		t.Errorf("counted: %v", st.Rejections)
	}
	if n := strings.Count(l.log.String(), "trusted proxy sent"); n == 0 {
		t.Error("nothing is logged")
	}
	l.close()
}

func TestClientsOfAProxyAreLimitedByTheirOwnAddress(t *testing.T) {
	for _, tc := range []struct {
		name, mode string
		come       func(l *lab, ip string) *labClient
	}{
		{"by a PROXY header", "accept", func(l *lab, ip string) *labClient {
			c := l.knock()
			c.write("PROXY TCP4 " + ip + " 10.0.0.1 1 1\r\n" + upgradeHead)
			return c
		}},
		{"by a request header", "off", func(l *lab, ip string) *labClient {
			c := l.knock()
			c.write(strings.Replace(upgradeHead, "\r\n\r\n", "\r\nX-Forwarded-For: 6.6.6.6, "+ip+"\r\n\r\n", 1))
			return c
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, behind(tc.mode), withoutPings, func(s *setup) { s.opts.Server.MaxConnectionsPerIP = 2 })
			come := func(ip string) *labClient {
				c := tc.come(l, ip)
				l.settle()
				return c
			}
			a, b := come("192.0.2.1"), come("192.0.2.1")
			a.upgraded()
			b.upgraded()
			if got := string(come("192.0.2.1").take()); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
				t.Errorf("a third was answered %q", got)
			}
			come("192.0.2.2").upgraded()
			a.leave()
			come("192.0.2.1").upgraded()
			if n := l.srv.Stats().Rejections["max_connections_per_ip"]; n != 1 {
				t.Errorf("%d rejections are counted", n)
			}
			for _, w := range l.wires {
				w.reset()
			}
			l.settle()
			if n := len(l.srv.perIP); n != 0 {
				t.Errorf("%d addresses are remembered although nobody is connected", n)
			}
			l.close()
		})
	}
}

func TestAnIPv6NetworkCountsAsOneAddress(t *testing.T) {
	l := newLab(t, func(s *setup) { s.opts.Server.MaxConnectionsPerIP = 1 })
	l.from("2001:db8::1")
	if !l.from("2001:db8::2").refused() {
		t.Error("a neighbour of the same network was admitted")
	}
	if l.from("2001:db8:0:1::1").refused() {
		t.Error("another network was refused")
	}
	for range 3 { // peers of a unix socket have no address that could be counted
		w := l.wire()
		w.addr = netip.AddrPort{}
		l.srv.welcome(l.srv.behindProxy(w))
		if w.gone() {
			t.Error("a peer of a unix socket was refused")
		}
	}
	for _, w := range l.wires {
		w.reset()
	}
	l.settle()
	l.close()
}

// A limit that is changed while connections are open must not forget or invent
// any.
func TestTheLimitOfAnAddressMayChange(t *testing.T) {
	l := newLab(t, withoutPings)
	before := l.from("198.51.100.1")
	o := l.srv.opts().Options
	o.Server.MaxConnectionsPerIP = 1
	check(t, l.srv.Reconfigure(o))
	counted := l.from("198.51.100.1")
	before.reset()
	l.settle()
	if !l.from("198.51.100.1").refused() {
		t.Error("the end of a connection that was not counted made room")
	}
	counted.reset()
	l.settle()
	if n := len(l.srv.perIP); n != 0 {
		t.Errorf("%d addresses are remembered", n)
	}
	l.close()
}

// The real thing: what net/http is handed tells the client's address too, and the
// bytes behind the header are there.
func TestPlainRequestsComeFromTheClientToo(t *testing.T) {
	heard := make(chan string, 1)
	w := start(t, behind("accept"), func(s *setup) {
		s.http = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.RemoteAddr })
		s.opts.Routes = []Route{{Path: "/ws", Module: "puppet"}}
	})
	for _, tc := range []struct{ head, want string }{
		{proxyV1For7 + "GET / HTTP/1.1\r\nHost: test\r\n\r\n", "192.0.2.7:50099"},
		{"GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 192.0.2.8\r\n\r\n", "192.0.2.8:0"},
	} {
		c := w.raw()
		c.send(tc.head)
		c.rest()
		if got := <-heard; got != tc.want {
			t.Errorf("the request comes from %s, want %s", got, tc.want)
		}
	}
	var _ net.Conn = (*addressed)(nil)
}

// prefaced writes something before its first bytes, in the same segment.
type prefaced struct {
	net.Conn
	preface string
}

func (c *prefaced) Write(p []byte) (int, error) {
	preface := c.preface
	c.preface = ""
	n, err := c.Conn.Write(append([]byte(preface), p...))
	return n - len(preface), err
}

func TestAProxyHeaderComesBeforeTLS(t *testing.T) {
	w := startTLS(t, behind("require"), func(s *setup) {
		s.http = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })
		s.opts.Routes = []Route{{Path: "/{path...}", Module: "puppet"}}
	})
	for _, header := range []string{proxyV1For7, proxyV2(proxyV2Proxy, proxyTCP4, v4Addresses, "")} {
		over := func(c net.Conn) net.Conn { return &prefaced{Conn: c, preface: header} }
		p := w.connect(over).upgrade()
		p.send(frame(0x81, "attr remote_addr"))
		p.echoes("192.0.2.7:50099")
		p = w.connect(over)
		p.send("GET /plain HTTP/1.1\r\nHost: test\r\n\r\n")
		resp, err := http.ReadResponse(p.r, nil)
		check(t, err)
		if body, err := io.ReadAll(resp.Body); string(body) != "192.0.2.7:50099" {
			t.Errorf("a plain request comes from %q, %v", body, err)
		}
		resp.Body.Close()
	}
	if _, err := w.try(nil); err == nil {
		t.Error("TLS without a PROXY header is taken")
	}
	w.until("that one is counted", func(s Stats) bool { return s.Rejections["proxy_header"] == 1 })
	// A proxy that ends TLS itself, and speaks for its client in the request.
	w2 := startTLS(t, behind("off"))
	p := w2.connect(nil)
	p.send(strings.Replace(upgradeHead, "\r\n\r\n", "\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n", 1))
	resp, err := http.ReadResponse(p.r, nil)
	check(t, err)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.Status)
	}
	p.send(frame(0x81, "attr remote_addr"))
	p.echoes("192.0.2.9")
}
