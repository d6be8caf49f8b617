package host

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// scoped leads every path to the puppet under a scope; a key is the first
// segment of the path.
func scoped(scope string) func(*setup) {
	return func(s *setup) {
		s.opts.Routes = []Route{{Path: "/{key}", Module: "puppet", Scope: scope}, {Path: "/{key}/{rest...}", Module: "puppet", Scope: scope}}
		if scope == scopeKey {
			for i := range s.opts.Routes {
				s.opts.Routes[i].Key = "{key}"
			}
		}
	}
}

func TestAScopeDecidesWhoSharesMemory(t *testing.T) {
	for scope, want := range map[string][3]string{
		// What the second of a, the first of b and the first of a are told, who
		// add 1 each after the first of a has added 5.
		scopeConnection: {"total=1", "total=1", "total=6"},
		scopeKey:        {"total=6", "total=1", "total=7"},
		scopeSingleton:  {"total=6", "total=7", "total=8"},
	} {
		t.Run(scope, func(t *testing.T) {
			l := newLab(t, withoutPings, scoped(scope))
			first, second, other := l.connect("/a"), l.connect("/a/elsewhere"), l.connect("/b")
			if got := first.ask("total 5"); got != "total=5" {
				t.Fatal(got)
			}
			for i, c := range []*labClient{second, other, first} {
				if got := c.ask("total 1"); got != want[i] {
					t.Errorf("client %d heard %s, want %s", i, got, want[i])
				}
			}
			l.close()
			if n := len(l.tenant("puppet").cells); n != 0 {
				t.Errorf("%d cells are left", n)
			}
		})
	}
}

func TestAnInstanceKnowsWhatItIsFor(t *testing.T) {
	for scope, want := range map[string]string{scopePool: "", scopeConnection: "id", scopeKey: "a b", scopeSingleton: ""} {
		l := newLab(t, withoutPings, scoped(scope))
		c := l.connect("/a%20b")
		if scope == scopeKey {
			want = "a%20b" // as it stands in the path
		}
		if want == "id" {
			want = fmt.Sprint(uint64(c.conn.id))
		}
		if got := c.ask("key"); got != want {
			t.Errorf("%s: the key is %q, want %q", scope, got, want)
		}
		l.close()
	}
}

func TestAKeyMayBePutTogether(t *testing.T) {
	l := newLab(t, withoutPings, func(s *setup) {
		s.opts.Routes = []Route{
			{Path: "/{game}/{room}", Module: "puppet", Scope: scopeKey, Key: "{game}:{room}!"},
			{Path: "/watch/{room}/of/{game}", Module: "puppet", Scope: scopeKey, Key: "{game}:{room}!"},
		}
	})
	player, watcher := l.connect("/chess/7"), l.connect("/watch/7/of/chess")
	player.ask("total 3")
	if got := watcher.ask("total 0"); got != "total=3" {
		t.Errorf("routes with the same key do not meet: %s", got)
	}
	if got := watcher.ask("key"); got != "chess:7!" {
		t.Errorf("the key is %q", got)
	}
	if got := watcher.ask("attr param:room"); got != "7" {
		t.Errorf("the parameter is %q", got)
	}
	l.close()
}

func TestRoutesWhoseScopeMakesNoSenseAreRefused(t *testing.T) {
	for want, r := range map[string]Route{
		`routes[0].scope: "planet" is not one of "pool", "connection", "key", "singleton"`: {Path: "/{a}", Scope: "planet"},
		`routes[0].key: "" names no parameter of the path, such as {room}`:                 {Path: "/{a}", Scope: "key"},
		`routes[0].key: "{b}": the path has no parameter {b}`:                              {Path: "/{a}", Scope: "key", Key: "{b}"},
		`routes[0].key: "{a": a "{" is not closed`:                                         {Path: "/{a}", Scope: "key", Key: "{a"},
		`routes[0].key: "a}{a}": a "}" closes nothing`:                                     {Path: "/{a}", Scope: "key", Key: "a}{a}"},
		`routes[0].key: only the scope "key" has one`:                                      {Path: "/{a}", Scope: "pool", Key: "{a}"},
	} {
		r.Module = "puppet"
		err := Options{Routes: []Route{r}}.Validate()
		if err == nil || err.Error() != want {
			t.Errorf("%+v: %v, want %s", r, err, want)
		}
	}
}

// Timers of connection 0 belong to the instance that has set them.
func TestACellHasItsOwnTimers(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey))
	a, b := l.connect("/a"), l.connect("/b")
	for _, c := range []*labClient{a, b} {
		c.say("join ticks;?mtimer 1 100 0")
	}
	l.settle()
	a.want("status=0")
	b.want("status=0")
	b.say("?mcancel 1")
	l.settle()
	b.want("status=0")
	l.pass(time.Second)
	a.want("module timer 1")
	b.want("module timer 1") // the topic is the module's
	l.close()
}

// An instance that nobody has begun to use is only proof that the module works:
// what its init event asked for does not hold. That of a cell's does.
func TestInitHoldsForEachCell(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey), func(s *setup) { s.modules[0].Config = []byte("!mtimer 1 100 100") })
	l.pass(time.Second)
	if n := l.tenant("puppet").pool.countTimers(nil); n != 0 {
		t.Errorf("the pool, which serves nobody, has %d timers", n)
	}
	c := l.connect("/a")
	c.say("join ticks")
	l.settle()
	l.pass(250 * time.Millisecond)
	c.want("module timer 1", "module timer 1")
	l.close()
}

