package runtime

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestInstancesAreMadeUpToTheMaximum(t *testing.T) {
	m := load(t, newEngine(t, Options{}), "nop", ModuleOptions{Instances: 3})
	var taken []*Instance
	for range 3 {
		taken = append(taken, take(t, m))
	}
	if m.TryTake() != nil {
		t.Error("a fourth one")
	}
	w := &waiter{}
	if i, err := m.Take(w); i != nil || err != nil {
		t.Errorf("a fourth one: %v, %v", i, err)
	}
	if stats := m.Stats(); stats.Instances != 3 || stats.Idle != 0 || stats.Waiting != 1 || stats.Created != 3 {
		t.Errorf("%+v", stats)
	}
	if !m.Cancel(w) {
		t.Error("the waiter is not there")
	}
	for _, i := range taken {
		m.Give(i)
	}
	if i := m.TryTake(); i != taken[2] {
		t.Error("not the one used last")
	} else {
		m.Give(i)
	}
}

func TestTryTakeMakesNothing(t *testing.T) {
	m := load(t, newEngine(t, Options{}), "nop", ModuleOptions{Instances: 2})
	i := m.TryTake()
	if i == nil || m.TryTake() != nil || m.Stats().Created != 1 {
		t.Errorf("%+v", m.Stats())
	}
	m.Give(i)
}

func TestWaitersAreServedInOrder(t *testing.T) {
	m := load(t, newEngine(t, Options{}), "nop", ModuleOptions{Instances: 1})
	i := take(t, m)
	var order []string
	var waiters []*waiter
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		w := &waiter{name: name}
		w.on = func(*Instance) { order = append(order, name) }
		waiters = append(waiters, w)
		if i, err := m.Take(w); i != nil || err != nil {
			t.Fatal(i, err)
		}
	}
	if !m.Cancel(waiters[1]) || m.Cancel(waiters[1]) {
		t.Error("b waits twice, or not at all")
	}
	for range 3 {
		m.Give(i)
		if m.TryTake() != nil {
			t.Fatal("somebody got in before the waiters")
		}
	}
	if m.Cancel(waiters[0]) {
		t.Error("a was granted and still waits")
	}
	if !m.Cancel(waiters[4]) {
		t.Error("e does not wait any more")
	}
	m.Give(i)
	if got := strings.Join(order, ""); got != "acd" {
		t.Errorf("served %q", got)
	}
	if m.TryTake() != i {
		t.Fatal("nobody waits, but it is not idle")
	}
	m.Give(i)
}

func TestADiscardedInstanceLeavesItsPlace(t *testing.T) {
	m := load(t, newEngine(t, Options{}), "behave", ModuleOptions{Instances: 1})
	i := take(t, m)
	if _, err := i.Call(&fakeHost{}, EventText, 1, trapArg, 0); err == nil {
		t.Fatal("no trap")
	}
	first, second := &waiter{}, &waiter{}
	for _, w := range []*waiter{first, second} {
		if i, err := m.Take(w); i != nil || err != nil {
			t.Fatal(i, err)
		}
	}
	m.Discard(i)
	if len(first.granted) != 1 || first.granted[0] != nil || len(second.granted) != 0 {
		t.Fatalf("granted %v, %v", first.granted, second.granted)
	}
	if m.TryTake() != nil {
		t.Error("somebody got in before the waiter")
	}
	again, err := m.TakeReserved()
	if err != nil || again == nil || again == i || !again.Fresh() {
		t.Fatalf("%v, %v", again, err)
	}
	if got, err := again.Call(&fakeHost{}, EventText, 1, countArg, 0); got != 1 || err != nil {
		t.Errorf("it remembers another's life: %d, %v", got, err)
	}
	m.Give(again)
	if len(second.granted) != 1 || second.granted[0] != again {
		t.Errorf("granted %v", second.granted)
	}
	m.Give(again)
	if stats := m.Stats(); stats.Instances != 1 || stats.Idle != 1 || stats.Discarded != 1 || stats.Traps[ReasonTrap] != 1 || stats.Created != 2 {
		t.Errorf("%+v", stats)
	}
}

func TestAStoppedInstanceThatIsGivenBackIsDiscarded(t *testing.T) {
	m := load(t, newEngine(t, Options{}), "behave", ModuleOptions{Instances: 1})
	i := take(t, m)
	if _, err := i.Call(&fakeHost{}, EventText, 1, trapArg, 0); err == nil {
		t.Fatal("no trap")
	}
	m.Give(i)
	if m.TryTake() != nil || m.Stats().Instances != 0 {
		t.Error("it is still there")
	}
	m.Give(take(t, m))
}

