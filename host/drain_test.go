package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"weir/netpoll"
	"weir/pool"
)

// drain begins a drain and returns once it only waits. The result comes when
// connections have ended, which the test lets happen.
func (l *lab) drain(ctx context.Context) (done chan error) {
	l.t.Helper()
	done = make(chan error, 1)
	finished := make(chan struct{})
	go func() {
		err := l.srv.Drain(ctx)
		close(finished)
		done <- err
	}()
	waits := func() bool {
		select {
		case <-finished:
			return true
		default:
		}
		l.srv.admitMu.Lock()
		defer l.srv.admitMu.Unlock()
		return l.srv.empty != nil || l.srv.open == 0 && l.srv.leaving.Load()
	}
	eventually(l.t, "the drain to begin", waits)
	return done
}

// drained runs what is left until the drain returns, without time passing.
func (l *lab) drained(done chan error) error {
	l.t.Helper()
	var err error
	eventually(l.t, "the drain to end", func() bool {
		l.settle()
		select {
		case err = <-done:
			return true
		default:
			return false
		}
	})
	return err
}

func TestADrainSaysGoodbyeToEverybody(t *testing.T) {
	const clients = 100
	l := newLab(t, withoutPings)
	d, _ := l.door()
	watcher := l.connect("/?open=join+drains")
	var all []*labClient
	for range clients {
		all = append(all, l.connect("/"))
	}
	half := l.knock()
	half.write(upgradeHead[:40])
	l.settle()
	for i, c := range all {
		c.say(fmt.Sprintf("echo %d", i)) // not read yet
	}
	l.clock.ns.Add(1)
	done := l.drain(context.Background())
	if !d.closed {
		t.Error("the listener is still open")
	}
	l.settle()
	for i, c := range all { // told, and answered, before anybody is sent away
		if got := c.texts(); !slices.Equal(got, []string{"draining", strconv.Itoa(i)}) {
			t.Fatalf("client %d heard %q", i, got)
		}
	}
	got := watcher.texts()
	slices.Sort(got)
	if !slices.Equal(got, []string{"draining", "module drain 60000"}) {
		t.Errorf("the watcher heard %q", got)
	}

	// They are sent away one after another, all within the spread.
	spread := drainPerConn * (clients + 2)
	var counts []int
	order := []int{}
	for range spread/wheelTick + 2 {
		l.pass(wheelTick)
		for i, c := range all {
			if c.listen(); c.end != nil && !slices.Contains(order, i) {
				c.wantEnd(codeGoingAway)
				order = append(order, i)
			}
		}
		counts = append(counts, len(order))
	}
	if len(order) != clients {
		t.Fatalf("%d of %d were sent away", len(order), clients)
	}
	if most := slices.Max(differences(counts)); most > clients/4 {
		t.Errorf("%d of %d were sent away at once: %v", most, clients, counts)
	}
	if slices.IsSorted(order) {
		t.Error("they were sent away in the order in which they came")
	}
	if got := string(half.take()); got != "" {
		t.Errorf("a request that may be on its way was answered %q", got)
	}
	l.pass(requestGrace)
	if got := string(half.take()); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("an unfinished request was answered %q", got)
	}
	watcher.wantEnd(codeGoingAway)
	for _, c := range append(all, watcher, half) {
		if c.end != nil {
			c.write(frame(0x88, "\x03\xe9"))
		}
		c.hangUp()
	}
	if err := l.drained(done); err != nil {
		t.Error(err)
	}
	if st := l.srv.Stats(); st.Closes["drain"] != clients+2 {
		t.Errorf("closes: %v", st.Closes)
	}
	l.close()
}

// Whoever has found an open door is let in and sent away in order, so that a
// supervisor who keeps the door open in between turns nobody away.
func TestADrainLetsInWhoseRequestIsOnItsWay(t *testing.T) {
	l := newLab(t, withoutPings)
	half := l.knock()
	half.write(upgradeHead[:40])
	silent := l.knock()
	d, a := l.door()
	late := l.queue(d, 1)[0]
	late.write(upgradeHead)
	var done chan error
	d.inAccept = func() { done = l.drain(context.Background()) }
	a.Ready(netpoll.Readable)
	l.pass(requestGrace / 2)
	late.upgraded()
	late.wantEnd(codeGoingAway)
	half.write(upgradeHead[40:])
	l.settle()
	half.upgraded()
	half.wantEnd(codeGoingAway)
	l.pass(requestGrace)
	if got := string(silent.take()); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("who asked for nothing was answered %q", got)
	}
	for _, c := range []*labClient{late, half, silent} {
		if c.end != nil {
			c.write(frame(0x88, "\x03\xe9"))
		}
		c.hangUp()
	}
	if err := l.drained(done); err != nil {
		t.Error(err)
	}
	l.close()
}

