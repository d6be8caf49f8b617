package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"weir/pool"
	"weir/runtime"
)

// reload loads the puppet again, changed as the test likes.
func (l *lab) reload(change ...func(*Module)) (Reloaded, error) {
	m := testSetup().modules[0]
	for _, f := range change {
		f(&m)
	}
	return l.srv.Reload(context.Background(), m)
}

func TestAReloadKeepsSocketsTopicsTimersAndState(t *testing.T) {
	l := newLab(t, withoutPings)
	c := l.connect("/")
	c.say("join room;set remembered;timer 7 60000 0;?gen")
	l.settle()
	c.want("gen=1", "status=0")
	done, err := l.reload()
	if err != nil || done.Generation != 2 || len(done.Digest) != 64 {
		t.Fatalf("%+v, %v", done, err)
	}
	c.say("gen;get;count room;publish room hello")
	l.settle()
	c.want("gen=2", "remembered", "count=1", "hello")
	if n := l.tenant("puppet").pool.countTimers(c.conn); n != 1 {
		t.Errorf("%d timers are left", n)
	}
	if st := l.srv.Stats().Modules["puppet"]; st.Generation != 2 {
		t.Errorf("the figures are of generation %d", st.Generation)
	}
	l.close()
}

func TestAReloadThatFailsLeavesTheOldOneServing(t *testing.T) {
	l := newLab(t, withoutPings)
	c := l.connect("/")
	for name, change := range map[string]func(*Module){
		"no module":              func(m *Module) { m.Wasm = []byte("no") },
		"half a module":          func(m *Module) { m.Wasm = m.Wasm[:len(m.Wasm)/2] },
		"not granted":            func(m *Module) { m.Capabilities = 0 },
		"too large a memory":     func(m *Module) { m.MemoryPages = 1 },
		"an init that refuses":   func(m *Module) { m.Config = []byte("!fail 3") },
		"an init that traps":     func(m *Module) { m.Config = []byte("!publish room never;trap") },
		"an init that spins":     func(m *Module) { m.Config = []byte("!spin 9000000000000") },
		"options that are wrong": func(m *Module) { m.Limits.Fuel = -1 },
	} {
		if done, err := l.reload(change); err == nil {
			t.Errorf("%s: became %+v", name, done)
		}
		if got := c.ask("gen"); got != "gen=1" {
			t.Errorf("%s: %s serves", name, got)
		}
	}
	var refused *runtime.LoadError
	if _, err := l.reload(func(m *Module) { m.Wasm = nil }); !errors.As(err, &refused) {
		t.Errorf("%v is no LoadError", err)
	}
	if _, err := l.reload(func(m *Module) { m.Name = "stranger" }); !errors.Is(err, ErrUnknownModule) {
		t.Errorf("a module that nobody has loaded: %v", err)
	}
	l.close()
}

func TestWhoWaitsForAnInstanceIsServedByTheGenerationItWaitsFor(t *testing.T) {
	l := newLab(t, withoutPings, onlyInstances(1))
	first, second := l.connect("/"), l.connect("/")
	free := l.busy()
	first.say("gen")
	l.settle()
	if _, err := l.reload(); err != nil {
		t.Fatal(err)
	}
	if got := second.ask("gen"); got != "gen=2" {
		t.Errorf("a new message is served by %s", got)
	}
	free(false)
	l.settle()
	first.want("gen=1")
	if got := first.ask("gen"); got != "gen=2" {
		t.Errorf("then it is served by %s", got)
	}
	l.close()
}

func TestAReloadClosesTheBreaker(t *testing.T) {
	l := newLab(t, withoutPings, breaking)
	c := l.connect("/")
	for range 5 {
		bad := l.connect("/")
		bad.say("trap")
		l.settle()
		bad.hangUp()
	}
	if _, err := l.reload(); err != nil {
		t.Fatal(err)
	}
	if got := c.ask("gen"); got != "gen=2" {
		t.Errorf("it says %q", got)
	}
	l.close()
}

// TestReloadsUnderTraffic is the promise: nothing lost, nothing twice, order
// kept, and no connection ever goes back to an older generation.
func TestReloadsUnderTraffic(t *testing.T) {
	w := start(t, withoutPings, func(s *setup) { s.pool = pool.Options{Workers: 4} })
	const clients, reloads = 8, 30
	var stop atomic.Bool
	var last [clients]int
	var wg sync.WaitGroup
	for i := range clients {
		c := w.dial("/")
		wg.Go(func() { // ends when the reloads are over
			generation := 1
			for n := 0; !stop.Load() || n == 0; n++ {
				for k := range 5 {
					c.say(fmt.Sprintf("gen;echo %d.%d", n, k))
				}
				for k := range 5 {
					g := 0
					if _, err := fmt.Sscanf(c.hear(), "gen=%d", &g); err != nil || g < generation {
						t.Errorf("client %d: generation %d after %d, %v", i, g, generation, err)
						return
					}
					generation = g
					if got, want := c.hear(), fmt.Sprintf("%d.%d", n, k); got != want {
						t.Errorf("client %d heard %q, want %q", i, got, want)
						return
					}
				}
			}
			last[i] = generation
		})
	}
	for range reloads {
		if _, err := w.srv.Reload(context.Background(), testSetup().modules[0]); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	for i, g := range last {
		if g < 2 {
			t.Errorf("client %d ends on generation %d", i, g)
		}
	}
	c := w.dial("/")
	if got := c.ask("gen"); got != fmt.Sprintf("gen=%d", reloads+1) {
		t.Errorf("at last %s serves", got)
	}
	w.close()
	if text := w.log.String(); strings.Contains(text, "level=ERROR") {
		t.Error(text)
	}
}
