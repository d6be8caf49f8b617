package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func canary(percent int) func(*Module) {
	return func(m *Module) { m.Rollout.Canary = percent }
}

func config(script string) func(*Module) {
	return func(m *Module) { m.Config = []byte("!" + script) }
}

func watched(minEvents, trapRate int) func(*Module) {
	return func(m *Module) { m.Rollout.MinEvents, m.Rollout.TrapRate = minEvents, trapRate }
}

// mustReload is reload for a generation that is fine.
func (l *lab) mustReload(change ...func(*Module)) Reloaded {
	l.t.Helper()
	done, err := l.reload(change...)
	check(l.t, err)
	l.settle()
	return done
}

// fates are the generations, latest first: "3 current, 2 rolled_back, …".
func (l *lab) fates() string {
	var all []string
	for _, g := range l.srv.Generations("puppet") {
		all = append(all, fmt.Sprintf("%d %s", g.Number, g.Fate))
	}
	return strings.Join(all, ", ")
}

func (l *lab) wantFates(want string) {
	l.t.Helper()
	if got := l.fates(); got != want {
		l.t.Errorf("the generations are %s, want %s", got, want)
	}
}

// gens asks every client which generation serves it, and checks that none went
// back.
type gens struct {
	l       *lab
	clients []*labClient
	seen    []int64
}

func (l *lab) crowd(n int, path func(i int) string) *gens {
	g := &gens{l: l, seen: make([]int64, n)}
	for i := range n {
		g.clients = append(g.clients, l.connect(path(i)))
	}
	g.ask()
	return g
}

// ask counts who is served by which generation.
func (g *gens) ask() map[int64]int {
	g.l.t.Helper()
	count := make(map[int64]int)
	for i, c := range g.clients {
		now := c.number("gen")
		if now < g.seen[i] {
			g.l.t.Errorf("client %d went from generation %d back to %d", i, g.seen[i], now)
		}
		g.seen[i] = now
		count[now]++
	}
	return count
}

func anywhere(int) string { return "/a" }

func ownKey(i int) string { return fmt.Sprintf("/key%d", i) }

func TestACanaryServesItsShareAndNobodyLeavesIt(t *testing.T) {
	for scope, path := range map[string]func(int) string{scopePool: anywhere, scopeConnection: anywhere, scopeKey: ownKey} {
		t.Run(scope, func(t *testing.T) {
			l := newLab(t, withoutPings, scoped(scope))
			g := l.crowd(100, path)
			if done := l.mustReload(canary(20)); !done.Canary || done.Generation != 2 {
				t.Fatalf("%+v", done)
			}
			l.wantFates("2 canary, 1 current")
			if got := g.ask(); got[2] < 12 || got[2] > 28 || got[1]+got[2] != 100 {
				t.Errorf("with 20 %% the generations serve %v", got)
			}
			check(t, l.srv.Canary("puppet", 60))
			l.settle()
			if got := g.ask(); got[2] < 48 || got[2] > 72 {
				t.Errorf("with 60 %% the generations serve %v", got)
			}
			if share := l.srv.Generations("puppet")[0].Share; share != 60 {
				t.Errorf("the share is said to be %d", share)
			}
			if err := l.srv.Canary("puppet", 50); !errors.Is(err, ErrShare) {
				t.Errorf("a smaller share: %v", err)
			}
			check(t, l.srv.Promote("puppet"))
			l.settle()
			if got := g.ask(); got[2] != 100 {
				t.Errorf("promoted, the generations serve %v", got)
			}
			l.wantFates("2 current, 1 previous")
			l.pass(10 * time.Second)
			l.wantFates("2 current, 1 retired")
			l.close()
		})
	}
}

