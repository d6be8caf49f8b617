package main

import (
	"strings"
	"testing"

	"weir/guest-sdk/go/weirtest"
)

// lobby starts a server with the demo's route.
func lobby(t *testing.T) *weirtest.Server {
	return weirtest.New(t, weirtest.Options{Route: "/chat/{room}"})
}

func TestAMessageReachesEveryoneButItsSender(t *testing.T) {
	server := lobby(t)
	ann := server.Open("/chat/lobby?name=ann")
	ann.WantText(`{"type":"joined","from":"ann","members":1}`)
	bob := server.Open("/chat/lobby?name=bob")
	ann.WantText(`{"type":"joined","from":"bob","members":2}`)
	bob.WantText(`{"type":"joined","from":"bob","members":2}`)

	ann.SendText(`{"type":"say","text":"hi \"bob\""}`)
	bob.WantText(`{"type":"say","from":"ann","text":"hi \"bob\""}`)
	ann.WantNothing()

	ann.Close(1000, "")
	bob.WantText(`{"type":"left","from":"ann","members":1}`)
	bob.WantNothing()
}

func TestRoomsAreApart(t *testing.T) {
	server := lobby(t)
	ann, eve := server.Open("/chat/lobby?name=ann"), server.Open("/chat/attic")
	ann.WantText(`{"type":"joined","from":"ann","members":1}`)
	eve.WantText(`{"type":"joined","from":"guest","members":1}`)
	ann.SendText(`{"type":"say","text":"hi"}`)
	eve.WantNothing()
}

func TestWhoBreaksTheProtocolIsClosed(t *testing.T) {
	for name, message := range map[string]string{
		"not JSON":       `hello`,
		"another type":   `{"type":"shout","text":"hi"}`,
		"no text":        `{"type":"say"}`,
		"too much text":  `{"type":"say","text":"` + strings.Repeat("x", 8001) + `"}`,
		"a text of 8000": `{"type":"say","text":"` + strings.Repeat("x", 8000) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			ann := lobby(t).Open("/chat/lobby")
			ann.SendText(message)
			if name == "a text of 8000" {
				ann.WantOpen()
			} else {
				ann.WantClosed(4400)
			}
		})
	}
}

func TestNobodyHearsOfWhoNeverJoined(t *testing.T) {
	server := lobby(t)
	bob := server.Open("/chat/lobby?name=bob")
	bob.WantText(`{"type":"joined","from":"bob","members":1}`)
	server.Open("/chat/lobby?name=" + strings.Repeat("x", 65)).WantClosed(4400)
	server.Open("/chat/" + strings.Repeat("x", 256)).WantClosed(4400)
	bob.WantNothing()
}
