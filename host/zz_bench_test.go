package host

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"

	"weir/netpoll"
	"weir/pool"
	"weir/runtime"
)

type zzSock struct {
	in  []byte
	out int
}

func (s *zzSock) Start(h netpoll.Handler) error { return nil }
func (s *zzSock) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, netpoll.ErrWouldBlock
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}
func (s *zzSock) Write(p []byte) (int, error)      { s.out += len(p); return len(p), nil }
func (s *zzSock) WantWrite(on bool) error          { return nil }
func (s *zzSock) CloseWrite() error                { return nil }
func (s *zzSock) Close() error                     { return nil }
func (s *zzSock) Detach() (net.Conn, error)        { return nil, nil }
func (s *zzSock) RemoteAddr() (a netip.AddrPort)   { return }

func BenchmarkZZ(b *testing.B) {
	wasm, _ := os.ReadFile("../examples/echo-c/echo.wasm")
	engine, err := runtime.NewEngine(runtime.Options{})
	check(b, err)
	pl := pool.New(pool.Options{})
	s, err := New(Options{Routes: []Route{{Path: "/{p...}", Module: "m"}}}, Deps{Engine: engine, Pool: pl})
	check(b, err)
	check(b, s.Load(context.Background(), Module{Name: "m", Wasm: wasm}))
	check(b, s.makeRoutes())
	k := &zzSock{}
	s.welcome(k)
	var c *Conn
	s.hub.each(func(x *Conn) { c = x })
	k.in = []byte(upgradeHead)
	s.tenants["m"].current.Load().pace.quick.Store(true); s.tenants["m"].current.Load().pace.debt.Store(-1<<60)
	c.Ready(netpoll.Readable)
	f := []byte(frame(0x82, string(make([]byte, 128))))
	b.ReportAllocs()
	for b.Loop() {
		k.in = f
		c.Ready(netpoll.Readable)
	}
	_ = k.out
}
