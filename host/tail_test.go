package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/netpoll"
)

// tail opens a tail that ends with the test.
func (l *lab) tail(o TailOptions) *Tail {
	l.t.Helper()
	t, err := l.srv.Tail(o)
	check(l.t, err)
	l.t.Cleanup(t.Close)
	return t
}

// events returns what waits in a tail.
func (t *Tail) events() (all []TailEvent) {
	for ev, ok := t.next(); ok; ev, ok = t.next() {
		all = append(all, ev)
	}
	return all
}

// skip reads what waits in a tail and forgets it.
func (t *Tail) skip() {
	for t.ready() {
		t.places[t.read%uint64(len(t.places))].turn.Store(t.read + uint64(len(t.places)))
		t.read++
	}
}

// kindsOf lists the kinds of events.
func kindsOf(events []TailEvent) (kinds []string) {
	for _, ev := range events {
		kinds = append(kinds, ev.Kind)
	}
	return kinds
}

func TestATailShowsWhatHappensInItsOrder(t *testing.T) {
	l := newLab(t, withoutPings)
	tail := l.tail(TailOptions{Payload: 8})
	c := l.connect("/chat?open=join+room&token=secret")
	c.say("echo a long reply;publish room to all;publish nobody x")
	l.settle()
	c.write(frame(0x82, "bytes"))
	l.settle()
	c.say("fail 7")
	l.settle()
	c.hangUp()
	l.settle()

	got := tail.events()
	for i := range got {
		ev := &got[i]
		if ev.Time == 0 || ev.Module != "puppet" || ev.Conn != uint64(c.conn.id) || ev.Route != "/{path...}" || ev.Generation != 1 || ev.Remote != c.addr {
			t.Errorf("event %d does not say whose it is: %+v", i, *ev)
		}
		ev.Time, ev.Module, ev.Conn, ev.Route, ev.Generation, ev.Remote, ev.Took = 0, "", 0, "", 0, netip.AddrPort{}, 0
	}
	want := []TailEvent{
		{Kind: TailOpen, Path: "/chat"},
		{Kind: TailMessage, Size: 54, Payload: []byte("echo a l")},
		{Kind: TailSend, Size: 12, Payload: []byte("a long r")},
		{Kind: TailPublish, Topic: "room", Receivers: 1, Size: 6, Payload: []byte("to all")},
		{Kind: TailPublish, Topic: "nobody", Size: 1, Payload: []byte("x")},
		{Kind: TailMessage, Size: 5, Binary: true, Payload: []byte("bytes")},
		{Kind: TailSend, Size: 5, Binary: true, Payload: []byte("bytes")},
		{Kind: TailMessage, Size: 6, Payload: []byte("fail 7")},
		{Kind: TailFailure, Error: "it returned 7"},
		{Kind: TailPublish, Topic: "gone", Size: 34, Payload: []byte("closed 1")},
		{Kind: TailClose, Code: codeInternal, Reason: "handler failed", Cause: "handler_failed"},
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("the tail shows\n%+v, want\n%+v", got, want)
	}
	l.close()
}

func TestATailShowsWhatWasAskedFor(t *testing.T) {
	l := newLab(t, withoutPings, func(s *setup) {
		other := s.modules[0]
		other.Name = "other"
		s.modules = append(s.modules, other)
		s.opts.Routes = []Route{{Path: "/a", Module: "puppet"}, {Path: "/b", Module: "puppet"}, {Path: "/c", Module: "other"}}
	})
	a := l.connect("/a")
	for _, tc := range []struct {
		name string
		o    TailOptions
		want string // paths of the messages shown
	}{
		{"all", TailOptions{}, "a b c "},
		{"a module's", TailOptions{Module: "puppet"}, "a b "},
		{"a route's", TailOptions{Route: "/b"}, "b "},
		{"a connection's", TailOptions{Conn: uint64(a.conn.id)}, "a "},
		{"a peer's", TailOptions{Remote: netip.PrefixFrom(a.addr.Addr(), 32)}, "a "},
		{"a network's", TailOptions{Remote: netip.MustParsePrefix("10.0.0.0/8")}, "a b c "},
		{"another network's", TailOptions{Remote: netip.MustParsePrefix("11.0.0.0/8")}, ""},
	} {
		tc.o.Kinds, tc.o.Payload = []string{TailMessage}, 1
		tail := l.tail(tc.o)
		a.write(frame(0x82, "a"))
		b, c := l.connect("/b"), l.connect("/c")
		b.write(frame(0x82, "b"))
		c.write(frame(0x82, "c"))
		l.settle()
		got := ""
		for _, ev := range tail.events() {
			got += string(ev.Payload) + " "
		}
		if got != tc.want {
			t.Errorf("%s: the tail shows %q, want %q", tc.name, got, tc.want)
		}
		tail.Close()
	}
	l.close()
}

