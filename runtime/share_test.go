package runtime

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestTwinsShareCodeAndNothingElse(t *testing.T) {
	e := newEngine(t, Options{})
	m := load(t, e, "nop", ModuleOptions{Instances: 3, Generation: 4})
	twin, err := m.Share(ShareOptions{Generation: 7, Instances: 1})
	if err != nil {
		t.Fatal(err)
	}
	if !twin.SharesCode(m) || twin.Generation() != 7 || twin.Digest() != m.Digest() || twin.Handles(EventText) != m.Handles(EventText) {
		t.Errorf("generation %d, digest %s", twin.Generation(), twin.Digest())
	}
	if other := load(t, e, "nop", ModuleOptions{}); other.SharesCode(m) {
		t.Error("two loads of one file share code")
	}
	if twin.TryTake() != nil {
		t.Error("it has an instance that nobody has made")
	}
	i := take(t, twin)
	if !i.Fresh() || i.Module() != twin {
		t.Error("its instance is another's")
	}
	if st := twin.Stats(); st.MaxInstances != 1 || st.Instances != 1 || m.Stats().Instances != 1 {
		t.Errorf("%+v", st)
	}

	// The first to go leaves the other its code.
	m.Retire()
	if !m.Closed() || twin.Closed() {
		t.Error("both end together")
	}
	if _, err := i.Call(&fakeHost{}, EventInit, 0, 7, 0); err != nil {
		t.Errorf("the twin's instance: %v", err)
	}
	third, err := twin.Share(ShareOptions{})
	if err != nil || third.Generation() != 7 || third.Stats().MaxInstances != 1 {
		t.Errorf("a twin of the twin: %v", err)
	}
	twin.Give(i)
	twin.Retire()
	third.Retire()
	if _, err := third.Share(ShareOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("code that is gone is shared: %v", err)
	}
}

// Two instances of twins must not hand out the same random bytes.
func TestTwinsDrawTheirOwnRandomBytes(t *testing.T) {
	m := load(t, newEngine(t, Options{}), "nop", ModuleOptions{Seed: 1})
	random := func(seed uint64) []byte {
		twin, err := m.Share(ShareOptions{Seed: seed, Instances: 1})
		if err != nil {
			t.Fatal(err)
		}
		i := take(t, twin)
		p := make([]byte, 16)
		i.call.random.Read(p)
		twin.Give(i)
		twin.Retire()
		return p
	}
	if a, b, c := random(2), random(3), random(2); slices.Equal(a, b) || !slices.Equal(a, c) {
		t.Errorf("%x, %x, %x", a, b, c)
	}
}

func TestWhoIsTurnedAwayFindsTheModuleClosed(t *testing.T) {
	m := load(t, newEngine(t, Options{}), "nop", ModuleOptions{Instances: 1})
	i := take(t, m)
	var heard []string
	var waiters []*waiter
	for _, name := range []string{"a", "b", "c"} {
		w := &waiter{name: name}
		w.on = func(i *Instance) {
			if i != nil {
				t.Errorf("%s was granted an instance", name)
			}
			heard = append(heard, name)
		}
		waiters = append(waiters, w)
		if i, err := m.Take(w); i != nil || err != nil {
			t.Fatal(i, err)
		}
	}
	if !m.Waited() {
		t.Error("nobody waits")
	}
	m.TurnAway()
	if !slices.Equal(heard, []string{"a", "b", "c"}) || m.Waited() {
		t.Errorf("turned away: %v", heard)
	}
	for range waiters {
		if _, err := m.TakeReserved(); !errors.Is(err, ErrClosed) {
			t.Errorf("TakeReserved: %v", err)
		}
	}
	if _, err := m.Take(waiters[0]); !errors.Is(err, ErrClosed) {
		t.Errorf("Take: %v", err)
	}
	if m.Closed() {
		t.Error("it closed under an instance that is out")
	}
	if _, err := i.Call(&fakeHost{}, EventInit, 0, 0, 0); err != nil {
		t.Errorf("the instance that is out: %v", err)
	}
	m.Give(i)
	if !m.Closed() {
		t.Error("it is not closed when everything is back")
	}
}

func TestAnEngineThatClosesWaitsForTwins(t *testing.T) {
	e, err := NewEngine(Options{Jail: jailOff})
	if err != nil {
		t.Fatal(err)
	}
	m, err := e.Load(context.Background(), guest(t, "nop"), ModuleOptions{Name: "nop"})
	if err != nil {
		t.Fatal(err)
	}
	twin, err := m.Share(ShareOptions{Generation: 2})
	if err != nil {
		t.Fatal(err)
	}
	i := take(t, twin)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Close(ctx); err == nil {
		t.Error("it closed under a twin's instance")
	}
	if _, err := twin.Share(ShareOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("an engine that closes shares: %v", err)
	}
	twin.Give(i)
	if err := e.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
