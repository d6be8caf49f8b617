package host

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gorilla/websocket"

	"weir/netpoll"
)

// BenchmarkMessage is one echo without the system's part: from readiness to the
// bytes of the reply, parsing, the guest's call and the commit included.
func BenchmarkMessage(b *testing.B) {
	for _, tc := range []struct {
		size   int
		at     int // messages a turn
		inline bool
	}{{128, 1, true}, {128, 1, false}, {128, 16, true}, {4096, 1, true}, {32 << 10, 1, true}} {
		where := "worker"
		if tc.inline {
			where = "inline"
		}
		b.Run(fmt.Sprintf("%dB/x%d/%s", tc.size, tc.at, where), func(b *testing.B) {
			l := newLab(b, withEchoOf("puppet"))
			l.quick(tc.inline)
			d, c := l.deafClient("/")
			message := []byte(strings.Repeat(frame(0x82, strings.Repeat("x", tc.size)), tc.at))
			b.SetBytes(int64(tc.size * tc.at))
			b.ReportAllocs()
			for b.Loop() {
				d.next = message
				if tc.inline {
					c.Ready(netpoll.Readable)
				} else if c.post(inRead) {
					for c.take(false) {
					}
				}
			}
			l.finishDeaf(c)
		})
	}
}

// BenchmarkTail is BenchmarkMessage while nobody, or somebody, watches.
func BenchmarkTail(b *testing.B) {
	for name, o := range map[string]*TailOptions{"nobody": nil, "1:100": {Sample: 100, Payload: 64}, "1:1": {Payload: 64}} {
		b.Run(name, func(b *testing.B) {
			l := newLab(b, withEchoOf("puppet"))
			l.quick(true)
			d, c := l.deafClient("/")
			var reader sync.WaitGroup
			if o != nil {
				tail := l.tail(*o)
				reader.Go(func() { // ends with the tail
					for {
						if _, err := tail.Next(context.Background()); err != nil {
							return
						}
					}
				})
				defer reader.Wait()
				defer tail.Close()
			}
			message := []byte(frame(0x82, strings.Repeat("x", 128)))
			b.ReportAllocs()
			for b.Loop() {
				d.next = message
				c.Ready(netpoll.Readable)
			}
			l.finishDeaf(c)
		})
	}
}

// BenchmarkConnections is a page of 20,000 connections, the first and one with a
// filter that most do not pass.
func BenchmarkConnections(b *testing.B) {
	l := newLab(b, withoutPings, func(s *setup) { s.opts.Server.MaxConnections, s.opts.Server.MaxConnectionsPerIP = 20_000, 0 })
	l.quick(true)
	var conns []*Conn
	for i := range 20_000 {
		_, c := l.deafClient([]string{"/", "/?open=join+topic"}[i%100/99])
		conns = append(conns, c)
	}
	for name, f := range map[string]ConnFilter{
		"first100": {}, "first1000": {Limit: maxPage}, "topic": {Topic: "topic", Limit: maxPage},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				l.srv.Connections(f)
			}
		})
	}
	l.finishDeaf(conns...)
}

// BenchmarkPublish is a publish to a topic, a member's share of it.
func BenchmarkPublish(b *testing.B) {
	for _, members := range []int{1, 64, 1000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			l := newLab(b)
			l.quick(true)
			d, c := l.deafClient("/?open=join+topic")
			conns := []*Conn{c}
			for range members - 1 {
				_, member := l.deafClient("/?open=join+topic")
				conns = append(conns, member)
			}
			message := []byte(frame(0x81, "publish topic "+strings.Repeat("x", 128)))
			b.ReportAllocs()
			for b.Loop() {
				d.next = message
				c.Ready(netpoll.Readable)
				for l.tasks.step() {
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(members), "ns/member")
			l.finishDeaf(conns...)
		})
	}
}

// BenchmarkUpgrade compares the handshake, from the request's bytes to the
// response's, with ws.Upgrader alone and with net/http's parser and gorilla.
func BenchmarkUpgrade(b *testing.B) {
	for _, name := range []string{"the smallest", "a browser's"} {
		head := []byte(requests[name])
		name = strings.ReplaceAll(name, " ", "_")
		b.Run("weir/"+name, func(b *testing.B) {
			l := newLab(b, withEchoOf("puppet"))
			l.quick(true)
			d, c := l.deafClient("/")
			b.ReportAllocs()
			for b.Loop() {
				c.phase, c.told, c.shaking, c.route, c.attrs = phaseHandshake, 0, true, nil, nil
				l.srv.handshakes++
				d.next = head
				c.Ready(netpoll.Readable)
			}
			l.finishDeaf(c)
		})
		b.Run("ws.Upgrader/"+name, func(b *testing.B) {
			m := &inMemory{}
			b.ReportAllocs()
			for b.Loop() {
				m.Reader.Reset(head)
				if _, err := (ws.Upgrader{}).Upgrade(m); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("gorilla/"+name, func(b *testing.B) {
			u := websocket.Upgrader{}
			b.ReportAllocs()
			for b.Loop() {
				r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
				check(b, err)
				if _, err := u.Upgrade(&hijacked{make(http.Header)}, r, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkConnection is a connection's whole life without the system's part.
func BenchmarkConnection(b *testing.B) {
	l := newLab(b, withEchoOf("puppet"))
	l.quick(true)
	request := []byte(upgradeHead)
	d := &deaf{}
	b.ReportAllocs()
	for b.Loop() {
		*d = deaf{next: request}
		l.srv.welcome(d)
		c := d.handler.(*Conn)
		c.Ready(netpoll.Readable)
		c.wakeUp(inReset)
		for l.tasks.step() {
		}
	}
	l.close()
}

// withEchoOf puts the echo guest in the place of a module.
func withEchoOf(name string) func(*setup) {
	return func(s *setup) {
		s.modules = []Module{{Name: name, Wasm: mustRead("../examples/echo-c/echo.wasm")}}
	}
}

// hijacked is a ResponseWriter whose connection is memory.
type hijacked struct{ header http.Header }

func (h *hijacked) Header() http.Header         { return h.header }
func (h *hijacked) Write(p []byte) (int, error) { return len(p), nil }
func (h *hijacked) WriteHeader(int)             {}
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c := swallow{}
	return c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)), nil
}

// swallow is a connection that says nothing and takes everything.
type swallow struct{ net.Conn }

func (swallow) Read([]byte) (int, error)         { return 0, io.EOF }
func (swallow) Write(p []byte) (int, error)      { return len(p), nil }
func (swallow) Close() error                     { return nil }
func (swallow) SetDeadline(time.Time) error      { return nil }
func (swallow) SetWriteDeadline(time.Time) error { return nil }
