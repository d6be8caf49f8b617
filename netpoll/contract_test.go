package netpoll

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestReading(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(Options) (testPoller, error)) {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network, func(t *testing.T) {
				w := newWorld(t, open, Options{}, network)

				t.Run("bytes that came before Start are told", func(t *testing.T) {
					c := w.dial()
					mustWrite(t, c, "early")
					s, h := w.accept(), newTold()
					if err := s.Start(h); err != nil {
						t.Fatal(err)
					}
					h.wait(t, Readable)
					if got := readN(t, s, h, 5); string(got) != "early" {
						t.Errorf("read %q", got)
					}
				})

				t.Run("a dry socket would block and is told again", func(t *testing.T) {
					c, s, h := w.pair()
					for _, text := range []string{"one", "two", "three"} {
						if n, err := s.Read(make([]byte, 9)); n != 0 || err != ErrWouldBlock {
							t.Fatalf("Read = %d, %v before anything was sent", n, err)
						}
						mustWrite(t, c, text)
						h.wait(t, Readable)
						if got := readN(t, s, h, len(text)); string(got) != text {
							t.Fatalf("read %q, want %q", got, text)
						}
					}
				})

				t.Run("a large message arrives whole", func(t *testing.T) {
					c, s, h := w.pair()
					want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
					sent := make(chan error, 1)
					go func() { _, err := c.Write(want); sent <- err }()
					if got := readN(t, s, h, len(want)); !bytes.Equal(got, want) {
						t.Error("other bytes arrived")
					}
					if err := <-sent; err != nil {
						t.Error(err)
					}
				})

				t.Run("the end comes behind the last byte and stays", func(t *testing.T) {
					c, s, h := w.pair()
					mustWrite(t, c, "last")
					c.(interface{ CloseWrite() error }).CloseWrite()
					if got := readN(t, s, h, 4); string(got) != "last" {
						t.Errorf("read %q", got)
					}
					for range 3 {
						if err := readEnd(t, s, h); err != io.EOF {
							t.Fatalf("Read = %v, want io.EOF", err)
						}
					}
					writeAll(t, s, h, []byte("still writing"))
					mustRead(t, c, "still writing")
				})

				t.Run("a short read has emptied the socket", func(t *testing.T) {
					c, s, h := w.pair()
					for range 100 { // nobody reads until ErrWouldBlock
						mustWrite(t, c, "abc")
						n, err := 0, ErrWouldBlock
						for err == ErrWouldBlock { // an event may come twice
							h.wait(t, Readable)
							n, err = s.Read(make([]byte, 4))
						}
						if n != 3 || err != nil {
							t.Fatalf("Read = %d, %v", n, err)
						}
					}
				})

				t.Run("an end behind a short read is told with it or after it", func(t *testing.T) {
					c := w.dial()
					mustWrite(t, c, "abc")
					c.(interface{ CloseWrite() error }).CloseWrite()
					s, h := w.accept(), newTold()
					if err := s.Start(h); err != nil {
						t.Fatal(err)
					}
					ev := h.wait(t, Readable)
					for n := 0; n == 0; {
						n, _ = s.Read(make([]byte, 4))
					}
					if ev&Hangup == 0 {
						h.wait(t, Hangup)
					}
					if _, err := s.Read(make([]byte, 4)); err != io.EOF {
						t.Errorf("Read = %v, want io.EOF", err)
					}
				})

				t.Run("a buffer larger than one system call takes is filled", func(t *testing.T) {
					if network == "unix" {
						t.Skip("its kernel buffers are smaller")
					}
					c, s, h := w.pair()
					const size = 1<<20 - 7
					sent := make(chan error, 1)
					go func() { _, err := c.Write(make([]byte, size)); sent <- err }()
					p := make([]byte, size)
					for got := 0; got < size; {
						h.wait(t, Readable)
						for n := 1; n > 0 && got < size; got += n {
							asked := min(600<<10, size-got)
							n, _ = s.Read(p[got : got+asked])
							if n < asked { // dry
								got += n
								break
							}
						}
					}
					if err := <-sent; err != nil {
						t.Error(err)
					}
				})

				t.Run("an empty buffer reads nothing", func(t *testing.T) {
					c, s, h := w.pair()
					if n, err := s.Read(nil); n != 0 || err != nil {
						t.Errorf("Read(nil) = %d, %v", n, err)
					}
					mustWrite(t, c, "x")
					h.wait(t, Readable)
					if n, err := s.Read([]byte{}); n != 0 || err != nil {
						t.Errorf("Read of 0 bytes = %d, %v", n, err)
					}
				})
			})
		}

		t.Run("a reset is an errno and a hang-up", func(t *testing.T) {
			w := newWorld(t, open, Options{}, "tcp")
			c, s, h := w.pair()
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			h.wait(t, Hangup)
			if err := readEnd(t, s, h); err != syscall.ECONNRESET {
				t.Errorf("Read = %v (%T), want ECONNRESET", err, err)
			}
		})
	})
}

