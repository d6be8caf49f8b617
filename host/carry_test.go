package host

import (
	"fmt"
	"testing"
	"time"
)

func TestStateIsCarriedToTheNextGeneration(t *testing.T) {
	for _, scope := range []string{scopeConnection, scopeKey, scopeSingleton} {
		t.Run(scope, func(t *testing.T) {
			l := newLab(t, withoutPings, scoped(scope))
			c := l.connect("/a")
			c.say("total 5;keep words;join ticks;mtimer 1 1000 0")
			l.settle()
			c.want("total=5")
			l.mustReload()
			c.say("gen;total 1;kept;key")
			l.settle()
			key := map[string]string{scopeConnection: fmt.Sprint(uint64(c.conn.id)), scopeKey: "a"}[scope]
			c.want("gen=2", "total=6", "words", key)
			l.pass(time.Second)
			c.want("module timer 1") // timers stay
			if n := l.tenant("puppet").rule.Load().stable.cells.Load(); n != 1 {
				t.Errorf("the new generation counts %d cells", n)
			}
			l.pass(10 * time.Second)
			l.wantFates("2 current, 1 retired")
			l.close()
		})
	}
}

// Whatever goes wrong while an instance hands over, it stays where it is and
// loses nothing.
func TestACarryThatFailsKeepsTheOldGeneration(t *testing.T) {
	for name, tc := range map[string]struct {
		old  string // what the old instance is told
		next string // the new generation's init script
	}{
		"save refuses":    {old: "badsave r"},
		"restore refuses": {next: "badrestore r"},
		"restore traps":   {next: "badrestore t"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, withoutPings, scoped(scopeKey))
			a, b := l.connect("/a"), l.connect("/b")
			a.ask("total 5")
			b.ask("total 7")
			if tc.old != "" {
				a.say(tc.old)
				l.settle()
			}
			script := "gen"
			if tc.next != "" {
				script = tc.next
			}
			l.mustReload(config(script), watched(1<<30, 0))
			a.say("gen;total 1")
			l.settle()
			a.want("gen=1", "total=6")
			b.say("gen;total 1")
			l.settle()
			if tc.next == "" {
				b.want("gen=2", "total=8") // it is no matter of others
			} else {
				b.want("gen=1", "total=8")
			}
			// The next generation gets another chance.
			a.say("badsave -")
			l.settle()
			l.mustReload()
			a.say("gen;total 1")
			l.settle()
			a.want("gen=3", "total=7")
			l.close()
		})
	}
}

// The crash contract: what an instance had is lost with it.
func TestASaveThatTrapsEndsItsCell(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey))
	a, b := l.connect("/a"), l.connect("/b")
	a.say("badsave t")
	b.ask("total 7")
	l.settle()
	l.mustReload(watched(1<<30, 0))
	a.wantEnd(codeInternal)
	b.say("gen;total 0")
	l.settle()
	b.want("gen=2", "total=7")
	l.close()
}

// Failed carries count against the generation that could not take over.
func TestCarriesThatFailRollAGenerationBack(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey))
	g := l.crowd(30, ownKey)
	l.mustReload(config("badrestore r"), watched(20, 10))
	if got := g.ask(); got[1] != 30 {
		t.Errorf("the generations serve %v", got)
	}
	l.wantFates("3 current, 2 rolled_back, 1 retired")
	c := l.connect("/new")
	if got := c.ask("gen"); got != "gen=3" {
		t.Errorf("a new key is served by %s", got)
	}
	l.close()
}

// Nothing is handled between save and the new generation.
func TestWhoWaitsWhileACellMovesIsServedByTheNewGeneration(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey))
	a, b := l.connect("/a"), l.connect("/a")
	a.ask("total 5")
	b.ask("total 0")
	free := l.busyCell("a")
	a.say("gen;total 1")
	l.settle()
	l.mustReload() // the move waits behind a
	b.say("gen;total 1")
	l.settle()
	free()
	l.settle()
	a.want("gen=1", "total=6")
	b.want("gen=2", "total=7")
	l.close()
}

func TestACellWithoutAnInstanceMovesToo(t *testing.T) {
	l := newLab(t, withoutPings, scoped(scopeKey))
	c := l.connect("/a")
	l.mustReload()
	if got := c.ask("gen"); got != "gen=2" {
		t.Error(got)
	}
	l.close()
}