// Numbers never go back: the code of generation 1 returns as generation 3.
func TestARollbackBringsTheOldCodeBackUnderANewNumber(t *testing.T) {
	for scope, path := range map[string]func(int) string{scopePool: anywhere, scopeKey: ownKey} {
		t.Run(scope, func(t *testing.T) {
			l := newLab(t, withoutPings, scoped(scope))
			g := l.crowd(50, path)
			old := l.srv.Generations("puppet")[0].Digest
			l.mustReload(canary(50))
			moved := g.ask()[2]
			check(t, l.srv.Rollback("puppet"))
			l.settle()
			got := g.ask()
			// Under a key, who was never moved stays where it is: it is the same code.
			if want := map[string]int{scopePool: 50, scopeKey: moved}[scope]; got[3] != want || got[2] != 0 {
				t.Errorf("rolled back, the generations serve %v, want %d on 3", got, want)
			}
			if first := l.srv.Generations("puppet")[0]; first.Digest != old || first.Number != 3 {
				t.Errorf("%+v serves", first)
			}
			// And the next canary is above them all.
			l.mustReload(canary(100))
			if got := g.ask(); got[4] != 50 {
				t.Errorf("then the generations serve %v", got)
			}
			l.close()
		})
	}
}

func TestARollbackIsPossibleAsLongAsTheProbationLasts(t *testing.T) {
	l := newLab(t, withoutPings)
	c := l.connect("/")
	if err := l.srv.Rollback("puppet"); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("with one generation: %v", err)
	}
	l.mustReload()
	l.wantFates("2 current, 1 previous")
	// While 2 is on probation, what 3 can return to is 1.
	l.mustReload()
	l.wantFates("3 current, 2 retired, 1 previous")
	check(t, l.srv.Rollback("puppet"))
	if got := c.ask("gen"); got != "gen=4" {
		t.Error(got)
	}
	l.wantFates("4 current, 3 rolled_back, 2 retired, 1 retired")
	if err := l.srv.Rollback("puppet"); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("after a rollback: %v", err)
	}
	l.mustReload()
	l.pass(10 * time.Second)
	if err := l.srv.Rollback("puppet"); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("after the probation: %v", err)
	}
	l.close()
}

func TestAGenerationThatTrapsIsRolledBackByItself(t *testing.T) {
	for name, rollout := range map[string]func(*Module){"at once": canary(0), "as a canary": canary(100)} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, withoutPings)
			c := l.connect("/")
			l.mustReload(rollout, watched(10, 10))
			for range 20 {
				c.ask("echo fine")
			}
			trap := func() {
				bad := l.connect("/")
				bad.say("trap")
				l.settle()
				bad.hangUp()
			}
			trap()
			if got := c.ask("gen"); got != "gen=2" { // one of many is not more than 10 %
				t.Fatalf("%s serves", got)
			}
			traps := 1
			for ; traps < 20 && c.ask("gen") == "gen=2"; traps++ {
				trap()
			}
			if got := c.ask("gen"); got != "gen=3" || traps < 2 {
				t.Fatalf("%s serves after %d traps", got, traps)
			}
			g := l.srv.Generations("puppet")[1]
			if g.Fate != FateRolledBack || !strings.Contains(g.Why, "events trapped") {
				t.Errorf("%+v", g)
			}
			if n := l.srv.Stats().Modules["puppet"].Reloads["rolled_back"]; n != 1 {
				t.Errorf("%d rollbacks are counted", n)
			}
			// What comes back is known to be fine, and nothing is kept behind it.
			for range 20 {
				trap()
			}
			if got := c.ask("gen"); got != "gen=3" {
				t.Errorf("then %s serves", got)
			}
			l.close()
		})
	}
}

func TestABreakerCanFailToThePreviousGeneration(t *testing.T) {
	l := newLab(t, withoutPings)
	c := l.connect("/")
	l.mustReload(watched(1<<30, 0), func(m *Module) { m.Breaker = BreakerOptions{Traps: 3, Fail: failPrevious} })
	for range 3 {
		bad := l.connect("/")
		bad.say("trap")
		l.settle()
		bad.hangUp()
	}
	if got := c.ask("gen"); got != "gen=3" {
		t.Errorf("%s serves", got)
	}
	l.close()
}

