package runtime

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/tetratelabs/wazero/api"
)

const everything = CapabilityTopics | CapabilityTimers | CapabilityMetrics

// during runs f as if the guest handled an event for h.
func during(i *Instance, h Host, f func()) {
	c := &i.call
	c.host, c.clock.stale = h, true
	f()
	if c.out.touched {
		c.out.settle(c)
	}
	c.host = nil
}

// prober calls single imports of the guests probe and wasi.
type prober struct {
	i     *Instance
	calls map[string]api.Function
	stack [16]uint64
}

func newProber(t testing.TB, o Options, name string, mo ModuleOptions) *prober {
	t.Helper()
	if mo.Limits == (Limits{}) { // what is tested is something else
		mo.Limits = Limits{HostCalls: maxHostCalls, Fuel: maxFuel, LogRate: maxLogRate, Timeout: time.Hour}
	}
	return &prober{i: only(t, o, name, mo), calls: make(map[string]api.Function)}
}

// try calls an import of the guest, which may trap.
func (p *prober) try(name string, args ...uint64) (uint64, error) {
	f := p.calls[name]
	if f == nil {
		if f = p.i.guest.ExportedFunction("call_" + name); f == nil {
			return 0, fmt.Errorf("the guest does not import %s", name)
		}
		p.calls[name] = f
	}
	copy(p.stack[:], args)
	err := f.CallWithStack(&p.i.call, p.stack[:])
	return p.stack[0], err
}

func (p *prober) do(t testing.TB, name string, args ...uint64) int64 {
	result, err := p.try(name, args...)
	if err != nil {
		t.Fatalf("%s%v: %v", name, args, err)
	}
	for _, f := range hostFuncs {
		if f.name == name && f.results == "l" {
			return int64(result)
		}
	}
	return int64(int32(uint32(result)))
}

func (p *prober) put(at uint32, s string) { p.i.call.mem.WriteString(at, s) }

func (p *prober) get(t testing.TB, at, n uint32) string {
	t.Helper()
	b, ok := p.i.call.mem.Read(at, n)
	if !ok {
		t.Fatalf("%d bytes at %d are not there", n, at)
	}
	return string(b)
}

func TestEveryHostFunctionIsImplemented(t *testing.T) {
	var names []string
	for _, f := range hostFuncs {
		names = append(names, f.name)
	}
	slices.Sort(names)
	if have := slices.Sorted(maps.Keys(hostImpls)); !slices.Equal(have, names) {
		t.Errorf("implemented are %v\nin the table are %v", have, names)
	}
}

func TestHostFunctionsPassTheirArguments(t *testing.T) {
	const conn = 0xfedcba9876543210
	minus := func(n int64) uint64 { return uint64(-n) }
	onBothEngines(t, func(t *testing.T, o Options) {
		p := newProber(t, o, "probe", ModuleOptions{Capabilities: everything})
		p.put(16, "name")
		p.put(32, "value!")
		for _, c := range []struct {
			name string
			args []uint64
			want string
		}{
			{"conn_send", []uint64{conn, 2, 32, 6}, `conn_send 18364758544493064720 2 "value!"`},
			{"conn_send", []uint64{conn, minus(1), 32, 5}, `conn_send 18364758544493064720 -1 "value"`},
			{"conn_close", []uint64{conn, 4000, 16, 4}, `conn_close 18364758544493064720 4000 "name"`},
			{"conn_attr", []uint64{conn, 16, 4, 64, 8}, `conn_attr 18364758544493064720 "name"`},
			{"conn_state_get", []uint64{conn, 64, 8}, `conn_state_get 18364758544493064720`},
			{"conn_state_set", []uint64{conn, 32, 6}, `conn_state_set 18364758544493064720 "value!"`},
			{"conn_queued", []uint64{conn}, `conn_queued 18364758544493064720`},
			{"topic_join", []uint64{conn, 16, 4}, `topic_join 18364758544493064720 "name"`},
			{"topic_leave", []uint64{conn, 16, 4}, `topic_leave 18364758544493064720 "name"`},
			{"topic_publish", []uint64{16, 4, 1, 32, 6, conn}, `topic_publish "name" 1 "value!" 18364758544493064720`},
			{"topic_count", []uint64{16, 4}, `topic_count "name"`},
			{"timer_set", []uint64{conn, minus(7), 1000, minus(1)}, `timer_set 18364758544493064720 -7 1000 -1`},
			{"timer_cancel", []uint64{conn, minus(7)}, `timer_cancel 18364758544493064720 -7`},
			{"metric_add", []uint64{16, 4, minus(3)}, `metric_add "name" -3`},
			{"upgrade_uri", []uint64{64, 8}, `upgrade_uri`},
			{"upgrade_header", []uint64{16, 4, 64, 8}, `upgrade_header "name"`},
			{"upgrade_protocol", []uint64{16, 4}, `upgrade_protocol "name"`},
			{"upgrade_respond_header", []uint64{16, 4, 32, 6}, `upgrade_respond_header "name" "value!"`},
			{"state_save", []uint64{16, 4}, `state_save "name"`},
			{"instance_key", []uint64{256, 8}, `instance_key`},
			// No bytes are no pointer.
			{"conn_send", []uint64{1, 1, 0xffffffff, 0}, `conn_send 1 1 ""`},
		} {
			h := &fakeHost{number: 0}
			during(p.i, h, func() { p.do(t, c.name, c.args...) })
			if len(h.calls) != 1 || h.calls[0] != c.want {
				t.Errorf("%s%v: the host heard %q, want %q", c.name, c.args, h.calls, c.want)
			}
		}
	})
}

