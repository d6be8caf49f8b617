package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// withoutPings lets clients be silent for as long as a test wants.
func withoutPings(s *setup) {
	s.opts.WebSocket.PingInterval, s.opts.WebSocket.IdleTimeout = 1000*time.Hour, 2000*time.Hour
}

func TestATimerFiresOnceWhenItIsDue(t *testing.T) {
	l := newLab(t, withoutPings)
	defer l.close()
	c := l.connect("/")
	c.say("timer 7 1000 0")
	l.settle()
	l.pass(time.Second - wheelTick)
	c.want()
	l.pass(wheelTick)
	c.want("timer=7")
	l.pass(time.Hour)
	c.want()
	if got := c.ask("?cancel 7"); got != "status=-7" {
		t.Errorf("a timer that has fired is still there: %s", got)
	}
}

func TestARepeatingTimerKeepsItsPeriod(t *testing.T) {
	l := newLab(t, withoutPings)
	defer l.close()
	c := l.connect("/")
	c.say("timer 1 50 100")
	l.settle()
	for i := range 20 {
		l.pass(50 * time.Millisecond)
		c.want(repeated("timer=1", 1-i%2)...)
	}
	// Whoever is late hears once, not once for each period that went by, and is
	// then in step again.
	l.clock.ns.Add(int64(1030 * time.Millisecond))
	l.srv.Advance()
	l.settle()
	c.want("timer=1")
	l.pass(10 * time.Millisecond)
	c.want()
	l.pass(10 * time.Millisecond)
	c.want("timer=1")
	if got := c.ask("?cancel 1"); got != "status=0" {
		t.Errorf("cancel: %s", got)
	}
	l.pass(time.Minute / 2)
	c.want()
}

func repeated(text string, n int) []string { return slices.Repeat([]string{text}, n) }

func TestTheShortestTimerIsATick(t *testing.T) {
	l := newLab(t, withoutPings)
	defer l.close()
	c := l.connect("/")
	c.say("timer 1 0 1")
	l.settle()
	c.want()
	for range 5 {
		l.pass(wheelTick)
		c.want("timer=1")
	}
	if got := len(l.tenant("puppet").pool.due); got != 0 {
		t.Errorf("%d firings wait", got)
	}
}

func TestATimerIsReplacedByItsNumber(t *testing.T) {
	l := newLab(t, withoutPings)
	defer l.close()
	c := l.connect("/")
	c.say("timer 1 100 100;timer 1 300 0")
	l.settle()
	l.pass(299 * time.Millisecond)
	c.want()
	l.pass(time.Second)
	c.want("timer=1")
	c.say("timer 2 100 0")
	l.settle()
	c.say("timer 2 500 0")
	l.settle()
	l.pass(490 * time.Millisecond)
	c.want()
	l.pass(time.Second)
	c.want("timer=2")

	// Also when the old one is due already and waits for its lane.
	c.say("timer 3 100 0;timer 4 100 100")
	l.settle()
	l.clock.ns.Add(int64(100 * time.Millisecond))
	l.srv.Advance()
	cl := &l.tenant("puppet").pool
	cl.setTimer(l.srv, c.conn, 3, l.clock.Mono()+int64(200*time.Millisecond), 0)
	cl.cancelTimer(l.srv, c.conn, 4)
	l.settle()
	c.want()
	l.pass(time.Second)
	c.want("timer=3")
}

func TestNoTimerFiresAfterTheEnd(t *testing.T) {
	ends := map[string]func(c *labClient){
		"close frame of the client": func(c *labClient) { c.write(frame(0x88, "")) },
		"hang-up":                   func(c *labClient) { c.hangUp() },
		"reset":                     func(c *labClient) { c.reset() },
		"close of the handler":      func(c *labClient) { c.say("close 4000") },
		"trap":                      func(c *labClient) { c.say("trap") },
		"violation":                 func(c *labClient) { c.write("\xff\x80mask") },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, withoutPings)
			defer l.close()
			watcher := l.connect("/?open=join+ticks")
			c := l.connect("/")
			c.say("set @publish ticks fired;timer 1 100 0;timer 2 10 10;timer 3 86400000 0")
			l.settle()
			l.pass(50 * time.Millisecond)
			watcher.want(repeated("fired", 5)...)
			c.say("timer 4 10 0")
			l.clock.ns.Add(int64(20 * time.Millisecond))
			end(c)
			c.tell()
			l.srv.Advance() // some are due in the very turn that ends it
			l.settle()
			watcher.texts()
			c.conn.mu.Lock()
			left := len(c.conn.more.timers) + len(c.conn.more.due)
			c.conn.mu.Unlock()
			if left != 0 {
				t.Errorf("a connection that is closing still has %d timers", left)
			}
			l.pass(48 * time.Hour)
			watcher.want()
		})
	}
}

