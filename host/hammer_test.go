package host

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"weir/pool"
)

// inGoroutine lets clients fail on goroutines other than the test's.
type inGoroutine struct{ testing.TB }

func (t inGoroutine) Fatalf(format string, args ...any) {
	t.Helper()
	t.Errorf(format, args...)
	goruntime.Goexit()
}

// crowd is many clients on wires that do as they like, at once.
type crowd struct {
	t     testing.TB
	l     *lab
	shard *shard
	// offers are what clients ask for of permessage-deflate, and filler makes their
	// words long enough for it.
	offers []string
	filler string

	mu  sync.Mutex // guards lab.wires and ids
	ids [32]atomic.Int64
}

// member is one connection of the crowd and what it must hear.
type member struct {
	*labClient
	crowd *crowd
	rand  *rand.Rand
	name  string

	said  int            // echoes asked for
	heard int            // and heard
	last  map[string]int // the last word of each publisher
	word  *int           // of this client, across its connections
}

func (cr *crowd) enter(r *rand.Rand, name string, word *int) *member {
	cr.mu.Lock()
	w := cr.l.wire()
	cr.mu.Unlock()
	m := &member{crowd: cr, rand: r, name: name, word: word, last: make(map[string]int)}
	m.labClient = &labClient{wire: w, t: inGoroutine{cr.t}, lab: cr.l}
	head, offer := upgradeHead, ""
	if len(cr.offers) > 0 {
		offer = cr.offers[r.IntN(len(cr.offers))]
		head = withOffer(head, offer)
	}
	if r.IntN(2) == 0 { // the request comes with the connection, or later, or in two parts
		w.write(head)
	}
	wasThere := len(w.inbound) > 0
	cr.shard.watch(w)
	cr.l.srv.welcome(w)
	if !wasThere {
		cut := r.IntN(len(head))
		w.write(head[:cut])
		w.write(head[cut:])
	}
	eventually(cr.t, "an upgrade", func() bool {
		m.buf = append(m.buf, w.take()...)
		return len(m.buf) > 0 || w.gone()
	})
	if offer == "" {
		m.upgraded()
	} else {
		m.zip = m.agree()
	}
	return m
}

// listens checks what has come.
func (m *member) listens() {
	for _, text := range m.texts() {
		text, _, _ = strings.Cut(text, "|")
		kind, rest, _ := strings.Cut(text, " ")
		switch {
		case kind == "e":
			if n, _ := strconv.Atoi(rest); n != m.heard {
				m.t.Fatalf("%s: reply %d came after %d", m.name, n, m.heard-1)
			}
			m.heard++
		case kind == "p":
			publisher, digits, _ := strings.Cut(rest, ":")
			n, _ := strconv.Atoi(digits)
			if last, ok := m.last[publisher]; ok && n <= last {
				m.t.Fatalf("%s: word %d of %s came after %d", m.name, n, publisher, last)
			}
			m.last[publisher] = n
		case strings.HasPrefix(text, "id="):
			n, _ := strconv.ParseInt(text[3:], 10, 64)
			m.crowd.ids[m.rand.IntN(len(m.crowd.ids))].Store(n)
		case strings.HasPrefix(text, "timer="), strings.HasPrefix(text, "status="), text == "draining":
		default:
			m.t.Fatalf("%s heard %q", m.name, text)
		}
	}
}