func TestHostFunctionsReturnWhatTheHostSays(t *testing.T) {
	p := newProber(t, Options{}, "probe", ModuleOptions{Capabilities: everything})
	h := &fakeHost{status: StatusTooBig, number: -1 << 40, unixMs: 1234567890123, monoNs: 1 << 50}
	during(p.i, h, func() {
		for name, want := range map[string]int64{
			"conn_send":    int64(StatusTooBig),
			"conn_attr":    int64(StatusTooBig),
			"upgrade_uri":  int64(StatusTooBig),
			"conn_queued":  -1 << 40,
			"time_unix_ms": 1234567890123,
			"time_mono_ns": 1 << 50,
		} {
			if got := p.do(t, name, 0, 0, 0, 0, 0); got != want {
				t.Errorf("%s: %d, want %d", name, got, want)
			}
		}
		h.number = -9
		if got := p.do(t, "topic_count", 0, 0); got != -9 {
			t.Errorf("topic_count: %d", got)
		}
	})
}

func TestAResultIsWrittenWholeOrNotAtAll(t *testing.T) {
	p := newProber(t, Options{}, "probe", ModuleOptions{})
	for _, c := range []struct {
		value string
		cap   uint64
		want  string // what is in the buffer afterwards
	}{
		{"12345678", 8, "12345678"},
		{"12345678", 7, "........"},
		{"12345678", 0, "........"},
		{"1234", 8, "1234...."},
		{"", 8, "........"},
	} {
		for name, args := range map[string][]uint64{
			"conn_attr":      {1, 0, 0, 64, c.cap},
			"conn_state_get": {1, 64, c.cap},
			"upgrade_uri":    {64, c.cap},
			"upgrade_header": {0, 0, 64, c.cap},
		} {
			p.put(64, "........")
			h := &fakeHost{value: []byte(c.value)}
			during(p.i, h, func() {
				if got := p.do(t, name, args...); got != int64(len(c.value)) {
					t.Errorf("%s of %q into %d: needs %d", name, c.value, c.cap, got)
				}
			})
			if got := p.get(t, 64, 8); got != c.want {
				t.Errorf("%s of %q into %d: the buffer holds %q", name, c.value, c.cap, got)
			}
		}
	}
}

func TestFunctionsThatAreNotGrantedAreDenied(t *testing.T) {
	for _, granted := range []Capability{0, CapabilityTopics, CapabilityTimers | CapabilityMetrics, everything} {
		t.Run(fmt.Sprintf("granted %q", granted), func(t *testing.T) {
			p := newProber(t, Options{}, "probe", ModuleOptions{Capabilities: granted})
			for _, f := range hostFuncs {
				h := &fakeHost{}
				var got int64
				during(p.i, h, func() { got = p.do(t, f.name, 0, 0, 0, 0, 0, 0) })
				denied := f.capability&^granted != 0
				if denied != (got == int64(StatusDenied)) || denied && len(h.calls) > 0 {
					t.Errorf("%s: %d, the host heard %q", f.name, got, h.calls)
				}
			}
		})
	}
}

