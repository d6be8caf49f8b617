package sim

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/host"
	"weir/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustRead(name string) []byte {
	b, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return b
}

var (
	puppetWasm = mustRead("../../host/testdata/puppet.wasm")
	echoWasm   = mustRead("../../examples/echo-c/echo.wasm")
	chatWasm   = mustRead("../cli/demo/chat.wasm")
)

// testEngine is shared and keeps the guests compiled. Its time stands still, so
// that what bounds a guest is fuel alone, and a slow machine changes nothing.
var testEngine = sync.OnceValue(func() *runtime.Engine {
	engine, err := runtime.NewEngine(runtime.Options{Now: func() int64 { return 1 }})
	for _, wasm := range [][]byte{puppetWasm, echoWasm, chatWasm} {
		if err == nil {
			_, err = engine.Load(context.Background(), wasm, runtime.ModuleOptions{Name: "kept", Generation: 1, Capabilities: runtime.CapabilityDefault})
		}
	}
	if err != nil {
		panic(err)
	}
	return engine
})

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func module(name string, wasm []byte) host.Module {
	return host.Module{Name: name, Wasm: wasm, Capabilities: runtime.CapabilityDefault}
}

// newWorld is a world with one module at every path.
func newWorld(t testing.TB, wasm []byte, change ...func(*Options)) *World {
	t.Helper()
	o := Options{
		Engine:  testEngine(),
		Modules: []host.Module{module("m", wasm)},
		Host:    host.Options{Routes: []host.Route{{Path: "/{path...}", Module: "m"}}},
	}
	for _, f := range change {
		f(&o)
	}
	w, err := New(o)
	check(t, err)
	t.Cleanup(func() { check(t, w.Close()) })
	return w
}

func open(t testing.TB, w *World, name, path string, headers ...string) *Client {
	t.Helper()
	c, err := w.Open(name, path, headers...)
	check(t, err)
	w.Settle()
	if !c.Opened() {
		t.Fatal(c.Mismatch("101", "status"))
	}
	return c
}

func TestAMessageIsEchoedInVirtualTime(t *testing.T) {
	w := newWorld(t, echoWasm)
	ann := open(t, w, "ann", "/")
	ann.SendText("hello")
	w.Settle()
	check(t, ann.Expect("hello"))
	w.Advance(time.Hour)
	if ann.Pings() == 0 || ann.Ended() {
		t.Errorf("%d pings, ended %v after an hour", ann.Pings(), ann.Ended())
	}
	ann.Close(1000, "")
	w.Settle()
	check(t, ann.ExpectClose(1000))
}

func withFaults(f Faults) func(*Options) { return func(o *Options) { o.Faults = f } }

func TestAClientThatDoesNotReadFillsItsSendBuffer(t *testing.T) {
	w := newWorld(t, puppetWasm)
	ann := open(t, w, "ann", "/")
	bob := open(t, w, "bob", "/")
	ann.Pause()
	for range 10 {
		ann.SendText("blob 60000")
	}
	w.Settle()
	if queued := w.Server().Stats().OutboundBytes; queued < 300_000 {
		t.Errorf("%d bytes wait for who does not read, want those that no send buffer holds", queued)
	}
	bob.SendText("echo hi")
	w.Settle()
	check(t, bob.Expect("hi"))
	ann.Resume()
	w.Settle()
	if got := ann.Take(); len(got) != 10 {
		t.Errorf("%d messages came, want 10", len(got))
	}
	if queued := w.Server().Stats().OutboundBytes; queued != 0 {
		t.Errorf("%d bytes still wait", queued)
	}
}

func TestAClientThatNeverReadsIsSentAway(t *testing.T) {
	w := newWorld(t, puppetWasm)
	ann := open(t, w, "ann", "/")
	ann.Pause()
	for range 10 {
		ann.SendText("blob 60000")
	}
	w.Advance(30 * time.Second)
	if st := w.Server().Stats(); st.Open != 0 || st.Closes["slow_consumer"] != 1 {
		t.Errorf("%d connections are open, closes are %v", st.Open, st.Closes)
	}
}

