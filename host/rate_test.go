package host

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/netpoll"
)

// withRate bounds messages a second and how many may come at once.
func withRate(rate, burst int) func(*setup) {
	return func(s *setup) { s.opts.WebSocket.InboundRate, s.opts.WebSocket.InboundBurst = rate, burst }
}

// numbers are texts that tell in which order they were sent.
func numbers(n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprint(i))
	}
	return texts
}

func TestMessagesThatComeTooFastWaitAndNothingElseDoes(t *testing.T) {
	l := newLab(t, withEcho, withRate(10, 20))
	c, other := l.connect("/"), l.connect("/")
	sent := numbers(100)
	for _, text := range sent {
		c.say(text)
	}
	l.settle()
	heard := c.texts()
	if len(heard) != 20 {
		t.Fatalf("%d of a burst of 20 were heard", len(heard))
	}
	for range 7 {
		l.pass(time.Second)
		got := c.texts()
		if len(got) < 9 || len(got) > 11 {
			t.Errorf("%d messages were heard within a second, want 10", len(got))
		}
		heard = append(heard, got...)
		other.say("at once")
		l.settle()
		other.want("at once")
	}
	l.pass(5 * time.Second)
	if heard = append(heard, c.texts()...); !slices.Equal(heard, sent) || c.end != nil {
		t.Errorf("%d of %d messages were heard in order; Close %v", len(heard), len(sent), c.end)
	}
	st := l.srv.Stats()
	if st.InboundWaits == 0 || st.InboundBytes != 0 {
		t.Errorf("%d waits are counted; %d bytes are held", st.InboundWaits, st.InboundBytes)
	}
	l.close()
}

func TestWhatMustWaitStaysInTheSocket(t *testing.T) {
	l := newLab(t, withEcho, withRate(1, 1))
	c := l.connect("/")
	for range 100 {
		c.write(frame(0x82, strings.Repeat("x", 5000)))
	}
	l.settle()
	c.mu.Lock()
	left := len(c.inbound)
	c.mu.Unlock()
	if left < 400_000 {
		t.Errorf("%d bytes are left in the socket: it was read on", left)
	}
	if held := l.srv.Stats().InboundBytes; held > readerBytes {
		t.Errorf("%d bytes are held", held)
	}
	for range 50 { // events do not make it read
		c.write("")
		l.settle()
	}
	if got := len(c.texts()); got != 1 {
		t.Errorf("%d messages were heard", got)
	}
	c.reset()
	l.pass(5 * time.Second)
	l.close()
}

func TestAWaitIsNotHeldAgainstThePeer(t *testing.T) {
	l := newLab(t, withEcho, func(s *setup) {
		s.opts.WebSocket.InboundBytes = 1 << 10
		s.opts.WebSocket.MessageTimeout = 5 * time.Second
	})
	c := l.connect("/")
	long := strings.Repeat("x", 60_000) // a minute's worth, but for what is read at once
	c.write(frame(0x82, long))
	c.write(frame(0x82, "behind it"))
	for range 26 {
		l.pass(time.Second)
		if len(c.texts()) > 0 || c.pings > 0 {
			t.Fatal("it was heard too early, or pinged")
		}
	}
	l.pass(40 * time.Second)
	if got := c.texts(); len(got) != 2 || got[0] != long || got[1] != "behind it" || c.end != nil {
		t.Errorf("%d messages were heard; Close %v", len(got), c.end)
	}
	// Nor does it excuse silence: from now on the usual times hold.
	for range 4 {
		l.pass(10 * time.Second)
	}
	if c.listen(); c.pings == 0 {
		t.Error("a silent peer is not pinged any more")
	}
	l.pass(12 * time.Second)
	if !c.gone() {
		t.Error("a silent peer stays")
	}
	l.close()
}

