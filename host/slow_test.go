package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// audience is a publisher, clients that read, and one that does not.
type audience struct {
	l         *lab
	publisher *labClient
	good      []*labClient
	slow      *labClient
	said      []string
}

func newAudience(t *testing.T, change ...func(*setup)) *audience {
	a := &audience{l: newLab(t, append(change, withoutPings)...)}
	a.slow = a.l.connect("/?open=join+r")
	a.good = append(a.good, a.l.connect("/?open=join+r"), a.l.connect("/?open=join+r"))
	a.publisher = a.l.connect("/")
	return a
}

// publish says something of size bytes to everybody.
func (a *audience) publish(size int) {
	text := fmt.Sprintf("%d ", len(a.said))
	text += strings.Repeat("x", size-len(text))
	a.said = append(a.said, text)
	a.publisher.say("publish r " + text)
	a.l.settle()
}

// wantAllHeard checks that whoever reads has heard everything.
func (a *audience) wantAllHeard(t *testing.T) {
	t.Helper()
	for _, c := range a.good {
		if got := c.texts(); !slices.Equal(got, a.said) || c.end != nil {
			t.Fatalf("%v heard %d of %d messages; Close %v", c.addr, len(got), len(a.said), c.end)
		}
	}
	a.said = nil
}

// wantPrefix checks that the slow one heard the beginning, and then its Close.
func (a *audience) wantPrefix(t *testing.T, said []string) {
	t.Helper()
	a.slow.open()
	a.l.settle()
	if got := a.slow.texts(); !isPrefix(got, said) {
		t.Errorf("it heard %d messages, which are not the first", len(got))
	}
	a.slow.wantEnd(codeOverloaded)
	if !a.slow.shut && !a.slow.gone() {
		a.slow.hangUp()
	}
}

func TestASlowReaderIsClosedWith1013AndCostsNobodyElse(t *testing.T) {
	for _, tc := range []struct {
		name       string
		size, room int
	}{
		{"too many bytes", 20_000, 0},
		{"too many bytes, some of a frame taken", 20_000, 7},
		{"too many frames", 10, 0},
		{"too many frames, some taken", 10, 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAudience(t, func(s *setup) {
				s.opts.WebSocket.OutboundQueueSize = 100_000
				s.opts.WebSocket.OutboundQueueMessages = 64
			})
			a.slow.stop(tc.room)
			said := 0
			for a.slow.conn.phase == phaseOpen {
				if a.publish(tc.size); len(a.said) > 200 {
					t.Fatal("200 messages wait for a slow reader")
				}
				if n := a.l.srv.Stats().OutboundBytes; n > 100_000 {
					t.Fatalf("%d bytes wait for it", n)
				}
			}
			said = len(a.said)
			if want := min(64, 100_000/tc.size); said < want || said > want+10 {
				t.Errorf("closed after %d messages, want about %d", said, want)
			}
			for range 10 { // it is out of the topic at once
				a.publish(tc.size)
			}
			all := a.said
			a.wantAllHeard(t)
			if got := a.publisher.number("count r"); got != 2 {
				t.Errorf("%d members, want those that read", got)
			}
			// What waits is only what was begun, and the Close frame.
			if n := a.l.srv.Stats().OutboundBytes; n > int64(tc.size+64) {
				t.Errorf("%d bytes still wait for it", n)
			}
			a.wantPrefix(t, all[:said])
			a.l.pass(10 * time.Second)
			if st := a.l.srv.Stats(); st.Closes["slow_consumer"] != 1 || st.OutboundBytes != 0 {
				t.Errorf("closes %v, %d bytes wait", st.Closes, st.OutboundBytes)
			}
			a.l.close()
		})
	}
}

func TestASlowReaderThatNeverReadsIsCut(t *testing.T) {
	a := newAudience(t, func(s *setup) { s.opts.WebSocket.OutboundQueueSize = 100_000 })
	a.slow.stop(0)
	for a.slow.conn.phase == phaseOpen {
		a.publish(20_000)
	}
	a.wantAllHeard(t)
	for range 12 {
		if a.slow.gone() {
			t.Fatal("cut before its time was up")
		}
		a.l.pass(400 * time.Millisecond)
	}
	a.l.pass(time.Second)
	if !a.slow.gone() {
		t.Error("still open, although it answers nothing")
	}
	a.l.close()
}