func TestWhatAReloadChangesFollowsTheGeneration(t *testing.T) {
	l := newLab(t, withoutPings)
	l.mustReload(func(m *Module) {
		m.OnTrap, m.KeepHeaders = onTrapKeep, []string{"X-Other"}
		m.Breaker = BreakerOptions{Traps: 2, Fail: failClosed}
	}, watched(1<<30, 0))
	c := l.knock()
	c.write(strings.Replace(upgradeHead, "Host: test\r\n", "Host: test\r\nX-Kept: no\r\nX-Other: yes\r\n", 1))
	l.settle()
	c.upgraded()
	c.say("attr header:X-Other;?attr header:X-Kept")
	l.settle()
	c.want("yes", "status=-7")
	c.say("trap")
	l.settle()
	if got := c.ask("echo kept"); got != "kept" {
		t.Errorf("on_trap: %s", got)
	}
	c.say("trap")
	l.settle()
	c.say("echo dropped")
	l.settle()
	c.wantEnd(codeOverloaded) // its breaker is open
	l.close()
}

func TestASelfTestThatFailsKeepsTheOldGeneration(t *testing.T) {
	l := newLab(t, withoutPings)
	c := l.connect("/")
	c.say("join ticks")
	cause := errors.New("scenario 3 failed")
	_, err := l.reload(config("mtimer 1 100 0"), func(m *Module) {
		m.SelfTest = func(context.Context) error { return cause }
	})
	if !errors.Is(err, ErrSelfTest) || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if got := c.ask("gen"); got != "gen=1" {
		t.Errorf("%s serves", got)
	}
	l.pass(time.Second)
	c.want() // nothing of its init event has taken hold
	if r := l.srv.Stats().Modules["puppet"].Reloads; r["refused"] != 1 || r["loaded"] != 0 {
		t.Errorf("counted: %v", r)
	}
	l.close()
}

func TestOfTwoWhoReplaceTheSameGenerationOneWins(t *testing.T) {
	l := newLab(t, withoutPings)
	replaces := func(n uint64) func(*Module) { return func(m *Module) { m.Replaces = n } }
	l.mustReload(replaces(1))
	if _, err := l.reload(replaces(1)); !errors.Is(err, ErrConflict) {
		t.Errorf("the second: %v", err)
	}
	l.mustReload(replaces(2))
	// Also when both have got as far as the self-test.
	_, err := l.reload(replaces(3), func(m *Module) {
		m.SelfTest = func(context.Context) error { return l.srv.Rollback("puppet") }
	})
	if !errors.Is(err, ErrConflict) {
		t.Errorf("overtaken: %v", err)
	}
	l.close()
}

func TestAnOlderVersionIsNotLoadedAgain(t *testing.T) {
	l := newLab(t, withoutPings)
	version := func(n uint64) func(*Module) { return func(m *Module) { m.Version, m.Signer = n, "somebody" } }
	l.mustReload(version(7))
	l.mustReload(version(7)) // the same one, with other settings say
	for _, n := range []uint64{6, 0} {
		if _, err := l.reload(version(n)); !errors.Is(err, ErrOlder) {
			t.Errorf("version %d after 7: %v", n, err)
		}
	}
	// Also when the newer one overtakes it.
	_, err := l.reload(version(8), func(m *Module) {
		m.SelfTest = func(context.Context) error {
			l.srv.tenants["puppet"].newest = 9 // nobody else is here; a reload would wait for this one
			return nil
		}
	})
	if !errors.Is(err, ErrOlder) {
		t.Errorf("overtaken: %v", err)
	}
	l.mustReload() // the operator asks for no signature any more,
	if _, err := l.reload(version(8)); !errors.Is(err, ErrOlder) {
		t.Errorf("and asks again: %v", err)
	}
	l.close()
}

// A number that was prepared is not used once a return has it.
func TestALoadThatWasOvertakenByARollbackComesAboveIt(t *testing.T) {
	l := newLab(t, withoutPings)
	g := l.crowd(10, anywhere)
	l.mustReload()
	g.ask()
	done := l.mustReload(func(m *Module) {
		m.SelfTest = func(context.Context) error {
			err := l.srv.Rollback("puppet")
			if got := g.ask(); got[3] != 10 {
				t.Errorf("meanwhile the generations serve %v", got)
			}
			return err
		}
	})
	if got := g.ask(); done.Generation != 4 || got[4] != 10 {
		t.Errorf("generation %d was loaded, the generations serve %v", done.Generation, got)
	}
	l.close()
}