func TestTimerLimits(t *testing.T) {
	l := newLab(t, withoutPings)
	defer l.close()
	c := l.connect("/")
	set := func(from, to int) string {
		var script []string
		for i := from; i < to; i++ {
			script = append(script, fmt.Sprintf("timer %d 100000 0", i))
		}
		return strings.Join(script, ";")
	}
	c.say(set(0, 64))
	l.settle()
	for _, tc := range []struct{ script, want string }{
		{"?timer 64 100000 0", "status=-9"},
		{"?timer 63 200000 0", "status=0"},             // it replaces one
		{set(0, 63) + ";?timer 63 100 0", "status=0"},  // all of them at once
		{set(0, 64) + ";?timer 64 100 0", "status=-9"}, // and then one more
		{"cancel 3;?timer 64 100000 0", "status=0"},    // in the place of another
		{"cancel 4;timer 4 1000000 0;?timer 65 100000 0", "status=-9"},
		{"?timer 1 -1 0", "status=-6"},
		{"?timer 1 1 -1", "status=-6"},
		{"?timer 1 315360000001 0", "status=-6"}, // more than ten years
		{"?timer 1 9223372036854775807 9223372036854775807", "status=-6"},
		{"?timer 1 315360000000 315360000000", "status=0"},
		{"?timerid 99 1 1 1", "status=-1"},
		{"?cancel 99", "status=-7"},
	} {
		if got := c.ask(tc.script); got != tc.want {
			t.Errorf("%s: %s, want %s", clip(tc.script, 60), got, tc.want)
		}
	}
}

func TestTimersOfAnInvocationThatFailsAreUndone(t *testing.T) {
	l := newLab(t, withoutPings)
	defer l.close()
	watcher := l.connect("/?open=join+ticks")
	c := l.connect("/")
	c.say("timer 1 100 0")
	l.settle()
	c.say("mtimer 1 100 0;cancel 1;fail 1") // the module's would fire
	l.settle()
	c.wantEnd(codeInternal)
	l.pass(time.Second)
	watcher.want()

	other := l.connect("/")
	other.say("timer 1 100 0")
	l.settle()
	c = l.connect("/")
	c.say(fmt.Sprintf("timerid %d 1 100000 0;trap", int64(other.conn.id)))
	l.settle()
	l.pass(time.Second)
	other.want("timer=1")
}

func TestATimerThatTrapsEndsItsConnectionOnly(t *testing.T) {
	l := newLab(t, withoutPings)
	defer l.close()
	bad, good := l.connect("/"), l.connect("/")
	bad.say("set @echo never;trap")
	l.settle()
	bad = l.connect("/")
	bad.say("set @trap")
	bad.say("timer 1 100 0;timer 2 100 0")
	good.say("timer 3 100 0")
	l.settle()
	l.pass(time.Second)
	bad.wantEnd(codeInternal)
	good.want("timer=3")
}

func TestModuleTimersOutliveWhoSetThem(t *testing.T) {
	l := newLab(t, withoutPings)
	watcher := l.connect("/?open=join+ticks")
	c := l.connect("/")
	c.say("mtimer 1 100 100;mtimer 2 1000 0")
	l.settle()
	c.leave()
	for range 9 {
		l.pass(100 * time.Millisecond)
		watcher.want("module timer 1")
	}
	l.pass(100 * time.Millisecond)
	got := watcher.texts()
	slices.Sort(got)
	if want := []string{"module timer 1", "module timer 2"}; !slices.Equal(got, want) {
		t.Errorf("heard %q, want %q", got, want)
	}
	if got := watcher.ask("?mcancel 1"); got != "status=0" {
		t.Error(got)
	}
	l.pass(time.Minute / 3)
	watcher.want()
	// Nothing of it waits for connections any more.
	watcher.say("mtimer 3 100 100")
	l.settle()
	watcher.leave()
	l.pass(time.Second)
	l.close()
}

func TestInitMaySetModuleTimersForTheFirstInstanceOnly(t *testing.T) {
	l := newLab(t, func(s *setup) { s.modules[0].Config = []byte("!mtimer 5 100 100") })
	watcher := l.connect("/?open=join+ticks")
	l.connect("/").say("trap") // so that another instance is made
	l.settle()
	for range 5 {
		l.pass(100 * time.Millisecond)
		watcher.want("module timer 5")
	}
	l.close()
}