func TestWithoutAnEventThereIsNoHost(t *testing.T) {
	p := newProber(t, Options{}, "probe", ModuleOptions{Capabilities: everything})
	for _, f := range hostFuncs {
		want := int64(StatusUnavailable)
		switch f.name {
		case "random", "log", "abi_has", "time_unix_ms", "time_mono_ns":
			want = 0
		}
		if got := p.do(t, f.name, 0, 0, 0, 0, 0, 0); got != want {
			t.Errorf("%s: %d, want %d", f.name, got, want)
		}
	}
}

func TestAStartingGuestIsToldThatThereIsNoHost(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		logger, said := logged()
		o.Logger = logger
		i := only(t, o, "early", ModuleOptions{Capabilities: CapabilityTimers})
		result, err := send(i, &fakeHost{unixMs: 1, monoNs: 1}, EventText, 5, 0, "x")
		// Four calls are unavailable in each of start, _initialize, weir_abi_1 and weir_inbound; the others succeed.
		if want := 4 * 4 * int32(StatusUnavailable); result != want || err != nil {
			t.Errorf("got %d, %v; want %d", result, err, want)
		}
		if n := strings.Count(said(), "level=INFO msg=early module=early gen=1\n"); n != 4 {
			t.Errorf("%d lines were logged", n)
		}
	})
}

// pointers are the places of pointers among the parameters; a length follows each. Functions that are not listed
// have none.
var pointers = map[string][]int{
	"conn_send": {2}, "conn_close": {2}, "conn_attr": {1, 3}, "conn_state_get": {1}, "conn_state_set": {1},
	"topic_join": {1}, "topic_leave": {1}, "topic_publish": {0, 3}, "topic_count": {0},
	"random": {0}, "log": {1}, "metric_add": {0}, "abi_has": {0},
	"upgrade_uri": {0}, "upgrade_header": {0, 2}, "upgrade_protocol": {0}, "upgrade_respond_header": {0, 2},
	"state_save": {0}, "instance_key": {0},
}

// suspicious checks that everything the host is lent lies within guest memory.
type suspicious struct {
	fakeHost
	t      *testing.T
	memory []byte
	called int
}

func (h *suspicious) lent(slices ...[]byte) Status {
	h.called++
	for _, p := range slices {
		if len(p) == 0 {
			continue
		}
		first, start := uintptr(unsafe.Pointer(&p[0])), uintptr(unsafe.Pointer(&h.memory[0]))
		if first < start || first+uintptr(cap(p)) > start+uintptr(len(h.memory)) {
			h.t.Errorf("the host was lent %d bytes outside the guest's memory", cap(p))
		}
	}
	return h.status
}

func (h *suspicious) ConnSend(_ uint64, _ int32, p []byte) Status               { return h.lent(p) }
func (h *suspicious) ConnClose(_ uint64, _ int32, p []byte) Status              { return h.lent(p) }
func (h *suspicious) ConnAttr(_ uint64, p []byte) ([]byte, Status)              { return h.value, h.lent(p) }
func (h *suspicious) ConnStateGet(uint64) ([]byte, Status)                      { return h.value, h.lent() }
func (h *suspicious) ConnStateSet(_ uint64, p []byte) Status                    { return h.lent(p) }
func (h *suspicious) ConnQueued(uint64) int64                                   { return int64(h.lent()) }
func (h *suspicious) TopicJoin(_ uint64, p []byte) Status                       { return h.lent(p) }
func (h *suspicious) TopicLeave(_ uint64, p []byte) Status                      { return h.lent(p) }
func (h *suspicious) TopicPublish(p []byte, _ int32, q []byte, _ uint64) Status { return h.lent(p, q) }
func (h *suspicious) TopicCount(p []byte) int32                                 { return int32(h.lent(p)) }
func (h *suspicious) TimerSet(uint64, int64, int64, int64) Status               { return h.lent() }
func (h *suspicious) TimerCancel(uint64, int64) Status                          { return h.lent() }
func (h *suspicious) MetricAdd(p []byte, _ int64) Status                        { return h.lent(p) }
func (h *suspicious) UpgradeURI() ([]byte, Status)                              { return h.value, h.lent() }
func (h *suspicious) UpgradeHeader(p []byte) ([]byte, Status)                   { return h.value, h.lent(p) }
func (h *suspicious) UpgradeProtocol(p []byte) Status                           { return h.lent(p) }
func (h *suspicious) UpgradeRespondHeader(p, q []byte) Status                   { return h.lent(p, q) }
func (h *suspicious) StateSave(p []byte) Status                                 { return h.lent(p) }
func (h *suspicious) InstanceKey() ([]byte, Status)                             { return h.value, h.lent() }

