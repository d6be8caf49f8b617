package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	coder "github.com/coder/websocket"
)

// connectTo runs connect with this input, without a terminal.
func connectTo(t *testing.T, url, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return command(t, Env{Stdin: strings.NewReader(input)}, append([]string{"connect", url}, args...)...)
}

var offsets = regexp.MustCompile(` *\+[0-9]+\.[0-9]{3}s`)

// without replaces what differs from run to run.
func without(times string) string {
	times = offsets.ReplaceAllString(times, "+T")
	return regexp.MustCompile(`(after|in) [0-9.]+(ns|µs|ms|s)`).ReplaceAllString(times, "$1 D")
}

func TestConnectCompresses(t *testing.T) {
	for _, takeover := range []string{"false", "true"} {
		s := serve(t, Env{}, "serve", "--listen", "127.0.0.1:0", "--set", "websocket.compression=on", "--set", "websocket.deflate.context_takeover="+takeover,
			"--set", "websocket.deflate.threshold=100B", echoModule)
		long := strings.Repeat("hello ", 300)
		code, stdout, stderr := connectTo(t, s.url, long+"\n"+long+"\n", "--compress", "--wait", "1s", "-o", "ndjson")
		if code != 0 || strings.Count(stdout, long) != 2 {
			t.Errorf("exit code %d, printed %q, said %q", code, stdout, stderr)
		}
		if code := s.stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

func TestConnectToOurServer(t *testing.T) {
	s := serve(t, Env{}, "serve", "--listen", "127.0.0.1:0", echoModule)
	address := strings.TrimPrefix(s.url, "http://")
	code, stdout, stderr := connectTo(t, address,
		"hello\n\n/text /slash\n/text\n/json {\"a\": [1, 2]}\n/binary 00 ff41\n/ping\n/close 4001 bye\nnever sent\n")
	want := `+T text       5 B  hello
+T text       6 B  /slash
+T text       0 B
+T text      11 B  {"a":[1,2]}
+T binary     3 B  00 ff 41
+T pong after D
`
	got := without(stdout)
	if code != 0 || got != want {
		t.Errorf("exit code %d, printed\n%s\nwant\n%s", code, got, want)
	}
	wantSaid := "weir: connected to ws://" + address + "/ in D\nweir: closed 4001 (the application's own): bye\n"
	if got := without(stderr); got != wantSaid {
		t.Errorf("said\n%s\nwant\n%s", got, wantSaid)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestConnectEndsWhenNothingComes(t *testing.T) {
	url := peer(t, echoing)
	code, stdout, stderr := connectTo(t, url, "a\nb\n", "--wait", "20ms")
	if code != 0 || without(stdout) != "+T text       1 B  a\n+T text       1 B  b\n" || !strings.HasSuffix(stderr, "weir: closed 1000 (normal closure)\n") {
		t.Errorf("exit code %d, printed %q, said %q", code, stdout, stderr)
	}
}

func TestConnectWaitsForTheServerIfAsked(t *testing.T) {
	url := peer(t, func(ctx context.Context, ws *coder.Conn) {
		ws.Read(ctx)
		ws.Write(ctx, coder.MessageText, []byte("at last"))
	})
	code, stdout, _ := connectTo(t, url, "a\n", "--wait", "0")
	if code != 0 || without(stdout) != "+T text       7 B  at last\n" {
		t.Errorf("exit code %d, printed %q", code, stdout)
	}
}

func TestConnectShowsWhatTheServerSays(t *testing.T) {
	for _, tc := range []struct {
		name string
		kind coder.MessageType
		data string
		args []string
		want string
	}{
		{"control characters do not reach the terminal", coder.MessageText, "a\x1b[31m\nb", nil, `+T text       8 B  a\x1b[31m\nb` + "\n"},
		{"nor do bytes that are not UTF-8", coder.MessageText, "a\xffb", nil, `+T text       3 B  a\xffb` + "\n"},
		{"other languages are shown as they are", coder.MessageText, "日本 ☂", nil, "+T text      10 B  日本 ☂\n"},
		{"JSON is indented when wanted", coder.MessageText, `{"a":{"b":"c"}}`, []string{"--json"},
			"+T text      15 B\n          {\n            \"a\": {\n              \"b\": \"c\"\n            }\n          }\n"},
		{"what is not JSON is not", coder.MessageText, `{"a"`, []string{"--json"}, "+T text       4 B  {\"a\"\n"},
		{"a long binary message is cut", coder.MessageBinary, strings.Repeat("\x00", 300), nil,
			"+T binary   300 B " + strings.Repeat(" 00", maxHexBytes) + " … 44 more bytes (-o ndjson has all)\n"},
		{"a message of a megabyte is not cut", coder.MessageText, strings.Repeat("x", 1<<20), nil, "+T text   1.0 MiB  " + strings.Repeat("x", 1<<20) + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			url := peer(t, func(ctx context.Context, ws *coder.Conn) { ws.Write(ctx, tc.kind, []byte(tc.data)) })
			code, stdout, stderr := connectTo(t, url, "", append(tc.args, "--wait", "0")...)
			if got := without(stdout); code != 0 || got != tc.want {
				t.Errorf("exit code %d, printed\n%.400q\nwant\n%.400q\nand said %q", code, got, tc.want, stderr)
			}
		})
	}
}

func TestConnectNDJSON(t *testing.T) {
	url := peer(t, func(ctx context.Context, ws *coder.Conn) {
		ws.Write(ctx, coder.MessageText, []byte("<hi>"))
		ws.Write(ctx, coder.MessageBinary, []byte{0, 255})
		ws.Read(ctx)
		ws.Close(4000, "enough")
	})
	code, stdout, _ := connectTo(t, url, "/ping\nx\n", "-o", "ndjson", "--protocol", "chat.v1", "--protocol", "chat.v2", "--wait", "0")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	var got []map[string]any
	for line := range strings.Lines(stdout) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, key := range []string{"at", "handshake_ms", "rtt_ms"} {
			if _, there := event[key].(float64); there {
				delete(event, key)
			} else if key == "at" {
				t.Errorf("%q says no time", line)
			}
		}
		if event["event"] != "pong" { // it comes when it likes
			got = append(got, event)
		}
	}
	want := []map[string]any{
		{"event": "open", "url": url + "/", "protocol": "chat.v2"},
		{"event": "message", "kind": "text", "bytes": 4.0, "text": "<hi>"},
		{"event": "message", "kind": "binary", "bytes": 2.0, "hex": "00ff"},
		{"event": "close", "code": 4000.0, "name": "the application's own", "reason": "enough", "by": "server"},
	}
	if !reflect.DeepEqual(got, want) || !strings.Contains(stdout, `"event":"pong"`) || !strings.Contains(stdout, `"<hi>"`) {
		t.Errorf("printed\n%s", stdout)
	}
}

func TestHowAConnectionEnds(t *testing.T) {
	for _, tc := range []struct {
		name   string
		server func(ctx context.Context, ws *coder.Conn)
		code   int
		want   string // the last line
	}{
		{"the server closes normally", func(context.Context, *coder.Conn) {}, 0, "weir: closed 1000 (normal closure)"},
		{"it goes away", func(_ context.Context, ws *coder.Conn) { ws.Close(1001, "") }, 1, "weir: closed 1001 (going away); the server goes down"},
		{"its handler fails", func(_ context.Context, ws *coder.Conn) { ws.Close(1011, "oh\x07 no") }, 1,
			`weir: closed 1011 (internal error): oh\a no; the handler failed; the server's log says why`},
		{"it has a code of its own", func(_ context.Context, ws *coder.Conn) { ws.Close(4400, "bad name") }, 1, "weir: closed 4400 (the application's own): bad name"},
		{"it gives no code", func(_ context.Context, ws *coder.Conn) { ws.Close(1005, "") }, 0, "weir: closed 1005 (no code given)"},
		{"it drops the connection", func(_ context.Context, ws *coder.Conn) { ws.CloseNow() }, 1, "weir: closed 1006 (connection lost); it ended without a Close frame"},
		{"it sends more than anybody wants to hold", func(ctx context.Context, ws *coder.Conn) {
			w, _ := ws.Writer(ctx, coder.MessageBinary)
			piece := make([]byte, 1<<20)
			for range maxReceivedMessage>>20 + 1 {
				if _, err := w.Write(piece); err != nil {
					break
				}
			}
			w.Close()
		}, 1, "read limited at 67108865 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, stderr := connectTo(t, peer(t, tc.server), "", "--wait", "0")
			said := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
			if code != tc.code || !strings.Contains(said[len(said)-1], tc.want) {
				t.Errorf("exit code %d, said\n%s\nwant %d and %s", code, stderr, tc.code, tc.want)
			}
		})
	}
}

func TestConnectIsRefused(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/secret":
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case "/moved":
			http.Redirect(w, r, "/new", http.StatusFound)
		case "/half":
			w.WriteHeader(http.StatusSwitchingProtocols)
		default:
			http.Error(w, "origin\x1b[2J not allowed", http.StatusForbidden)
		}
	}))
	defer web.Close()
	s := serve(t, Env{}, "serve", "--listen", "127.0.0.1:0", "--set", "server.allowed_origins=https://good.example", echoModule)
	closed := httptest.NewServer(nil)
	closed.Close()

	for _, tc := range []struct {
		name, url string
		args      []string
		want      string
	}{
		{"with 401", web.URL + "/secret", nil, "/secret: the server answered 401 Unauthorized: who are you?; send what it asks for with --header"},
		{"with 403", web.URL + "/", nil, `the server answered 403 Forbidden: origin\x1b[2J not allowed; is it the origin?`},
		{"with another address", web.URL + "/moved", nil, "the server answered 302 Found to /new"},
		{"by what speaks no WebSocket", web.URL + "/half", nil, "what answers there does not speak WebSocket: WebSocket protocol violation"},
		{"by ours for its origin", s.url + "/", []string{"--origin", "https://evil.example"}, "the server answered 403 Forbidden"},
		{"by nobody", closed.URL, nil, "connection refused; nothing listens there (`weir serve` starts a server)"},
		{"for want of TLS", "wss" + strings.TrimPrefix(web.URL, "http"), nil, "it does not speak TLS; write ws:// instead of wss://"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := connectTo(t, tc.url, "", tc.args...)
			if code != 5 || stdout != "" || !strings.Contains(stderr, tc.want) || !strings.HasPrefix(stderr, "weir: ws") {
				t.Errorf("exit code %d, printed %q, said %q", code, stdout, stderr)
			}
		})
	}
	code, _, stderr := connectTo(t, s.url, "", "--origin", "https://good.example", "--wait", "1ms")
	if code != 0 {
		t.Errorf("an origin that is allowed: exit code %d, said %q", code, stderr)
	}
	s.stop()
}