func TestAReservedPlaceCanBeGivenUp(t *testing.T) {
	m := load(t, newEngine(t, Options{}), "nop", ModuleOptions{Instances: 1})
	i := take(t, m)
	first, second := &waiter{}, &waiter{}
	_, _ = m.Take(first)
	_, _ = m.Take(second)
	m.Discard(i)
	m.DropReserved()
	if len(second.granted) != 1 || second.granted[0] != nil {
		t.Fatalf("granted %v", second.granted)
	}
	m.DropReserved()
	if stats := m.Stats(); stats.Instances != 0 || stats.Waiting != 0 {
		t.Errorf("%+v", stats)
	}
	m.Give(take(t, m))
}

func TestAPlaceWhoseInstanceFailsGoesToTheNext(t *testing.T) {
	m := load(t, newEngine(t, Options{}), "nop", ModuleOptions{Instances: 1})
	i := take(t, m)
	_ = m.rt.Close(context.Background()) // from now on nothing can be instantiated
	first, second := &waiter{}, &waiter{}
	_, _ = m.Take(first)
	_, _ = m.Take(second)
	m.Discard(i)
	if _, err := m.TakeReserved(); err == nil {
		t.Fatal("instantiated in a closed runtime")
	} else if _, ok := errors.AsType[*TrapError](err); !ok {
		t.Errorf("got %v", err)
	}
	if len(second.granted) != 1 {
		t.Fatal("the second waiter waits for ever")
	}
	if _, err := m.TakeReserved(); err == nil {
		t.Fatal("instantiated in a closed runtime")
	}
	if _, err := m.Take(first); err == nil {
		t.Fatal("instantiated in a closed runtime")
	}
	if stats := m.Stats(); stats.Instances != 0 || stats.Traps[ReasonTrap] != 3 {
		t.Errorf("%+v", stats)
	}
}

func TestMisuseOfAPoolPanics(t *testing.T) {
	for said, misuse := range map[string]func(m, other *Module, i *Instance){
		"given to another module": func(_, other *Module, i *Instance) { other.Give(i) },
		"given back twice": func(m, _ *Module, i *Instance) {
			m.Give(i)
			m.Give(i)
		},
		"waits twice": func(m, _ *Module, _ *Instance) {
			w := &waiter{}
			_, _ = m.Take(w)
			_, _ = m.Take(w)
		},
		"a Waiter is nil":        func(m, _ *Module, _ *Instance) { _, _ = m.Take(nil) },
		"Release without Retain": func(m, _ *Module, _ *Instance) { m.Release() },
	} {
		t.Run(said, func(t *testing.T) {
			e, err := NewEngine(Options{}) // what is left of it does not matter
			if err != nil {
				t.Fatal(err)
			}
			m, other := load(t, e, "nop", ModuleOptions{Instances: 1}), load(t, e, "nop", ModuleOptions{Generation: 2})
			i := take(t, m)
			if got := mustPanic(t, func() { misuse(m, other, i) }); !strings.Contains(got, said) {
				t.Errorf("said %q", got)
			}
		})
	}
}

func TestARetiredModuleClosesAsItsLastUserLeaves(t *testing.T) {
	e := newEngine(t, Options{})
	isOpen := func() bool { return len(e.open()) > 0 }

	t.Run("at once if there is none", func(t *testing.T) {
		m := load(t, e, "nop", ModuleOptions{})
		m.Retire()
		m.Retire()
		if isOpen() || m.Retain() || m.TryTake() != nil {
			t.Error("still open")
		}
		if _, err := m.Take(&waiter{}); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	})

	t.Run("with the last Release", func(t *testing.T) {
		m := load(t, e, "nop", ModuleOptions{})
		for range 2 {
			m.Retain()
		}
		m.Retire()
		if !m.Retain() {
			t.Error("a module in use cannot be used")
		}
		i := take(t, m)
		m.Give(i)
		m.Release()
		m.Release()
		if !isOpen() {
			t.Fatal("closed under its user")
		}
		m.Release()
		if isOpen() || m.Retain() {
			t.Error("still open")
		}
	})

	t.Run("but not under an instance, or a waiter", func(t *testing.T) {
		m := load(t, e, "nop", ModuleOptions{Instances: 1})
		i := take(t, m)
		w := &waiter{}
		_, _ = m.Take(w)
		m.Retire()
		if _, err := i.Call(nil, EventOpen, 1, 0, 0); err != nil {
			t.Error(err)
		}
		m.Give(i)
		if len(w.granted) != 1 || !isOpen() {
			t.Fatal("closed under the waiter")
		}
		m.Discard(i)
		if isOpen() {
			t.Error("still open")
		}
	})

	t.Run("when the last waiter gives up", func(t *testing.T) {
		m := load(t, e, "nop", ModuleOptions{Instances: 1})
		i := take(t, m)
		w := &waiter{}
		_, _ = m.Take(w)
		m.Retire()
		if !m.Cancel(w) {
			t.Error("it did not wait")
		}
		m.Give(i)
		if isOpen() {
			t.Error("still open")
		}
	})
}

// lane is a user of the hammer below: it works, waits, is granted, gives up.
type lane struct {
	granted chan *Instance
}