// fill writes to s until it would block, and returns how much that was.
func fill(t *testing.T, s testSocket) int {
	t.Helper()
	chunk := make([]byte, 64<<10)
	for total := 0; ; {
		n, err := s.Write(chunk)
		if err == ErrWouldBlock {
			return total
		}
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
}

func TestWriting(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(Options) (testPoller, error)) {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network, func(t *testing.T) {
				w := newWorld(t, open, Options{}, network)

				t.Run("a full socket would block and is told of room", func(t *testing.T) {
					c, s, h := w.pair()
					total := fill(t, s)
					if err := s.WantWrite(true); err != nil {
						t.Fatal(err)
					}
					read := make(chan error, 1)
					go func() { _, err := io.CopyN(io.Discard, c, int64(total)); read <- err }()
					h.wait(t, Writable)
					if err := <-read; err != nil {
						t.Fatal(err)
					}
					writeAll(t, s, h, []byte("more"))
					mustRead(t, c, "more")
				})

				t.Run("switching on tells of room that is there, each time", func(t *testing.T) {
					_, s, h := w.pair()
					for range 3 {
						if err := s.WantWrite(true); err != nil {
							t.Fatal(err)
						}
						h.wait(t, Writable)
					}
				})

				t.Run("switched off nobody is told of room", func(t *testing.T) {
					c, s, h := w.pair()
					if err := errors.Join(s.WantWrite(true), s.WantWrite(false), s.WantWrite(false)); err != nil {
						t.Fatal(err)
					}
					mustWrite(t, c, "x")
					h.wait(t, Readable) // what was on its way before came before, or with this
					readN(t, s, h, 1)
					for range 3 {
						for len(h.events) > 0 {
							<-h.events
						}
						mustWrite(t, c, "x")
						if ev := h.wait(t, Readable); ev&Writable != 0 {
							t.Errorf("told %b", ev)
						}
						readN(t, s, h, 1)
					}
				})

				t.Run("both directions at once", func(t *testing.T) {
					c, s, h := w.pair()
					const size = 4 << 20
					var wg sync.WaitGroup
					wg.Go(func() { c.Write(make([]byte, size)) })
					wg.Go(func() { io.CopyN(io.Discard, c, size) })
					p, out, in := make([]byte, 32<<10), size, size
					if err := s.WantWrite(true); err != nil {
						t.Fatal(err)
					}
					for out > 0 || in > 0 {
						n, rerr := s.Read(p)
						in -= n
						n, werr := s.Write(p[:min(out, len(p))])
						out -= n
						for _, err := range []error{rerr, werr} {
							if err != nil && err != ErrWouldBlock {
								t.Fatal(err)
							}
						}
						if (in == 0 || rerr != nil) && (out == 0 || werr != nil) && in+out > 0 {
							h.wait(t, Readable|Writable)
						}
					}
					wg.Wait()
				})

				t.Run("nothing to write is no error", func(t *testing.T) {
					_, s, _ := w.pair()
					if n, err := s.Write(nil); n != 0 || err != nil {
						t.Errorf("Write(nil) = %d, %v", n, err)
					}
				})

				t.Run("writing to one who left is an errno", func(t *testing.T) {
					c, s, h := w.pair()
					c.Close()
					h.wait(t, Hangup)
					s.WantWrite(true)
					var err error
					for err == nil { // the first bytes may still be taken: they bring the reset
						if _, err = s.Write([]byte("x")); err == ErrWouldBlock {
							h.wait(t, Writable)
							err = nil
						}
					}
					if err != syscall.EPIPE && err != syscall.ECONNRESET {
						t.Errorf("Write = %v (%T), want EPIPE or ECONNRESET", err, err)
					}
				})

				t.Run("CloseWrite ends only our stream, behind the last byte", func(t *testing.T) {
					c, s, h := w.pair()
					writeAll(t, s, h, []byte("bye"))
					if err := s.CloseWrite(); err != nil {
						t.Fatal(err)
					}
					mustRead(t, c, "bye")
					mustEnd(t, c)
					mustWrite(t, c, "you too")
					readN(t, s, h, 7)
					if _, err := s.Write([]byte("x")); err != syscall.EPIPE {
						t.Errorf("Write after CloseWrite = %v", err)
					}
				})
			})
		}
	})
}

