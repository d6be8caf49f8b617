package host

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"weir/netpoll"
)

func TestARouteCountsWhoIsOpenAndHowTheyEnded(t *testing.T) {
	w := start(t, func(s *setup) {
		s.opts.Routes = []Route{{Path: "/a/{room}", Module: "puppet"}, {Path: "/{path...}", Module: "puppet"}, {Path: "/a/{room}", Module: "puppet"}}
	})
	first, second, third := w.dial("/a/1"), w.dial("/a/2"), w.dial("/b")
	w.until("all are open", func(s Stats) bool {
		return s.Routes["/a/{room}"].Open == 2 && s.Routes["/{path...}"].Open == 1
	})
	for _, end := range []struct {
		client *client
		code   int
	}{{first, 4321}, {second, 1000}, {third, 3000}} {
		check(t, end.client.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(end.code, ""), time.Now().Add(time.Minute)))
	}
	w.until("all are closed, each by its code", func(s Stats) bool {
		a, rest := s.Routes["/a/{room}"], s.Routes["/{path...}"]
		return a.Open == 0 && rest.Open == 0 && a.Closed["4xxx"] == 1 && a.Closed["1000"] == 1 && rest.Closed["3xxx"] == 1
	})
	lost := w.dial("/b")
	check(t, lost.ws.NetConn().Close())
	w.until("an end without a Close frame counts as 1006", func(s Stats) bool { return s.Routes["/{path...}"].Closed["1006"] == 1 })
	if n := len(w.srv.Stats().Routes); n != 2 {
		t.Errorf("%d routes are counted, want each path once", n)
	}
}

func TestRejectionsSayWhy(t *testing.T) {
	w := start(t, func(s *setup) {
		s.opts.Server.MaxConnectionsPerIP = 1
		s.opts.Routes = []Route{{Path: "/here", Module: "puppet"}}
	})
	const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, tc := range []struct{ reason, request string }{
		{"no_route", "GET /nowhere HTTP/1.1\r\nHost: a\r\n" + upgrade + "\r\n"},
		{"origin", "GET /here HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n" + upgrade + "\r\n"},
		{"version", "GET /here HTTP/1.1\r\nHost: a\r\n" + strings.Replace(upgrade, "13", "12", 1) + "\r\n"},
		{"malformed", "\x16\x03\x01"},
		{"handler", "GET /here?reject=404 HTTP/1.1\r\nHost: a\r\n" + upgrade + "\r\n"},
		{"handler_failed", "GET /here?trap=1 HTTP/1.1\r\nHost: a\r\n" + upgrade + "\r\n"},
	} {
		c := w.raw()
		_, err := io.WriteString(c, tc.request)
		check(t, err)
		_, _ = io.Copy(io.Discard, c)
		check(t, c.Close())
		w.until(tc.reason+" is counted", func(s Stats) bool { return s.Rejections[tc.reason] == 1 && s.Open == 0 })
	}
	w.dial("/here")
	c := w.raw() // by hand: the answer may come before the request, which clients of net/http take amiss
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	check(t, err)
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("answered with %d", answer.StatusCode)
	}
	check(t, c.Close())
	if n := w.srv.Stats().Rejections["max_connections_per_ip"]; n != 1 {
		t.Errorf("%d are counted as too many of one address, want 1", n)
	}
}

func TestHandlersAreTimedWhenSomebodyWatches(t *testing.T) {
	for _, timed := range []bool{true, false} {
		w := start(t, func(s *setup) { s.timed = timed })
		c := w.dial("/")
		const messages = 100
		for range messages {
			c.say("echo x")
			c.want("x")
		}
		times := w.srv.Stats().Modules["puppet"].Times
		var n uint64
		for _, count := range times.Buckets {
			n += count
		}
		switch {
		case timed && (n < messages || times.Sum <= 0):
			t.Errorf("%d events took %v, want at least the %d messages, and some time", n, times.Sum, messages)
		case !timed && n > 0:
			t.Errorf("%d events were timed for nobody", n)
		}
	}
}

func TestTimesFallIntoTheBucketOfTheirBound(t *testing.T) {
	var tt turnTimes
	for _, d := range []time.Duration{0, 5 * time.Microsecond, 5*time.Microsecond + 1, time.Second, time.Minute} {
		tt.note(d, 1)
	}
	last := len(TimeBounds)
	if a, b, c, d := tt.buckets[0].Load(), tt.buckets[1].Load(), tt.buckets[last-1].Load(), tt.buckets[last].Load(); a != 2 || b != 1 || c != 1 || d != 1 {
		t.Errorf("counted %d %d … %d %d, want 2 1 … 1 1", a, b, c, d)
	}
}

// Turns count each on their own; the sum misses none.
func TestTimesOfManyTurnsAddUp(t *testing.T) {
	var all timesOfTurns
	const turns, each = 8, 1000
	var wg sync.WaitGroup
	for range turns {
		own := new(turn)
		wg.Go(func() {
			for range each {
				all.of(own).note(time.Millisecond, 1)
			}
		})
		wg.Go(func() { all.sum() })
	}
	wg.Wait()
	if got := all.sum().Sum; got != turns*each*time.Millisecond {
		t.Errorf("the sum is %v, want %v", got, turns*each*time.Millisecond)
	}
}

// TestTimedMessageAllocs is TestMessageAllocs for a server that is watched.
func TestTimedMessageAllocs(t *testing.T) {
	l := newLab(t)
	l.srv.timed = true
	l.quick(true)
	d, c := l.deafClient("/")
	message := []byte(frame(0x82, strings.Repeat("x", 128)))
	if n := allocs(t, func() {
		d.next = message
		c.Ready(netpoll.Readable)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	l.finishDeaf(c)
}

func TestStrangersCannotFloodTheLog(t *testing.T) {
	w := start(t, withFakeClock)
	const attempts = 50
	for range attempts {
		_, response, err := websocket.DefaultDialer.Dial("ws://"+w.addr+"/", http.Header{"Origin": {"http://elsewhere.example"}})
		if err == nil || response.StatusCode != http.StatusForbidden {
			t.Fatalf("another origin is answered %v", err)
		}
	}
	const line = "the page is of another origin"
	if n := strings.Count(w.log.String(), line); n != 10 {
		t.Errorf("%d lines for %d refusals at once, want 10", n, attempts)
	}
	if n := w.srv.Stats().Rejections["origin"]; n != attempts {
		t.Errorf("%d are counted, want %d", n, attempts)
	}
	w.pass(time.Minute)
	_, _, _ = websocket.DefaultDialer.Dial("ws://"+w.addr+"/", http.Header{"Origin": {"http://elsewhere.example"}})
	if n := strings.Count(w.log.String(), line); n != 11 {
		t.Errorf("%d lines a minute and one refusal later, want 11", n)
	}
}