func TestNoArgumentsReachOutsideGuestMemory(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		p := newProber(t, o, "probe", ModuleOptions{Capabilities: everything})
		size := uint64(p.i.call.mem.Size())
		memory, _ := p.i.call.mem.Read(0, uint32(size))
		h := &suspicious{t: t, memory: memory}
		edges := []uint64{0, 1, 2, 15, size / 2, size - 2, size - 1, size, size + 1,
			1<<31 - 1, 1 << 31, 1<<31 + 1, 1<<32 - size, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1}
		values := [][]byte{nil, []byte("x"), make([]byte, 1000), make([]byte, 2*size)}
		rng := rand.New(rand.NewPCG(1, 2))
		argument := func() uint64 {
			switch rng.IntN(4) {
			case 0:
				return edges[rng.IntN(len(edges))]
			case 1:
				return rng.Uint64N(size + 1)
			case 2:
				return rng.Uint64N(64)
			default:
				return rng.Uint64()
			}
		}
		rounds := 3000
		if testing.Short() || o.Interpreter {
			rounds = 300
		}
		var args [6]uint64
		for _, f := range hostFuncs {
			for range rounds {
				for k := range args {
					args[k] = argument()
				}
				bad := false
				for _, at := range pointers[f.name] {
					ptr, n := uint64(uint32(args[at])), uint64(uint32(args[at+1]))
					bad = bad || n > 0 && ptr+n > size
				}
				h.called = 0
				h.value = values[rng.IntN(len(values))]
				h.status = Status(-rng.Int32N(11))
				var got int64
				during(p.i, h, func() { got = p.do(t, f.name, args[:len(f.params)]...) })
				if bad && (got != int64(StatusBadPointer) || h.called > 0) {
					t.Fatalf("%s%v: %d with a bad pointer; the host was called %d times", f.name, args[:len(f.params)], got, h.called)
				}
				if !bad && got == int64(StatusBadPointer) && h.status != StatusBadPointer {
					t.Fatalf("%s%v: a good pointer is called bad", f.name, args[:len(f.params)])
				}
			}
		}
	})
}

func TestAbiHasKnowsTheTable(t *testing.T) {
	p := newProber(t, Options{}, "probe", ModuleOptions{})
	for _, f := range hostFuncs {
		p.put(16, f.name)
		if got := p.do(t, "abi_has", 16, uint64(len(f.name))); got != 1 {
			t.Errorf("%s: %d", f.name, got)
		}
	}
	for _, name := range []string{"conn_teleport", "conn_sen", "conn_send ", "CONN_SEND", ""} {
		p.put(16, name)
		if got := p.do(t, "abi_has", 16, uint64(len(name))); got != 0 {
			t.Errorf("%q: %d", name, got)
		}
	}
}

func TestRandomBytesAreTheInstancesOwnAndReplay(t *testing.T) {
	draw := func(name string, o ModuleOptions, skip int) string {
		o.Name, o.Instances = name, 2
		m := load(t, newEngine(t, Options{}), "probe", o)
		var i *Instance
		for range skip + 1 {
			i = take(t, m)
			defer m.Give(i)
		}
		p := &prober{i: i, calls: make(map[string]api.Function)}
		if got := p.do(t, "random", 64, 32); got != 0 {
			t.Fatal(got)
		}
		return p.get(t, 64, 32)
	}
	first := draw("a", ModuleOptions{Seed: 1, Generation: 1}, 0)
	if again := draw("a", ModuleOptions{Seed: 1, Generation: 1}, 0); again != first {
		t.Error("the same seed, generation and instance drew other bytes")
	}
	seen := map[string]string{first: "the first"}
	for what, bytes := range map[string]string{
		"another seed":       draw("a", ModuleOptions{Seed: 2, Generation: 1}, 0),
		"another generation": draw("a", ModuleOptions{Seed: 1, Generation: 2}, 0),
		"another instance":   draw("a", ModuleOptions{Seed: 1, Generation: 1}, 1),
		"another name":       draw("b", ModuleOptions{Seed: 1, Generation: 1}, 0),
	} {
		if other := seen[bytes]; other != "" {
			t.Errorf("%s drew the bytes of %s", what, other)
		}
		seen[bytes] = what
	}
}