func TestBytesThatComeTooFastWait(t *testing.T) {
	l := newLab(t, withEcho, func(s *setup) { s.opts.WebSocket.InboundBytes = 10 << 10 })
	c := l.connect("/")
	for range 100 {
		c.write(frame(0x82, strings.Repeat("x", 1018))) // 1 KiB with its header
	}
	l.settle()
	heard := len(c.texts())
	if heard < 20 || heard > 20+readerBytes>>10+1 {
		t.Errorf("%d of a burst of 20 were heard", heard)
	}
	for heard < 100 {
		l.pass(time.Second)
		got := len(c.texts())
		if got > readerBytes>>10+1 {
			t.Fatalf("%d KiB were heard within a second", got)
		}
		heard += got
		if l.clock.Mono() > int64(time.Hour+15*time.Second) {
			t.Fatalf("%d messages were heard after 15 s", heard)
		}
	}
	l.close()
}

func TestAFloodMayBeClosedInstead(t *testing.T) {
	l := newLab(t, withEcho, withRate(10, 20), func(s *setup) { s.opts.WebSocket.InboundExcess = "close" })
	c := l.connect("/")
	for range 21 {
		c.say("x")
	}
	l.settle()
	if got := len(c.texts()); got != 20 {
		t.Errorf("%d messages were heard", got)
	}
	c.wantEnd(codePolicy)
	c.hangUp()
	l.pass(2 * time.Second)
	if n := l.srv.Stats().Closes["inbound_flood"]; n != 1 {
		t.Errorf("closes: %v", l.srv.Stats().Closes)
	}
	l.close()
}

func TestAnEndDoesNotWait(t *testing.T) {
	t.Run("of the server: the answer to its Close frame is found", func(t *testing.T) {
		l := newLab(t, withRate(1, 1))
		c := l.connect("/")
		for range 1000 { // more than is read at once
			c.say("id " + strings.Repeat("x", 50))
		}
		c.write(peerClose(1000, ""))
		l.settle()
		c.conn.askAndWake(causeDrain.info())
		l.settle()
		c.wantEnd(codeGoingAway)
		c.hangUp()
		l.settle()
		if !c.gone() || !c.conn.end.clean {
			t.Errorf("gone: %v, %+v", c.gone(), c.conn.end)
		}
		l.close()
	})
	t.Run("of the limit", func(t *testing.T) {
		l := newLab(t, withEcho, withRate(1, 1))
		c := l.connect("/")
		for _, text := range numbers(50) {
			c.say(text)
		}
		l.settle()
		c.want("0")
		o := l.srv.opts().Options
		o.WebSocket.InboundRate = 0
		check(t, l.srv.Reconfigure(o))
		l.settle()
		c.want(numbers(50)[1:]...)
		l.close()
	})
	t.Run("of the connection", func(t *testing.T) {
		l := newLab(t, withEcho, withRate(1, 1))
		c := l.connect("/")
		for _, text := range numbers(50) {
			c.say(text)
		}
		l.settle()
		c.hangUp()
		l.pass(time.Minute)
		if !c.gone() {
			t.Error("the connection stays")
		}
		if got := len(c.texts()); got != 50 {
			t.Errorf("%d messages were heard before its end", got)
		}
		l.close()
	})
}

func TestTheRateIsReachedHoweverItIsSplit(t *testing.T) {
	for _, rate := range []int{1, 7, 100, 5000} {
		l := newLab(t, withEcho, withRate(rate, 1))
		c := l.connect("/")
		for range 12 * rate {
			c.say("x")
		}
		l.settle()
		c.texts()
		heard := 0
		for range 10 {
			l.pass(time.Second)
			heard += len(c.texts())
		}
		if want := 10 * rate; heard < want*98/100 || heard > want*102/100+1 {
			t.Errorf("%d messages within 10 s, want %d", heard, want)
		}
		c.reset()
		l.settle()
		l.close()
	}
}

// TestBoundedMessageAllocs holds the path of a message that is counted to no
// allocation either.
func TestBoundedMessageAllocs(t *testing.T) {
	l := newLab(t, withRate(1_000_000, 1_000_000), func(s *setup) { s.opts.WebSocket.InboundBytes = 1 << 40 })
	l.quick(true)
	d, c := l.deafClient("/")
	message := []byte(frame(0x82, strings.Repeat("x", 128)))
	d.next = message
	c.Ready(netpoll.Readable) // where it is counted is made once
	if n := allocs(t, func() {
		d.next = message
		c.Ready(netpoll.Readable)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	l.finishDeaf(c)
}