func differences(counts []int) (steps []int) {
	last := 0
	for _, n := range counts {
		steps = append(steps, n-last)
		last = n
	}
	return steps
}

func TestADrainTakesNoLongerThanItMust(t *testing.T) {
	l := newLab(t, withoutPings)
	a, b := l.connect("/"), l.connect("/")
	done := l.drain(context.Background())
	l.pass(3 * wheelTick) // two clients, not half a minute
	for _, c := range []*labClient{a, b} {
		c.want("draining")
		c.wantEnd(codeGoingAway)
		c.write(frame(0x88, "\x03\xe9"))
		c.hangUp()
	}
	if err := l.drained(done); err != nil {
		t.Error(err)
	}
	l.close()
}

func TestADrainWithoutConnectionsTellsTheModule(t *testing.T) {
	l := newLab(t)
	err := l.drained(l.drain(context.Background()))
	if err != nil {
		t.Error(err)
	}
	if got := l.instances().Calls; got != 2 { // init and drain
		t.Errorf("the module was called %d times", got)
	}
	l.close()
}

func TestAClientThatNeverAnswersIsCut(t *testing.T) {
	t.Run("at the close timeout", func(t *testing.T) {
		l := newLab(t, withoutPings)
		c := l.connect("/")
		done := l.drain(context.Background())
		l.pass(5 * time.Second)
		if c.gone() {
			t.Error("cut too early")
		}
		l.pass(time.Second)
		if err := l.drained(done); err != nil {
			t.Error(err)
		}
		c.wantEnd(codeGoingAway)
		l.close()
	})
	t.Run("at the drain's timeout", func(t *testing.T) {
		l := newLab(t, withoutPings, func(s *setup) {
			s.opts.WebSocket.CloseTimeout = time.Hour
			s.opts.Drain.Timeout = time.Minute
		})
		var all []*labClient
		for range 10 {
			all = append(all, l.connect("/"))
		}
		all[0].stop(0)
		all[1].write(frame(0x81, "half")[:7])
		done := l.drain(context.Background())
		l.pass(time.Minute - wheelTick)
		for _, c := range all {
			if c.gone() {
				t.Fatal("cut too early")
			}
		}
		l.pass(2 * wheelTick)
		if err := l.drained(done); !errors.Is(err, errCut) || !strings.Contains(err.Error(), "10") {
			t.Errorf("drain: %v", err)
		}
		l.settle()
		for _, c := range all {
			if !c.gone() {
				t.Error("not cut")
			}
		}
		l.close()
	})
	t.Run("when the caller has waited enough", func(t *testing.T) {
		l := newLab(t, withoutPings)
		c := l.connect("/")
		ctx, cancel := context.WithCancel(context.Background())
		done := l.drain(ctx)
		l.settle()
		cancel()
		if err := l.drained(done); !errors.Is(err, errCut) {
			t.Errorf("drain: %v", err)
		}
		l.settle()
		if !c.gone() {
			t.Error("not cut")
		}
		l.close()
	})
}

func TestDrainTwiceAndCloseTwiceAreHarmless(t *testing.T) {
	l := newLab(t, withoutPings)
	watcher := l.connect("/?open=join+drains")
	c := l.connect("/")
	first := l.drain(context.Background())
	second := l.drain(context.Background())
	l.pass(wheelTick * 3)
	c.want("draining")
	if got := watcher.texts(); len(got) != 2 {
		t.Errorf("the watcher heard %q", got)
	}
	for _, c := range []*labClient{c, watcher} {
		c.wantEnd(codeGoingAway)
		c.hangUp()
	}
	for _, done := range []chan error{first, second} {
		if err := l.drained(done); err != nil {
			t.Error(err)
		}
	}
	if err := l.drained(l.drain(context.Background())); err != nil {
		t.Error(err)
	}
	l.close()
	check(t, l.srv.Close())
}

func TestCloseEndsADrain(t *testing.T) {
	l := newLab(t, withoutPings)
	c := l.connect("/")
	done := l.drain(context.Background())
	l.close()
	if err := l.drained(done); err != nil && !errors.Is(err, errCut) {
		t.Error(err)
	}
	c.listen()
	if c.end == nil || c.end.code != codeGoingAway {
		t.Errorf("the client got %v", c.end)
	}
}

func TestCloseWithoutDrainTellsClients(t *testing.T) {
	l := newLab(t)
	a, b, half := l.connect("/"), l.connect("/"), l.knock()
	b.stop(0)
	b.say("echo waits")
	l.settle()
	l.close()
	a.wantEnd(codeGoingAway)
	if got := string(half.take()); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("an unfinished request was answered %q", got)
	}
	if n := l.srv.Stats().Closes["shutdown"]; n != 3 {
		t.Errorf("closes: %v", l.srv.Stats().Closes)
	}
}

