package host

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/pool"
	"weir/runtime"
)

// onlyInstances bounds the module's instances.
func onlyInstances(n int) func(*setup) {
	return func(s *setup) { s.modules[0].Instances = n }
}

// busy takes an instance out of service until the function it returns is called;
// trapped says that it then does not come back.
func (l *lab) busy() (free func(trapped bool)) {
	l.t.Helper()
	mod := l.tenant("puppet").rule.Load().stable.pool.mod
	inst := mod.TryTake()
	if inst == nil {
		l.t.Fatal("no instance is idle")
	}
	return func(trapped bool) {
		if trapped {
			mod.Discard(inst)
		} else {
			mod.Give(inst)
		}
	}
}

func (l *lab) instances() runtime.ModuleStats {
	return l.tenant("puppet").rule.Load().stable.pool.mod.Stats()
}

// wantInstances checks that nothing is out and nobody waits.
func (l *lab) wantInstances(most int) {
	l.t.Helper()
	if st := l.instances(); st.Idle != st.Instances || st.Instances > most || st.Waiting != 0 {
		l.t.Errorf("%d instances, %d idle, %d lanes wait", st.Instances, st.Idle, st.Waiting)
	}
}

func TestLanesWaitForAnInstanceInOrder(t *testing.T) {
	for _, trapped := range []bool{false, true} {
		l := newLab(t, withoutPings, onlyInstances(1))
		watcher := l.connect("/?open=join+log")
		var all []*labClient
		for range 20 {
			all = append(all, l.connect("/"))
		}
		free := l.busy()
		for i, c := range all {
			c.say(fmt.Sprintf("publish log %d", i))
			c.say(fmt.Sprintf("publish log %d again;echo served", i))
			l.settle()
		}
		if st := l.instances(); st.Waiting != len(all) {
			t.Fatalf("%d of %d lanes wait", st.Waiting, len(all))
		}
		watcher.want()
		free(trapped)
		l.settle()
		var want []string
		for i, c := range all {
			want = append(want, strconv.Itoa(i), fmt.Sprintf("%d again", i))
			c.want("served")
		}
		watcher.want(want...)
		l.wantInstances(1)
		l.close()
	}
}

func TestALaneThatNoLongerWantsItsInstanceGivesItBack(t *testing.T) {
	ends := map[string]func(l *lab, c, peer *labClient){
		"hang-up":     func(_ *lab, c, _ *labClient) { c.hangUp() },
		"reset":       func(_ *lab, c, _ *labClient) { c.reset() },
		"close frame": func(_ *lab, c, _ *labClient) { c.write(frame(0x88, "")) },
		"shutdown":    func(l *lab, c, _ *labClient) { c.conn.askAndWake(causeShutdown.info()); c.conn.wakeUp(inReset) },
	}
	for name, end := range ends {
		for _, trapped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, trapped %v", name, trapped), func(t *testing.T) {
				l := newLab(t, withoutPings, onlyInstances(1))
				watcher := l.connect("/?open=join+gone")
				gone, after := l.connect("/"), l.connect("/")
				fresh := l.knock() // waits to be told open
				free := l.busy()
				gone.say("echo nobody listens")
				fresh.write(upgradeHead)
				l.settle()
				after.say("echo next")
				l.settle()
				end(l, gone, after)
				fresh.reset()
				l.settle()
				free(trapped)
				l.settle()
				after.want("next")
				if got := watcher.texts(); len(got) != 1 && len(got) != 2 {
					t.Errorf("close was told as %q", got)
				}
				l.wantInstances(1)
				l.close()
			})
		}
	}
}

func TestAnUpgradeWaitsForAnInstanceOnlySoLong(t *testing.T) {
	l := newLab(t, onlyInstances(1))
	free := l.busy()
	c := l.knock()
	c.write(upgradeHead)
	l.settle()
	if l.instances().Waiting != 1 {
		t.Fatal("the upgrade event does not wait for an instance")
	}
	free(false)
	l.settle()
	c.upgraded()

	late := l.knock()
	free = l.busy()
	late.write(upgradeHead)
	l.settle()
	l.pass(6 * time.Second)
	free(false)
	l.settle()
	if got := string(late.take()); !strings.HasPrefix(got, "HTTP/1.1 ") {
		t.Errorf("after the handshake's time was up it was answered %q", got)
	}
	late.hangUp()
	l.settle()
	l.wantInstances(1)
	l.close()
}

