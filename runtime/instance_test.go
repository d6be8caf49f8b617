package runtime

import (
	"bytes"
	"errors"
	"runtime/debug"
	"strings"
	"testing"
)

func TestAMessageReachesTheGuestAndComesBack(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		i := only(t, o, "echo", ModuleOptions{})
		h := &fakeHost{}
		for _, m := range []struct {
			ev      Event
			payload string
			want    string
		}{
			{EventText, "hello", `conn_send 7 1 "hello"`},
			{EventBinary, "\x00\xff", `conn_send 7 2 "\x00\xff"`},
			{EventText, "", `conn_send 7 1 ""`},
			{EventText, "hi", `conn_send 7 1 "hi"`},
		} {
			h.calls = nil
			result, err := send(i, h, m.ev, 7, 0, m.payload)
			if result != 0 || err != nil {
				t.Fatalf("%s %q: %d, %v", m.ev, m.payload, result, err)
			}
			if len(h.calls) != 1 || h.calls[0] != m.want {
				t.Errorf("the host heard %q, want %q", h.calls, m.want)
			}
		}
		big := bytes.Repeat([]byte("0123456789abcdef"), 4096)
		result, err := send(i, &fakeHost{}, EventBinary, 1, 0, string(big))
		if result != 0 || err != nil {
			t.Fatalf("64 KiB: %d, %v", result, err)
		}
	})
}

func TestWhatTheHostAnswersReachesTheGuest(t *testing.T) {
	i := only(t, Options{}, "echo", ModuleOptions{})
	result, err := send(i, &fakeHost{status: StatusQueueFull}, EventText, 7, 0, "hello")
	if result != int32(StatusQueueFull) || err != nil {
		t.Errorf("got %d, %v", result, err)
	}
	if stats := i.Module().Stats(); stats.Refused != 0 {
		t.Errorf("counted %d before the instance came back", stats.Refused)
	}
	i.Module().Give(i)
	if i = i.Module().TryTake(); i == nil {
		t.Fatal("not given back")
	}
	if stats := i.Module().Stats(); stats.Calls != 1 || stats.Refused != 1 {
		t.Errorf("counted %d calls, %d refused", stats.Calls, stats.Refused)
	}
}

func TestAnInstanceIsFreshUntilItsInitEvent(t *testing.T) {
	i := only(t, Options{}, "nop", ModuleOptions{})
	if _, err := i.Call(nil, EventOpen, 1, 0, 0); err != nil || !i.Fresh() {
		t.Errorf("after open: fresh %v, %v", i.Fresh(), err)
	}
	if _, err := send(i, nil, EventInit, 0, 1, "{}"); err != nil || i.Fresh() {
		t.Errorf("after init: fresh %v, %v", i.Fresh(), err)
	}
}

// Arguments for behave.wat.
const (
	answerArg = iota
	trapArg
	growArg
	divideArg
	outsideArg
	recurseArg
	countArg
)

func TestAGuestThatStopsIsATrapError(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		for name, c := range map[string]struct {
			arg     int64
			message string
			stack   []string
		}{
			"unreachable":       {trapArg, "unreachable", []string{"inner() i32", "outer() i32", "weir_event("}},
			"division by zero":  {divideArg, "integer divide by zero", nil},
			"out of bounds":     {outsideArg, "out of bounds memory access", nil},
			"endless recursion": {recurseArg, "call stack exhausted", []string{"deeper(i32) i32 ("}},
		} {
			t.Run(name, func(t *testing.T) {
				e := newEngine(t, o)
				m := load(t, e, "behave", ModuleOptions{Name: "b", Generation: 3, Instances: 1})
				i := take(t, m)
				defer m.Discard(i)
				_, err := send(i, &fakeHost{}, EventText, 9, c.arg, "four")
				trap, ok := errors.AsType[*TrapError](err)
				if !ok {
					t.Fatalf("got %v", err)
				}
				if want := "b@" + m.Digest()[:12]; trap.Module != want || trap.Generation != 3 {
					t.Errorf("of %q generation %d, want %q", trap.Module, trap.Generation, want)
				}
				if trap.Export != "weir_event" || trap.Event != EventText || trap.PayloadBytes != 4 {
					t.Errorf("in %s, event %s of %d bytes", trap.Export, trap.Event, trap.PayloadBytes)
				}
				if trap.Message != c.message || trap.Unwrap() == nil {
					t.Errorf("message %q, want %q; cause %v", trap.Message, c.message, trap.Cause)
				}
				if want := trap.Module + ": weir_event text: " + c.message; err.Error() != want {
					t.Errorf("error %q, want %q", err, want)
				}
				lines := strings.Split(trap.Stack, "\n")
				for k, want := range c.stack {
					if k >= len(lines) || !strings.Contains(lines[k], want) {
						t.Errorf("stack %q, want %q in line %d", trap.Stack, want, k)
					}
				}
			})
		}
	})
}