// act does one thing; false if it ends the connection.
func (m *member) act() bool {
	r := m.rand
	topic := []string{"a", "b", "c"}[r.IntN(3)]
	someone := m.crowd.ids[r.IntN(len(m.crowd.ids))].Load()
	switch r.IntN(40) {
	case 0, 1, 2, 3, 4, 5, 6, 7, 8:
		m.say(fmt.Sprintf("echo e %d%s", m.said, m.crowd.filler))
		m.said++
	case 9, 10: // in pieces
		p := frame(0x01, "ech") + frame(0x89, "p") + frame(0x80, fmt.Sprintf("o e %d", m.said))
		m.said++
		for len(p) > 0 {
			n := 1 + r.IntN(len(p))
			m.write(p[:n])
			p = p[n:]
			goruntime.Gosched()
		}
	case 11, 12, 13, 14:
		var script []string
		for range 1 + r.IntN(3) {
			*m.word++
			script = append(script, fmt.Sprintf("publish %s p %s:%d%s", topic, m.name, *m.word, m.crowd.filler))
		}
		m.say(strings.Join(script, ";"))
	case 15, 16, 17:
		m.say("?join " + topic)
	case 18, 19:
		m.say("?leave " + topic)
	case 20, 21:
		m.say("id")
	case 22:
		m.say(fmt.Sprintf("?joinid %d %s;?leaveid %d %s", someone, topic, someone, topic))
	case 23:
		m.say("?timer 1 10 20;?timer 2 10 0;?cancel 1")
	case 24:
		m.say(fmt.Sprintf("?timerid %d 7 10 0", someone))
	case 25, 26:
		m.stop(r.IntN(300))
	case 27, 28:
		m.give(r.IntN(500))
	case 29, 30:
		m.open()
	case 31:
		seed := r.Uint64()
		m.mu.Lock()
		bites := rand.New(rand.NewPCG(seed, 1))
		m.bite = func(n int) int { return bites.IntN(n + 1) }
		m.mu.Unlock()
	case 32:
		m.mu.Lock()
		m.bite = nil
		m.mu.Unlock()
	case 33:
		m.say(fmt.Sprintf("spin %d", r.IntN(20_000)))
	case 34:
		if r.IntN(4) == 0 {
			m.say(fmt.Sprintf("?closeid %d 4003", someone))
		}
	case 35:
		if r.IntN(4) == 0 {
			m.end([]string{"publish a p never:1;echo never;trap", "echo never;fail 1"}[r.IntN(2)])
			return false
		}
	case 36:
		if r.IntN(4) == 0 {
			m.end("close 4000 enough")
			return false
		}
	case 37:
		if r.IntN(8) == 0 {
			m.reset()
			return false
		}
	case 38:
		if r.IntN(8) == 0 {
			m.hangUp()
			return false
		}
	default:
		m.write(frame(0x89, "ping"))
	}
	m.listens()
	return m.endFrame() == nil && !m.gone()
}

// end says a script that ends the connection.
func (m *member) end(script string) { m.say(script) }

func (m *member) endFrame() *serverClose { return m.labClient.end }

// part ends a connection, having checked that no frame is stranded if it may
// still hear.
func (m *member) part() {
	m.open()
	if m.said > m.heard {
		eventually(m.crowd.t, m.name+"'s replies", func() bool {
			m.listens()
			return m.heard == m.said || m.endFrame() != nil || m.gone()
		})
	}
	switch m.rand.IntN(3) {
	case 0:
		m.write(frame(0x88, "\x03\xe8"))
		eventually(m.crowd.t, m.name+"'s Close frame", func() bool { m.listens(); return m.endFrame() != nil || m.gone() })
		m.hangUp()
	case 1:
		m.reset()
	default:
		m.hangUp()
	}
}

func TestACrowdThatDoesAsItLikesBreaksNoPromise(t *testing.T) { crowdBreaksNoPromise(t, nil, "") }

