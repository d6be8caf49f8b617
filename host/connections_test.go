package host

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestWhatTestsMayLookAt(t *testing.T) {
	l := newLab(t, withoutPings)
	c, other := l.connect("/"), l.connect("/")
	c.say("join room;set remembered")
	other.say("join room")
	l.settle()
	if n := l.srv.Members("puppet", "room"); n != 2 {
		t.Errorf("%d members, want 2", n)
	}
	if n := l.srv.Members("puppet", "attic") + l.srv.Members("stranger", "room"); n != 0 {
		t.Errorf("%d members of what does not exist", n)
	}
	state, ok := l.srv.State(c.conn.sock.RemoteAddr())
	if !ok || string(state) != "remembered" {
		t.Errorf("the state is %q, %v", state, ok)
	}
	state[0] = 'x' // the copy is the caller's
	if again, _ := l.srv.State(c.conn.sock.RemoteAddr()); string(again) != "remembered" {
		t.Errorf("the state has become %q", again)
	}
	if _, ok := l.srv.State(netip.MustParseAddrPort("192.0.2.1:1")); ok {
		t.Error("an address that nobody has was found")
	}
	l.close()
}

func TestAConnectionIsDescribed(t *testing.T) {
	l := newLab(t, withoutPings, func(s *setup) {
		s.opts.Routes = []Route{{Path: "/room/{name}", Module: "puppet", Scope: "key", Key: "r-{name}", Protocols: []string{"v2"}}, {Path: "/{rest...}", Module: "puppet"}}
	})
	c := l.knock()
	c.write(strings.Replace(strings.Replace(upgradeHead, " / ", " /room/lobby?a=1 ", 1), "Upgrade: ", "Sec-WebSocket-Protocol: v2\r\nUpgrade: ", 1))
	l.settle()
	c.upgraded()
	c.say("join b;join a;set 12345")
	l.settle()
	id := uint64(c.conn.id)
	want := ConnInfo{
		ID: id, Module: "puppet", Generation: 1, Route: "/room/{name}", Path: "/room/lobby", Query: "a=1", Protocol: "v2",
		Remote: c.addr, Key: "r-lobby", Topics: []string{"a", "b"}, StateBytes: 5, OpenedAt: l.clock.UnixMilli(),
	}
	if got, err := l.srv.Connection(id); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the connection is %+v, %v, want %+v", got, err, want)
	}
	plain := l.connect("/x")
	plain.stop(0)
	check(t, l.srv.SendTo(uint64(plain.conn.id), false, []byte("waits")))
	if got, err := l.srv.Connection(uint64(plain.conn.id)); err != nil || got.QueuedBytes != 7 || got.Key != "" || got.Closing {
		t.Errorf("a connection that does not read is %+v, %v", got, err)
	}
	check(t, l.srv.CloseConn(uint64(plain.conn.id), 4000, ""))
	if got, err := l.srv.Connection(uint64(plain.conn.id)); err != nil || !got.Closing {
		t.Errorf("a connection that closes is %+v, %v", got, err)
	}
	l.knock() // says nothing, and is no WebSocket
	if conns, more := l.srv.Connections(ConnFilter{}); len(conns) != 2 || more {
		t.Errorf("%d connections are listed, %v, want the two that are open", len(conns), more)
	}
	c.hangUp()
	l.settle()
	if got, err := l.srv.Connection(id); !errors.Is(err, ErrUnknownConn) {
		t.Errorf("a connection that is gone is %+v, %v", got, err)
	}
	l.close()
}

func TestConnectionsAreListedByIDPageByPage(t *testing.T) {
	l := newLab(t, withoutPings, func(s *setup) {
		other := s.modules[0]
		other.Name = "other"
		s.modules = append(s.modules, other)
		s.opts.Routes = []Route{{Path: "/a", Module: "puppet"}, {Path: "/b", Module: "puppet"}, {Path: "/c", Module: "other"}}
	})
	for i := range 200 { // slots are used again, so that the order of ids is not that of slots
		if c := l.connect("/a"); i%3 == 0 {
			c.hangUp()
			l.settle()
		}
	}
	for range 50 {
		l.connect("/b?open=join+news")
		l.connect("/c?open=join+news")
	}
	list := func(f ConnFilter) (ids []uint64) {
		t.Helper()
		for {
			conns, more := l.srv.Connections(f)
			for _, c := range conns {
				if c.ID <= f.After {
					t.Errorf("%d comes after %d", c.ID, f.After)
				}
				f.After = c.ID
				ids = append(ids, c.ID)
			}
			if !more {
				return ids
			}
			if len(conns) != f.Limit && f.Limit != 0 {
				t.Fatalf("a page has %d of %d, and there is more", len(conns), f.Limit)
			}
		}
	}
	all := list(ConnFilter{Limit: maxPage})
	if len(all) != 133+100 {
		t.Errorf("%d connections are listed, want 233", len(all))
	}
	for _, limit := range []int{0, 1, 7, 233, 234} {
		if got := list(ConnFilter{Limit: limit}); !slices.Equal(got, all) {
			t.Errorf("in pages of %d there are %d connections, want the same %d", limit, len(got), len(all))
		}
	}
	one := l.wires[len(l.wires)-1].addr.Addr()
	for name, tc := range map[string]struct {
		f    ConnFilter
		want int
	}{
		"a module's":            {ConnFilter{Module: "puppet"}, 183},
		"another module's":      {ConnFilter{Module: "other"}, 50},
		"no module's":           {ConnFilter{Module: "stranger"}, 0},
		"a route's":             {ConnFilter{Route: "/b"}, 50},
		"a topic's":             {ConnFilter{Topic: "news"}, 100},
		"a topic of a module's": {ConnFilter{Topic: "news", Module: "other"}, 50},
		"a peer's":              {ConnFilter{Remote: netip.PrefixFrom(one, 32)}, 1},
		"a network's":           {ConnFilter{Remote: netip.MustParsePrefix("10.0.0.0/8")}, 233},
	} {
		if got := len(list(tc.f)); got != tc.want {
			t.Errorf("%s: %d connections are listed, want %d", name, got, tc.want)
		}
	}
	l.close()
}