func TestClosing(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(Options) (testPoller, error)) {
		w := newWorld(t, open, Options{Shards: 1}, "tcp")

		t.Run("what was written arrives before the end", func(t *testing.T) {
			c, s, h := w.pair()
			writeAll(t, s, h, bytes.Repeat([]byte("x"), 10_000))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			mustRead(t, c, strings.Repeat("x", 10_000))
			mustEnd(t, c)
		})

		t.Run("a closed socket says so, twice is once", func(t *testing.T) {
			c, s, _ := w.pair()
			if err := errors.Join(s.Close(), s.Close()); err != nil {
				t.Fatal(err)
			}
			mustEnd(t, c)
			_, rerr := s.Read(make([]byte, 1))
			_, werr := s.Write(make([]byte, 1))
			_, derr := s.Detach()
			for what, err := range map[string]error{
				"Read": rerr, "Write": werr, "Detach": derr, "WantWrite": s.WantWrite(true),
				"CloseWrite": s.CloseWrite(), "Start": s.Start(newTold()),
			} {
				if !errors.Is(err, ErrClosed) {
					t.Errorf("%s = %v, want ErrClosed", what, err)
				}
			}
		})

		t.Run("a socket that was never started closes", func(t *testing.T) {
			c := w.dial()
			s := w.accept()
			if err := s.WantWrite(true); err == nil {
				t.Error("WantWrite before Start worked")
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			mustEnd(t, c)
		})

		t.Run("Start works once", func(t *testing.T) {
			_, s, _ := w.pair()
			if err := s.Start(newTold()); err == nil {
				t.Error("a second Start worked")
			}
		})

		t.Run("a closed socket's handler hears nothing", func(t *testing.T) {
			c1, s1, h1 := w.pair()
			c2, s2, h2 := w.pair()
			s1.Close()
			for len(h1.events) > 0 {
				<-h1.events
			}
			c1.Write([]byte("x"))
			mustWrite(t, c2, "x") // same shard: told behind what c1 might have caused
			readN(t, s2, h2, 1)
			if n := len(h1.events); n != 0 {
				t.Errorf("told %d times after Close", n)
			}
		})

		t.Run("an event that waits for a socket closed meanwhile is dropped and counted", func(t *testing.T) {
			// That both events come in one batch cannot be forced from here:
			// bytes can be read some instructions before epoll knows.
			for range 100 {
				if staleEvent(t, w) {
					return
				}
			}
			t.Error("in 100 attempts no stale event was counted")
		})

		t.Run("Ready may close its own socket", func(t *testing.T) {
			c := w.dial()
			s := w.accept()
			if err := s.Start(readyFunc(func(Event) { s.Close() })); err != nil {
				t.Fatal(err)
			}
			mustWrite(t, c, "x")
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("the connection lives")
			}
		})
	})
}

// staleEvent makes two sockets readable while their only shard is busy. The
// first one's handler closes the second, which must hear nothing then. It
// reports whether an event was dropped.
func staleEvent(t *testing.T, w *world) bool {
	t.Helper()
	before := w.poller.Stats().Stale
	clients, socks := make([]net.Conn, 3), make([]testSocket, 3)
	for i := range clients {
		clients[i], socks[i] = w.dial(), w.accept()
	}
	hold, held, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var gone atomic.Bool
	for i, h := range []Handler{
		readyFunc(func(Event) { close(held); <-hold; socks[0].Close() }),
		readyFunc(func(Event) { socks[2].Close(); gone.Store(true); socks[1].Close(); close(done) }),
		readyFunc(func(Event) {
			if gone.Load() {
				t.Error("told after Close")
			}
		}),
	} {
		if err := socks[i].Start(h); err != nil {
			t.Fatal(err)
		}
	}
	mustWrite(t, clients[0], "x")
	<-held
	for i := 1; i < 3; i++ {
		mustWrite(t, clients[i], "x")
		waitPending(t, socks[i])
	}
	close(hold)
	<-done
	c, s, h := w.pair() // told behind them
	mustWrite(t, c, "x")
	h.wait(t, Readable)
	s.Close()
	return w.poller.Stats().Stale > before
}

