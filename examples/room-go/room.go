// Room is a game room as an actor: one instance for each room, whose players stand in a plain Go map, and a clock that
// tells all of them where everybody is, ten times a second while somebody moves.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	weir "weir/guest-sdk/go"
)

const (
	tick     = 1 // the room's timer
	size     = 100
	perTick  = 4 // steps that a player may take between two ticks
	maxNames = 64
)

// player is one connection.
type player struct {
	Name  string `json:"name"`
	X     int    `json:"x"`
	Y     int    `json:"y"`
	steps int    // since the last tick
}

// room is what this instance is for. Nobody else has it, and one event comes at a time: no locks.
var room = struct {
	Players map[weir.Conn]*player `json:"players"`
	Ticks   int                   `json:"ticks"`
	moved   bool
}{Players: map[weir.Conn]*player{}}

func init() {
	weir.Handle(weir.Handler{Open: enter, Message: move, Close: leave, Timer: tell, Save: save, Restore: restore})
}

func enter(c weir.Conn) error {
	name := cmp.Or(c.Query("name"), "guest")
	if len(name) > maxNames {
		return c.Close(4400, "the name is too long")
	}
	if len(room.Players) == 0 {
		if err := weir.Every(tick, 100*time.Millisecond); err != nil {
			return err
		}
	}
	room.Players[c] = &player{Name: name, X: size / 2, Y: size / 2}
	room.moved = true
	return c.Join(weir.Key())
}

// move understands {"dx":1,"dy":0}: one step in each direction at most.
func move(c weir.Conn, m weir.Message) error {
	var step struct{ DX, DY int }
	p := room.Players[c]
	if p == nil || json.Unmarshal(m.Data, &step) != nil || max(step.DX, step.DY) > 1 || min(step.DX, step.DY) < -1 {
		return c.Close(4400, "not a step")
	}
	if p.steps++; p.steps > perTick {
		return nil // too fast: it stays where it is
	}
	p.X, p.Y = min(max(p.X+step.DX, 0), size), min(max(p.Y+step.DY, 0), size)
	room.moved = true
	return nil
}

func leave(c weir.Conn, _ weir.Closed) error {
	delete(room.Players, c)
	room.moved = true
	return nil
}

// tell is the tick. The clock of an empty room stops, so that the room can end.
func tell(weir.Conn, int64) error {
	room.Ticks++
	if len(room.Players) == 0 {
		return weir.CancelTimer(tick)
	}
	if !room.moved {
		return nil
	}
	room.moved = false
	list := make([]player, 0, len(room.Players))
	for _, c := range slices.Sorted(maps.Keys(room.Players)) { // a map's own order changes
		room.Players[c].steps = 0
		list = append(list, *room.Players[c])
	}
	text, err := json.Marshal(map[string]any{"tick": room.Ticks, "players": list})
	return errors.Join(err, weir.Publish(weir.Key(), weir.Text(text)))
}

// save and restore take the room to the next version of this code. Connections keep their numbers; the timer is the
// room's, and goes on.
func save() ([]byte, error) { return json.Marshal(room) }

func restore(state []byte, _ uint64) error {
	room.moved = true
	return json.Unmarshal(state, &room)
}

func main() {}