func (l *lane) Refused()      {}
func (l *lane) Patient() bool { return false }

func (l *lane) Granted(i *Instance) { l.granted <- i }

// TestTheInstancePoolUnderLoad lets many lanes take, wait, cancel, give, discard and retire at random.
func TestTheInstancePoolUnderLoad(t *testing.T) {
	const lanes, places = 16, 3
	turns := 400
	if testing.Short() {
		turns = 100
	}
	e := newEngine(t, Options{})
	var current atomic.Pointer[Module]
	current.Store(load(t, e, "behave", ModuleOptions{Instances: places}))
	var out, worked atomic.Int64
	var outOf sync.Map // *Module → *atomic.Int64

	work := func(m *Module, i *Instance, rng *rand.Rand) {
		counter, _ := outOf.LoadOrStore(m, new(atomic.Int64))
		if n := counter.(*atomic.Int64).Add(1); n > places {
			t.Errorf("%d instances at work", n)
		}
		out.Add(1)
		arg := int64(countArg)
		if rng.IntN(20) == 0 {
			arg = trapArg
		}
		_, err := send(i, &quietHost{}, EventText, 1, arg, "payload")
		if (err != nil) != (arg == trapArg) {
			t.Errorf("arg %d: %v", arg, err)
		}
		worked.Add(1)
		out.Add(-1)
		counter.(*atomic.Int64).Add(-1)
		if err != nil {
			m.Discard(i)
		} else {
			m.Give(i)
		}
	}

	turn := func(l *lane, rng *rand.Rand) {
		m := current.Load()
		for !m.Retain() {
			m = current.Load()
		}
		defer m.Release()
		if rng.IntN(2) == 0 {
			if i := m.TryTake(); i != nil {
				work(m, i, rng)
				return
			}
		}
		i, err := m.Take(l)
		if err != nil {
			t.Error(err)
			return
		}
		if i == nil {
			if rng.IntN(4) == 0 && m.Cancel(l) {
				return
			}
			i = <-l.granted
			if i == nil {
				if rng.IntN(4) == 0 {
					m.DropReserved()
					return
				}
				if i, err = m.TakeReserved(); err != nil {
					t.Error(err)
					return
				}
			}
		}
		work(m, i, rng)
	}

	var wg sync.WaitGroup
	for n := range lanes {
		wg.Go(func() { // ends after its turns
			l := &lane{granted: make(chan *Instance, 1)}
			rng := rand.New(rand.NewPCG(uint64(n), 0))
			for range turns {
				turn(l, rng)
			}
		})
	}
	wg.Go(func() { // ends after its reloads
		for generation := uint64(2); generation < 12; generation++ {
			before := worked.Load()
			for worked.Load() < before+int64(lanes*turns)/40 && worked.Load() < int64(lanes*turns)/2 {
				// A reload now and then: let the lanes work in between.
				if m := current.Load(); m.Retain() {
					m.Release()
				}
				goruntime.Gosched()
			}
			next, err := e.Load(context.Background(), guest(t, "behave"),
				ModuleOptions{Name: "behave", Generation: generation, Instances: places})
			if err != nil {
				t.Error(err)
				return
			}
			current.Swap(next).Retire()
		}
	})
	wg.Wait()

	m := current.Load()
	stats := m.Stats()
	if out.Load() != 0 || stats.Users != 0 || stats.Waiting != 0 || stats.Instances != stats.Idle {
		t.Errorf("in the end: %d out, %+v", out.Load(), stats)
	}
	if want := fmt.Sprintf("[%s generation %d]", m.label, m.generation); fmt.Sprint(e.open()) != want {
		t.Errorf("open in the end: %v, want %s", e.open(), want)
	}
}

func TestTheQueueIsFirstInFirstOut(t *testing.T) {
	var q queue
	var model []*waiter
	rng := rand.New(rand.NewPCG(3, 4))
	all := make([]*waiter, 50)
	for k := range all {
		all[k] = &waiter{name: fmt.Sprint(k)}
	}
	for range 20000 {
		w := all[rng.IntN(len(all))]
		at := -1
		for k := range model {
			if model[k] == w {
				at = k
			}
		}
		switch rng.IntN(3) {
		case 0:
			if at < 0 {
				q.push(w, 0)
				model = append(model, w)
			}
		case 1:
			if got := q.remove(w); got != (at >= 0) {
				t.Fatalf("remove: %v", got)
			}
			if at >= 0 {
				model = append(model[:at:at], model[at+1:]...)
			}
		case 2:
			got := q.pop()
			if len(model) == 0 {
				if got != nil {
					t.Fatalf("pop of nothing: %v", got)
				}
				continue
			}
			if got != model[0] {
				t.Fatalf("pop: %v, want %v", got, model[0].name)
			}
			model = model[1:]
		}
		if q.len() != len(model) {
			t.Fatalf("%d wait, want %d", q.len(), len(model))
		}
	}
}