func TestAStoppedInstanceStaysStopped(t *testing.T) {
	i := only(t, Options{}, "behave", ModuleOptions{})
	_, first := i.Call(&fakeHost{}, EventText, 1, trapArg, 0)
	if _, err := i.Call(&fakeHost{}, EventText, 1, answerArg, 0); err != first {
		t.Errorf("Call: %v", err)
	}
	if _, err := i.Inbound(1); err != first {
		t.Errorf("Inbound: %v", err)
	}
}

func TestMemoryGrowsToItsLimitOnly(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		i := only(t, o, "behave", ModuleOptions{MemoryPages: 10})
		for _, c := range []struct{ pages, want int64 }{
			{9, -1}, {8, 2}, {1, -1}, {0, 10}, {1 << 16, -1},
		} {
			result, err := i.Call(&fakeHost{}, EventText, 1, growArg|c.pages<<8, 0)
			if err != nil || int64(result) != c.want {
				t.Errorf("growing by %d pages: %d, %v; want %d", c.pages, result, err, c.want)
			}
		}
		i.Module().Give(i)
		if got := i.Module().Stats().MemoryBytes; got != 10*wasmPageBytes {
			t.Errorf("%d bytes of memory are counted", got)
		}
		_ = i.Module().TryTake()
	})
}

func TestTheInboundBufferFollowsGrowingMemory(t *testing.T) {
	i := only(t, Options{}, "behave", ModuleOptions{})
	p, err := i.Inbound(4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Call(&fakeHost{}, EventText, 1, growArg|100<<8, 4); err != nil {
		t.Fatal(err)
	}
	q, err := i.Inbound(4)
	if err != nil {
		t.Fatal(err)
	}
	copy(q, "new!")
	if now, _ := i.call.mem.Read(i.buffer, 4); string(now) != "new!" {
		t.Error("the view is of memory that the guest has left")
	}
	_ = p
}

func TestABadInboundBufferIsATrap(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		for name, c := range map[string]struct {
			size    int64
			message string
		}{
			"none":             {1, "the guest refused 1 bytes"},
			"half outside":     {2, "2 bytes at 65535 lie outside the 65536 bytes of guest memory"},
			"far outside":      {3, "3 bytes at 4294967295 lie outside the 65536 bytes of guest memory"},
			"just outside":     {5, "5 bytes at 65536 lie outside the 65536 bytes of guest memory"},
			"it traps":         {6, "unreachable"},
			"larger than i32":  {1 << 32, "4294967296 bytes do not fit into guest memory"},
			"larger than that": {1<<32 + 4, "4294967300 bytes do not fit into guest memory"},
		} {
			t.Run(name, func(t *testing.T) {
				i := only(t, o, "buffer", ModuleOptions{})
				if int64(int(c.size)) != c.size {
					t.Skip("no int is as large here")
				}
				_, err := i.Inbound(int(c.size))
				trap, ok := errors.AsType[*TrapError](err)
				if !ok || trap.Export != "weir_inbound" || trap.Message != c.message {
					t.Errorf("got %v, want %q", err, c.message)
				}
			})
		}
	})
}

func TestTheInboundBufferIsAskedForWhenItIsTooShort(t *testing.T) {
	i := only(t, Options{}, "buffer", ModuleOptions{})
	for _, c := range []struct {
		payload string
		want    int32 // first byte, and where the guest found it
	}{
		{"last", 'l' | 65532<<8},
		{"x", 'x' | 65532<<8}, // fits: the guest, which would refuse 1 byte, is not asked
		{"sixteen bytes ...", 's' | 1024<<8},
		{"abc", 'a' | 1024<<8},
		{"", 0},
	} {
		result, err := send(i, &fakeHost{}, EventText, 1, 0, c.payload)
		if err != nil || result != c.want {
			t.Errorf("%q: %#x, %v; want %#x", c.payload, result, err, c.want)
		}
	}
}