func TestADrainFlushesWhatWaitsForASlowReader(t *testing.T) {
	l := newLab(t, withoutPings)
	c := l.connect("/")
	c.stop(10)
	c.say("echo first;echo second")
	l.settle()
	done := l.drain(context.Background())
	l.pass(time.Second)
	if c.listen(); c.end != nil {
		t.Fatal("the Close frame overtook what waited")
	}
	c.open()
	l.settle()
	c.want("first", "second", "draining")
	c.wantEnd(codeGoingAway)
	c.hangUp()
	if err := l.drained(done); err != nil {
		t.Error(err)
	}
	l.close()
}

func TestAHandlerMayCloseAndTrapWhileItIsToldOfTheDrain(t *testing.T) {
	l := newLab(t, withoutPings)
	closer, trapper := l.connect("/"), l.connect("/")
	closer.say("set #close 4005 bye")
	trapper.say("set #trap")
	l.settle()
	done := l.drain(context.Background())
	l.settle()
	closer.wantEnd(4005)
	trapper.wantEnd(codeInternal)
	closer.hangUp()
	trapper.hangUp()
	if err := l.drained(done); err != nil {
		t.Error(err)
	}
	l.close()
}

// TestADrainUnderLoadCutsNoHandler is the same with real sockets, threads and
// time: for every message that a handler was called for its reply arrives.
func TestADrainUnderLoadCutsNoHandler(t *testing.T) {
	w := start(t, func(s *setup) {
		s.pool = pool.Options{Workers: 4}
		s.opts.Drain.Spread = 20 * time.Millisecond
	})
	const clients = 20
	var wg sync.WaitGroup
	var replies, running atomic.Int64
	for range clients {
		c := w.dial("/")
		running.Add(1)
		wg.Go(func() {
			defer running.Add(-1)
			for i := 0; ; i++ {
				// It may fail at any time now; what was answered is in the socket.
				_ = c.ws.WriteMessage(websocket.TextMessage, []byte(fmt.Sprintf("spin 20000;echo %d", i)))
				c.ws.SetReadDeadline(time.Now().Add(20 * time.Second))
				_, p, err := c.ws.ReadMessage()
				if err == nil && string(p) == "draining" {
					_, p, err = c.ws.ReadMessage()
				}
				if err != nil {
					var ce *websocket.CloseError
					if !errors.As(err, &ce) || ce.Code != codeGoingAway {
						t.Errorf("ended with %v", err)
					}
					c.ws.Close()
					return
				}
				replies.Add(1)
				if string(p) != strconv.Itoa(i) {
					t.Errorf("heard %q, want %d", p, i)
				}
			}
		})
	}
	eventually(t, "some load", func() bool { return replies.Load() > 10*clients })
	if err := w.srv.Drain(context.Background()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if st := w.srv.Stats(); int64(st.MessagesReceived) != replies.Load() || st.Closes["drain"] != clients {
		t.Errorf("%d messages were given to handlers, %d replies arrived; closes %v", st.MessagesReceived, replies.Load(), st.Closes)
	}
}

func TestADrainWaitsForRequestsOfNetHTTP(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	w := start(t, func(s *setup) {
		s.http = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-release
			io.WriteString(rw, "whole")
		})
		s.opts.Routes[0].Path = "/ws"
	})
	body := make(chan string, 1)
	go func() { // ends with the response
		resp, err := http.Get("http://" + w.addr + "/page")
		if err != nil {
			body <- err.Error()
			return
		}
		defer resp.Body.Close()
		p, _ := io.ReadAll(resp.Body)
		body <- string(p)
	}()
	<-entered
	done := make(chan error, 1)
	go func() { done <- w.srv.Drain(context.Background()) }()
	eventually(t, "the drain", func() bool { return w.srv.leaving.Load() })
	select {
	case err := <-done:
		t.Errorf("the drain did not wait: %v", err)
	default:
	}
	close(release)
	if got := <-body; got != "whole" {
		t.Errorf("the response is %q", got)
	}
	check(t, <-done)
}

func TestRequestsOfNetHTTPThatComeWhileTheServerClosesAreNotForgotten(t *testing.T) {
	for round := range 10 {
		w := start(t, func(s *setup) { s.opts.Routes[0].Path = "/ws" })
		var conns []*rawClient
		for range 30 {
			conns = append(conns, w.raw())
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, c := range conns {
				_, _ = c.Write([]byte("GET /page HTTP/1.1\r\nHost: a\r\n\r\n"))
			}
		})
		if round%2 == 0 {
			check(t, w.srv.Drain(context.Background()))
		}
		w.close() // must come back
		wg.Wait()
	}
}
