package netpoll_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"weir/netpoll"
	"weir/pool"
)

// benchConn echoes, on the shard's goroutine or on a worker of the pool.
type benchConn struct {
	s     *netpoll.Socket
	p     *pool.Pool // nil: inline
	buf   []byte
	state atomic.Int32 // 0 idle, 1 queued or running, 2 running and told again
}

func (c *benchConn) Ready(netpoll.Event) {
	if c.p == nil {
		c.turn()
		return
	}
	for {
		switch {
		case c.state.CompareAndSwap(0, 1):
			c.p.Submit(c)
			return
		case c.state.CompareAndSwap(1, 2), c.state.Load() == 2:
			return
		}
	}
}

func (c *benchConn) Run() bool {
	c.state.Store(1)
	c.turn()
	return !c.state.CompareAndSwap(1, 0)
}

func (c *benchConn) turn() {
	for {
		n, err := c.s.Read(c.buf)
		if err != nil {
			return
		}
		c.s.Write(c.buf[:n])
		if n < len(c.buf) {
			return
		}
	}
}

type benchServer struct {
	ln    *netpoll.Listener
	p     *pool.Pool
	ready chan *benchConn
}

func (s *benchServer) Ready(netpoll.Event) {
	for {
		sock, err := s.ln.Accept()
		if err != nil {
			return
		}
		c := &benchConn{s: sock, p: s.p, buf: make([]byte, 4096)}
		if err := sock.Start(c); err != nil {
			panic(err)
		}
		s.ready <- c
	}
}

// One iteration is one echo of 128 B on each of so many connections, all in
// flight at the same time; client and server share the machine.
func BenchmarkEcho(b *testing.B) {
	for _, bc := range []struct {
		name   string
		conns  int
		pooled bool
	}{
		{"inline/1", 1, false},
		{"pool/1", 1, true},
		{"inline/64", 64, false},
		{"pool/64", 64, true},
	} {
		b.Run(bc.name, func(b *testing.B) { benchEcho(b, bc.conns, bc.pooled) })
	}
}

func benchEcho(b *testing.B, conns int, pooled bool) {
	poller, err := netpoll.Open(netpoll.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ln, err := poller.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &benchServer{ln: ln, ready: make(chan *benchConn, conns)}
	if pooled {
		srv.p = pool.New(pool.Options{})
	}
	if err := ln.Start(srv); err != nil {
		b.Fatal(err)
	}
	clients := make([]net.Conn, conns)
	servers := make([]*benchConn, conns)
	for i := range clients {
		if clients[i], err = net.Dial("tcp", ln.Addr().String()); err != nil {
			b.Fatal(err)
		}
		servers[i] = <-srv.ready
	}

	message := make([]byte, 128)
	reply := make([]byte, 128)
	b.SetBytes(int64(conns * len(message)))
	b.ReportAllocs()
	for b.Loop() {
		for _, c := range clients {
			if _, err := c.Write(message); err != nil {
				b.Fatal(err)
			}
		}
		for _, c := range clients {
			if _, err := io.ReadFull(c, reply); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*conns), "ns/echo")

	for _, c := range clients {
		c.Close()
	}
	if srv.p != nil {
		if err := srv.p.Close(context.Background()); err != nil {
			b.Error(err)
		}
	}
	for _, c := range servers {
		c.s.Close()
	}
	if err := errors.Join(ln.Close(), poller.Close()); err != nil {
		b.Error(err)
	}
}

// One iteration is one connection: dialled, accepted, started, closed by the
// server and then by the client.
func BenchmarkConnect(b *testing.B) {
	poller, err := netpoll.Open(netpoll.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ln, err := poller.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var alive sync.WaitGroup
	if err := ln.Start(&closingServer{ln: ln, alive: &alive}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		alive.Add(1)
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		c.Write([]byte("x"))
		alive.Wait()
		c.Close()
	}
	if err := errors.Join(ln.Close(), poller.Close()); err != nil {
		b.Error(err)
	}
}

type closingServer struct {
	ln    *netpoll.Listener
	alive *sync.WaitGroup
}

func (s *closingServer) Ready(netpoll.Event) {
	for {
		sock, err := s.ln.Accept()
		if err != nil {
			return
		}
		if err := sock.Start(&closingConn{s: sock, alive: s.alive}); err != nil {
			panic(err)
		}
	}
}

type closingConn struct {
	s     *netpoll.Socket
	alive *sync.WaitGroup
}

func (c *closingConn) Ready(netpoll.Event) {
	c.s.Close()
	c.alive.Done()
}