func TestAReloadEndsTheCanaryBefore(t *testing.T) {
	l := newLab(t, withoutPings)
	g := l.crowd(50, anywhere)
	l.mustReload(canary(50))
	g.ask()
	l.mustReload(canary(10))
	l.wantFates("4 canary, 3 current, 2 rolled_back, 1 retired")
	if got := g.ask(); got[3]+got[4] != 50 || got[4] == 0 {
		t.Errorf("the generations serve %v", got)
	}
	for _, err := range []error{l.srv.Promote("puppet"), l.srv.Promote("puppet")} {
		l.settle()
		if got := g.ask(); got[4] != 50 {
			t.Errorf("the generations serve %v, %v", got, err)
		}
	}
	if err := l.srv.Promote("puppet"); !errors.Is(err, ErrNoCanary) {
		t.Errorf("%v", err)
	}
	l.close()
}

func TestAPauseHoldsEventsBackAndLosesNone(t *testing.T) {
	for _, scope := range []string{scopePool, scopeKey} {
		t.Run(scope, func(t *testing.T) {
			l := newLab(t, withoutPings, scoped(scope))
			c := l.connect("/a")
			c.say("join ticks;mtimer 1 100 0;timer 2 200 0")
			l.settle()
			check(t, l.srv.Pause("puppet"))
			c.say("echo one")
			l.pass(time.Second)
			c.say("echo two")
			l.settle()
			c.want()
			late := l.knock()
			late.write(strings.Replace(upgradeHead, " / ", " /a ", 1))
			l.settle()
			if scope == scopePool { // for keys, too, where the module handles upgrades
				if got := string(late.take()); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
					t.Errorf("an upgrade was answered %q", got)
				}
			}
			if !l.srv.Paused("puppet") {
				t.Error("it is not said to be paused")
			}
			l.mustReload() // goes on
			check(t, l.srv.Resume("puppet"))
			l.settle()
			got := c.texts()
			slices.Sort(got) // timers have no order beside messages
			if want := []string{"module timer 1", "one", "timer=2", "two"}; !slices.Equal(got, want) {
				t.Errorf("heard %q, want %q", got, want)
			}
			l.close()
		})
	}
}

func TestAServerThatEndsWhileAModuleIsPausedEnds(t *testing.T) {
	l := newLab(t, withoutPings)
	c := l.connect("/")
	check(t, l.srv.Pause("puppet"))
	c.say("echo one")
	l.settle()
	l.close()
}

func TestStrangersAreUnknown(t *testing.T) {
	l := newLab(t)
	for _, err := range []error{
		l.srv.Canary("stranger", 1), l.srv.Promote("stranger"), l.srv.Rollback("stranger"), l.srv.Pause("stranger"), l.srv.Resume("stranger"),
	} {
		if !errors.Is(err, ErrUnknownModule) {
			t.Errorf("%v", err)
		}
	}
	if l.srv.Generations("stranger") != nil || l.srv.Paused("stranger") {
		t.Error("something is known of a stranger")
	}
	l.close()
}

// What is over leaves no more than a few lines.
func TestGenerationsThatAreOverAreForgotten(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey))
	c := l.connect("/a")
	c.ask("total 5")
	for range 50 {
		l.mustReload()
	}
	if got := c.ask("total 0"); got != "total=5" {
		t.Errorf("heard %s", got)
	}
	l.pass(10 * time.Second)
	if n := len(l.srv.Generations("puppet")); n != 1+keptFates {
		t.Errorf("%d generations are listed", n)
	}
	tn := l.tenant("puppet")
	if n := len(tn.former); n != 0 {
		t.Errorf("%d generations are kept", n)
	}
	l.close()
}