func TestATLSServer(t *testing.T) {
	secure := httptest.NewUnstartedServer(peerHandler(t, echoing))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of clients that do not trust it
	secure.StartTLS()
	defer secure.Close()
	url := "wss" + strings.TrimPrefix(secure.URL, "https")
	code, _, stderr := connectTo(t, url, "")
	if code != 5 || !strings.Contains(stderr, "its certificate is not trusted: ") || !strings.Contains(stderr, "--insecure trusts any") {
		t.Errorf("exit code %d, said %q", code, stderr)
	}
	code, stdout, stderr := connectTo(t, url, "hi\n", "--insecure", "--wait", "20ms")
	if code != 0 || !strings.Contains(stdout, "hi") {
		t.Errorf("exit code %d, printed %q, said %q", code, stdout, stderr)
	}
}

func TestHeadersReachTheServer(t *testing.T) {
	got := make(chan http.Header, 1)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Host", r.Host)
		got <- r.Header
	}))
	defer web.Close()
	connectTo(t, web.URL, "", "-H", "X-A: 1", "-H", "x-a:2", "-H", "Host: example.com", "--origin", "https://a.example", "--protocol", "p1", "--protocol", "p2", "--compress")
	h := <-got
	if want := []string{"1", "2"}; !reflect.DeepEqual(h.Values("X-A"), want) || h.Get("Host") != "example.com" ||
		h.Get("Origin") != "https://a.example" || h.Get("Sec-Websocket-Protocol") != "p1,p2" ||
		!strings.HasPrefix(h.Get("Sec-Websocket-Extensions"), "permessage-deflate") {
		t.Errorf("got %v", h)
	}
}

