package netpoll

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// passed returns a socket that listens as whoever passes it has it, and a file of
// it to pass.
func passed(t *testing.T, network string) (net.Listener, *os.File) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	f, err := ln.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Skipf("a socket has no file here: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	return ln, f
}

func TestASocketThatWasPassed(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(Options) (testPoller, error)) {
		for _, network := range []string{"tcp", "unix"} {
			t.Run("it outlives its listeners, and nobody who waits in it is lost: "+network, func(t *testing.T) {
				parent, f := passed(t, network)
				for _, text := range []string{"first", "second"} { // processes, one after the other
					// It connects while nobody accepts.
					c, err := net.Dial(network, parent.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					c.SetDeadline(time.Now().Add(patience))
					mustWrite(t, c, text)
					p, err := open(Options{})
					if err != nil {
						t.Fatal(err)
					}
					ln, err := p.ListenFile(f)
					if err != nil {
						t.Fatal(err)
					}
					if got := ln.Addr().String(); got != parent.Addr().String() {
						t.Errorf("it listens on %s, want %s", got, parent.Addr())
					}
					w := &world{t: t, poller: p, ln: ln, conns: newTold()}
					if err := ln.Start(w.conns); err != nil {
						t.Fatal(err)
					}
					s, h := w.accept(), newTold()
					if err := s.Start(h); err != nil {
						t.Fatal(err)
					}
					if got := readN(t, s, h, len(text)); string(got) != text {
						t.Errorf("read %q", got)
					}
					for _, close := range []func() error{s.Close, c.Close, ln.Close, p.Close} {
						if err := close(); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}

		t.Run("what does not listen is refused", func(t *testing.T) {
			p, err := open(Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			parent, _ := passed(t, "tcp")
			c, err := net.Dial("tcp", parent.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			connected, err := c.(*net.TCPConn).File()
			if err != nil {
				t.Fatal(err)
			}
			defer connected.Close()
			plain, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			if ln, err := p.ListenFile(plain); err == nil {
				t.Error("a device is listened on")
				ln.Close()
			}
			if _, native := p.(nativePoller); !native {
				return // package net looks at the kind of a socket only
			}
			if ln, err := p.ListenFile(connected); err == nil {
				t.Error("a connection is listened on")
				ln.Close()
			}
		})
	})
}

func TestProbe(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(Options) (testPoller, error)) {
		w := newWorld(t, open, Options{Shards: 2}, "tcp")
		for range 3 {
			if err := w.poller.Probe(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		before := w.poller.Stats().Events

		// One shard hangs in a handler.
		hangs, goOn := make(chan struct{}), make(chan struct{})
		c := w.dial()
		s := w.accept()
		if err := s.Start(readyFunc(func(Event) {
			select {
			case hangs <- struct{}{}:
				<-goOn
			case <-goOn:
			}
		})); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, c, "x")
		<-hangs
		ctx, cancel := context.WithCancel(context.Background())
		tried := make(chan error, 1)
		go func() { tried <- w.poller.Probe(ctx) }()
		cancel()
		if err := <-tried; !errors.Is(err, context.Canceled) {
			t.Errorf("a poller of which one shard hangs: %v", err)
		}
		close(goOn)
		if err := w.poller.Probe(context.Background()); err != nil {
			t.Errorf("it goes on: %v", err)
		}
		if got := w.poller.Stats().Events - before; got > 100 {
			t.Errorf("a probe costs %d events", got)
		}
	})
}

func TestAProbeOfAClosedPoller(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(Options) (testPoller, error)) {
		p, err := open(Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Probe(context.Background()); err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err) // it must not count its own
		}
		if err := p.Probe(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}
