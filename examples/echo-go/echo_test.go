package main

import (
	"testing"

	"weir/guest-sdk/go/weirtest"
)

func TestMessagesComeBack(t *testing.T) {
	ann := weirtest.New(t, weirtest.Options{}).Open("/")
	ann.SendText("hello")
	ann.SendBinary([]byte{1, 2, 3})
	ann.WantText("hello")
	ann.WantBinary([]byte{1, 2, 3})
	ann.WantNothing()
}
