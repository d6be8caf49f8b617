// Parses a small JSON message, changes it, and answers.
package main

import (
	"encoding/json"

	weir "weir/guest-sdk/go"
)

type move struct {
	Type   string      `json:"type"`
	ID     int64       `json:"id"`
	Player string      `json:"player"`
	X      json.Number `json:"x"`
	Y      json.Number `json:"y"`
	Tags   []string    `json:"tags"`
}

func init() {
	weir.Handle(weir.Handler{Message: func(c weir.Conn, m weir.Message) error {
		var in move
		if m.Kind != weir.KindText || json.Unmarshal(m.Data, &in) != nil || in.Type != "move" || in.Tags == nil {
			return c.Close(4400, "not a move")
		}
		in.Type = "moved"
		in.ID++
		out, err := json.Marshal(in)
		if err != nil {
			return err
		}
		return c.Send(weir.Text(out))
	}})
}

func main() {}
