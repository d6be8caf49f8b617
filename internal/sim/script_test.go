package sim

import (
	"bytes"
	"testing"
	"time"
)

func TestAwaitStopsWhenItHolds(t *testing.T) {
	w := newWorld(t, puppetWasm)
	ann := open(t, w, "ann", "/")
	ann.SendText("timer 1 500 0;timer 2 800 0")
	if !w.Await(time.Hour, func() bool { return len(ann.messages) > 0 }) {
		t.Fatal("the timer did not come")
	}
	if now := w.Now(); now < 500*time.Millisecond || now > 600*time.Millisecond {
		t.Errorf("it is %v, want the moment of the first timer", now)
	}
	check(t, ann.Expect("timer=1"))
	began := w.Now()
	if w.Await(100*time.Millisecond, func() bool { return len(ann.messages) > 0 }) {
		t.Error("the second timer came early")
	}
	if passed := w.Now() - began; passed != 100*time.Millisecond {
		t.Errorf("%v went by, want all of it", passed)
	}
	if !w.Await(0, func() bool { return true }) || w.Await(0, func() bool { return false }) {
		t.Error("without time it does not say what holds")
	}
}

func TestAReloadKeepsClients(t *testing.T) {
	w := newWorld(t, echoWasm)
	ann := open(t, w, "ann", "/")
	if r, err := w.Reload(module("m", puppetWasm)); err != nil || r.Generation != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	ann.SendText("gen")
	w.Settle()
	check(t, ann.Expect("gen=2"))
	if _, err := w.Reload(module("m", []byte("no"))); err == nil {
		t.Error("what is no module was loaded")
	}
}

func TestWhatIsEncodedIsWhatIsSent(t *testing.T) {
	w := newWorld(t, echoWasm)
	ann := open(t, w, "ann", "/")
	p := ann.Encode(Frame{Opcode: Text, Payload: []byte("hello")})
	for _, b := range p {
		ann.SendRaw([]byte{b})
	}
	w.Settle()
	check(t, ann.Expect("hello"))
	ann.SendRaw(ann.Encode(Frame{Opcode: Close, Payload: CloseFrame{1000, "bye"}.Payload()}))
	w.Settle()
	check(t, ann.ExpectClose(1000))
	if p := (CloseFrame{}).Payload(); !bytes.Equal(p, nil) {
		t.Errorf("a Close frame without a code carries %x", p)
	}
}

func TestTheServerKnowsAClientByItsAddress(t *testing.T) {
	w := newWorld(t, puppetWasm)
	ann, bob := open(t, w, "ann", "/"), open(t, w, "bob", "/")
	bob.SendText("set remembered")
	w.Settle()
	if state, ok := w.Server().State(bob.Addr()); !ok || string(state) != "remembered" {
		t.Errorf("bob's state is %q, %v", state, ok)
	}
	if state, ok := w.Server().State(ann.Addr()); !ok || len(state) != 0 {
		t.Errorf("ann's state is %q, %v", state, ok)
	}
}