func crowdBreaksNoPromise(t *testing.T, offers []string, filler string, change ...func(*setup)) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const clients, actions = 16, 400
	change = append(change, withoutPings, onlyInstances(3), func(s *setup) {
		s.opts.WebSocket.OutboundQueueSize = 1 << 20
		s.opts.WebSocket.OutboundQueueMessages = 100_000
	})
	l := newLab(t, change...)
	l.clock.ns.Store(int64(time.Hour))
	watcher := l.connect("/?open=join+gone")
	stopPool := l.threads(pool.Options{Workers: 4})
	cr := &crowd{t: t, l: l, shard: newShard(), offers: offers, filler: filler}
	cr.shard.watch(watcher.wire)

	var done atomic.Bool
	var others, members sync.WaitGroup
	others.Go(func() { // time
		for !done.Load() {
			l.clock.ns.Add(int64(wheelTick))
			l.srv.Advance()
			for range 100 {
				goruntime.Gosched()
			}
		}
	})
	others.Go(func() { // the pace changes its mind
		p := &l.tenant("puppet").rule.Load().stable.pace
		for i := 0; !done.Load(); i++ {
			p.quick.Store(i%2 == 0)
			l.srv.Stats()
			for range 50 {
				goruntime.Gosched()
			}
		}
	})
	for i := range clients {
		members.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			word := 0
			for left := actions; left > 0; {
				m := cr.enter(r, "c"+strconv.Itoa(i), &word)
				for ; left > 0; left-- {
					if !m.act() {
						left--
						break
					}
				}
				m.part()
			}
		})
	}
	members.Wait()
	eventually(t, "their ends", func() bool { return l.srv.Stats().Open == 1 })
	upgraded := l.srv.Stats().Upgraded - 1
	told := uint64(0)
	eventually(t, "every close", func() bool {
		for _, text := range watcher.texts() {
			if !strings.HasPrefix(text, "closed ") {
				t.Errorf("the watcher heard %q", text)
			}
			told++
		}
		return told >= upgraded
	})
	watcher.hangUp()
	eventually(t, "the end", func() bool { return l.srv.Stats().Open == 0 })
	done.Store(true)
	others.Wait()
	cr.shard.stop()
	stopPool()
	l.srv.exec = l.tasks
	if told += uint64(len(watcher.texts())); told != upgraded {
		t.Errorf("%d connections were opened and %d closes told", upgraded, told)
	}
	l.wantInstances(3)
	l.close()
}

// openFiles counts this process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	return len(entries)
}