// waitPending waits until a byte just written is where the socket's shard will
// find it, without asking the shard.
func waitPending(t *testing.T, s testSocket) {
	t.Helper()
	r, ok := s.(*referenceSocket)
	if !ok {
		waitPendingNative(t, s.(*Socket))
		return
	}
	for arrived := false; !arrived; goruntime.Gosched() {
		r.sys.mu.Lock()
		arrived = len(r.sys.in) > 0
		r.sys.mu.Unlock()
	}
}

func TestDetaching(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(Options) (testPoller, error)) {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network, func(t *testing.T) {
				w := newWorld(t, open, Options{}, network)

				t.Run("unread bytes and unsent bytes go along", func(t *testing.T) {
					c, s, h := w.pair()
					mustWrite(t, c, "GET rest")
					readN(t, s, h, 4)
					writeAll(t, s, h, []byte("HTTP/1.1 "))
					d, err := s.Detach()
					if err != nil {
						t.Fatal(err)
					}
					defer d.Close()
					d.SetDeadline(time.Now().Add(patience))
					mustRead(t, d, "rest")
					mustWrite(t, c, " and more")
					mustRead(t, d, " and more")
					mustWrite(t, d, "200 OK")
					mustRead(t, c, "HTTP/1.1 200 OK")
					if err := s.Close(); err != nil {
						t.Error(err)
					}
					if _, err := s.Read(make([]byte, 1)); err != ErrClosed {
						t.Errorf("Read after Detach = %v", err)
					}
					mustWrite(t, d, "alive")
					mustRead(t, c, "alive")
					d.Close()
					mustEnd(t, c)
				})

				t.Run("deadlines work", func(t *testing.T) {
					_, s, _ := w.pair()
					d, err := s.Detach()
					if err != nil {
						t.Fatal(err)
					}
					defer d.Close()
					d.SetReadDeadline(time.Now().Add(time.Millisecond))
					if _, err := d.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("Read = %v, want a timeout", err)
					}
				})

				t.Run("before Start", func(t *testing.T) {
					c := w.dial()
					s := w.accept()
					d, err := s.Detach()
					if err != nil {
						t.Fatal(err)
					}
					defer d.Close()
					mustWrite(t, c, "x")
					mustRead(t, d, "x")
				})

				t.Run("a full socket goes on in order", func(t *testing.T) {
					c, s, _ := w.pair()
					total := fill(t, s)
					d, err := s.Detach()
					if err != nil {
						t.Fatal(err)
					}
					var wg sync.WaitGroup
					wg.Go(func() {
						d.Write([]byte("behind"))
						d.Close()
					})
					if _, err := io.CopyN(io.Discard, c, int64(total)); err != nil {
						t.Fatal(err)
					}
					mustRead(t, c, "behind")
					mustEnd(t, c)
					wg.Wait()
				})
			})
		}

		t.Run("net/http serves it", func(t *testing.T) {
			w := newWorld(t, open, Options{}, "tcp")
			c, s, h := w.pair()
			mustWrite(t, c, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			h.wait(t, Readable)
			d, err := s.Detach()
			if err != nil {
				t.Fatal(err)
			}
			ln := &oneConn{conns: make(chan net.Conn, 1)}
			ln.conns <- d
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, r.RemoteAddr+r.URL.Path)
			})}
			var wg sync.WaitGroup
			wg.Go(func() { srv.Serve(ln) })
			answer, err := io.ReadAll(c)
			if err != nil || !strings.HasSuffix(string(answer), c.LocalAddr().String()+"/hello") {
				t.Errorf("answer %q, %v", answer, err)
			}
			srv.Close()
			wg.Wait()
		})
	})
}

