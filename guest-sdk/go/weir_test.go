package weir_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	weir "weir/guest-sdk/go"
	"weir/guest-sdk/go/internal/native"
	"weir/guest-sdk/go/weirlog"
	"weir/guest-sdk/go/weirtest"
)

// start runs a server around a handler made for the test.
func start(t *testing.T, h weir.Handler, options weirtest.Options) *weirtest.Server {
	t.Helper()
	weir.SetHandler(h)
	return weirtest.New(t, options)
}

func echo(c weir.Conn, m weir.Message) error { return c.Send(m) }

func TestMessagesComeBackAsTheyAre(t *testing.T) {
	ann := start(t, weir.Handler{Message: echo}, weirtest.Options{}).Open("/")
	ann.SendText("héllo")
	ann.SendBinary([]byte{0, 255})
	ann.SendText("")
	ann.WantText("héllo")
	ann.WantBinary([]byte{0, 255})
	ann.WantText("")
	ann.WantNothing()
}

func TestEventsComeInOrder(t *testing.T) {
	var events []string
	note := func(s string) { events = append(events, s) }
	server := start(t, weir.Handler{
		Init:    func(config []byte) error { note("init " + string(config)); return nil },
		Upgrade: func(u *weir.Upgrade) error { note("upgrade " + u.URI()); return nil },
		Open:    func(c weir.Conn) error { note("open " + c.Path()); return nil },
		Message: func(_ weir.Conn, m weir.Message) error { note("message " + m.String()); return nil },
		Close: func(_ weir.Conn, why weir.Closed) error {
			note("close " + why.Reason)
			if why.Code != 4001 || !why.Clean {
				t.Errorf("closed with %+v, want a clean 4001", why)
			}
			return nil
		},
		Drain: func(c weir.Conn, left time.Duration) error { note("drain " + left.String()); return nil },
	}, weirtest.Options{Config: `{"a":1}`})
	if weir.Generation() != 1 {
		t.Errorf("generation %d, want 1", weir.Generation())
	}
	ann := server.Open("/a?b=c")
	ann.SendText("hi")
	server.Drain(3 * time.Second)
	ann.Close(4001, "bye")
	want := []string{`init {"a":1}`, "upgrade /a?b=c", "open /a", "message hi", "drain 3s", "drain 3s", "close bye"}
	if !slices.Equal(events, want) {
		t.Errorf("events %q, want %q", events, want)
	}
}

func TestAnErrorTakesEverythingBack(t *testing.T) {
	server := start(t, weir.Handler{
		Open: func(c weir.Conn) error { return errors.Join(c.SetState([]byte("before")), c.Join("all")) },
		Message: func(c weir.Conn, _ weir.Message) error {
			if err := errors.Join(c.SendText("never"), c.SetState([]byte("after")), c.Leave("all"), c.After(1, time.Second),
				weir.Publish("all", weir.Text("never"))); err != nil {
				t.Error(err)
			}
			if got := string(c.State()); got != "after" {
				t.Errorf("the same event reads the state %q, want its own %q", got, "after")
			}
			if n := weir.Count("all"); n != 1 {
				t.Errorf("the same event counts %d members, want its own 1", n)
			}
			return errors.New("no good")
		},
		Close: func(c weir.Conn, why weir.Closed) error {
			if got := string(c.State()); got != "before" {
				t.Errorf("state %q after a failed event, want %q", got, "before")
			}
			return nil
		},
	}, weirtest.Options{})
	ann, bob := server.Open("/"), server.Open("/")
	ann.SendText("x")
	ann.WantClosed(weir.CloseFailed)
	ann.WantNothing()
	bob.WantNothing()
	bob.WantOpen()
	if logs := server.Logs(); !slices.Contains(logs, "error text: no good") {
		t.Errorf("logs %q do not tell the error", logs)
	}
}

