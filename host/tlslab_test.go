package host

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/certtest"
	"weir/netpoll"
)

// pipe is a socket in memory whose other end is a net.Conn. Readiness is told on
// the goroutine of the client's write.
type pipe struct {
	h netpoll.Handler

	mu     sync.Mutex // below
	more   *sync.Cond
	in     []byte // to the server
	out    []byte // to the client
	fin    bool   // the client has closed
	ended  bool   // the server has
	silent bool   // what the server writes is thrown away
}

func newPipe() *pipe {
	p := &pipe{}
	p.more = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) Start(h netpoll.Handler) error {
	p.h = h
	p.h.Ready(netpoll.Readable)
	return nil
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(p.in) > 0:
		n := copy(b, p.in)
		p.in = p.in[n:]
		return n, nil
	case p.fin:
		return 0, io.EOF
	}
	return 0, netpoll.ErrWouldBlock
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.silent {
		p.out = append(p.out, b...)
		p.more.Broadcast()
	}
	return len(b), nil
}

func (p *pipe) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.more.Broadcast()
	return nil
}

func (p *pipe) WantWrite(bool) error       { return nil }
func (p *pipe) CloseWrite() error          { return p.end() }
func (p *pipe) Close() error               { return p.end() }
func (p *pipe) Detach() (net.Conn, error)  { return nil, netpoll.ErrClosed }
func (p *pipe) RemoteAddr() netip.AddrPort { return netip.MustParseAddrPort("10.0.0.1:1") }

// pipeEnd is the client's end.
type pipeEnd struct {
	*pipe
	record []byte // unless nil, gets what is written
	keep   bool
}

func (e *pipeEnd) Read(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.out) == 0 && !e.ended {
		e.more.Wait()
	}
	if len(e.out) == 0 {
		return 0, io.EOF
	}
	n := copy(b, e.out)
	e.out = e.out[n:]
	return n, nil
}

func (e *pipeEnd) Write(b []byte) (int, error) {
	if e.keep {
		e.record = append(e.record, b...)
		return len(b), nil
	}
	e.feed(append([]byte(nil), b...))
	return len(b), nil
}

// feed hands bytes to the server, which may be read at once.
func (e *pipeEnd) feed(b []byte) {
	e.mu.Lock()
	if len(e.in) == 0 {
		e.in = b
	} else {
		e.in = append(e.in, b...)
	}
	e.mu.Unlock()
	e.h.Ready(netpoll.Readable)
}

func (e *pipeEnd) Close() error {
	e.mu.Lock()
	e.fin = true
	e.mu.Unlock()
	e.h.Ready(netpoll.Readable | netpoll.Hangup)
	return nil
}

func (e *pipeEnd) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (e *pipeEnd) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (e *pipeEnd) SetDeadline(time.Time) error      { return nil }
func (e *pipeEnd) SetReadDeadline(time.Time) error  { return nil }
func (e *pipeEnd) SetWriteDeadline(time.Time) error { return nil }

// tlsLab is a lab that speaks TLS.
type tlsLab struct {
	*lab
	ca *certtest.Authority
}

func newTLSLab(t testing.TB, ca *certtest.Authority, pair tls.Certificate) *tlsLab {
	t.Helper()
	cert, key := certtest.Write(t, t.TempDir(), pair)
	return &tlsLab{newLab(t, func(s *setup) { s.opts.Server.TLS = TLSOptions{Cert: cert, Key: key} }), ca}
}

// pipe connects.
func (l *tlsLab) pipe() *pipeEnd {
	p := newPipe()
	l.srv.welcome(newTLSSocket(l.srv, p, l.srv.certs.Load().Config()))
	return &pipeEnd{pipe: p}
}

// upgraded opens a WebSocket. The lanes must run by themselves, or handlers be
// quick.
func (l *tlsLab) upgraded(end *pipeEnd) *tls.Conn {
	l.t.Helper()
	client := tls.Client(end, &tls.Config{RootCAs: l.ca.Pool(), ServerName: "localhost"})
	_, err := io.WriteString(client, upgradeHead)
	check(l.t, err)
	resp, err := http.ReadResponse(bufio.NewReader(client), nil)
	check(l.t, err)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		l.t.Fatal(resp.Status)
	}
	return client
}

