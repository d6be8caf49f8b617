package main

import (
	"testing"
	"time"

	"weir/guest-sdk/go/weirtest"
)

func TestTicksComeEverySecond(t *testing.T) {
	server := weirtest.New(t, weirtest.Options{})
	ann := server.Open("/")
	server.Advance(999 * time.Millisecond)
	ann.WantNothing()
	server.Advance(2001 * time.Millisecond)
	ann.WantText("tick 1", "tick 2", "tick 3")
	ann.WantNothing()
}

func TestTheRhythmChanges(t *testing.T) {
	server := weirtest.New(t, weirtest.Options{})
	ann := server.Open("/")
	ann.SendText("every 250ms")
	server.Advance(500 * time.Millisecond)
	ann.WantText("tick 1", "tick 2")
	ann.SendText("stop")
	server.Advance(10 * time.Second)
	ann.WantNothing()
	ann.SendText("every 5ms")
	ann.WantText(`say "every 250ms" (10ms or more) or "stop"`)
}

func TestEverybodyHearsTheMinute(t *testing.T) {
	server := weirtest.New(t, weirtest.Options{Start: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)})
	ann, bob := server.Open("/"), server.Open("/")
	ann.SendText("stop")
	bob.SendText("stop")
	server.Advance(2 * time.Minute)
	ann.WantText("it is 12:01", "it is 12:02")
	bob.WantText("it is 12:01", "it is 12:02")
	bob.WantNothing()
}
