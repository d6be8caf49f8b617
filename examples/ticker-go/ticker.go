// Ticker sends each connection a tick in the rhythm it asks for, and all of them the time once a minute.
package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	weir "weir/guest-sdk/go"
)

// Timers have numbers, not functions: whichever instance is free serves them.
const (
	tick   = 1 // of a connection
	minute = 2 // of the module
)

func init() {
	weir.Handle(weir.Handler{Init: start, Open: open, Message: message, Timer: timer})
}

func start([]byte) error { return weir.Every(minute, time.Minute) }

func open(c weir.Conn) error { return errors.Join(c.Join("clock"), c.Every(tick, time.Second)) }

// message understands "every 250ms" and "stop".
func message(c weir.Conn, m weir.Message) error {
	switch word, rest, _ := strings.Cut(m.String(), " "); word {
	case "stop":
		return c.CancelTimer(tick)
	case "every":
		if d, err := time.ParseDuration(rest); err == nil && d >= 10*time.Millisecond {
			return c.Every(tick, d) // the same number: the rhythm changes
		}
	}
	return c.SendText(`say "every 250ms" (10ms or more) or "stop"`)
}

func timer(c weir.Conn, id int64) error {
	if id == minute {
		return weir.Publish("clock", weir.Text(weir.Now().UTC().Format("it is 15:04")))
	}
	n, _ := strconv.Atoi(string(c.State())) // the state is empty before the first tick
	n++
	return errors.Join(c.SetState([]byte(strconv.Itoa(n))), c.SendText("tick "+strconv.Itoa(n)))
}

func main() {}