func TestACellThatTrapsEndsWithItsConnectionsAndNobodyElse(t *testing.T) {
	for how, script := range map[string]string{"trap": "trap", "non-zero result": "fail 1"} {
		t.Run(how, func(t *testing.T) {
			l := newLab(t, withoutPings, scoped(scopeKey))
			culprit, mate, neighbour := l.connect("/a"), l.connect("/a"), l.connect("/b")
			culprit.ask("total 5")
			neighbour.ask("total 7")
			culprit.say(script)
			l.settle()
			culprit.wantEnd(codeInternal)
			mate.wantEnd(codeInternal)
			if got := neighbour.ask("total 0"); got != "total=7" {
				t.Errorf("the neighbour heard %s", got)
			}
			if got := l.connect("/a").ask("total 0"); got != "total=0" {
				t.Errorf("who comes next heard %s", got)
			}
			l.close()
		})
	}
}

func TestACellWhoseModuleKeepsConnectionsBeginsAnew(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey), func(s *setup) { s.modules[0].OnTrap = onTrapKeep })
	c := l.connect("/a")
	c.ask("total 5")
	c.say("trap")
	l.settle()
	if got := c.ask("total 0"); got != "total=0" {
		t.Errorf("heard %s", got)
	}
	l.close()
}

func TestTheCellOfAKeyEndsWhenItHasBeenIdle(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey), func(s *setup) { s.modules[0].IdleAfter = 10 * time.Second })
	tn := l.tenant("puppet")
	cells := func() int { return len(tn.cells) }
	c := l.connect("/a")
	c.ask("total 5")
	c.leave()
	l.pass(9 * time.Second)
	back := l.connect("/a")
	if got := back.ask("total 0"); got != "total=5" {
		t.Errorf("who comes back in time heard %s", got)
	}
	l.pass(time.Minute)
	if cells() != 1 {
		t.Fatal("a cell with a connection has ended")
	}
	back.say("mtimer 1 20000 0")
	l.settle()
	back.leave()
	l.pass(19 * time.Second)
	if cells() != 1 {
		t.Fatal("a cell with a timer has ended")
	}
	l.pass(15 * time.Second)
	if cells() != 0 {
		t.Error("a cell that nobody uses is still there")
	}
	if n := tn.rule.Load().stable.cells.Load(); n != 0 {
		t.Errorf("the generation counts %d cells", n)
	}
	if got := l.connect("/a").ask("total 0"); got != "total=0" {
		t.Errorf("who comes late heard %s", got)
	}
	l.close()
}

func TestTheCellOfAConnectionEndsWithIt(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeConnection))
	c := l.connect("/a")
	c.say("mtimer 1 1000 1000;total 5")
	l.settle()
	c.leave()
	l.pass(2 * time.Second)
	if n := len(l.tenant("puppet").cells); n != 0 {
		t.Errorf("%d cells are left", n)
	}
	l.close()
}

func TestCellsAreBounded(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey), func(s *setup) { s.modules[0].Cells = 2 })
	a, _ := l.connect("/a"), l.connect("/b")
	l.connect("/a")
	refused := l.knock()
	refused.write(strings.Replace(upgradeHead, " / ", " /c ", 1))
	l.settle()
	if got := string(refused.take()); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("the third key was answered %q", got)
	}
	refused.hangUp()
	if got := a.ask("echo here"); got != "here" {
		t.Error(got)
	}
	l.close()
}

// Who shares an instance has its messages handled in the order in which they
// came, not one connection's all before the next one's.
func TestAMailboxIsServedInTheOrderOfComing(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey))
	a, b, c := l.connect("/a"), l.connect("/a"), l.connect("/a")
	for _, m := range []*labClient{a, b, c} {
		m.ask("total 0")
	}
	free := l.busyCell("a")
	a.say("total 1")
	a.say("total 1")
	l.settle()
	b.say("total 1")
	l.settle()
	c.say("total 1")
	l.settle()
	free()
	l.settle()
	b.want("total=2")
	c.want("total=3")
	a.want("total=1", "total=4")
	l.close()
}

// busyCell takes the instance of a key until the function it returns is called.
func (l *lab) busyCell(key string) (free func()) {
	l.t.Helper()
	mod := l.tenant("puppet").keyed[key].own.Load().mod
	inst := mod.TryTake()
	if inst == nil {
		l.t.Fatal("the cell's instance is busy")
	}
	return func() { mod.Give(inst) }
}

func TestWhoWaitsTooLongForACellIsSentAway(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey), func(s *setup) { s.opts.Handler.QueueTimeout = 100 * time.Millisecond })
	a := l.connect("/a")
	a.ask("total 0")
	free := l.busyCell("a")
	a.say("total 1")
	l.settle()
	l.pass(300 * time.Millisecond)
	a.wantEnd(codeOverloaded)
	free()
	l.close()
}

func TestACellIsTheOnlyOneWhoTakesItsInstance(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey))
	c := l.connect("/a")
	c.ask("total 0")
	l.quick(true)
	for i := range 50 {
		if got := c.ask("total 1"); got != fmt.Sprintf("total=%d", i+1) {
			t.Fatal(got)
		}
	}
	st := l.srv.Stats().Modules["puppet"]
	if st.Cells != 1 || st.Instances != 2 { // the other one is the pool's
		t.Errorf("%d cells, %d instances", st.Cells, st.Instances)
	}
	l.close()
}