func TestWriteTimeout(t *testing.T) {
	const limit = 10 * time.Second
	t.Run("a reader that takes nothing for that long is closed", func(t *testing.T) {
		a := newAudience(t)
		a.slow.stop(5)
		a.publish(1000)
		first := a.said[:1]
		a.l.pass(limit - wheelTick)
		if a.slow.conn.phase != phaseOpen {
			t.Fatal("closed before its time was up")
		}
		a.publish(1000)
		a.l.pass(2 * wheelTick)
		if a.slow.conn.phase == phaseOpen {
			t.Fatal("still open")
		}
		a.wantAllHeard(t)
		a.wantPrefix(t, first)
		if n := a.l.srv.Stats().Closes["slow_consumer"]; n != 0 {
			t.Errorf("%d closes are counted before it is gone", n)
		}
		a.l.pass(time.Second * 7)
		if n := a.l.srv.Stats().Closes["slow_consumer"]; n != 1 {
			t.Errorf("%d slow consumers are counted", n)
		}
		a.l.close()
	})
	t.Run("a reader that takes a message now and then stays", func(t *testing.T) {
		a := newAudience(t)
		a.slow.stop(0)
		for range 20 {
			a.publish(1000)
		}
		for range 20 {
			a.l.pass(limit - 2*wheelTick)
			a.slow.give(1004)
			a.l.settle()
		}
		if got := a.slow.texts(); !slices.Equal(got, a.said) || a.slow.end != nil {
			t.Errorf("it heard %d messages; Close %v", len(got), a.slow.end)
		}
		a.l.pass(time.Hour / 2)
		if a.slow.conn.phase != phaseOpen || a.l.srv.Stats().OutboundBytes != 0 {
			t.Error("it caught up, and was closed all the same")
		}
		a.l.close()
	})
	t.Run("a byte a second is too slow", func(t *testing.T) {
		a := newAudience(t)
		a.slow.stop(0)
		a.publish(1000)
		for range 11 {
			a.l.pass(time.Second)
			a.slow.give(1)
			a.l.settle()
		}
		if a.slow.conn.phase == phaseOpen {
			t.Error("still open")
		}
		a.l.pass(10 * time.Second)
		if !a.slow.gone() {
			t.Error("not cut")
		}
		a.l.close()
	})
	t.Run("it may come back from a full socket often", func(t *testing.T) {
		a := newAudience(t)
		for range 50 {
			a.slow.stop(10)
			a.publish(1000)
			a.publish(1000)
			a.l.pass(limit / 2)
			a.slow.open()
			a.l.settle()
		}
		if got := a.slow.texts(); !slices.Equal(got, a.said) {
			t.Errorf("it heard %d of %d", len(got), len(a.said))
		}
		a.l.close()
	})
}

func TestTheHandlerIsToldOfAFullQueue(t *testing.T) {
	l := newLab(t, withoutPings, func(s *setup) { s.opts.WebSocket.OutboundQueueSize = 10_000 })
	slow, c := l.connect("/"), l.connect("/")
	id := strconv.FormatInt(int64(slow.conn.id), 10)
	text := strings.Repeat("x", 996) // 1000 with its header
	slow.stop(0)
	for i := range 10 {
		if got := c.ask("?send " + id + " " + text); got != "status=0" {
			t.Fatalf("message %d: %s", i, got)
		}
	}
	if got := c.ask("?send " + id + " x"); got != "status=-3" {
		t.Errorf("a full queue: %s, want queue full", got)
	}
	if got := c.ask("?send " + id + " " + strings.Repeat("x", 10_000)); got != "status=-4" {
		t.Errorf("a message that no queue takes: %s, want too big", got)
	}
	// Being told costs nobody the connection.
	slow.give(1000)
	l.settle()
	if got := c.ask("?send " + id + " " + text); got != "status=0" {
		t.Errorf("after it read one: %s", got)
	}
	slow.open()
	l.settle()
	if got := len(slow.texts()); got != 11 || slow.end != nil {
		t.Errorf("it heard %d of 11, Close %v", got, slow.end)
	}

	// What this very invocation has sent counts.
	two := strings.Repeat("send "+id+" "+text+";", 9) + "?send " + id + " " + text + ";?send " + id + " " + text
	c.say(two)
	l.settle()
	c.want("status=0", "status=-3")
	c.say("repeat 9 " + text + ";?echo " + text)
	l.settle()
	if got := c.texts(); len(got) != 10 || got[9] == "status=0" {
		t.Errorf("ten replies of 1000 bytes and a status: %d arrived, the last %q", len(got), clip(got[len(got)-1], 20))
	}

	if got := len(slow.texts()); got != 10 {
		t.Errorf("%d of the ten that fit arrived", got)
	}
	slow.stop(0)
	slow.say("echo 12345678;queued") // 10 bytes to the socket's queue, then what is there
	l.settle()
	slow.say("queued")
	l.settle()
	slow.open()
	l.settle()
	slow.want("12345678", "queued=10", "queued=21")
	l.close()
}

