package host

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
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
			cert, key := certtest.Write(t, t.TempDir(), ca.Issue("server"))
			l := newLab(t, func(s *setup) { s.opts.Server.TLS = TLSOptions{Cert: cert, Key: key} })
			l.quick(true)
			p := newPipe()
			l.srv.welcome(newTLSSocket(l.srv, p, l.srv.certs.Load().Config()))
			end := &pipeEnd{pipe: p}
			client := tls.Client(end, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"})
			_, err := io.WriteString(client, upgradeHead)
			check(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(client), nil)
			check(t, err)
			if resp.StatusCode != 101 {
				t.Fatal(resp.Status)
			}
			p.mu.Lock()
			p.silent = true
			p.mu.Unlock()
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
