// Parses a small JSON message, changes it, and answers.
package main

import (
	"strconv"

	weir "weir/guest-sdk/go"
	"weir/guest-sdk/go/weirjson"
)

type move struct {
	kind, player string
	id           int64
	x, y, tags   []byte // as they are
}

var reply []byte // used again for each

func init() { weir.Handle(weir.Handler{Message: message}) }

func message(c weir.Conn, m weir.Message) error {
	var in move
	err := weirjson.Read(m.Data, weirjson.String("type", &in.kind), weirjson.Int("id", &in.id), weirjson.String("player", &in.player),
		weirjson.Raw("x", &in.x), weirjson.Raw("y", &in.y), weirjson.Raw("tags", &in.tags))
	if m.Kind != weir.KindText || err != nil || in.kind != "move" || in.x == nil || in.y == nil || in.tags == nil {
		return c.Close(4400, "not a move")
	}
	reply = append(reply[:0], `{"type":"moved","id":`...)
	reply = strconv.AppendInt(reply, in.id+1, 10)
	reply = weirjson.AppendString(append(reply, `,"player":`...), in.player)
	reply = append(append(reply, `,"x":`...), in.x...)
	reply = append(append(reply, `,"y":`...), in.y...)
	reply = append(append(reply, `,"tags":`...), in.tags...)
	return c.Send(weir.Text(append(reply, '}')))
}

func main() {}