// oneConn is a net.Listener for connections that exist.
type oneConn struct {
	conns chan net.Conn
	once  sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l *oneConn) Close() error   { l.once.Do(func() { close(l.conns) }); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

func TestListening(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(Options) (testPoller, error)) {
		t.Run("connections that came before Start are told", func(t *testing.T) {
			p, err := open(Options{})
			if err != nil {
				t.Fatal(err)
			}
			ln, err := p.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			w := &world{t: t, poller: p, ln: ln, conns: newTold()}
			w.dial()
			w.dial()
			if err := ln.Start(w.conns); err != nil {
				t.Fatal(err)
			}
			w.conns.wait(t, Readable)
			w.accept().Close()
			w.accept().Close()
			if err := errors.Join(ln.Close(), p.Close()); err != nil {
				t.Error(err)
			}
		})

		t.Run("nobody there would block", func(t *testing.T) {
			w := newWorld(t, open, Options{}, "tcp")
			if s, err := w.ln.Accept(); s != nil || err != ErrWouldBlock {
				t.Errorf("Accept = %v, %v", s, err)
			}
		})

		t.Run("addresses", func(t *testing.T) {
			for _, tc := range []struct{ network, listen, dial string }{
				{"tcp", "127.0.0.1:0", "127.0.0.1"},
				{"tcp4", "127.0.0.1:0", "127.0.0.1"},
				{"tcp", ":0", "127.0.0.1"}, // a socket of both families
				{"tcp6", "[::1]:0", "::1"},
			} {
				t.Run(tc.network+" "+tc.listen, func(t *testing.T) {
					p, err := open(Options{})
					if err != nil {
						t.Fatal(err)
					}
					defer p.Close()
					ln, err := p.Listen(tc.network, tc.listen)
					if err != nil && tc.network == "tcp6" {
						t.Skip(err)
					}
					if err != nil {
						t.Fatal(err)
					}
					defer ln.Close()
					h := newTold()
					if err := ln.Start(h); err != nil {
						t.Fatal(err)
					}
					c, err := net.Dial("tcp", net.JoinHostPort(tc.dial, fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)))
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					h.wait(t, Readable)
					s, err := ln.Accept()
					if err != nil {
						t.Fatal(err)
					}
					want := netip.MustParseAddrPort(c.LocalAddr().String())
					if got := s.RemoteAddr(); got != want {
						t.Errorf("RemoteAddr = %v, want %v", got, want)
					}
					s.Close()
					if got := s.RemoteAddr(); got != want {
						t.Errorf("RemoteAddr = %v after Close", got)
					}
				})
			}
			t.Run("unix", func(t *testing.T) {
				w := newWorld(t, open, Options{}, "unix")
				_, s, _ := w.pair()
				if got := s.RemoteAddr(); got.IsValid() {
					t.Errorf("RemoteAddr = %v", got)
				}
			})
		})

		t.Run("the file of a unix socket goes with it and only with it", func(t *testing.T) {
			p, err := open(Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			path := t.TempDir() + "/s"
			ln, err := p.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			if ln.Addr().String() != path {
				t.Errorf("Addr = %v", ln.Addr())
			}
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if err := errors.Join(ln.Close(), ln.Close()); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Errorf("stat: %v", err)
			}
		})

		t.Run("a closed listener says so and frees its address", func(t *testing.T) {
			p, err := open(Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			ln, err := p.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if err := ln.Start(newTold()); err != nil {
				t.Fatal(err)
			}
			if err := ln.Start(newTold()); err == nil {
				t.Error("a second Start worked")
			}
			if _, err := p.Listen("tcp", ln.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("listening twice: %v", err)
			}
			if err := errors.Join(ln.Close(), ln.Close()); err != nil {
				t.Fatal(err)
			}
			if _, err := ln.Accept(); !errors.Is(err, ErrClosed) {
				t.Errorf("Accept = %v", err)
			}
			if err := ln.Start(newTold()); !errors.Is(err, ErrClosed) {
				t.Errorf("Start = %v", err)
			}
			if c, err := net.Dial("tcp", ln.Addr().String()); err == nil {
				c.Close()
				t.Error("somebody still listens")
			}
			again, err := p.Listen("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			again.Close()
		})

		t.Run("accepting and closing at the same time", func(t *testing.T) {
			for range 20 {
				p, err := open(Options{Shards: 2})
				if err != nil {
					t.Fatal(err)
				}
				ln, err := p.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				accept := func(Event) {
					for {
						s, err := ln.Accept()
						if err != nil {
							return
						}
						s.Close()
					}
				}
				if err := ln.Start(readyFunc(accept)); err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for {
							c, err := net.Dial("tcp", ln.Addr().String())
							if err != nil {
								return
							}
							c.Close()
						}
					})
					wg.Go(func() { accept(0) })
				}
				c, err := net.Dial("tcp", ln.Addr().String())
				if err == nil {
					c.SetDeadline(time.Now().Add(patience))
					c.Read(make([]byte, 1)) // until it was accepted and closed
					c.Close()
				}
				if err := ln.Close(); err != nil {
					t.Fatal(err)
				}
				wg.Wait()
				if err := p.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	})
}