func TestConnectRefusesWrongUsage(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no address", nil, "URL is missing; see `weir connect --help`"},
		{"another scheme", []string{"ftp://x"}, `weir: ftp://x: "ftp" is not a scheme of WebSockets; write ws:// or wss://`},
		{"no host", []string{"ws:///chat"}, "it names no host"},
		{"a port that is none", []string{"ws://a:x/"}, `invalid port ":x" after host`},
		{"a fragment", []string{"ws://a/#b"}, "has no #fragment"},
		{"a header without a colon", []string{"ws://a", "-H", "x"}, `--header "x": write it as 'Name: value'`},
		{"a header that would be two", []string{"ws://a", "-H", "x: a\r\nb: c"}, "write it as 'Name: value'"},
		{"a subprotocol with a space", []string{"ws://a", "--protocol", "a b"}, `--protocol "a b"`},
		{"a form that is none", []string{"ws://a", "-o", "xml"}, "-o xml: write text or ndjson"},
		{"a wait backwards", []string{"ws://a", "--wait", "-1s"}, "--wait -1s: give 0 or more"},
		{"no time", []string{"ws://a", "--timeout", "0"}, "--timeout 0s: give a duration above 0"},
		{"a mistyped flag", []string{"ws://a", "--orign", "x"}, `did you mean "--origin"?`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, stderr := command(t, Env{Stdin: strings.NewReader("")}, append([]string{"connect"}, tc.args...)...)
			if code != 2 || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit code %d, said %q", code, stderr)
			}
		})
	}
}

