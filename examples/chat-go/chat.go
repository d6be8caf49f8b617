// Chat has rooms: whoever connects to the same path talks to each other. README.md documents the protocol.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"

	weir "weir/guest-sdk/go"
)

type line struct {
	Type    string `json:"type"` // joined, left, say
	From    string `json:"from"`
	Members int    `json:"members,omitempty"`
	Text    string `json:"text,omitempty"`
}

func init() { weir.Handle(weir.Handler{Open: open, Message: message, Close: left}) }

// room is the route's {room}, or the whole path where the route has none.
func room(c weir.Conn) string { return cmp.Or(c.Param("room"), c.Path()) }

func open(c weir.Conn) error {
	name := cmp.Or(c.Query("name"), "guest")
	if len(name) > 64 || c.Join(room(c)) != nil {
		return c.Close(4400, "bad name or room")
	}
	joined := line{Type: "joined", From: name, Members: weir.Count(room(c))}
	return errors.Join(c.SetState([]byte(name)), tell(c, joined, weir.None))
}

func message(c weir.Conn, m weir.Message) error {
	var in line
	if m.Kind != weir.KindText || json.Unmarshal(m.Data, &in) != nil ||
		in.Type != "say" || in.Text == "" || len(in.Text) > 8000 {
		return c.Close(4400, "not a chat message")
	}
	return tell(c, line{Type: "say", From: string(c.State()), Text: in.Text}, c)
}

func left(c weir.Conn, _ weir.Closed) error {
	name := string(c.State())
	if name == "" {
		return nil // it never joined
	}
	return tell(c, line{Type: "left", From: name, Members: weir.Count(room(c))}, weir.None)
}

// tell publishes a line to the room of c.
func tell(c weir.Conn, l line, except weir.Conn) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // pages do not put it into HTML
	if err := e.Encode(l); err != nil {
		return err
	}
	return weir.PublishExcept(room(c), weir.Text(bytes.TrimSpace(text.Bytes())), except)
}

func main() {}
