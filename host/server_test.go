package host

import (
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

func TestEcho(t *testing.T) {
	w := start(t)
	c := w.dial("/")
	c.say("echo hello")
	c.want("hello")
	for _, n := range []int{0, 1, 125, 126, 4096, 65535, 65536} {
		blob := strings.Repeat("b", n)
		check(t, c.ws.WriteMessage(websocket.BinaryMessage, []byte(blob)))
		kind, got, err := c.ws.ReadMessage()
		check(t, err)
		if kind != websocket.BinaryMessage || string(got) != blob {
			t.Fatalf("%d bytes came back as %d", n, len(got))
		}
	}
	check(t, c.ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "bye")))
	c.wantClose(1000)
}