func TestTheModuleItselfWaitsForAnInstanceToo(t *testing.T) {
	for _, trapped := range []bool{false, true} {
		l := newLab(t, withoutPings, onlyInstances(1))
		watcher := l.connect("/?open=join+ticks")
		watcher.say("mtimer 1 100 100;mtimer 2 100 0")
		l.settle()
		free := l.busy()
		l.pass(550 * time.Millisecond)
		if st := l.instances(); st.Waiting != 1 {
			t.Fatalf("%d lanes wait, want the module's own", st.Waiting)
		}
		watcher.want()
		free(trapped)
		l.settle()
		if got := watcher.texts(); len(got) != 2 { // the ticks that were missed are one
			t.Errorf("heard %q", got)
		}
		l.pass(100 * time.Millisecond)
		watcher.want("module timer 1")
		l.wantInstances(1)
		l.close()
	}
}

func TestTrapsLeaveNoInstanceBehind(t *testing.T) {
	l := newLab(t, withoutPings)
	good := l.connect("/?open=join+room")
	const traps = 100
	for i := range traps {
		c := l.connect("/?open=join+room")
		id := int64(good.conn.id)
		// Effects on others, timers, state, closes: none of it may happen.
		c.say(fmt.Sprintf("send %d never;setid %d never;closeid %d 4000;timerid %d 1 10 10;joinid %d never;leaveid %d room;mtimer 1 10 10;publish room never;echo never;%s",
			id, id, id, id, id, id, []string{"trap", "fail 1", "fail -3"}[i%3]))
		l.settle()
		c.want()
		c.wantEnd(codeInternal)
		c.hangUp()
		l.pass(50 * time.Millisecond)
		good.want()
		if got := good.ask("count room"); got != "count=1" {
			t.Fatal(got)
		}
		if got := good.ask("get"); got != "" {
			t.Fatalf("the state is %q", got)
		}
	}
	st := l.instances()
	if st.Discarded != traps || st.Instances != st.Idle || st.Instances > 1 {
		t.Errorf("after %d traps: %+v", traps, st)
	}
	if got := l.srv.Stats().HandlerFailures; got != traps {
		t.Errorf("%d handler failures are counted", got)
	}
	if got := l.srv.Stats().Closes["handler_failed"]; got != traps {
		t.Errorf("%d closes are counted", got)
	}
	l.close()
}

func TestACloseHandlerThatTrapsHarmsNobody(t *testing.T) {
	l := newLab(t, withoutPings)
	watcher := l.connect("/?open=join+gone")
	bad, good := l.connect("/"), l.connect("/")
	bad.say("set !trap")
	l.settle()
	bad.leave()
	watcher.want() // what close published is undone
	good.leave()
	watcher.want("closed 1000 clean ")
	l.wantInstances(2)
	if !bad.gone() {
		t.Error("the connection stays")
	}
	l.close()
}

func TestCloseIsToldOnceToWhomOpenWasTold(t *testing.T) {
	l := newLab(t, withoutPings)
	watcher := l.connect("/?open=join+gone")
	want := func(texts ...string) {
		t.Helper()
		l.settle()
		l.pass(10 * time.Second)
		watcher.want(texts...)
	}

	// Never opened.
	for _, request := range []string{
		"", "GET / HTTP/1.1\r\n", "no HTTP", strings.Replace(upgradeHead, " / ", " /?reject=401 ", 1),
		strings.Replace(upgradeHead, " / ", " /?trap=1 ", 1), strings.Replace(upgradeHead, "Version: 13", "Version: 12", 1),
	} {
		c := l.knock()
		c.write(request)
		l.settle()
		c.hangUp()
		want()
	}
	// Opened, and ended in every way.
	end := func(f func(c *labClient)) *labClient {
		c := l.connect("/")
		f(c)
		return c
	}
	end(func(c *labClient) { c.hangUp() })
	want("closed 1006 unclean ")
	end(func(c *labClient) { c.reset() })
	want("closed 1006 unclean ")
	end(func(c *labClient) { c.write(frame(0x88, "")); c.hangUp() })
	want("closed 1005 clean ")
	end(func(c *labClient) { c.write(frame(0x88, "\x03\xe9bye")); c.reset() })
	if got := watcher.texts(); len(got) > 1 {
		t.Errorf("told %q", got)
	}
	l.settle()
	l.pass(time.Minute)
	watcher.texts()
	end(func(c *labClient) {
		c.say("close 4000 enough")
		l.settle()
		c.write(frame(0x88, "\x0f\xa0"))
		c.hangUp()
	})
	want("closed 4000 clean enough")
	end(func(c *labClient) { c.say("close 4000 enough"); l.settle(); c.hangUp() })
	want("closed 4000 unclean enough")
	end(func(c *labClient) { c.say("close 4000 never answered") })
	want("closed 4000 unclean never answered")
	end(func(c *labClient) { c.say("trap") })
	want("closed 1011 unclean handler failed")
	end(func(c *labClient) { c.write("\xff\x80mask") })
	want("closed 1002 unclean protocol error")
	c := l.knock()
	c.write(strings.Replace(upgradeHead, " / ", " /?open=trap ", 1))
	want("closed 1011 unclean handler failed")
	c = l.knock()
	c.write(strings.Replace(upgradeHead, " / ", " /?open=close+4001 ", 1))
	want("closed 4001 unclean ")
	for range 3 { // several reasons at once
		c := l.connect("/")
		c.say("close 4002;trap")
		c.write("\xff\x80mask")
		c.hangUp()
		c.reset()
		c.conn.askAndWake(causeDrain.info())
		c.conn.wakeUp(inReset | inDeadline | inTimer | inDrain | inHangup)
		l.settle()
		l.pass(10 * time.Second)
		if got := watcher.texts(); len(got) != 1 {
			t.Errorf("told %q", got)
		}
	}
	l.close()
}