// visit is one connection of a churn: opened and ended somehow.
func (w *world) visit(r *rand.Rand) error {
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	drop := func() { // a reset instead of a FIN
		if r.IntN(3) == 0 {
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
	}
	defer drop()
	switch r.IntN(10) {
	case 0:
		return nil
	case 1:
		_, _ = io.WriteString(conn, upgradeHead[:r.IntN(len(upgradeHead))])
		return nil
	case 2:
		_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
		return nil
	case 3:
		_, _ = io.WriteString(conn, "GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
		return nil
	}
	script := []string{"echo x", "echo x;close 4000", "trap", "echo x;fail 1", "join a;publish a x", "timer 1 10 10", "blob 60000"}[r.IntN(7)]
	hello := upgradeHead
	if r.IntN(2) == 0 {
		hello += frame(0x81, script)
		script = ""
	}
	_, _ = io.WriteString(conn, hello)
	p := make([]byte, 256)
	if n, err := conn.Read(p); err == nil && !strings.HasPrefix(string(p[:n]), "HTTP/1.1 101 ") {
		return fmt.Errorf("not upgraded: %q", p[:n])
	}
	if script != "" {
		_, _ = io.WriteString(conn, frame(0x81, script))
	}
	switch r.IntN(4) {
	case 0: // at once
	case 1: // with more on its way
		_, _ = io.WriteString(conn, frame(0x81, "blob 30000")+frame(0x82, "half")[:7])
	case 2: // politely
		_, _ = io.WriteString(conn, frame(0x88, "\x03\xe8"))
		_, _ = io.Copy(io.Discard, conn)
	default:
		_, _ = io.WriteString(conn, "\xff\x80mask") // the server ends it
		_, _ = io.Copy(io.Discard, conn)
	}
	return nil
}

func TestChurnLeavesNothingBehind(t *testing.T) {
	const goroutines, visits = 8, 260
	w := start(t, func(s *setup) { s.opts.Routes[0].Path = "/" })
	watcher := w.dial("/?open=join+gone")
	watcher.want(watcher.echo("in")) // behind its open event
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	churn := func(visits int, stream uint64) {
		before := w.srv.Stats() // nobody may be quicker
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(seed, stream+uint64(g)))
				for range visits {
					if err := w.visit(r); err != nil {
						t.Errorf("%v", err)
						return
					}
				}
			})
		}
		told, opened := 0, 0
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }() // ends with the churn
		wait := func() bool {
			select {
			case <-done:
				st := w.srv.Stats() // who left at once may still wait to be accepted
				return st.Open == 1 && st.Accepted == before.Accepted+uint64(goroutines*visits)
			default:
				return false
			}
		}
		eventually(t, "the end of the churn", wait)
		for opened = int(w.srv.Stats().Upgraded - before.Upgraded); told < opened; told++ {
			if got := watcher.hear(); !strings.HasPrefix(got, "closed ") {
				t.Fatalf("the watcher heard %q", got)
			}
		}
		if got := watcher.hearEcho(); got != "nothing else" {
			t.Errorf("after %d closes of %d connections the watcher heard %q", told, opened, got)
		}
	}
	// The pool starts its workers one by one, as work overlaps, and keeps them.
	workers := w.srv.exec.(*pool.Pool)
	running := func() int { return goruntime.NumGoroutine() - workers.Stats().Workers }
	churn(10, 0) // so that everything that stays is there
	files, runningBefore := openFiles(t), running()
	for round := range 2 {
		churn(visits/2, uint64(100*(round+1)))
	}
	eventually(t, "descriptors to be closed", func() bool { return openFiles(t) <= files })
	eventually(t, "goroutines to end", func() bool { return running() <= runningBefore })
	st := w.srv.Stats()
	closes := uint64(0)
	for _, n := range st.Closes {
		closes += n
	}
	if st.Accepted < goroutines*visits || st.Accepted != closes+1 || st.Handshakes != 0 {
		t.Errorf("%d accepted, %d closed, %d shaking hands: %v", st.Accepted, closes, st.Handshakes, st.Closes)
	}
	if n := w.srv.poller.Stats().Registered; n != 2 { // the listener and the watcher
		t.Errorf("the poller knows %d sockets", n)
	}
	eventually(t, "instances to be idle", func() bool { // a turn gives its own back after the reply is out
		st := w.srv.tenants["puppet"].rule.Load().stable.pool.mod.Stats()
		return st.Idle == st.Instances && st.Waiting == 0
	})
}

// hearEcho asks for an echo and returns what comes first.
func (c *client) hearEcho() string {
	c.t.Helper()
	return c.ask("echo nothing else")
}

// TestNothingFollowsACloseFrame lets others send while the lane closes.
func TestNothingFollowsACloseFrame(t *testing.T) {
	const rounds, senders = 2000, 2
	l := newLab(t, withoutPings)
	frame := pool.Take(0)
	frame.B = appendFrame(frame.B, ws.OpText, []byte("meanwhile"))
	for range rounds {
		c := l.connect("/")
		var others sync.WaitGroup
		var begun atomic.Int32 // attempts to send
		for range senders {
			others.Go(func() { // ends when the connection takes no more
				for ; ; goruntime.Gosched() {
					begun.Add(1)
					switch c.conn.enqueue(frame) {
					case queuedMine:
						c.conn.send(frame, tag{})
					case queuedClosed:
						return
					}
				}
			})
		}
		for begun.Load() < 10 {
			goruntime.Gosched()
		}
		c.conn.askAndWake(closeInfo{code: 4000, cause: causeHandler})
		l.settle()
		others.Wait()
		l.settle()
		c.wantEnd(4000) // and nothing behind it
		c.hangUp()
		l.settle()
		l.wires = l.wires[:0]
	}
	frame.Release()
	l.close()
}