func TestATailShowsOneOfSoManyOfEachKind(t *testing.T) {
	l := newLab(t, withoutPings)
	c := l.connect("/?open=join+room")
	tail := l.tail(TailOptions{Sample: 10})
	for range 100 {
		c.say("echo x;publish room y")
		l.settle()
	}
	l.connect("/")
	kinds := kindsOf(tail.events())
	for kind, want := range map[string]int{TailMessage: 10, TailSend: 10, TailPublish: 10, TailOpen: 1} {
		n := 0
		for _, k := range kinds {
			if k == kind {
				n++
			}
		}
		if n != want {
			t.Errorf("%d events of the kind %q are shown of 100, want %d", n, kind, want)
		}
	}
	l.close()
}

func TestATailThatNobodyReadsDropsAndCounts(t *testing.T) {
	l := newLab(t, withoutPings)
	c := l.connect("/")
	tail, other := l.tail(TailOptions{Kinds: []string{TailMessage}, Buffer: 3}), l.tail(TailOptions{Kinds: []string{TailMessage}, Payload: 1})
	for i := range 10 {
		c.say(fmt.Sprint(i))
		l.settle()
	}
	if n := tail.Dropped(); n != 7 {
		t.Errorf("%d events were dropped, want 7", n)
	}
	if n := tail.Pending(); n != 3 {
		t.Errorf("%d events wait, want 3", n)
	}
	if n := len(tail.events()); n != 3 {
		t.Errorf("%d events waited, want 3", n)
	}
	if st := l.srv.Stats(); st.TailDropped != 7 || st.Tails != 2 {
		t.Errorf("the server counts %d dropped events of %d tails, want 7 of 2", st.TailDropped, st.Tails)
	}
	said := ""
	for _, ev := range other.events() {
		said += string(ev.Payload)
	}
	if said != "0123456789" || other.Dropped() != 0 {
		t.Errorf("another tail shows %q and has dropped %d", said, other.Dropped())
	}
	c.say("there is room again")
	l.settle()
	if n := len(tail.events()); n != 1 {
		t.Errorf("once there was room %d events were shown, want 1", n)
	}
	l.close()
}

func TestTailsThatCannotBe(t *testing.T) {
	l := newLab(t)
	for name, tc := range map[string]struct {
		o    TailOptions
		want error
	}{
		"a module that there is not": {TailOptions{Module: "stranger"}, ErrUnknownModule},
		"a kind that there is not":   {TailOptions{Kinds: []string{"message", "rumour"}}, ErrTailOptions},
		"a negative sample":          {TailOptions{Sample: -1}, ErrTailOptions},
		"too long a payload":         {TailOptions{Payload: 4097}, ErrTailOptions},
		"too large a buffer":         {TailOptions{Buffer: 8193}, ErrTailOptions},
	} {
		if _, err := l.srv.Tail(tc.o); !errors.Is(err, tc.want) {
			t.Errorf("%s gives %v, want %v", name, err, tc.want)
		}
	}
	var tails []*Tail
	for range maxTails {
		tails = append(tails, l.tail(TailOptions{}))
	}
	if _, err := l.srv.Tail(TailOptions{}); !errors.Is(err, ErrTooManyTails) {
		t.Errorf("one too many gives %v", err)
	}
	tails[3].Close()
	tails[3].Close()
	again := l.tail(TailOptions{Kinds: []string{TailOpen}})
	l.connect("/")
	for i, tail := range append(tails, again) {
		if n := len(tail.events()); n == 0 != (i == 3) {
			t.Errorf("tail %d of those that are open but for the fourth shows %d events", i, n)
		}
	}
	for _, tail := range tails {
		tail.Close()
	}
	again.Close()
	if l.srv.tails.set.Load() != nil {
		t.Error("without a tail turns still look for one")
	}
	l.close()
}