func TestTheOutboundBudgetBoundsAllSlowReadersTogether(t *testing.T) {
	const budget, size = 100_000, 9_000
	l := newLab(t, withoutPings, func(s *setup) { s.opts.Server.OutboundBudget = budget })
	c := l.connect("/")
	var slow []*labClient
	for range 10 {
		s := l.connect("/?open=join+r")
		s.stop(3)
		slow = append(slow, s)
	}
	good := l.connect("/?open=join+r")
	said := 0
	for range 3 {
		c.say("publish r " + strings.Repeat("x", size))
		said++
		l.settle()
		if n := l.srv.Stats().OutboundBytes; n > budget+int64(len(slow))*(size+64) {
			t.Fatalf("%d bytes wait, %d are allowed", n, budget)
		}
	}
	if got := len(good.texts()); got != said || good.end != nil {
		t.Errorf("a client that reads heard %d of %d; Close %v", got, said, good.end)
	}
	closed := 0
	for _, s := range slow {
		if s.conn.phase != phaseOpen {
			closed++
			s.open()
			l.settle()
			s.wantEnd(codeOverloaded)
			if s.listen(); s.end.reason != causeOutboundBudget.info().reason {
				t.Errorf("the reason is %q", s.end.reason)
			}
			s.hangUp()
		}
	}
	l.settle()
	if closed == 0 {
		t.Error("nobody was closed although the budget was spent")
	}
	if n := l.srv.Stats().Closes["outbound_budget"]; n != uint64(closed) {
		t.Errorf("%d closes are counted, want %d", n, closed)
	}
	for _, s := range slow {
		s.open()
	}
	l.settle()
	if n := l.srv.Stats().OutboundBytes; n != 0 {
		t.Errorf("%d bytes are still counted after everybody read", n)
	}
	late := l.connect("/?open=join+r")
	late.stop(0)
	c.say("publish r again")
	l.settle()
	late.open()
	l.settle()
	late.want("again")
	l.close()
}

func TestASocketThatBreaksWhileItWritesLosesItsConnectionOnly(t *testing.T) {
	for _, room := range []int{0, 5} {
		a := newAudience(t)
		watcher := a.l.connect("/?open=join+gone")
		a.slow.stop(room)
		a.publish(1000)
		a.slow.mu.Lock()
		a.slow.err = errTest // no edge: the next write finds out
		a.slow.mu.Unlock()
		a.slow.give(10)
		a.publish(1000)
		watcher.want("closed 1006 unclean ")
		a.wantAllHeard(t)
		if !a.slow.gone() {
			t.Error("the socket is still open")
		}
		if n := a.l.srv.Stats().Closes["peer_lost"]; n != 1 {
			t.Errorf("closes: %v", a.l.srv.Stats().Closes)
		}
		a.l.close()
	}
	// The reply itself meets the broken socket.
	l := newLab(t)
	watcher := l.connect("/?open=join+gone")
	c := l.connect("/")
	c.inWrite = func() {
		c.mu.Lock()
		c.err = errTest
		c.mu.Unlock()
	}
	c.say("echo into the void")
	l.settle()
	watcher.want("closed 1006 unclean ")
	l.close()
}

func TestAClientThatFloodsAndDoesNotReadEndsAlone(t *testing.T) {
	l := newLab(t, withEchoOf("puppet"), withoutPings, func(s *setup) { s.opts.WebSocket.OutboundQueueSize = 100_000 })
	c, good := l.connect("/"), l.connect("/")
	c.stop(0)
	for i := 0; i < 1000 && c.conn.phase == phaseOpen; i++ {
		c.write(frame(0x82, strings.Repeat("x", 5000)))
		l.settle()
		if n := l.srv.Stats().OutboundBytes; n > 100_000 {
			t.Fatalf("%d bytes wait", n)
		}
		good.write(frame(0x82, "still here"))
		l.settle()
		good.want("still here")
	}
	l.pass(20 * time.Second)
	if !c.gone() {
		t.Error("a client that floods and does not read stays")
	}
	l.close()
}

// A peer that says goodbye, by a Close frame or by ending its side, has not
// stopped reading: over a slow link it still gets what it asked for before.
func TestASlowLinkDoesNotCutTheLastWords(t *testing.T) {
	said := strings.Repeat("y", 60_000)
	for _, tc := range []struct {
		name    string
		goodbye func(c *labClient)
		end     string // what follows the reply
	}{
		{"after a Close frame", func(c *labClient) { c.write(peerClose(1000, "")) }, closeFrame(1000, "")},
		{"after the end of its side", func(c *labClient) { c.hangUp() }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, withoutPings)
			defer l.close()
			c := l.connect("/")
			c.stop(100)
			c.say("echo " + said)
			l.settle()
			tc.goodbye(c)
			l.settle()
			for range 6 { // longer than a peer that has heard everything is waited for
				l.pass(1300 * time.Millisecond)
				c.give(9_000)
				l.settle()
			}
			c.open()
			l.settle()
			if got := string(c.take()); got != textFrame(said)+tc.end {
				t.Errorf("%d bytes arrived, ending in %q", len(got), got[max(0, len(got)-8):])
			}
			if tc.end != "" {
				c.hangUp()
			}
			l.pass(2 * time.Second)
			if !c.gone() {
				t.Error("the connection stays")
			}
		})
		t.Run(tc.name+" it may stop reading for the write timeout only", func(t *testing.T) {
			l := newLab(t, withoutPings)
			defer l.close()
			c := l.connect("/")
			c.stop(100)
			c.say("echo " + said)
			l.settle()
			tc.goodbye(c)
			l.settle()
			l.pass(9 * time.Second)
			if c.gone() {
				t.Error("cut before its time")
			}
			l.pass(1500 * time.Millisecond)
			if !c.gone() {
				t.Error("the connection stays")
			}
		})
	}
}
