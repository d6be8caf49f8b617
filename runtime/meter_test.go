package runtime

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Arguments for spin.wat.
const (
	spinAnswer = iota
	spinLoop
	spinFib
	spinFill
	spinDeep
	spinIndirect
	spinTimes
	spinRandoms
	spinCounts
	spinAsks
)

// tickingClock moves on by a fixed time whenever it is read.
type tickingClock struct{ ns, step int64 }

func (c *tickingClock) now() int64 {
	c.ns += c.step
	return c.ns
}

func TestAGuestThatDoesNotEndIsStopped(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		for _, tc := range []struct {
			name   string
			arg    int64
			reason Reason // by the clock; stack where that is used up first
		}{
			{"an empty loop", spinLoop, ReasonTimeout},
			{"recursion without a loop", spinFib, ReasonTimeout},
			{"memory.fill again and again", spinFill, ReasonTimeout},
			{"endless recursion", spinDeep, ReasonStack},
			{"endless recursion through a table", spinIndirect, ReasonStack},
			{"a cheap host function again and again", spinTimes, ReasonTimeout},
			{"a dear host function again and again", spinRandoms, ReasonTimeout},
		} {
			t.Run(tc.name, func(t *testing.T) {
				clock := &tickingClock{step: int64(time.Millisecond)}
				o.Now = clock.now
				m := load(t, newEngine(t, o), "spin", ModuleOptions{Instances: 1, Limits: Limits{Fuel: maxFuel, Timeout: 7 * time.Millisecond}})
				i := take(t, m)
				defer m.Discard(i)
				_, err := i.Call(&fakeHost{}, EventText, 1, tc.arg, 0)
				trap, ok := errors.AsType[*TrapError](err)
				if !ok || trap.Reason != tc.reason {
					t.Fatalf("the call ended with %v", err)
				}
				if tc.reason == ReasonTimeout && (trap.Message != "ran longer than 7ms" || !errors.Is(err, context.DeadlineExceeded)) {
					t.Errorf("it says %q", trap.Message)
				}
				if !strings.Contains(trap.Stack, "(i32") || strings.Contains(trap.Stack, "refill") || len(trap.Stack) > 200 {
					t.Errorf("the stack is %q", trap.Stack)
				}
			})
		}
	})
}

func TestFuelEndsAGuestWhenTimeDoesNot(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		o.Now = func() int64 { return 0 }
		m := load(t, newEngine(t, o), "spin", ModuleOptions{Instances: 1, Limits: Limits{Fuel: 300_000}})
		for _, arg := range []int64{spinLoop, spinFib, spinFill, spinTimes, spinRandoms} {
			i := take(t, m)
			_, err := i.Call(&fakeHost{}, EventText, 1, arg, 0)
			trap, ok := errors.AsType[*TrapError](err)
			if !ok || trap.Reason != ReasonFuel || trap.Message != "spent more than 300000 fuel" {
				t.Errorf("%d ended with %v", arg, err)
			}
			m.Discard(i)
		}
		if traps := m.Stats().Traps[ReasonFuel]; traps != 5 {
			t.Errorf("counted %d", traps)
		}
	})
}

func TestTheSameWorkCostsTheSameFuelEachTime(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		i := only(t, o, "spin", ModuleOptions{Limits: Limits{Timeout: time.Hour}})
		spent := func(rounds int64) int64 {
			t.Helper()
			if result, err := i.Call(&fakeHost{}, EventText, 1, spinCounts|rounds<<8, 0); result != 0 || err != nil {
				t.Fatalf("%d rounds: %d, %v", rounds, result, err)
			}
			return i.Spent()
		}
		few, many := spent(10), spent(1_000_000)
		if again := spent(10); again != few {
			t.Errorf("10 rounds cost %d fuel, then %d", few, again)
		}
		if again := spent(1_000_000); again != many || many < 1_000_000 {
			t.Errorf("a million rounds cost %d fuel, then %d", many, again)
		}
	})
}