func TestNextWaitsForWhatComes(t *testing.T) {
	w := start(t)
	tail, err := w.srv.Tail(TailOptions{Kinds: []string{TailMessage}, Payload: 100})
	check(t, err)
	defer tail.Close()
	c := w.dial("/")
	for i := range 20 {
		text := fmt.Sprintf("echo %d", i)
		c.ask(text)
		ev, err := tail.Next(t.Context())
		if check(t, err); string(ev.Payload) != text || ev.Size != len(text) {
			t.Fatalf("the tail shows %q, want %q", ev.Payload, text)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tail.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that is given up ends with %v", err)
	}
	c.ask("echo last")
	tail.Close()
	if ev, err := tail.Next(t.Context()); err != nil || string(ev.Payload) != "echo last" {
		t.Errorf("what waited in a closed tail is %q, %v", ev.Payload, err)
	}
	if _, err := tail.Next(t.Context()); !errors.Is(err, ErrTailClosed) {
		t.Errorf("a closed tail ends with %v", err)
	}
	open, err := w.srv.Tail(TailOptions{Kinds: []string{TailFailure}})
	check(t, err)
	w.close()
	if _, err := open.Next(t.Context()); !errors.Is(err, ErrTailClosed) {
		t.Errorf("when the server has closed a tail ends with %v", err)
	}
}

// TestTailAllocs holds a message to no allocation whoever watches it.
func TestTailAllocs(t *testing.T) {
	for _, tc := range []struct {
		name  string
		tails []TailOptions
	}{
		{"one of a hundred is shown", []TailOptions{{Sample: 100}}},
		{"all are shown, with their payload", []TailOptions{{Payload: 4096}}},
		{"two tails drop", []TailOptions{{Buffer: 2, Payload: 10}, {Buffer: 2, Kinds: []string{TailPublish}}}},
		{"others are shown", []TailOptions{{Route: "/other"}, {Conn: 12345}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			l.quick(true)
			d, c := l.deafClient("/?open=join+topic")
			var tails []*Tail
			for _, o := range tc.tails {
				tails = append(tails, l.tail(o))
			}
			message := []byte(frame(0x81, "echo "+strings.Repeat("x", 100)+";publish topic "+strings.Repeat("y", 100)))
			n := allocs(t, func() {
				d.next = message
				c.Ready(netpoll.Readable)
				for l.tasks.step() {
				}
				if tails[0].payload == 4096 {
					tails[0].skip()
				}
			})
			if n != 0 {
				t.Errorf("%v allocations, want 0", n)
			}
			if tc.tails[0].Payload == 4096 && tails[0].Dropped() != 0 {
				t.Errorf("%d events were dropped", tails[0].Dropped())
			}
			l.finishDeaf(c)
		})
	}
}

// TestTailsAreWatchedFromManyGoroutines holds a ring to its promise: what it
// takes is read once and whole, and what it does not take is counted.
func TestTailsAreWatchedFromManyGoroutines(t *testing.T) {
	const writers, each = 4, 20_000
	l := newLab(t)
	tail := l.tail(TailOptions{Buffer: 16, Payload: 32})
	var wg sync.WaitGroup
	var done atomic.Bool
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				tail.put(&TailEvent{Conn: uint64(w), Size: i}, fmt.Appendf(nil, "%d %d", w, i))
			}
		})
	}
	read := 0
	last := [writers]int{-1, -1, -1, -1}
	var reader sync.WaitGroup
	reader.Go(func() { // ends with the writers, when nothing waits
		for {
			over := done.Load()
			ev, ok := tail.next()
			if !ok {
				if over {
					return
				}
				continue
			}
			read++
			if want := fmt.Sprintf("%d %d", ev.Conn, ev.Size); string(ev.Payload) != want {
				t.Errorf("an event has the payload %q, want %q", ev.Payload, want)
				return
			}
			if ev.Size <= last[ev.Conn] {
				t.Errorf("writer %d: event %d came after %d", ev.Conn, ev.Size, last[ev.Conn])
				return
			}
			last[ev.Conn] = ev.Size
		}
	})
	wg.Wait()
	done.Store(true)
	reader.Wait()
	if got := read + int(tail.Dropped()); got != writers*each {
		t.Errorf("%d events were read and %d dropped, of %d", read, tail.Dropped(), writers*each)
	}
	l.close()
}

// TestTailsComeAndGoUnderLoad opens, reads and closes tails on a real server
// while its clients talk.
func TestTailsComeAndGoUnderLoad(t *testing.T) {
	w := start(t)
	stays, err := w.srv.Tail(TailOptions{Kinds: []string{TailMessage}, Buffer: maxTailEvents})
	check(t, err)
	defer stays.Close()
	var talkers, readers sync.WaitGroup
	var done atomic.Bool
	for range 4 {
		c := w.dial("/?open=join+room")
		talkers.Go(func() {
			for i := range 300 {
				reply := fmt.Sprintf("reply %d", i)
				if err := c.ws.WriteMessage(1, []byte("publish room all;echo "+reply)); err != nil {
					t.Error(err)
					return
				}
				for heard := ""; heard != reply; {
					_, p, err := c.ws.ReadMessage()
					if err != nil {
						t.Error(err)
						return
					}
					heard = string(p)
				}
			}
		})
	}
	for i := range 3 {
		readers.Go(func() { // ends when the talkers have finished
			for !done.Load() {
				tail, err := w.srv.Tail(TailOptions{Sample: i + 1, Payload: 16, Buffer: 8})
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				for {
					ev, err := tail.Next(ctx)
					if err != nil {
						break
					}
					if !slices.Contains(tailKinds, ev.Kind) || ev.Module != "puppet" {
						t.Errorf("a broken event: %+v", ev)
					}
				}
				cancel()
				tail.Close()
			}
		})
	}
	talkers.Wait()
	done.Store(true)
	readers.Wait()
	if n := len(stays.events()); n != 4*300 || stays.Dropped() != 0 {
		t.Errorf("a tail that stayed shows %d messages and dropped %d, want all %d", n, stays.Dropped(), 4*300)
	}
}