func TestAPayloadMustLieInTheLastView(t *testing.T) {
	i := only(t, Options{}, "nop", ModuleOptions{})
	for name, misuse := range map[string]func(){
		"longer than the view": func() { _, _ = i.Inbound(3); _, _ = i.Call(nil, EventText, 1, 0, 4) },
		"of a view used before": func() {
			_, _ = i.Inbound(3)
			_, _ = i.Call(nil, EventText, 1, 0, 3)
			_, _ = i.Call(nil, EventText, 1, 0, 3)
		},
		"negative":          func() { _, _ = i.Call(nil, EventText, 1, 0, -1) },
		"of negative bytes": func() { _, _ = i.Inbound(-1) },
	} {
		t.Run(name, func(t *testing.T) { mustPanic(t, misuse) })
	}
}

// mustPanic returns what f panicked with.
func mustPanic(t *testing.T, f func()) (said string) {
	t.Helper()
	defer func() {
		switch r := recover().(type) {
		case nil:
			t.Error("no panic")
		case string:
			said = r
		default:
			panic(r)
		}
	}()
	f()
	return ""
}

func TestAnInstanceIsNotUsedWhileItsGuestRuns(t *testing.T) {
	for name, misuse := range map[string]func(*Instance){
		"called":     func(i *Instance) { _, _ = i.Call(nil, EventText, 1, 0, 0) },
		"filled":     func(i *Instance) { _, _ = i.Inbound(0) },
		"given back": func(i *Instance) { i.Module().Give(i) },
		"discarded":  func(i *Instance) { i.Module().Discard(i) },
	} {
		t.Run(name, func(t *testing.T) {
			i := only(t, Options{}, "echo", ModuleOptions{})
			var said string
			h := &fakeHost{on: func() { said = mustPanic(t, func() { misuse(i) }) }}
			if _, err := send(i, h, EventText, 1, 0, "x"); err != nil {
				t.Error(err)
			}
			if !strings.Contains(said, "while its guest runs") {
				t.Errorf("said %q", said)
			}
		})
	}
}

func TestAPanicOfTheHostIsNotTheGuestsTrap(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		i := only(t, o, "echo", ModuleOptions{})
		h := &fakeHost{on: func() { panic("our mistake") }}
		said := mustPanic(t, func() { _, _ = send(i, h, EventText, 1, 0, "x") })
		if !strings.Contains(said, "our mistake") || !strings.Contains(said, "instance_test.go") {
			t.Errorf("said %q: neither what nor where", said)
		}
		i.leave() // the process would be gone: only so that the test can clean up
	})
}

func TestAGuestKeepsItsStateBetweenCalls(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		i := only(t, o, "behave", ModuleOptions{})
		for want := int32(1); want < 4; want++ {
			if got, err := i.Call(&fakeHost{}, EventText, 1, countArg, 0); got != want || err != nil {
				t.Errorf("got %d, %v; want %d", got, err, want)
			}
		}
	})
}

// quietHost takes messages without keeping them; it allocates nothing.
type quietHost struct {
	fakeHost
	bytes int
	last  [64]byte
}

func (h *quietHost) ConnSend(_ uint64, _ int32, p []byte) Status {
	h.bytes += len(p)
	copy(h.last[:], p)
	return StatusOK
}

func TestMessageAllocs(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	m := load(t, newEngine(t, Options{}), "echo", ModuleOptions{Instances: 1})
	h := &quietHost{}
	message := []byte("a message of no great length")
	w := &waiter{}
	turn := func() {
		if !m.Retain() {
			t.Fatal("retired")
		}
		i, err := m.Take(w)
		if err != nil {
			t.Fatal(err)
		}
		p, err := i.Inbound(len(message))
		if err != nil {
			t.Fatal(err)
		}
		copy(p, message)
		if result, err := i.Call(h, EventText, 1, 0, len(message)); result != 0 || err != nil {
			t.Fatal(result, err)
		}
		m.Give(i)
		if i = m.TryTake(); i == nil {
			t.Fatal("not given back")
		}
		m.Give(i)
		m.Release()
	}
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Errorf("one message costs %v allocations, want 0", n)
	}
	if h.bytes == 0 || !bytes.HasPrefix(h.last[:], message) {
		t.Errorf("the host heard %q", h.last)
	}
}