// gone waits until no connection is left.
func (l *tlsLab) gone() {
	l.t.Helper()
	for limit := time.Now().Add(20 * time.Second); l.srv.Stats().Open > 0; goruntime.Gosched() {
		if time.Now().After(limit) {
			l.t.Fatal("the connection does not end")
		}
	}
}

// The end of the stream behind half a record has no event of its own.
func TestAnEndBehindHalfARecordIsSeen(t *testing.T) {
	for _, half := range []string{"\x17", "\x17\x03\x03\x00\x20abc", ""} {
		ca := certtest.New(t)
		l := newTLSLab(t, ca, ca.Issue("server"))
		stop := l.tasks.thread()
		end := l.pipe()
		l.upgraded(end)
		end.mu.Lock()
		end.in, end.fin = append(end.in, half...), true
		end.mu.Unlock()
		end.h.Ready(netpoll.Readable | netpoll.Hangup)
		l.gone()
		stop()
		l.close()
	}
}

// TestTLSMessageAllocs holds what a message costs over TLS to what crypto/tls
// itself allocates for it: a reader for each read of its connection.
func TestTLSMessageAllocs(t *testing.T) {
	for _, tc := range []struct {
		size, batch int
		most        float64
	}{
		{128, 1, 1},
		{128, 16, 1}, // one read brings them all
		{4096, 1, 1},
	} {
		t.Run(fmt.Sprintf("%d of %d B", tc.batch, tc.size), func(t *testing.T) {
			ca := certtest.New(t)
			l := newTLSLab(t, ca, ca.Issue("server"))
			l.quick(true)
			end := l.pipe()
			client := l.upgraded(end)
			end.mu.Lock()
			end.silent = true
			end.mu.Unlock()
			const runs = 1101 // those of allocs, below
			var records [][]byte
			for range runs {
				end.keep, end.record = true, nil
				for range tc.batch {
					_, err := io.WriteString(client, frame(0x82, strings.Repeat("x", tc.size)))
					check(t, err)
				}
				records = append(records, end.record)
			}
			end.keep = false
			received := l.srv.Stats().MessagesReceived
			next := 0
			got := allocs(t, func() {
				end.feed(records[next])
				next++
			})
			if got > tc.most {
				t.Errorf("%v allocations, want %v at most", got, tc.most)
			}
			if n := l.srv.Stats().MessagesReceived - received; n != uint64(next*tc.batch) {
				t.Errorf("%d of %d messages came", n, next*tc.batch)
			}
			check(t, end.Close())
			l.settle()
			l.close()
		})
	}
}

// FuzzTLSPort sends anything to a port that speaks TLS: in two pieces, plainly or
// behind a handshake. Whatever it is, the connection ends with its client, and
// leaves nothing.
func FuzzTLSPort(f *testing.F) {
	hello := "\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03" + strings.Repeat("r", 32) + "\x00\x00\x02\x13\x01\x01\x00"
	for _, seed := range []string{"", "\x16", hello, upgradeHead, "\x80\x2e\x01\x00\x02", "\x15\x03\x03\x00\x02\x01\x00", "\x17\x03\x03\x40\x01", frame(0x81, "echo hi")} {
		f.Add([]byte(seed), uint16(len(seed)/2), false)
		f.Add([]byte(seed), uint16(3), true)
	}
	ca := certtest.New(f)
	pair := ca.Issue("server")
	f.Fuzz(func(t *testing.T, data []byte, cut uint16, behind bool) {
		l := newTLSLab(t, ca, pair)
		stop := l.tasks.thread()
		end := l.pipe()
		if behind {
			l.upgraded(end)
		}
		n := min(int(cut), len(data))
		end.feed(append([]byte(nil), data[:n]...))
		end.feed(append([]byte(nil), data[n:]...))
		check(t, end.Close())
		l.gone()
		stop()
		l.close()
	})
}