func TestTopics(t *testing.T) {
	server := start(t, weir.Handler{
		Open: func(c weir.Conn) error { return c.Join("all") },
		Message: func(c weir.Conn, m weir.Message) error {
			if m.String() == "leave" {
				return c.Leave("all")
			}
			return weir.PublishExcept("all", m, c)
		},
		Close: func(c weir.Conn, _ weir.Closed) error {
			if err := c.SendText("too late"); !errors.Is(err, weir.ErrDenied) {
				t.Errorf("a send while closing returns %v, want denied", err)
			}
			return weir.Publish("all", weir.Text("gone"))
		},
	}, weirtest.Options{})
	ann, bob, eve := server.Open("/"), server.Open("/"), server.Open("/")
	eve.SendText("leave")
	ann.SendText("hi")
	bob.WantText("hi")
	ann.WantNothing()
	eve.WantNothing()
	if n := server.Members("all"); n != 2 {
		t.Errorf("%d members, want 2", n)
	}
	ann.Drop()
	bob.WantText("gone")
	bob.WantNothing()
}

func TestTimers(t *testing.T) {
	const once, ticking = 1, 2
	server := start(t, weir.Handler{
		Init: func([]byte) error { return weir.After(9, time.Minute) },
		Open: func(c weir.Conn) error {
			return errors.Join(c.After(once, 1500*time.Microsecond), c.Every(ticking, time.Second))
		},
		Message: func(c weir.Conn, _ weir.Message) error { return c.CancelTimer(ticking) },
		Timer: func(c weir.Conn, id int64) error {
			if c == weir.None {
				weir.Log(weir.LevelInfo, "module "+weir.Now().UTC().Format(time.TimeOnly))
				return nil
			}
			return c.SendText(string(rune('0' + id)))
		},
	}, weirtest.Options{})
	ann := server.Open("/")
	server.Advance(9 * time.Millisecond)
	ann.WantNothing() // shorter than the minimum is raised to it
	server.Advance(time.Millisecond)
	ann.WantText("1")
	server.Advance(2 * time.Second)
	ann.WantText("2", "2")
	ann.SendText("stop")
	server.Advance(time.Minute)
	ann.WantNothing()
	if logs := server.Logs(); !slices.Equal(logs, []string{"info module 00:01:00"}) {
		t.Errorf("logs %q, want the module's timer at one minute", logs)
	}
}

func TestUpgrade(t *testing.T) {
	server := start(t, weir.Handler{
		Upgrade: func(u *weir.Upgrade) error {
			switch u.Query("token") {
			case "":
				return errors.Join(u.AddHeader("WWW-Authenticate", "Bearer"), weir.Reject(401))
			case "boom":
				return errors.New("boom")
			}
			if err := u.SetProtocol("v9"); !errors.Is(err, weir.ErrNotFound) {
				t.Errorf("a protocol that is not offered: %v, want not found", err)
			}
			if err := u.AddHeader("Upgrade", "x"); !errors.Is(err, weir.ErrDenied) {
				t.Errorf("a header of the handshake: %v, want denied", err)
			}
			offered := u.Protocols()
			return errors.Join(u.SetProtocol(offered[len(offered)-1]), u.SetState([]byte(u.Header("x-user")+"@"+u.RemoteAddr())))
		},
		Open: func(c weir.Conn) error {
			return c.SendText(c.Protocol() + " " + string(c.State()) + " " + c.Param("room") + " " + c.Header("X-User"))
		},
	}, weirtest.Options{Route: "/chat/{room}", KeepHeaders: []string{"x-user"}})

	if _, r := server.Dial(weirtest.Request{Target: "/chat/a"}); r.Status != 401 || r.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("without a token: %+v, want 401 with its header", r)
	}
	if _, r := server.Dial(weirtest.Request{Target: "/chat/a?token=boom"}); r.Status != 500 {
		t.Errorf("an error rejects with %d, want 500", r.Status)
	}
	if _, r := server.Dial(weirtest.Request{Target: "/elsewhere"}); r.Status != 404 {
		t.Errorf("a path without a route: %d, want 404", r.Status)
	}
	ann, r := server.Dial(weirtest.Request{Target: "/chat/caf%C3%A9?token=x", Protocols: []string{"v1", "v2"},
		Header: http.Header{"X-User": {"ann"}}, RemoteAddr: "192.0.2.9:1"})
	if r.Status != 101 || r.Protocol != "v2" {
		t.Errorf("got %+v, want 101 with v2", r)
	}
	ann.WantText("v2 ann@192.0.2.9:1 café ann")
}

