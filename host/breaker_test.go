package host

import (
	"strings"
	"sync"
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	const ms = int64(time.Millisecond)
	fresh := func() *breaker {
		return &breaker{options: BreakerOptions{Traps: 3, Window: 10 * time.Second, BackOff: time.Second, MaxBackOff: 4 * time.Second}.WithDefaults()}
	}
	trip := func(b *breaker, at int64) {
		for range 3 {
			b.trapped(at)
		}
	}
	t.Run("too many traps within the window open it", func(t *testing.T) {
		b := fresh()
		if b.trapped(0) || b.trapped(5000*ms) || !b.trapped(10_000*ms) {
			t.Error("the third of three traps should have opened it")
		}
		if b.ask(10_001*ms) != passNone {
			t.Error("it lets events through")
		}
	})
	t.Run("traps that are far apart do not", func(t *testing.T) {
		b := fresh()
		for i := range int64(20) {
			if b.trapped(i * 5001 * ms) {
				t.Fatalf("trap %d opened it", i)
			}
		}
	})
	t.Run("after the pause one event tries, and closes it when it goes well", func(t *testing.T) {
		b := fresh()
		trip(b, 0)
		if b.ask(999*ms) != passNone || b.ask(1000*ms) != passTrial || b.ask(1000*ms) != passNone {
			t.Error("one event should have been let through after a second")
		}
		b.settle(true, false, 1001*ms)
		if b.ask(1001*ms) != passFree || b.trapped(1002*ms) {
			t.Error("it should be closed and have forgotten")
		}
	})
	t.Run("each failed try doubles the pause up to its bound", func(t *testing.T) {
		b := fresh()
		trip(b, 0)
		now := int64(0)
		for _, pause := range []int64{1000, 2000, 4000, 4000} {
			if b.ask(now+pause*ms-1) != passNone || b.ask(now+pause*ms) != passTrial {
				t.Fatalf("the pause is not %d ms", pause)
			}
			now += pause * ms
			b.settle(true, true, now)
		}
	})
	t.Run("a try that comes to nothing leaves the next one its turn", func(t *testing.T) {
		b := fresh()
		trip(b, 0)
		b.ask(1000 * ms)
		b.settle(false, false, 1000*ms)
		if b.ask(1000*ms) != passTrial {
			t.Error("nobody may try")
		}
	})
	t.Run("who opens again soon goes on with the longer pause", func(t *testing.T) {
		b := fresh()
		trip(b, 0)
		b.ask(1000 * ms)
		b.settle(true, false, 1000*ms)
		trip(b, 1100*ms)
		if b.ask(3099*ms) != passNone || b.ask(3100*ms) != passTrial {
			t.Error("the second pause should be two seconds")
		}
	})
	t.Run("-1 never opens it", func(t *testing.T) {
		b := &breaker{options: BreakerOptions{Traps: -1}.WithDefaults()}
		for range 100 {
			if b.trapped(0) {
				t.Fatal("it opened")
			}
		}
	})
	t.Run("any goroutine may use it", func(t *testing.T) {
		b := fresh()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range int64(2000) {
					now := i * 10 * ms
					switch b.ask(now) {
					case passFree:
						b.trapped(now)
					case passTrial:
						b.settle(i%3 != 0, i%2 == 0, now)
					}
					b.state()
				}
			})
		}
		wg.Wait()
	})
}

// breaking is the breaker as it is by default, and impatient the wait for an
// instance.
func breaking(s *setup)  { s.modules[0].Breaker = BreakerOptions{} }
func impatient(s *setup) { s.opts.Handler.QueueTimeout = 0 }