func TestLongerEventsGetMoreFuel(t *testing.T) {
	b := newBudgets(Limits{Fuel: 1000, Timeout: 10 * time.Millisecond, OpenTimeout: 20 * time.Millisecond, StartTimeout: time.Second})
	for ev, want := range map[Event]budget{
		EventText:    {1000, int64(10 * time.Millisecond)},
		EventClose:   {1000, int64(10 * time.Millisecond)},
		EventUpgrade: {2000, int64(20 * time.Millisecond)},
		EventOpen:    {2000, int64(20 * time.Millisecond)},
		EventInit:    {100_000, int64(time.Second)},
		EventSave:    {100_000, int64(time.Second)},
	} {
		if got := b.of(ev); got != want {
			t.Errorf("%v: %+v, want %+v", ev, got, want)
		}
	}
}

func TestTooManyHostCallsAreRefused(t *testing.T) {
	m := load(t, newEngine(t, Options{}), "spin", ModuleOptions{Instances: 1, Limits: Limits{HostCalls: 100}})
	i := take(t, m)
	defer m.Give(i)
	for calls, want := range map[int64]Status{100: 0, 101: StatusTooMany, 5000: StatusTooMany} {
		if got, err := i.Call(&fakeHost{}, EventText, 1, spinAsks|calls<<8, 0); err != nil || got != int32(want) {
			t.Errorf("call %d answers %d, %v; want %d", calls, got, err, want)
		}
	}
}

func TestAKilledModuleEndsItsGuests(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		m := load(t, newEngine(t, o), "spin", ModuleOptions{Instances: 1, Limits: Limits{Fuel: maxFuel, Timeout: time.Hour}})
		i := take(t, m)
		done := make(chan error)
		go func() { // ends when the guest is killed
			_, err := i.Call(&fakeHost{}, EventText, 1, spinLoop, 0)
			done <- err
		}()
		m.Kill()
		err := <-done
		if trap, ok := errors.AsType[*TrapError](err); !ok || trap.Reason != ReasonKilled {
			t.Errorf("it ended with %v", err)
		}
		m.Discard(i)
	})
}

func TestWithoutMeteringTheCodeIsTheModulesOwn(t *testing.T) {
	i := only(t, Options{Metering: meteringOff}, "spin", ModuleOptions{Limits: Limits{Fuel: 1}})
	if result, err := i.Call(&fakeHost{}, EventText, 1, spinCounts|1_000_000<<8, 0); result != 0 || err != nil || i.Spent() != 0 {
		t.Errorf("got %d, %v, %d fuel", result, err, i.Spent())
	}
}

func TestAGuestThatMostlyWaitedGetsGrace(t *testing.T) {
	const ms = int64(time.Millisecond)
	m := meter{kill: new(atomic.Bool)}
	m.begin(budget{fuel: maxFuel, nanos: 50 * ms})
	now := int64(0)
	m.now = func() int64 { return now }
	ends := func() (ended bool) {
		defer func() { ended = recover() != nil }()
		m.check()
		return
	}
	ends() // the clock is read for the first time
	for wait := int64(0); wait < 120*ms; wait += 10 * ms {
		now += ms // of work
		if ends() {
			t.Fatalf("it was stopped after %v, of which it ran %v", time.Duration(now), time.Duration(m.busy))
		}
		now += 9 * ms // others ran
		m.seen = now
	}
	now += 20 * ms
	if !ends() {
		t.Errorf("it runs on after %v, of which it ran %v", time.Duration(now), time.Duration(m.busy))
	}
	m.begin(budget{fuel: maxFuel, nanos: 50 * ms})
	now = 0
	ends()
	now, m.seen = 200*ms, 199*ms
	if !ends() {
		t.Error("it waits without end")
	}
}

// A function of WASI works for long on behalf of one instruction, and its own time is not metered. So it is paid for,
// also when it is called through a table.
func TestFunctionsOfWASIAreCharged(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		i := only(t, o, "charged", ModuleOptions{Limits: Limits{Timeout: time.Hour}})
		for _, c := range []struct {
			ev    Event
			calls int64
			least int64
		}{
			{EventText, 10, 10 * maxQuantum},
			{EventBinary, 10, 10 * maxQuantum},
			{EventTimer, 10, 10 * (5_000 + maxRandomBytes/bytesPerHostFuel)},
		} {
			if result, err := i.Call(&fakeHost{}, c.ev, 1, c.calls, 0); result != 0 || err != nil {
				t.Fatalf("%v: %d, %v", c.ev, result, err)
			}
			if spent := i.Spent(); spent < c.least || spent > c.least*11/10 {
				t.Errorf("%v: %d calls cost %d fuel, want about %d", c.ev, c.calls, spent, c.least)
			}
		}
	})
}