func TestAWrongLineEndsAScript(t *testing.T) {
	url := peer(t, deaf)
	for input, want := range map[string]string{
		"ok\n/jsno {}\n":                    `weir: line 2 of the input: unknown command "/jsno"; did you mean "/json"?`,
		"/json {\n":                         "weir: line 1 of the input: /json: unexpected end of JSON input",
		"/binary 0g\n":                      "/binary: encoding/hex: invalid byte",
		"/close 1006\n":                     `/close: "1006" is not a code to close with`,
		"\n\na\xff\n":                       "line 3 of the input: the line is not UTF-8",
		strings.Repeat("x", maxInputLine+1): "a line of the input is longer than 16.0 MiB",
	} {
		code, _, stderr := connectTo(t, url, input)
		if code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%.20q: exit code %d, said %q", input, code, stderr)
		}
	}
}

// terminal is connect with somebody who types.
type terminal struct {
	t              *testing.T
	keys           *io.PipeWriter
	signals        chan os.Signal
	stdout, stderr *lines
	code           chan int
}

func openTerminal(t *testing.T, url string) *terminal {
	stdin, keys := io.Pipe()
	term := &terminal{t, keys, make(chan os.Signal, 2), newLines(), newLines(), make(chan int, 1)}
	t.Cleanup(func() { keys.Close() })
	env := Env{Args: []string{"connect", url}, Stdin: stdin, StdinTerminal: true, Terminal: true, Stdout: term.stdout, Stderr: term.stderr, Signals: term.signals}
	go func() { term.code <- Run(context.Background(), env) }() // ends with the connection
	term.stderr.wait(t, "weir: connected to "+url)
	return term
}