func TestSendsAndClosesFromOutsideHaveTheBoundsOfAHandlers(t *testing.T) {
	l := newLab(t, withoutPings, func(s *setup) { s.opts.WebSocket.OutboundQueueSize, s.opts.WebSocket.OutboundQueueMessages = 64<<10, 3 })
	c := l.connect("/")
	id := uint64(c.conn.id)
	check(t, l.srv.SendTo(id, false, []byte("hellö")))
	check(t, l.srv.SendTo(id, true, []byte{0xFF}))
	check(t, l.srv.SendTo(id, false, nil))
	c.want("hellö", "\xFF", "")
	for name, tc := range map[string]struct {
		err, want error
	}{
		"to an id that there never was": {l.srv.SendTo(id+1, false, nil), ErrUnknownConn},
		"to an id whose slot is used":   {l.srv.SendTo(id+1<<32, false, nil), ErrUnknownConn},
		"of text that is not UTF-8":     {l.srv.SendTo(id, false, []byte{0xFF}), ErrNotUTF8},
		"larger than a queue":           {l.srv.SendTo(id, true, make([]byte, 64<<10)), ErrTooBig},
		"of a code that is not sent":    {l.srv.CloseConn(id, 1006, ""), ErrCloseCode},
		"of a code beyond all":          {l.srv.CloseConn(id, 1<<32+1000, ""), ErrCloseCode},
		"of a negative code":            {l.srv.CloseConn(id, -1, ""), ErrCloseCode},
		"with too long a reason":        {l.srv.CloseConn(id, 1000, strings.Repeat("x", 124)), ErrTooBig},
		"with a reason that is no text": {l.srv.CloseConn(id, 1000, "\xFF"), ErrNotUTF8},
		"of nobody":                     {l.srv.CloseConn(0, 1000, ""), ErrUnknownConn},
	} {
		if !errors.Is(tc.err, tc.want) {
			t.Errorf("%s: %v, want %v", name, tc.err, tc.want)
		}
	}
	c.stop(0)
	for range 3 {
		check(t, l.srv.SendTo(id, false, []byte("x")))
	}
	if err := l.srv.SendTo(id, false, []byte("one more")); !errors.Is(err, ErrQueueFull) {
		t.Errorf("a queue that is full takes a message: %v", err)
	}
	l.settle()
	c.open()
	l.settle()
	c.want("x", "x", "x") // and goes on
	check(t, l.srv.SendTo(id, false, []byte("last")))
	check(t, l.srv.CloseConn(id, 4001, "enough"))
	for _, err := range []error{l.srv.SendTo(id, false, nil), l.srv.CloseConn(id, 4002, "")} {
		if !errors.Is(err, ErrConnClosing) {
			t.Errorf("a connection that closes takes more: %v", err)
		}
	}
	l.settle()
	c.want("last")
	c.wantEnd(4001)
	if c.end.reason != "enough" {
		t.Errorf("the reason is %q", c.end.reason)
	}
	c.hangUp()
	l.settle()
	if n := l.srv.Stats().Closes["operator"]; n != 1 {
		t.Errorf("%d closes are the operator's, want 1", n)
	}
	l.close()
}

func TestASendFromOutsideComesBehindWhatAHandlerHasCommitted(t *testing.T) {
	l := newLab(t, withoutPings)
	c := l.connect("/?open=join+room")
	id := uint64(c.conn.id)
	c.inWrite = func() { // the replies are committed, and about to be written
		c.inWrite = nil
		check(t, l.srv.SendTo(id, false, []byte("sent")))
		_, err := l.srv.Publish("puppet", "room", false, []byte("published"))
		check(t, err)
		check(t, l.srv.CloseConn(id, 1000, ""))
	}
	c.write(frame(0x81, "echo 1") + frame(0x81, "echo 2"))
	l.settle()
	c.want("1", "2", "sent", "published")
	c.wantEnd(codeNormal)
	l.close()
}
