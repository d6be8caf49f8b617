package main

import (
	"testing"
	"time"

	weir "weir/guest-sdk/go"
	"weir/guest-sdk/go/weirtest"
)

// forget is what happens to an instance's memory when another takes over.
func forget() {
	room.Players, room.Ticks, room.moved = map[weir.Conn]*player{}, 0, false
}

func newRoom(t *testing.T) *weirtest.Server {
	forget()
	return weirtest.New(t, weirtest.Options{Route: "/room/{room}", Key: "lobby"})
}

func TestPlayersSeeEachOtherMove(t *testing.T) {
	server := newRoom(t)
	ann, bob := server.Open("/room/lobby?name=ann"), server.Open("/room/lobby?name=bob")
	ann.SendText(`{"dx":1,"dy":-1}`)
	ann.SendText(`{"dx":1,"dy":0}`)
	ann.WantNothing() // until the tick
	server.Advance(100 * time.Millisecond)
	const where = `{"players":[{"name":"ann","x":52,"y":49},{"name":"bob","x":50,"y":50}],"tick":1}`
	ann.WantText(where)
	bob.WantText(where)
	server.Advance(time.Second)
	bob.WantNothing() // nobody has moved
}

func TestNobodyRunsFasterThanTheClock(t *testing.T) {
	server := newRoom(t)
	ann := server.Open("/room/lobby?name=ann")
	for range 3 * perTick {
		ann.SendText(`{"dx":1}`)
	}
	server.Advance(100 * time.Millisecond)
	ann.WantText(`{"players":[{"name":"ann","x":54,"y":50}],"tick":1}`)
}

func TestTheRoomHasWalls(t *testing.T) {
	server := newRoom(t)
	ann := server.Open("/room/lobby?name=ann")
	for range size {
		ann.SendText(`{"dx":-1}`)
		server.Advance(100 * time.Millisecond)
		ann.Receive()
	}
	if x := room.Players[ann.Conn()].X; x != 0 {
		t.Errorf("she stands at %d", x)
	}
}

func TestWhatIsNoStepClosesTheConnection(t *testing.T) {
	for _, text := range []string{"north", `{"dx":2}`, `{"dy":-7}`} {
		server := newRoom(t)
		ann := server.Open("/room/lobby")
		ann.SendText(text)
		ann.WantClosed(4400)
	}
}

func TestTheClockOfAnEmptyRoomStops(t *testing.T) {
	server := newRoom(t)
	ann := server.Open("/room/lobby")
	server.Advance(time.Second)
	ticks := room.Ticks
	ann.Close(1000, "")
	server.Advance(time.Minute)
	if room.Ticks != ticks+1 {
		t.Errorf("it ticked %d times for nobody", room.Ticks-ticks)
	}
}

func TestTheRoomOutlivesItsCode(t *testing.T) {
	server := newRoom(t)
	ann := server.Open("/room/lobby?name=ann")
	ann.SendText(`{"dx":1,"dy":1}`)
	if !server.Replace(forget) {
		t.Fatal("the new version does not take over")
	}
	server.Advance(100 * time.Millisecond)
	ann.WantText(`{"players":[{"name":"ann","x":51,"y":51}],"tick":1}`)
}
