package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"weir/guest-sdk/weirtest"
)

// talker is a client of some library.
type talker interface {
	say(text string) error
	// hear is the next message, or how the connection ended.
	hear() string
	leave() error
}

// patience bounds what a client waits for; a test that waits so long has failed.
const patience = 20 * time.Second

type coderTalker struct{ conn *coder.Conn }

func dialCoder(url string) (talker, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := coder.Dial(ctx, url, nil)
	return coderTalker{conn}, err
}

func (c coderTalker) say(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.conn.Write(ctx, coder.MessageText, []byte(text))
}

func (c coderTalker) hear() string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, data, err := c.conn.Read(ctx)
	var end coder.CloseError
	switch {
	case errors.As(err, &end):
		return fmt.Sprintf("close %d %s", end.Code, end.Reason)
	case err != nil:
		return err.Error()
	case kind != coder.MessageText:
		return fmt.Sprintf("binary %x", data)
	}
	return string(data)
}

func (c coderTalker) leave() error { return c.conn.Close(coder.StatusNormalClosure, "") }

type gorillaTalker struct{ conn *gorilla.Conn }

func dialGorilla(url string) (talker, error) {
	conn, _, err := gorilla.DefaultDialer.Dial(url, nil)
	if err != nil {
		return nil, err
	}
	return gorillaTalker{conn}, conn.SetReadDeadline(time.Now().Add(patience))
}

func (c gorillaTalker) say(text string) error {
	return c.conn.WriteMessage(gorilla.TextMessage, []byte(text))
}

func (c gorillaTalker) hear() string {
	kind, data, err := c.conn.ReadMessage()
	var end *gorilla.CloseError
	switch {
	case errors.As(err, &end):
		return fmt.Sprintf("close %d %s", end.Code, end.Text)
	case err != nil:
		return err.Error()
	case kind != gorilla.TextMessage:
		return fmt.Sprintf("binary %x", data)
	}
	return string(data)
}

func (c gorillaTalker) leave() error {
	err := c.conn.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, ""))
	c.hear()
	return errors.Join(err, c.conn.Close())
}

// talk is a conversation in a room, with what each heard.
func talk(t *testing.T, url string, first, second func(url string) (talker, error)) string {
	t.Helper()
	var transcript strings.Builder
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ann, err := first(url + "/lobby?name=ann")
	must(err)
	heard := func(who talker) {
		name := "bob"
		if who == ann {
			name = "ann"
		}
		fmt.Fprintf(&transcript, "%s hears %s\n", name, who.hear())
	}
	heard(ann)
	bob, err := second(url + "/lobby?name=b%C3%B6b+%22x%22&name=other")
	must(err)
	heard(ann)
	heard(bob)
	for _, text := range []string{
		`{"type":"say","text":"hi"}`,
		` {"text":"a \"b\" \\ \/ \ud83d\ude00 <&> \t\n\r\b\f\u0001\u007f é ☺","more":[1,{}],"type":"say"} `,
		`{"type":"say","text":"` + strings.Repeat("ü", 4000) + `"}`,
	} {
		must(ann.say(text))
		heard(bob)
		must(bob.say(text))
		heard(ann)
	}
	must(bob.say(`{"type":"say","text":""}`))
	heard(bob)
	heard(ann)
	must(ann.leave())
	for _, path := range []string{"/lobby?name=" + strings.Repeat("z", 65), "/" + strings.Repeat("r", 255)} {
		eve, err := second(url + path)
		must(err)
		fmt.Fprintf(&transcript, "eve hears %s\n", eve.hear())
	}
	return transcript.String()
}

// TestTheChatIsTheSameInEveryLanguage has clients of two libraries talk on the real server.
func TestTheChatIsTheSameInEveryLanguage(t *testing.T) {
	transcripts := map[string]string{}
	for _, language := range languages {
		t.Run(language, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "chat.wasm")
			if err := os.WriteFile(file, buildAs(t, language, "../../examples/chat-"+language), 0o644); err != nil {
				t.Fatal(err)
			}
			url := weirtest.Serve(t, weirtest.Module(file))
			transcripts[language] = talk(t, url, dialCoder, dialGorilla)
			if other := talk(t, url, dialGorilla, dialCoder); other != transcripts[language] {
				t.Errorf("with the libraries the other way round it was\n%s\nand not\n%s", other, transcripts[language])
			}
		})
	}
	for _, language := range languages {
		want, ok := transcripts["go"]
		if got, played := transcripts[language]; ok && played && got != want {
			t.Errorf("%s:\n%s\ngo:\n%s", language, got, want)
		}
	}
}