func TestRandomBytesAreBounded(t *testing.T) {
	p := newProber(t, Options{}, "behave", ModuleOptions{})
	if _, err := p.i.Call(nil, EventText, 1, growArg|100<<8, 0); err != nil {
		t.Fatal(err)
	}
	s := []uint64{0, maxRandomBytes + 1}
	if random(&p.i.call, s); Status(int32(s[0])) != StatusTooBig {
		t.Errorf("one byte too many: %s", Status(int32(s[0])))
	}
	s = []uint64{0, maxRandomBytes}
	if random(&p.i.call, s); s[0] != 0 {
		t.Errorf("as many as allowed: %s", Status(int32(s[0])))
	}
}

func TestLogWritesOneRecord(t *testing.T) {
	logger, said := logged()
	p := newProber(t, Options{Logger: logger}, "probe", ModuleOptions{Name: "m", Generation: 4})
	for _, c := range []struct {
		level  uint64
		text   string
		conn   uint64
		status Status
		want   string
	}{
		{0, "one", 0, StatusOK, "level=DEBUG msg=one module=m gen=4\n"},
		{1, "two", 7, StatusOK, "level=INFO msg=two module=m gen=4 conn=7\n"},
		{2, "three", 0, StatusOK, "level=WARN msg=three module=m gen=4\n"},
		{3, "four\nlines", 0, StatusOK, "level=ERROR msg=\"four\\nlines\" module=m gen=4\n"},
		{4, "five", 0, StatusInvalid, ""},
		{1<<32 - 1, "six", 0, StatusInvalid, ""},
		{1, "bad \xff UTF-8", 0, StatusOK, "level=INFO msg=\"bad \ufffd UTF-8\" module=m gen=4\n"},
	} {
		p.put(64, c.text)
		p.i.call.conn = c.conn
		var got int64
		during(p.i, &fakeHost{}, func() { got = p.do(t, "log", c.level, 64, uint64(len(c.text))) })
		p.i.call.conn = 0
		if text := said(); got != int64(c.status) || text != c.want {
			t.Errorf("%q: status %d, log %q; want %d, %q", c.text, got, text, c.status, c.want)
		}
	}
}

func TestOneCallLogsABoundedAmount(t *testing.T) {
	logger, said := logged()
	p := newProber(t, Options{Logger: logger}, "probe", ModuleOptions{})
	p.put(64, strings.Repeat("x", maxLogLineBytes-1)+"\u00e9")
	const fit = maxLogBytes / (maxLogLineBytes + logLineCost)
	for round := range 2 {
		during(p.i, &fakeHost{}, func() {
			for n := range 100 {
				got, want := p.do(t, "log", 1, 64, maxLogLineBytes+1), int64(StatusOK)
				if n >= fit {
					want = int64(StatusTooMany)
				}
				if got != want {
					t.Fatalf("call %d, line %d: %d, want %d", round, n, got, want)
				}
			}
		})
		text := said()
		if n := strings.Count(text, "x module"); n != fit {
			t.Errorf("call %d: %d lines were logged, cut before the character that did not fit; want %d", round, n, fit)
		}
		if want := fmt.Sprintf("level=WARN msg=\"guest output dropped\" module=probe gen=1 lines=%d\n", 100-fit); !strings.HasSuffix(text, want) {
			t.Errorf("call %d does not end with %q", round, want)
		}
	}
	p.i.Module().Give(p.i)
	if stats := p.i.Module().Stats(); stats.LogLines != 2*fit || stats.LogsDropped != 200-2*fit {
		t.Errorf("counted %d lines, %d dropped", stats.LogLines, stats.LogsDropped)
	}
	_ = p.i.Module().TryTake()
}
