package peers

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/bench/load"
)

// cloudwego's pollers and its pool belong to the process: the library offers no
// way to end them.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait"),
		goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll/internal/runner.init.0.func1"),
	)
}

func start(t *testing.T, p Peer) string {
	t.Helper()
	s, err := p.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s.Addr().String()
}

func options(p Peer, address string) load.Options {
	return load.Options{Address: address, Raw: p.Raw, Conns: 8, PayloadBytes: 128, Depth: 4, Warmup: 10 * time.Millisecond, Measure: 30 * time.Millisecond, Opening: 4}
}

func TestEachPeerEchoes(t *testing.T) {
	for _, p := range All() {
		if p.NoEcho {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			o := options(p, start(t, p))
			for _, size := range []int{0, 1, 128, 4096, 70000} {
				o.PayloadBytes = size
				if r, err := load.Echo(t.Context(), o); err != nil || r.Messages == 0 {
					t.Fatalf("%d bytes: %v", size, err)
				}
			}
			o.PayloadBytes, o.Text = 128, true
			if p.Name == "article2-channel" {
				return // as in the article, its writer knows one kind of message
			}
			if r, err := load.Echo(t.Context(), o); err != nil || r.Messages == 0 {
				t.Fatalf("text: %v", err)
			}
		})
	}
}

func TestEachPublisherPublishes(t *testing.T) {
	for _, p := range All() {
		if !p.Publish {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			o := options(p, start(t, p))
			o.Path = "/publish"
			for _, size := range []int{1, 128, 4096} {
				o.PayloadBytes = size
				r, err := load.Publish(t.Context(), o)
				if err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
				if r.Messages == 0 {
					t.Errorf("%d bytes: nothing was delivered", size)
				}
			}
		})
	}
}

func TestEachPeerOpensAndClosesOverAndOver(t *testing.T) {
	for _, p := range All() {
		if p.NoEcho {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			o := options(p, start(t, p))
			if _, err := load.Connect(t.Context(), o, nil); err != nil {
				t.Error(err)
			}
			if _, err := load.Idle(t.Context(), o, load.IdleHooks{}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEachPeerClosesOpenConnections(t *testing.T) {
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			s, err := p.Start("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := s.Addr().String()
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if !p.Raw {
				const request = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
				if _, err := io.WriteString(c, request); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c, make([]byte, len("HTTP/1.1 101"))); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if _, err := io.ReadAll(c); err != nil && !isReset(err) {
				t.Errorf("the connection is left open: %v", err)
			}
			if _, err := net.Dial("tcp", address); err == nil {
				t.Error("it still accepts")
			}
		})
	}
}

func isReset(err error) bool {
	var e *net.OpError
	return errors.As(err, &e) && !e.Timeout()
}

func TestFindNamesThemAll(t *testing.T) {
	for _, p := range All() {
		if got, err := Find(p.Name); err != nil || got.Name != p.Name {
			t.Errorf("%s is not found: %v", p.Name, err)
		}
	}
	if _, err := Find("nobody"); err == nil {
		t.Error("want an error")
	}
}