func TestInitMayRefuse(t *testing.T) {
	weir.SetHandler(weir.Handler{Init: func([]byte) error { return errors.New("no room given") }})
	server, ok := weirtest.Load(t, weirtest.Options{})
	if ok {
		t.Error("the configuration was taken")
	}
	if logs := server.Logs(); !slices.Equal(logs, []string{"error init: no room given"}) {
		t.Errorf("logs %q do not say why", logs)
	}
}

func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", 300)
	cases := []struct {
		name string
		call func(weir.Conn) error
		want error
	}{
		{"text that is not UTF-8", func(c weir.Conn) error { return c.SendText("\xff") }, weir.ErrInvalid},
		{"a message of no kind", func(c weir.Conn) error { return c.Send(weir.Message{}) }, weir.ErrInvalid},
		{"a message that is too big", func(c weir.Conn) error { return c.SendBinary(make([]byte, 2<<20)) }, weir.ErrTooBig},
		{"a stranger", func(weir.Conn) error { return weir.Conn(99).SendText("x") }, weir.ErrUnknownConnection},
		{"a close code that is not ours", func(c weir.Conn) error { return c.Close(1006, "") }, weir.ErrInvalid},
		{"a long reason", func(c weir.Conn) error { return c.Close(1000, long) }, weir.ErrTooBig},
		{"a topic it is not in", func(c weir.Conn) error { return c.Leave("elsewhere") }, nil},
		{"an empty topic", func(c weir.Conn) error { return c.Join("") }, weir.ErrInvalid},
		{"a long topic", func(weir.Conn) error { return weir.Publish(long, weir.Text("x")) }, weir.ErrInvalid},
		{"a large state", func(c weir.Conn) error { return c.SetState(make([]byte, 20<<10)) }, weir.ErrTooBig},
		{"an unknown attribute", func(c weir.Conn) error { _, err := c.Attr("weather"); return err }, weir.ErrNotFound},
		{"a capability that is not granted", func(c weir.Conn) error { return c.After(1, -1) }, weir.ErrDenied},
		{"metrics without configuration", func(weir.Conn) error { return weir.AddMetric("x", 1) }, weir.ErrDenied},
		{"too many effects", func(c weir.Conn) (err error) {
			for range 1001 {
				err = c.SendText("x")
			}
			return err
		}, weir.ErrTooMany},
		{"a send behind a close", func(c weir.Conn) error { _ = c.Close(1000, ""); return c.SendText("x") }, weir.ErrClosed},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			server := start(t, weir.Handler{Message: func(c weir.Conn, _ weir.Message) error {
				if err := tc.call(c); !errors.Is(err, tc.want) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				return nil
			}}, weirtest.Options{Deny: []string{"timers"}})
			server.Open("/").SendText("go")
		})
	}
}

func TestASlowReaderFillsItsQueue(t *testing.T) {
	server := start(t, weir.Handler{Message: func(c weir.Conn, m weir.Message) error {
		if err := c.Send(m); errors.Is(err, weir.ErrQueueFull) {
			return c.Close(weir.CloseTryLater, "too slow")
		}
		return nil
	}}, weirtest.Options{})
	ann := server.Open("/")
	ann.Pause()
	big := make([]byte, 1<<20)
	ann.SendBinary(big)
	ann.WantOpen()
	ann.SendText("x")
	ann.WantClosed(weir.CloseTryLater)
	ann.Resume()
	ann.WantBinary(big)
	ann.WantNothing()
}