// TestClientsThatDawdleHoldNoWorker is an acceptance of the design: who sends a
// byte, half a frame or nothing costs no goroutine.
func TestClientsThatDawdleHoldNoWorker(t *testing.T) {
	for _, workers := range []int{1, 2} {
		w := start(t, func(s *setup) {
			s.pool = pool.Options{Workers: workers}
			s.opts.Handler.Inline = inlineNever // so that every message needs a worker
		})
		whole := frame(0x81, "echo "+strings.Repeat("x", 300))
		var dawdlers []*rawClient
		for i := range 200 {
			c := w.raw()
			dawdlers = append(dawdlers, c)
			switch i % 6 {
			case 0: // nothing at all
			case 1:
				c.send("G")
			case 2:
				c.send(upgradeHead[:60])
			case 3:
				c.upgrade()
			case 4:
				c.upgrade()
				c.send(whole[:1])
			default:
				c.upgrade()
				c.send(whole[:150])
			}
		}
		neighbour := w.dial("/")
		for i := range 50 {
			neighbour.want(neighbour.echo(strconv.Itoa(i)))
		}
		workersOf := func() pool.Stats { return w.srv.exec.(*pool.Pool).Stats() }
		eventually(t, "the workers to be idle", func() bool { st := workersOf(); return st.Busy == 0 && st.Queued == 0 })
		if st := w.srv.tenants["puppet"].rule.Load().stable.pool.mod.Stats(); st.Idle != st.Instances {
			t.Errorf("%d of %d instances are idle", st.Idle, st.Instances)
		}
		// They can go on where they stopped.
		for i, c := range dawdlers {
			switch i % 6 {
			case 1:
				c.send(upgradeHead[1:])
				c.head()
			case 2:
				c.send(upgradeHead[60:])
				c.head()
			case 4:
				c.send(whole[1:])
			case 5:
				c.send(whole[150:])
			}
			if i%6 > 3 {
				got := make([]byte, 304)
				if _, err := c.Read(got); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.close()
	}
}

func TestABusyPeerDoesNotKeepAWorkerFromOthers(t *testing.T) {
	l := newLab(t, withoutPings, func(s *setup) { s.opts.Handler.Inline = inlineNever })
	busy, other := l.connect("/"), l.connect("/")
	var all strings.Builder
	const messages = 10 * turnMessages
	for i := range messages {
		all.WriteString(frame(0x81, fmt.Sprintf("echo %d", i)))
	}
	busy.write(all.String())
	busy.tell()
	other.say("echo me too")
	other.tell()
	turns := 0
	for len(other.texts()) == 0 {
		if turns++; !l.tasks.step() {
			t.Fatal("nobody runs")
		}
	}
	if turns > 2 {
		t.Errorf("the other one waited %d turns", turns)
	}
	if got := len(busy.texts()); got > turnMessages {
		t.Errorf("a turn handled %d messages", got)
	}
	l.settle()
	if got := len(busy.texts()); got < messages-2*turnMessages {
		t.Errorf("%d replies came after that", got)
	}
	// Large messages end a turn by their bytes.
	for range 20 {
		busy.write(frame(0x82, strings.Repeat("x", 60_000)))
	}
	busy.tell()
	l.tasks.step()
	if got := len(busy.texts()) * 60_000; got > turnBytes+2*60_000 {
		t.Errorf("a turn handled %d bytes", got)
	}
	l.settle()
	busy.texts()
	l.close()
}
