package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
)

// The module that the README serves, for clients that people use: text and
// binary, from nothing to the limit, whole and in fragments.
func TestRealClientsAreEchoed(t *testing.T) {
	const limit = 64 << 10
	s := serve(t, Env{}, "serve", "--listen", "127.0.0.1:0", "../../examples/echo-c/echo.wasm")
	for _, size := range []int{0, 1, 125, 126, 1000, limit - 1, limit} {
		message := []byte(strings.Repeat("weir ☂ ", size/9+1))[:size]
		for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
			if kind == websocket.TextMessage {
				message = bytes.ToValidUTF8(message, []byte("_")) // as long or shorter
				message = append(message, strings.Repeat("_", size-len(message))...)
			}
			for _, fragments := range []int{1, 3} {
				name := fmt.Sprintf("%d bytes of kind %d in %d", size, kind, fragments)
				t.Run("gorilla, "+name, func(t *testing.T) { gorillaEcho(t, s.url, kind, message, fragments) })
				t.Run("coder, "+name, func(t *testing.T) { coderEcho(t, s.url, kind, message, fragments) })
			}
		}
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d; it said\n%s", code, s.stderr)
	}
}

// pieces cuts p into n parts of about the same size.
func pieces(p []byte, n int) [][]byte {
	var all [][]byte
	for i := range n {
		all = append(all, p[len(p)*i/n:len(p)*(i+1)/n])
	}
	return all
}

func gorillaEcho(t *testing.T, url string, kind int, message []byte, fragments int) {
	// A message that is longer than the buffer leaves in fragments.
	dialer := websocket.Dialer{WriteBufferSize: max(len(message)/fragments, 1)}
	ws, _, err := dialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	w, err := ws.NextWriter(kind)
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range pieces(message, fragments) {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	gotKind, got, err := ws.ReadMessage()
	if err != nil || gotKind != kind || !bytes.Equal(got, message) {
		t.Fatalf("got %d bytes of kind %d, %v", len(got), gotKind, err)
	}
	if err := ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "bye"), time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, 1000) {
		t.Errorf("the close was answered with %v", err)
	}
}

func coderEcho(t *testing.T, url string, kind int, message []byte, fragments int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := coder.Dial(ctx, url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	ws.SetReadLimit(1 << 20)
	coderKind := coder.MessageText
	if kind == websocket.BinaryMessage {
		coderKind = coder.MessageBinary
	}
	if fragments == 1 {
		err = ws.Write(ctx, coderKind, message)
	} else {
		err = coderWrite(ctx, ws, coderKind, pieces(message, fragments))
	}
	if err != nil {
		t.Fatal(err)
	}
	gotKind, got, err := ws.Read(ctx)
	if err != nil || gotKind != coderKind || !bytes.Equal(got, message) {
		t.Fatalf("got %d bytes of kind %v, %v", len(got), gotKind, err)
	}
	if err := ws.Close(coder.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("the close was answered with %v", err)
	}
}

// coderWrite sends a frame a piece.
func coderWrite(ctx context.Context, ws *coder.Conn, kind coder.MessageType, pieces [][]byte) error {
	w, err := ws.Writer(ctx, kind)
	if err != nil {
		return err
	}
	for _, piece := range pieces {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return w.Close()
}