func TestTenThousandModuleTimers(t *testing.T) {
	l := newLab(t, withoutPings)
	watcher := l.connect("/?open=join+ticks")
	c := l.connect("/")
	for i := range 20 {
		var script []string
		for j := range 500 {
			script = append(script, fmt.Sprintf("mtimer %d %d 0", i*500+j, 10*(1+j%50)))
		}
		c.say(strings.Join(script, ";"))
	}
	l.settle()
	if got := c.ask("?mtimer 10000 10 0"); got != "status=-9" {
		t.Errorf("one more: %s", got)
	}
	heard := 0
	for range 50 {
		l.pass(wheelTick)
		heard += len(watcher.texts())
	}
	if heard != 10_000 {
		t.Errorf("%d of 10000 fired", heard)
	}
	l.close()
}

// timerModel is one timer as the handler asked for it.
type timerModel struct{ due, every int64 }

func TestTimersFireLikeAList(t *testing.T) {
	var l *lab
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		if l == nil {
			l = newLab(outer, withoutPings)
		}
		used := l
		l = nil // a failure leaves it in any state
		used.clock.ns.Store((used.clock.Mono()/int64(wheelTick) + 1) * int64(wheelTick))
		used.srv.Advance()
		c := used.connect("/")
		c.t = t
		timers := make(map[int64]*timerModel)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			id := rapid.Int64Range(0, 3).Draw(t, "id")
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				after := rapid.Int64Range(0, 200).Draw(t, "after")
				every := rapid.SampledFrom([]int64{0, 1, 15, 40, 100}).Draw(t, "every")
				if got := c.ask(fmt.Sprintf("?timer %d %d %d", id, after, every)); got != "status=0" {
					t.Fatalf("timer: %s", got)
				}
				m := &timerModel{due: used.clock.Mono() + max(after, minTimerMillis)*1e6}
				if every > 0 {
					m.every = max(every, minTimerMillis) * 1e6
				}
				timers[id] = m
			case 2:
				want := "status=-7"
				if timers[id] != nil {
					want = "status=0"
				}
				delete(timers, id)
				if got := c.ask(fmt.Sprintf("?cancel %d", id)); got != want {
					t.Fatalf("cancel %d: %s, want %s", id, got, want)
				}
			case 3: // tick by tick
				for range rapid.IntRange(1, 40).Draw(t, "ticks") {
					used.pass(wheelTick)
					fired(t, c, timers, used.clock.Mono()/int64(wheelTick)*int64(wheelTick))
				}
			default: // the server was away for a while
				used.clock.ns.Add(rapid.Int64Range(0, 1000).Draw(t, "ms") * 1e6)
				used.srv.Advance()
				used.settle()
				fired(t, c, timers, used.clock.Mono())
			}
		}
		c.hangUp()
		used.settle()
		used.wires = nil
		l = used
	})
}

// fired compares what a client has heard with what was due when the wheel was
// driven last.
func fired(t *rapid.T, c *labClient, timers map[int64]*timerModel, now int64) {
	var got, want []string
	for _, text := range c.texts() {
		got = append(got, strings.TrimPrefix(text, "timer="))
	}
	for id, m := range timers {
		// The wheel's resolution: up to the next tick.
		if tick := int64(wheelTick); (m.due+tick-1)/tick*tick > now/tick*tick {
			continue
		}
		want = append(want, strconv.FormatInt(id, 10))
		if m.every == 0 {
			delete(timers, id)
			continue
		}
		for m.due <= now {
			m.due += m.every
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("fired %q, want %q", got, want)
	}
}

func TestNobodyKeepsTimersThatWereCancelled(t *testing.T) {
	l := newLab(t, withoutPings)
	cl := &l.tenant("puppet").pool
	c := l.connect("/")
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range int64(5000) {
			cl.setTimer(l.srv, c.conn, i%5, int64(1000*time.Hour), i%2)
		}
	})
	wg.Go(func() {
		for i := range int64(5000) {
			if i%7 == 0 {
				cl.cancelTimer(l.srv, c.conn, i%5)
			}
			c.conn.cancelTimers()
		}
	})
	wg.Wait()
	c.conn.cancelTimers()
	for _, owner := range l.srv.wheel.owners() {
		if _, ok := owner.(*guestTimer); ok {
			t.Fatal("the wheel holds a timer, and with it the connection, that nobody wants")
		}
	}
	l.close()
}