func (term *terminal) typing(line string) { fmt.Fprintln(term.keys, line) }

func (term *terminal) ends(want int) {
	term.t.Helper()
	select {
	case code := <-term.code:
		if code != want {
			term.t.Errorf("exit code %d, want %d; said\n%s", code, want, term.stderr)
		}
	case <-time.After(patience):
		term.t.Fatal("it does not end")
	}
}

func TestATerminalGoesOnAfterMistakes(t *testing.T) {
	term := openTerminal(t, peer(t, echoing))
	term.stderr.wait(t, "/help lists the commands, Ctrl-D closes")
	term.typing("/help")
	term.stderr.wait(t, "/binary 00ff")
	term.typing("/json nope")
	term.stderr.wait(t, "weir: /json: invalid character")
	term.typing("hello")
	term.stdout.wait(t, "hello")
	term.keys.Close() // Ctrl-D
	term.ends(0)
	term.stderr.wait(t, "weir: closed 1000 (normal closure)")
}

func TestASignalClosesAConnectionInOrder(t *testing.T) {
	got := make(chan coder.StatusCode, 1)
	term := openTerminal(t, peer(t, func(ctx context.Context, ws *coder.Conn) {
		_, _, err := ws.Read(ctx)
		got <- coder.CloseStatus(err)
	}))
	term.signals <- syscall.SIGINT
	term.ends(0)
	if code := <-got; code != coder.StatusNormalClosure {
		t.Errorf("the server saw %v", code)
	}
}

// A server that reads nothing never answers the Close frame.
func TestASecondSignalDoesNotWaitForTheServer(t *testing.T) {
	over := make(chan struct{})
	term := openTerminal(t, peer(t, func(_ context.Context, ws *coder.Conn) {
		<-over
		ws.CloseNow()
	}))
	term.signals <- syscall.SIGINT
	term.signals <- syscall.SIGINT
	term.ends(1)
	close(over)
}

func TestPingsOfTheServerAreShown(t *testing.T) {
	url := peer(t, func(ctx context.Context, ws *coder.Conn) {
		ctx = ws.CloseRead(ctx) // reads the pong
		ws.Ping(ctx)
	})
	code, stdout, _ := connectTo(t, url, "", "--wait", "0")
	if code != 0 || without(stdout) != "+T ping       1 B  31\n" {
		t.Errorf("exit code %d, printed %q", code, stdout)
	}
}

func TestParseURL(t *testing.T) {
	for address, want := range map[string]string{
		"ws://a":             "ws://a/",
		"a:80/x?y=z":         "ws://a:80/x?y=z",
		":8080":              "ws://localhost:8080/",
		"http://a/b":         "ws://a/b",
		"HTTPS://a":          "wss://a/",
		"ws://[::1]:80/ä":    "ws://[::1]:80/%C3%A4",
		"wss://u:p@a/?x=a:b": "wss://u:p@a/?x=a:b",
	} {
		if got, err := parseURL(address); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", address, got, err, want)
		}
	}
}

// No line makes a message that a server must refuse.
func FuzzParseInput(f *testing.F) {
	for _, line := range []string{"", "hello", "/text /x", `/json {"a":1}`, "/binary 00 ff", "/ping", "/close 4000 bye", "/close", "/help", "/", "/\xff", "a\xff"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		a, err := parseInput(line)
		switch {
		case err != nil:
			if err.Error() == "" {
				t.Error("an error says nothing")
			}
		case a.kind == sendText:
			if !json.Valid(a.data) && strings.HasPrefix(line, "/json ") {
				t.Errorf("%q sends %q", line, a.data)
			}
			if strings.ToValidUTF8(string(a.data), "") != string(a.data) {
				t.Errorf("%q sends text that is not UTF-8", line)
			}
		case a.kind == sendClose:
			if !mayClose(a.code) || len(a.reason) > maxReasonBytes {
				t.Errorf("%q closes with %d %q", line, a.code, a.reason)
			}
		}
	})
}