func TestAResetEndsAConnection(t *testing.T) {
	w := newWorld(t, puppetWasm)
	ann, bob := open(t, w, "ann", "/"), open(t, w, "bob", "/")
	bob.SendText("join gone")
	w.Settle()
	ann.Abort()
	w.Settle()
	check(t, bob.Expect("closed 1006 unclean "))
	if !ann.Ended() {
		t.Error("the client that aborted has not ended")
	}
}

func TestAStaleEventReachesTheNextOwnerOfANumber(t *testing.T) {
	w := newWorld(t, echoWasm, withFaults(Stale))
	ann := open(t, w, "ann", "/")
	number := ann.sock.fd
	ann.Abort()
	w.Settle()
	bob := open(t, w, "bob", "/")
	if bob.sock.fd != number {
		t.Fatalf("the number is %d, want %d again", bob.sock.fd, number)
	}
	w.shards[0].deliver(fetched{number, host.Readable | host.Writable | host.Hangup})
	w.Settle()
	bob.SendText("still here")
	w.Settle()
	check(t, bob.Expect("still here"))
}

func TestADrainSaysGoodbye(t *testing.T) {
	w := newWorld(t, echoWasm)
	ann := open(t, w, "ann", "/")
	w.Drain()
	w.Advance(time.Minute)
	check(t, ann.ExpectClose(1001))
	if n := w.Server().Stats().Open; n != 0 {
		t.Errorf("%d connections are open", n)
	}
	if late, err := w.Open("late", "/"); err != nil {
		t.Error(err)
	} else if w.Settle(); !late.Broken() {
		t.Error("a client that came after the drain was not reset")
	}
}

func TestAnErrorTellsWhatWasExpectedAndWhatCame(t *testing.T) {
	w := newWorld(t, echoWasm)
	ann := open(t, w, "ann", "/")
	ann.SendText("ping")
	w.Settle()
	err := ann.Expect("pong")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`expected text "pong"`, `got text "ping"`, "ann at 0s", `> text "ping"`, `< text "ping"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	check(t, ann.ExpectSilence())
	if _, err := w.Open("ann", "/"); err == nil || !strings.Contains(err.Error(), "ann is connected already") {
		t.Errorf("a second client of that name: %v", err)
	}
}

func TestTheDemoChatWorksUnderNetworkFaults(t *testing.T) {
	w := newWorld(t, chatWasm, withFaults(Split|Delay|Choke|Spurious|Preempt))
	for _, name := range []string{"ann", "bob"} {
		_, err := w.Open(name, "/chat/lobby?name="+name)
		check(t, err)
	}
	w.Advance(time.Second)
	ann, bob := w.Client("ann"), w.Client("bob")
	ann.Take()
	bob.Take()
	ann.SendText(`{"type":"say","text":"hello there"}`)
	w.Advance(time.Second)
	heard := false
	for _, m := range bob.Take() {
		heard = heard || strings.Contains(string(m.Payload), "hello there")
	}
	if !heard {
		t.Error(bob.Mismatch("hello there", "something else"))
	}
}

func TestSomethingPlannedHappensAtItsTime(t *testing.T) {
	w := newWorld(t, echoWasm)
	var at []time.Duration
	for _, d := range []time.Duration{3 * time.Second, time.Second, time.Second} {
		w.At(d, func() { at = append(at, w.Now()) })
	}
	w.Advance(2 * time.Second)
	w.Advance(2 * time.Second)
	if want := []time.Duration{time.Second, time.Second, 3 * time.Second}; !slices.Equal(at, want) {
		t.Errorf("it happened at %v, want %v", at, want)
	}
}

func TestAPlainRequestIsTurnedAway(t *testing.T) {
	w := newWorld(t, echoWasm)
	ann, err := w.Connect("ann")
	check(t, err)
	ann.SendRaw([]byte("GET / HTTP/1.1\r\nHost: sim\r\n\r\n"))
	w.Advance(10 * time.Second)
	if !ann.Ended() || w.Server().Stats().Open != 0 {
		t.Errorf("ended %v, %d connections open", ann.Ended(), w.Server().Stats().Open)
	}
}