func TestASlowMemberOfATopicIsClosed(t *testing.T) {
	server := start(t, weir.Handler{
		Open:    func(c weir.Conn) error { return c.Join("all") },
		Message: func(c weir.Conn, m weir.Message) error { return weir.Publish("all", m) },
	}, weirtest.Options{})
	ann, bob := server.Open("/"), server.Open("/")
	bob.Pause()
	big := make([]byte, 1<<20)
	ann.SendBinary(big)
	ann.SendText("x")
	ann.WantBinary(big)
	ann.WantText("x")
	bob.WantClosed(weir.CloseTryLater)
	if n := server.Members("all"); n != 1 {
		t.Errorf("%d members, want 1", n)
	}
}

func TestSmallThings(t *testing.T) {
	server := start(t, weir.Handler{Message: func(c weir.Conn, m weir.Message) error {
		if !weir.Has("conn_send") || weir.Has("fly") {
			t.Error("Has does not know its functions")
		}
		var a, b [8]byte
		weir.Random(a[:])
		weir.Random(b[:])
		if a == b {
			t.Error("two random values are the same")
		}
		weir.Random(nil)
		large := bytes.Repeat([]byte("s"), 16<<10) // more than the SDK's own buffer holds at first
		if err := c.SetState(large); err != nil || !bytes.Equal(c.State(), large) {
			t.Errorf("a large state does not come back (%v)", err)
		}
		if q := c.Queued(); q != 0 {
			t.Errorf("%d bytes queued, want 0", q)
		}
		return weir.AddMetric("messages", 2)
	}}, weirtest.Options{Metrics: []string{"messages"}})
	server.Open("/").SendText("x")
	if n := server.Metric("messages"); n != 2 {
		t.Errorf("metric %d, want 2", n)
	}
}

func TestSlogRecordsBecomeLines(t *testing.T) {
	logger := slog.New(weirlog.Handler(slog.LevelDebug)).With("room", "a b").WithGroup("g")
	server := start(t, weir.Handler{Message: func(weir.Conn, weir.Message) error {
		logger.Warn("careful now", "n", 1)
		logger.Debug("bare")
		slog.New(weirlog.Handler(nil)).Debug("dropped")
		return nil
	}}, weirtest.Options{})
	server.Open("/").SendText("x")
	want := []string{`warn careful now room="a b" g.n=1`, `debug bare room="a b"`}
	if logs := server.Logs(); !slices.Equal(logs, want) {
		t.Errorf("logs %q, want %q", logs, want)
	}
}

func TestOutsideAnEventNothingIsSent(t *testing.T) {
	if err := weir.Conn(1).SendText("x"); !errors.Is(err, weir.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestHandleTwicePanics(t *testing.T) {
	weir.SetHandler(weir.Handler{})
	defer func() {
		if recover() == nil {
			t.Error("the second Handle was taken")
		}
	}()
	weir.Handle(weir.Handler{})
}

// silent answers every call at no cost.
type silent struct{ native.Host }

func (silent) ConnSend(uint64, int32, string) int32 { return 0 }

func (silent) ConnStateGet(_ uint64, buf []byte) int32 { return int32(copy(buf, "state")) }

func TestAMessageCostsNoAllocation(t *testing.T) {
	state := make([]byte, 0, 64)
	weir.SetHandler(weir.Handler{Message: func(c weir.Conn, m weir.Message) error {
		state = c.AppendState(state[:0])
		if err := c.SendText("hello"); err != nil {
			return err
		}
		return c.Send(m)
	}})
	host, payload := native.Host(silent{}), []byte("hello")
	if n := testing.AllocsPerRun(1000, func() { native.Run(host, native.EventText, 1, 0, payload) }); n != 0 {
		t.Errorf("one message costs %v allocations, want 0", n)
	}
}

func FuzzQueryAgreesWithNetURL(f *testing.F) {
	for _, seed := range []string{"", "a=1", "b=2&a=%41+x", "a=%zz&a=2", "a", "%61=1", "a;b=1&a=3", "&&a==", "a=%", "a=%4"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, _ := url.ParseQuery(query)
		if got, want := weir.QueryValue(query, "a"), values.Get("a"); got != want {
			t.Errorf("query %q has a = %q, net/url says %q", query, got, want)
		}
	})
}