func TestPollerClose(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(Options) (testPoller, error)) {
		t.Run("what is left open is told and can still be closed", func(t *testing.T) {
			p, err := open(Options{Shards: 2})
			if err != nil {
				t.Fatal(err)
			}
			ln, err := p.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			w := &world{t: t, poller: p, ln: ln, conns: newTold()}
			if err := ln.Start(w.conns); err != nil {
				t.Fatal(err)
			}
			c, s, h := w.pair()
			if n := p.Stats().Registered; n != 2 {
				t.Errorf("%d registered, want the listener and the socket", n)
			}
			if err := p.Close(); err == nil || !strings.Contains(err.Error(), "2 sockets") {
				t.Errorf("Close = %v", err)
			}
			if err := p.Close(); err != nil {
				t.Errorf("a second Close = %v", err)
			}
			if _, err := p.Listen("tcp", "127.0.0.1:0"); !errors.Is(err, ErrClosed) {
				t.Errorf("Listen = %v", err)
			}
			c.Write([]byte("x"))
			if len(h.events) != 0 {
				t.Error("told after the end")
			}
			if err := errors.Join(s.Close(), ln.Close()); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
			if n := p.Stats().Registered; n != 0 {
				t.Errorf("%d registered at the end", n)
			}
		})

		t.Run("it waits for Ready", func(t *testing.T) {
			p, err := open(Options{Shards: 1})
			if err != nil {
				t.Fatal(err)
			}
			ln, err := p.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			entered, leave := make(chan struct{}), make(chan struct{})
			var left atomic.Bool
			var once sync.Once
			if err := ln.Start(readyFunc(func(Event) {
				once.Do(func() { close(entered); <-leave; left.Store(true) })
			})); err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			<-entered
			st := p.Stats()
			if st.Shards != 1 || st.Busy != 1 || len(st.PerShard) != 1 || !st.PerShard[0].InReady || st.Events == 0 {
				t.Errorf("inside Ready: %+v", st)
			}
			if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
			closed := make(chan error)
			go func() { closed <- p.Close() }()
			close(leave)
			if err := <-closed; err != nil {
				t.Error(err)
			}
			if !left.Load() {
				t.Error("Close returned while Ready ran")
			}
			if st := p.Stats(); st.Busy != 0 || st.Registered != 0 {
				t.Errorf("at the end: %+v", st)
			}
		})
	})
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Shards: 1}, {Shards: maxShards}} {
		if err := o.Validate(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, o := range []Options{{Shards: -1}, {Shards: maxShards + 1}} {
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "shards") {
			t.Errorf("%+v: Validate = %v", o, err)
		}
		if _, err := Open(o); err == nil {
			t.Errorf("%+v: Open worked", o)
		}
	}
	p, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if st := p.Stats(); st.Shards < 1 || st.Shards > maxShards || len(st.PerShard) != st.Shards {
		t.Errorf("by default: %+v", st)
	}
	for _, network := range []string{"", "udp", "unixpacket", "tcp5"} {
		var unknown net.UnknownNetworkError
		if _, err := p.Listen(network, "127.0.0.1:0"); !errors.As(err, &unknown) {
			t.Errorf("Listen %q: %v", network, err)
		}
	}
	if _, err := p.Listen("tcp", "no port"); err == nil {
		t.Error("listening on a bad address worked")
	}
	if _, err := p.Listen("unix", "/no/such/folder/s"); err == nil {
		t.Error("listening on a bad path worked")
	}
}