func TestAModuleThatTrapsAgainAndAgainRests(t *testing.T) {
	trips := func(l *lab) {
		t.Helper()
		for range 5 {
			c := l.connect("/")
			c.say("trap")
			l.settle()
			c.wantEnd(codeInternal)
			c.hangUp()
			l.settle()
		}
		if got := l.srv.Stats().Modules["puppet"]; got.Breaker != "open" || got.Opened != 1 {
			t.Fatalf("after five traps the breaker is %q, opened %d times", got.Breaker, got.Opened)
		}
	}
	t.Run("its connections are closed with 1013 and serve again after the pause", func(t *testing.T) {
		l := newLab(t, withoutPings, breaking)
		bystander, later := l.connect("/"), l.connect("/")
		trips(l)
		bystander.say("echo hello")
		l.settle()
		bystander.wantEnd(codeOverloaded)
		l.pass(time.Second)
		if got := later.ask("echo back again"); got != "back again" {
			t.Errorf("it says %q", got)
		}
		if got := l.srv.Stats().Modules["puppet"].Breaker; got != "closed" {
			t.Errorf("the breaker is %s", got)
		}
		if n := strings.Count(l.log.String(), "traps again and again"); n != 1 {
			t.Errorf("the log says so %d times", n)
		}
		l.close()
	})
	t.Run("failing open it keeps its connections and drops their messages", func(t *testing.T) {
		l := newLab(t, withoutPings, breaking, func(s *setup) { s.modules[0].Breaker.Fail = failOpen })
		c := l.connect("/")
		trips(l)
		c.say("echo lost")
		c.write(frame(0x01, "echo al") + frame(0x80, "so lost"))
		l.settle()
		c.want()
		newcomer := l.connect("/?open=echo+late")
		l.settle()
		newcomer.want()
		l.pass(time.Second)
		if got := c.ask("echo back"); got != "back" {
			t.Errorf("it says %q", got)
		}
		// Its open event was left out; it comes before its first message.
		newcomer.say("echo hi")
		l.settle()
		newcomer.want("late", "hi")
		l.close()
	})
	t.Run("a trap during the try makes the pause longer", func(t *testing.T) {
		l := newLab(t, withoutPings, breaking)
		bad, early, late := l.connect("/"), l.connect("/"), l.connect("/")
		trips(l)
		l.pass(time.Second)
		bad.say("trap")
		l.settle()
		bad.wantEnd(codeInternal)
		l.pass(1900 * time.Millisecond)
		early.say("echo")
		l.settle()
		early.wantEnd(codeOverloaded)
		l.pass(200 * time.Millisecond)
		if got := late.ask("echo well"); got != "well" {
			t.Errorf("it says %q", got)
		}
		l.close()
	})
	t.Run("a handler that returns an error is not a trap", func(t *testing.T) {
		l := newLab(t, withoutPings, breaking)
		for range 10 {
			c := l.connect("/")
			c.say("fail 3")
			l.settle()
			c.wantEnd(codeInternal)
			c.hangUp()
		}
		if got := l.srv.Stats().Modules["puppet"].Breaker; got != "closed" {
			t.Errorf("the breaker is %s", got)
		}
		l.close()
	})
}

func TestAConnectionMayOutliveItsHandlersTrap(t *testing.T) {
	l := newLab(t, withoutPings, func(s *setup) { s.modules[0].OnTrap = onTrapKeep })
	c := l.connect("/")
	c.say("echo undone;trap")
	l.settle()
	c.want()
	if got := c.ask("echo still here"); got != "still here" {
		t.Errorf("it says %q", got)
	}
	c.say("fail 1")
	l.settle()
	c.wantEnd(codeInternal)
	l.close()
}

func TestAWaitForAnInstanceEnds(t *testing.T) {
	t.Run("with 1013 for a message, while the neighbour's is not touched", func(t *testing.T) {
		l := newLab(t, withoutPings, impatient, onlyInstances(1), func(s *setup) {
			s.modules = append(s.modules, testSetup().modules[0])
			s.modules[1].Name = "other"
			s.opts.Routes = append([]Route{{Path: "/other", Module: "other"}}, s.opts.Routes...)
		})
		c, neighbour := l.connect("/"), l.connect("/other")
		free := l.busy()
		c.say("echo waits")
		l.settle()
		l.pass(80 * time.Millisecond)
		c.want()
		if c.end != nil {
			t.Fatal("it was closed too early")
		}
		if got := neighbour.ask("echo hi"); got != "hi" {
			t.Errorf("the neighbour heard %q", got)
		}
		l.pass(90 * time.Millisecond)
		c.wantEnd(codeOverloaded)
		if n := l.srv.Stats().Closes; l.instances().Late != 1 {
			t.Errorf("%v, %d late", n, l.instances().Late)
		}
		c.hangUp()
		free(false)
		l.settle()
		l.wantInstances(1)
		l.close()
	})
	t.Run("with 503 for an upgrade", func(t *testing.T) {
		l := newLab(t, withoutPings, impatient, onlyInstances(1))
		free := l.busy()
		c := l.knock()
		c.write(upgradeHead)
		l.settle()
		l.pass(200 * time.Millisecond)
		if got := string(c.take()); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
			t.Errorf("the answer is %q", got)
		}
		free(false)
		l.close()
	})
	t.Run("never for a close, which must be told", func(t *testing.T) {
		l := newLab(t, withoutPings, impatient, onlyInstances(1))
		watcher := l.connect("/?open=join+gone")
		c := l.connect("/")
		c.ask("set !publish gone bye;echo ok")
		free := l.busy()
		c.write(frame(0x88, "\x03\xe8"))
		c.hangUp()
		l.settle()
		l.pass(10 * time.Second)
		free(false)
		l.settle()
		watcher.want("bye", "closed 1000 clean ")
		l.close()
	})
}
