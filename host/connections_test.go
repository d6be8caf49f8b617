package host

import (
	"net/netip"
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
