package weirtest

import (
	"fmt"
	"testing"
	"time"
	"unicode/utf8"

	"weir/internal/sim"
)

// fuzzClients is how many clients Fuzz has.
const fuzzClients = 4

// Fuzz is the body of a fuzz target: random bytes become clients that come, talk
// and go in virtual time, and whatever they do, the handler must not trap, return
// an error or run out of a limit (but for AllowTraps), and the server must keep
// its promises: frames that follow the protocol, one Close frame at the end,
// every close told to the handler, nothing left over.
//
// Messages are random bytes, and those of WithMessages.
//
//	func FuzzChat(f *testing.F) {
//		weirtest.Fuzz(f, weirtest.Module("chat.wasm"), weirtest.WithMessages(`{"type":"say","text":"hi"}`))
//	}
func Fuzz(f *testing.F, with ...Option) {
	f.Helper()
	o := gather(f, with)
	o.site(f) // what is missing is told before anything runs
	f.Add([]byte{})
	// One client that opens, says each message, and leaves; then two at once.
	hello := []byte{fuzzOpen << 4}
	for i := range o.messages {
		hello = append(hello, fuzzMessage<<4, byte(i))
	}
	f.Add(append(hello, fuzzText<<4, 2, 'h', 'i', fuzzClose<<4))
	f.Add([]byte{fuzzOpen << 4, fuzzOpen<<4 | 1, fuzzMessage << 4, 0, fuzzPause<<4 | 1, fuzzMessage << 4, 0, fuzzAdvance << 4, 30, fuzzAbort<<4 | 1})
	f.Fuzz(func(t *testing.T, events []byte) { playEvents(t, o, events) })
}

// What an event is: the upper half of its first byte. The lower half names the
// client.
const (
	fuzzOpen = iota
	fuzzText
	fuzzBinary
	fuzzMessage
	fuzzClose
	fuzzAbort
	fuzzHalfClose
	fuzzPause
	fuzzResume
	fuzzAdvance
	fuzzSteps
	fuzzRaw
	fuzzKinds
)

// maxFuzzEvents bounds one input.
const maxFuzzEvents = 256

// playEvents plays one input.
func playEvents(t *testing.T, o options, events []byte) {
	w := newWorld(t, o)
	take := func() byte {
		if len(events) == 0 {
			return 0
		}
		b := events[0]
		events = events[1:]
		return b
	}
	payload := func() []byte {
		n := min(int(take()), len(events))
		p := events[:n:n]
		events = events[n:]
		return p
	}
	var excused [fuzzClients]bool // it broke the protocol itself
	for range maxFuzzEvents {
		if len(events) == 0 {
			break
		}
		event := take()
		i := int(event&0x0F) % fuzzClients
		name := fmt.Sprintf("c%d", i)
		c := w.w.Client(name)
		kind := int(event>>4) % fuzzKinds
		if kind == fuzzOpen && (c == nil || c.Ended()) {
			if _, err := w.w.Open(name, o.path); err != nil {
				t.Fatal(err)
			}
			excused[i] = false
			continue
		}
		switch kind {
		case fuzzAdvance:
			w.w.Advance(time.Duration(take()) * time.Second)
			continue
		case fuzzSteps:
			w.w.Steps(int(take()))
			continue
		}
		if c == nil || !c.Opened() {
			w.w.Settle() // its answer must come before it may speak
			if c == nil || !c.Opened() {
				continue
			}
		}
		switch kind {
		case fuzzText:
			p := payload()
			excused[i] = excused[i] || !utf8.Valid(p)
			c.SendFrame(sim.Frame{Opcode: sim.Text, Payload: append([]byte(nil), p...)})
		case fuzzBinary:
			c.SendBinary(append([]byte(nil), payload()...))
		case fuzzMessage:
			if n := len(o.messages); n > 0 {
				c.SendText(o.messages[int(take())%n])
			}
		case fuzzClose:
			c.Close(1000, "")
		case fuzzAbort:
			c.Abort()
			excused[i] = true
		case fuzzHalfClose:
			c.CloseWrite()
			excused[i] = true
		case fuzzPause:
			c.Pause()
			excused[i] = true // it may be too slow
		case fuzzResume:
			c.Resume()
		case fuzzRaw:
			excused[i] = true
			c.SendRaw(append([]byte(nil), payload()...))
		}
	}
	w.finishEvents(o, excused)
}

// finishEvents lets everything come to rest and looks at what has become of it.
func (w *World) finishEvents(o options, excused [fuzzClients]bool) {
	w.t.Helper()
	for i := range fuzzClients {
		if c := w.w.Client(fmt.Sprintf("c%d", i)); c != nil {
			c.Resume()
		}
	}
	w.Advance(time.Minute)
	if st := w.Stats(); st.HandlerFailures > 0 && !o.traps {
		w.t.Errorf("weirtest: the handler failed %d times; the log says how", st.HandlerFailures)
	}
	for i := range fuzzClients {
		c := w.w.Client(fmt.Sprintf("c%d", i))
		switch {
		case c == nil || excused[i] || !c.Opened():
		case c.Ended() && c.Closed() == nil:
			w.t.Errorf("weirtest: %s ended without a Close frame; traffic:\n  %v", c.Name(), c.Traffic())
		case c.Ended() && c.Closed().Code == 1011 && !o.traps:
			w.t.Errorf("weirtest: %s was closed with 1011; traffic:\n  %v", c.Name(), c.Traffic())
		}
	}
}
