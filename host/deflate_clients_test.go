package host

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
)

// TestIndependentClientsCompress lets other implementations talk to the server,
// without takeover, and with it where they know it.
func TestIndependentClientsCompress(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprint("takeover ", keep), func(t *testing.T) {
			w := start(t, withEcho, deflateOn(keepingIf(keep), window(15), func(o *DeflateOptions) { o.Threshold = 20 }))
			url := "ws://" + w.addr + "/"
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			clients := map[string]func(kind int, text string) string{}

			if !keep { // gorilla offers no takeover, and takes no answer without both parameters
				g, _, err := (&websocket.Dialer{EnableCompression: true}).Dial(url, nil)
				check(t, err)
				defer g.Close()
				clients["gorilla"] = func(kind int, text string) string {
					check(t, g.WriteMessage(kind, []byte(text)))
					_, p, err := g.ReadMessage()
					check(t, err)
					return string(p)
				}
			}
			for name, mode := range map[string]coder.CompressionMode{"coder": coder.CompressionNoContextTakeover, "coder with takeover": coder.CompressionContextTakeover} {
				c, _, err := coder.Dial(ctx, url, &coder.DialOptions{CompressionMode: mode, CompressionThreshold: 30})
				check(t, err)
				defer c.CloseNow()
				c.SetReadLimit(-1)
				clients[name] = func(kind int, text string) string {
					check(t, c.Write(ctx, coder.MessageType(kind), []byte(text)))
					_, p, err := c.Read(ctx)
					check(t, err)
					return string(p)
				}
			}
			for name, echo := range clients {
				before := w.srv.Stats().Deflate
				for i, size := range []int{0, 1, 19, 20, 29, 30, 127, 128, 500, 1000, 1000, 1000, 4096, 20_000, 65_536, 300, 300} {
					text := document(size, uint64(i%3))
					if got := echo(1+i%2, text); got != text {
						t.Fatalf("%s: %d bytes came back as %d", name, size, len(got))
					}
				}
				text := strings.Repeat("aé漢𝄞", 300)
				if got := echo(websocket.TextMessage, text); got != text {
					t.Fatalf("%s: text came back as %q", name, got)
				}
				st := w.srv.Stats().Deflate
				in, inWire, out, outWire := st.ReceivedPlain-before.ReceivedPlain, st.ReceivedWire-before.ReceivedWire, st.SentPlain-before.SentPlain, st.SentWire-before.SentWire
				if inWire == 0 || inWire > in/2 || outWire == 0 || outWire > out/2 {
					t.Errorf("%s: %d bytes came as %d, %d went as %d", name, in, inWire, out, outWire)
				}
			}
		})
	}
}

// TestAutobahnCompression has the shape of groups 12 and 13 of the Autobahn
// suite: sizes, fragments and offers, with fewer messages each.
func TestAutobahnCompression(t *testing.T) {
	l := newLab(t, withEcho, deflateOn(keeping, window(15)), func(s *setup) {
		s.opts.WebSocket.MaxMessageSize, s.opts.WebSocket.OutboundQueueSize, s.opts.WebSocket.MaxFragments = 1<<20, 2<<20, 600
	})
	offers := []string{ // of 13.1 to 13.7; the last two are lists
		plainOffer,
		plainOffer + "; server_no_context_takeover; client_no_context_takeover",
		plainOffer + "; server_max_window_bits=9",
		plainOffer + "; server_max_window_bits=15",
		plainOffer + "; server_no_context_takeover; server_max_window_bits=9",
		plainOffer + "; server_no_context_takeover; server_max_window_bits=15",
		plainOffer + "; server_no_context_takeover; server_max_window_bits=9, " + plainOffer + "; server_no_context_takeover, " + plainOffer,
	}
	for i, offer := range slices.Concat([]string{plainOffer}, offers) {
		group := fmt.Sprintf("13.%d", i)
		if i == 0 {
			group = "12"
		}
		for j, of := range []struct{ size, fragment int }{
			{16, 0}, {64, 0}, {256, 0}, {1024, 0}, {4096, 0}, {8192, 0}, {16384, 0}, {32768, 0}, {65536, 0}, {131072, 0},
			{8192, 256}, {16384, 256}, {32768, 256}, {65536, 256}, {131072, 256}, {8192, 1024}, {16384, 1024}, {131072, 4096}, {131072, 32768},
		} {
			t.Run(fmt.Sprintf("%s.%d/%d bytes in frames of %d", group, j+1, of.size, of.fragment), func(t *testing.T) {
				z := l.zip("/", offer)
				if z.response == "" {
					t.Fatal("the offer was declined")
				}
				first := byte(0xC1)
				text := document
				if j%3 == 1 { // binary, hard to compress
					first, text = 0xC2, func(n int, _ uint64) string { return noise(n) }
				}
				for k := range 4 {
					message := text(of.size, uint64(k%2))
					packed := z.pack(message)
					if of.fragment == 0 {
						z.write(frame(first, packed))
					} else {
						z.write(fragmentsOf(first&^0x80, pieces(packed, of.fragment)...))
					}
					l.settle()
					z.wantTexts(message)
				}
				z.leaveZipped()
			})
		}
	}
	l.close()
}
