package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/gorilla/websocket"

	"weir/internal/admin"
	"weir/internal/config"
)

const chatModule = "demo/chat.wasm"

// operated is a server with an admin API, and the folder that its operator is in.
type operated struct {
	*server
	folder string
	env    Env // of the clients
}

// operate serves a chat whose admin API is on a unix socket. more stands at the end
// of its configuration.
func operate(t *testing.T, more string) *operated {
	t.Helper()
	o := &operated{folder: t.TempDir(), env: realEnv()}
	o.env.CacheDir = t.TempDir()
	wasm, err := os.ReadFile(chatModule)
	must(t, err)
	write(t, filepath.Join(o.folder, "chat.wasm"), wasm)
	socket, err := os.MkdirTemp("", "weir") // t.TempDir is too long for a socket's name
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(socket) })
	write(t, o.config(), []byte("admin: {listen: \"unix:"+socket+"/admin.sock\"}\nmodules: {chat: {path: chat.wasm, capabilities: [topics]}}\n"+
		"routes: [{path: \"/chat/{room}\", module: chat}]\n"+more))
	o.server = serve(t, o.env, "serve", "-c", o.config(), "--listen", "127.0.0.1:0")
	o.stderr.wait(t, "the admin API is served")
	return o
}

func (o *operated) config() string { return filepath.Join(o.folder, "weir.yaml") }

// run runs a command as the operator does, in the folder of the server.
func (o *operated) run(args ...string) (code int, stdout, stderr string) {
	o.t.Helper()
	return command(o.t, o.env, append(args, "-c", o.config())...)
}

// ok is run for what must succeed.
func (o *operated) ok(args ...string) (stdout string) {
	o.t.Helper()
	code, stdout, stderr := o.run(args...)
	if code != 0 {
		o.t.Fatalf("weir %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// begin runs a command that goes on until it is stopped.
func (o *operated) begin(args ...string) *server {
	o.t.Helper()
	s := &server{t: o.t, signals: make(chan os.Signal, 2), code: make(chan int, 1), stderr: newLines(), stdout: newLines()}
	env := o.env
	env.Args, env.Signals, env.Stdout, env.Stderr = append(args, "-c", o.config()), s.signals, s.stdout, s.stderr
	go func() { s.code <- Run(context.Background(), env) }() // ends with stop
	s.stderr.wait(o.t, "Ctrl-C ends it")
	return s
}

// prints fails unless text is these lines; … is anything, spaces are as many as one.
func prints(t *testing.T, what, text string, want ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	same := len(lines) == len(want)
	for i := range min(len(lines), len(want)) {
		same = same && lineThatIs(want[i]).MatchString(strings.Join(strings.Fields(lines[i]), " "))
	}
	if !same {
		t.Errorf("%s prints\n%s\nwant\n%s", what, text, strings.Join(want, "\n"))
	}
}

// Every command, against a server with real sockets, in each of its forms.
func TestEveryCommandOfAnOperator(t *testing.T) {
	o := operate(t, "")
	ann := o.dial("/chat/lobby?name=ann")
	hears(t, ann, `{"type":"joined","from":"ann","members":1}`)
	bob := o.dial("/chat/lobby?name=bob")
	hears(t, bob, `{"type":"joined","from":"bob","members":2}`)
	hears(t, ann, `{"type":"joined","from":"bob","members":2}`)
	var conns struct {
		Connections []struct {
			ID   string `json:"id"`
			Path string `json:"path"`
		} `json:"connections"`
		Next *string `json:"next"`
	}
	must(t, json.Unmarshal([]byte(o.ok("conn", "list", "-o", "json")), &conns))
	if len(conns.Connections) != 2 || conns.Next == nil {
		t.Fatalf("got %+v", conns)
	}
	first, second := conns.Connections[0].ID, conns.Connections[1].ID
	broken, file := filepath.Join(o.folder, "broken.wasm"), filepath.Join(o.folder, "chat.wasm")
	write(t, broken, []byte("not a module"))
	write(t, filepath.Join(o.folder, "bytes"), []byte{0, 255})

	for _, tc := range []struct {
		args []string
		want []string // of text
		keys []string // that an object of JSON has at its top
		list string   // the key of the document that has the items of ndjson; empty: it is the item
	}{
		{[]string{"status"}, []string{"state ready", "version …", "process …, up …", "listens on 127.0.0.1:…", "connections 2", "modules chat", "configuration as it was at the start"},
			[]string{"version", "pid", "started_at", "uptime_seconds", "ready", "draining", "listen", "connections", "modules", "config"}, ""},
		{[]string{"module", "list"}, []string{"MODULE GENERATION DIGEST CONNECTIONS STATE ROUTES", "chat 1 … 2 serving /chat/{room}"}, []string{"modules"}, "modules"},
		{[]string{"module", "inspect", "chat"}, []string{"module chat", "file …chat.wasm", "generation 1", "digest …", "state serving", "connections 2", "routes /chat/{room}", "capabilities topics", "traps 0",
			"", "GENERATION DIGEST FATE LOADED SHARE BUSY CELLS EVENTS TRAPS WHY", "1 … current …"}, []string{"name", "generation", "generations", "canary", "last_refusal"}, ""},
		{[]string{"conn", "list"}, []string{"CONN MODULE GENERATION REMOTE PATH QUEUED TOPICS", first + " chat 1 127.0.0.1:… /chat/lobby?name=ann 0 B lobby", second + " chat 1 127.0.0.1:… /chat/lobby?name=bob 0 B lobby"},
			[]string{"connections", "next"}, "connections"},
		{[]string{"conn", "list", "--module", "chat", "--route", "/chat/{room}", "--topic", "lobby", "--remote", "127.0.0.0/8", "--limit", "1"},
			[]string{"CONN …", first + " …"}, []string{"connections", "next"}, "connections"},
		{[]string{"conn", "list", "--topic", "nowhere"}, []string{""}, []string{"connections"}, "connections"},
		{[]string{"conn", "inspect", first}, []string{"connection " + first, "module chat", "generation 1", "route /chat/{room}", "path /chat/lobby?name=ann", "protocol -", "remote 127.0.0.1:…", "key -", "topics lobby", "state 3 B", "queued 0 B…", "…"},
			[]string{"id", "module", "topics", "state_bytes"}, ""},
		{[]string{"conn", "send", first, "one"}, []string{"sent to connection " + first}, []string{"id", "sent"}, ""},
		{[]string{"topic", "list"}, []string{"MODULE TOPIC MEMBERS", "chat lobby 2"}, []string{"topics", "next"}, "topics"},
		{[]string{"topic", "list", "--module", "chat", "--prefix", "x"}, []string{""}, []string{"topics"}, "topics"},
		{[]string{"topic", "members", "chat", "lobby"}, []string{first, second}, []string{"members", "next"}, "members"},
		{[]string{"topic", "publish", "chat", "lobby", "all"}, []string{"sent to 2 subscribers"}, []string{"receivers"}, ""},
		{[]string{"topic", "send", "chat", "nowhere", "all"}, []string{"sent to 0 subscribers"}, []string{"receivers"}, ""},
		{[]string{"module", "pause", "chat"}, []string{"chat: generation … (…), paused"}, []string{"name", "paused"}, ""},
		{[]string{"module", "resume", "chat"}, []string{"chat: generation … (…), serving"}, []string{"name", "paused"}, ""},
		{[]string{"config", "reload"}, []string{"nothing has changed"}, []string{"time", "count", "refused"}, ""},
		{[]string{"module", "deploy", "chat", file}, []string{"chat: generation … (…) serves · load … · swap …"}, []string{"generation", "digest", "load_ms", "swap_ms", "persisted", "canary"}, ""},
		{[]string{"module", "deploy", "chat", file, "--persist"}, []string{"chat: generation … (…) serves · load … · swap …"}, []string{"generation", "persisted"}, ""},
		{[]string{"module", "rollback", "chat"}, []string{"chat: generation … (…), serving"}, []string{"name", "generation"}, ""},
	} {
		name := strings.Join(tc.args, " ")
		if tc.args[1%len(tc.args)] == "rollback" { // needs something to take back
			o.ok("module", "deploy", "chat", file)
		}
		prints(t, name, o.ok(tc.args...), tc.want...)
		var document map[string]json.RawMessage
		if tc.args[1%len(tc.args)] == "rollback" {
			o.ok("module", "deploy", "chat", file)
		}
		if err := json.Unmarshal([]byte(o.ok(append(tc.args, "-o", "json")...)), &document); err != nil {
			t.Errorf("%s -o json: %v", name, err)
		}
		for _, key := range tc.keys {
			if _, ok := document[key]; !ok {
				t.Errorf("%s -o json has no %q", name, key)
			}
		}
		if tc.args[1%len(tc.args)] == "rollback" {
			o.ok("module", "deploy", "chat", file)
		}
		lines := o.ok(append(tc.args, "-o", "ndjson")...)
		items := []json.RawMessage{nil}
		if tc.list != "" {
			must(t, json.Unmarshal(document[tc.list], &items))
		}
		if strings.Count(lines, "\n") != len(items) {
			t.Errorf("%s -o ndjson prints\n%s\nwant %d lines", name, lines, len(items))
		}
		for line := range strings.Lines(lines) {
			if json.Unmarshal([]byte(line), &document) != nil {
				t.Errorf("%s -o ndjson prints the line %q", name, line)
			}
		}
	}

	for range 3 {
		hears(t, ann, "one")
	}
	for range 3 {
		hears(t, ann, "all")
		hears(t, bob, "all")
	}
	o.ok("conn", "send", "#"+second, "--binary", filepath.Join(o.folder, "bytes"))
	if kind, got, err := bob.ReadMessage(); kind != websocket.BinaryMessage || !bytes.Equal(got, []byte{0, 255}) {
		t.Errorf("got %d %q, %v", kind, got, err)
	}
	o.env.Stdin = strings.NewReader("typed")
	o.ok("topic", "publish", "chat", "lobby", "--binary", "-")
	if kind, got, err := bob.ReadMessage(); kind != websocket.BinaryMessage || string(got) != "typed" {
		t.Errorf("got %d %q, %v", kind, got, err)
	}

	yaml := o.ok("config", "show", "--running")
	if !strings.Contains(yaml, "\nmodules:\n  chat:\n") || !strings.Contains(yaml, "path: \"/chat/{room}\"") {
		t.Errorf("the running configuration is\n%s", yaml)
	}
	prints(t, "config show --running log", o.ok("config", "show", "--running", "log"), "log:", "format: auto", "level: info")
	var level string
	if err := json.Unmarshal([]byte(o.ok("config", "show", "--running", "log.level", "-o", "json")), &level); err != nil || level != "info" {
		t.Errorf("got %q, %v", level, err)
	}

	if line := o.ok("config", "show", "--running", "log", "-o", "ndjson"); line != `{"format":"auto","level":"info"}`+"\n" {
		t.Errorf("ndjson is %q", line)
	}

	prints(t, "conn close", o.ok("conn", "close", second, "--code", "4403", "--reason", "banned"), "closing connection "+second+" with 4403 (the application's own)")
	for {
		_, _, err := bob.ReadMessage()
		if err == nil {
			continue
		}
		if closed, ok := err.(*websocket.CloseError); !ok || closed.Code != 4403 || closed.Text != "banned" {
			t.Errorf("it ended with %v", err)
		}
		break
	}
	ann.Close()
	o.stopped()
}

func TestACanaryOfAnOperator(t *testing.T) {
	o := operate(t, "")
	file := filepath.Join(o.folder, "chat.wasm")
	code, stdout, stderr := o.run("module", "deploy", "chat", file, "--canary", "10", "--if-generation", "1")
	if code != 0 || !strings.Contains(stderr, "`weir module promote chat`") {
		t.Fatalf("exit code %d, said %s", code, stderr)
	}
	prints(t, "deploy --canary", stdout, "chat: generation 2 (…) is a canary · load … · swap …")
	prints(t, "canary", o.ok("module", "canary", "chat", "50%"), "chat: generation 1 (…), canary 2 at 50 %")
	prints(t, "list", o.ok("module", "list"), "MODULE …", "chat 1 … 0 canary 2 at 50 % /chat/{room}")
	if code, _, stderr := o.run("module", "canary", "chat", "20"); code != 4 || !strings.Contains(stderr, "canary chat: refused by the server") {
		t.Errorf("a share that shrinks: exit code %d, said %q", code, stderr)
	}
	prints(t, "promote", o.ok("module", "promote", "chat", "--persist"), "chat: generation 2 (…), serving")
	if code, _, stderr := o.run("module", "promote", "chat"); code != 4 || !strings.Contains(stderr, "--canary PERCENT") {
		t.Errorf("nothing to promote: exit code %d, said %q", code, stderr)
	}
	o.ok("module", "deploy", "chat", file, "--canary", "10")
	prints(t, "rollback", o.ok("module", "rollback", "chat"), "chat: generation … (…), serving")
	if text := o.ok("module", "inspect", "chat"); !strings.Contains(text, "rolled back") {
		t.Errorf("inspect prints\n%s", text)
	}
	o.stopped()
}

func TestWhatAnOperatorIsRefused(t *testing.T) {
	o := operate(t, "")
	broken := filepath.Join(o.folder, "broken.wasm")
	write(t, broken, []byte("not a module"))
	wrong := filepath.Join(o.folder, "wrong")
	write(t, wrong, []byte("this is not the token of that server\n"))
	file := filepath.Join(o.folder, "chat.wasm")
	for _, tc := range []struct {
		name string
		args []string
		code int
		want []string // parts of what is said
	}{
		{"a wrong token", []string{"status", "--token-file", wrong}, 5, []string{"status: not taken by the server at unix:", "the token is that of " + wrong}},
		{"a module that is none", []string{"module", "deploy", "chat", broken}, 4, []string{"deploy chat: refused by the server", "not a WebAssembly module", "the generation that served goes on serving"}},
		{"a module that is mistyped", []string{"module", "inspect", "caht"}, 4, []string{`inspect caht: refused by the server`, `did you mean "chat"?`}},
		{"a module that is strange", []string{"module", "pause", "frobnicator"}, 4, []string{"`weir module list` lists them"}},
		{"a deploy to a module that is mistyped", []string{"module", "deploy", "chatt", file}, 4, []string{`did you mean "chat"?`}},
		{"a topic of a module that is mistyped", []string{"topic", "publish", "chta", "lobby", "hi"}, 4, []string{`did you mean "chat"?`}},
		{"a deploy that comes too late", []string{"module", "deploy", "chat", file, "--if-generation", "7"}, 4, []string{"deploy chat: refused", "`weir module inspect`"}},
		{"a connection that is not there", []string{"conn", "send", "4711", "hi"}, 4, []string{"send to connection 4711: refused", "`weir conn list`"}},
		{"a code that servers do not close with", []string{"conn", "close", "4711", "--code", "1005"}, 2, []string{"--code 1005"}},
		{"a file that is not there", []string{"module", "deploy", "chat", "nowhere.wasm"}, 2, []string{"nowhere.wasm", "`weir build`"}},
		{"a share beyond everything", []string{"module", "deploy", "chat", file, "--canary", "100"}, 2, []string{"--canary 100: give a percentage from 1 to 99"}},
		{"a canary that shall last", []string{"module", "deploy", "chat", file, "--canary", "10", "--persist"}, 2, []string{"`weir module promote`"}},
		{"a connection without a number", []string{"conn", "inspect", "ann"}, 2, []string{`"ann" is not the number of a connection`}},
		{"a kind that is mistyped", []string{"tail", "--kind", "mesage"}, 2, []string{`unknown kind "mesage"; did you mean "message"?`}},
		{"a level that is mistyped", []string{"logs", "--level", "warm"}, 2, []string{`did you mean "warn"?`}},
		{"a tail of a module that is mistyped", []string{"tail", "--module", "caht"}, 4, []string{`did you mean "chat"?`}},
		{"a form that is not there", []string{"module", "list", "-o", "yaml"}, 2, []string{"-o yaml: write text, json or ndjson"}},
		{"nothing to send", []string{"conn", "send", "17"}, 2, []string{"TEXT is missing"}},
		{"two things to send", []string{"conn", "send", "17", "hi", "--binary", file}, 2, []string{"either TEXT or --binary"}},
		{"a key that is mistyped", []string{"config", "show", "--running", "log.levle"}, 2, []string{`did you mean "level"?`}},
		{"origins of another's values", []string{"config", "show", "--running", "--origin"}, 2, []string{"either --running or --origin"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := o.run(tc.args...)
			if code != tc.code || stdout != "" {
				t.Errorf("exit code %d, want %d; printed %q", code, tc.code, stdout)
			}
			for _, part := range tc.want {
				if !strings.Contains(stderr, part) {
					t.Errorf("said\n%s\nwithout %q", stderr, part)
				}
			}
		})
	}
	if code, _, stderr := command(t, o.env, "module", "delpoy"); code != 2 || !strings.Contains(stderr, `did you mean "deploy"?`) {
		t.Errorf("a command that is mistyped: exit code %d, said %q", code, stderr)
	}
	write(t, o.config(), []byte("modlues: {}\n"))
	if code, _, stderr := command(t, o.env, "config", "reload", "--admin", o.address(t)); code != 4 || !strings.Contains(stderr, "did you mean") {
		t.Errorf("a reload of a configuration with a mistake: exit code %d, said %q", code, stderr)
	}
	o.stopped()
	code, _, stderr := command(t, o.env, "status", "--admin", o.address(t))
	if code != 5 || !strings.Contains(stderr, "cannot be reached: ") {
		t.Errorf("a server that is gone: exit code %d, said %q", code, stderr)
	}
	if code, _, stderr := command(t, o.env, "module", "list", "-c", filepath.Join(o.folder, "empty.yaml")); code != 2 {
		t.Errorf("no configuration: exit code %d, said %q", code, stderr)
	}
}

// address is that of the admin API.
func (o *operated) address(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(o.stderr.String()) {
		if i := strings.Index(line, "unix:"); i >= 0 {
			return strings.Fields(line[i:])[0]
		}
	}
	t.Fatal("the server has told no address")
	return ""
}

func TestATailShowsWhatHappensUntilItIsStopped(t *testing.T) {
	o := operate(t, "")
	tails := map[string]*server{}
	for _, form := range []string{"text", "json", "ndjson"} {
		tails[form] = o.begin("tail", "--payload", "20", "--module", "chat", "-o", form)
	}
	three := o.begin("tail", "--kind", "open", "--limit", "1")
	ann := o.dial("/chat/lobby?name=ann")
	hears(t, ann, `{"type":"joined","from":"ann","members":1}`)
	if code := three.wait(); code != 0 {
		t.Errorf("with --limit: exit code %d, said %s", code, three.stderr)
	}
	prints(t, "tail --limit", three.stdout.String(), "… open #… chat@1 127.0.0.1:… /chat/lobby…")
	o.ok("module", "deploy", "chat", filepath.Join(o.folder, "chat.wasm")) // neither it
	o.ok("config", "reload")                                               // nor this ends a tail
	says(t, ann, `{"type":"say","text":"hi"}`)
	says(t, ann, "bye\x1b[2J")
	if _, _, err := ann.ReadMessage(); !websocket.IsCloseError(err, 4400) {
		t.Errorf("it ended with %v", err)
	}
	ann.Close()
	for form, tail := range tails {
		tail.stdout.wait(t, "close")
		tail.signals <- syscall.SIGINT
		if code := tail.wait(); code != 0 {
			t.Errorf("%s: exit code %d, said %s", form, code, tail.stderr)
		}
		tail.stderr.wait(t, " shown, 0 dropped")
	}
	text := tails["text"].stdout.String()
	for _, part := range []string{"  open ", "chat@1", "chat@2", "text  26 B", "4400", `bye\x1b[2J`, `  {"type":"say","text"…` + "\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("text lacks %q:\n%s", part, text)
		}
	}
	var document struct {
		Events  []map[string]any
		Dropped *int
	}
	if err := json.Unmarshal([]byte(tails["json"].stdout.String()), &document); err != nil || len(document.Events) < 4 || document.Dropped == nil {
		t.Errorf("json: %v, %+v of\n%s", err, document, tails["json"].stdout)
	}
	lines := 0
	for line := range strings.Lines(tails["ndjson"].stdout.String()) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil || event["kind"] == "status" {
			t.Errorf("ndjson has the line %q", line)
		}
		lines++
	}
	if lines != len(document.Events) {
		t.Errorf("ndjson has %d lines, json %d events", lines, len(document.Events))
	}
	o.stopped()
}

func TestAStreamTellsThatTheServerIsGone(t *testing.T) {
	o := operate(t, "")
	tail, document, logs := o.begin("tail"), o.begin("tail", "-o", "json"), o.begin("logs", "-f")
	o.stopped()
	for what, s := range map[string]*server{"tail": tail, "tail -o json": document, "logs": logs} {
		if code := s.wait(); code != 5 || !strings.Contains(s.stderr.String(), "the server at unix:") {
			t.Errorf("%s: exit code %d, said %s", what, code, s.stderr)
		}
	}
	if text := document.stdout.String(); !json.Valid([]byte(text)) {
		t.Errorf("the document is %q", text)
	}
}

func TestLogsOfAServer(t *testing.T) {
	o := operate(t, "")
	if code, stdout, stderr := o.run("logs", "-n", "500"); code != 0 || stderr != "" || !strings.Contains(stdout, "  INFO   module loaded  module=chat") {
		t.Errorf("exit code %d, said %q, printed\n%s", code, stderr, stdout)
	}
	if stdout := o.ok("logs", "-n", "1"); strings.Count(stdout, "\n") != 1 {
		t.Errorf("-n 1 prints\n%s", stdout)
	}
	if stdout := o.ok("logs", "--level", "error"); stdout != "" {
		t.Errorf("--level error prints\n%s", stdout)
	}
	var document struct{ Records []map[string]any }
	if err := json.Unmarshal([]byte(o.ok("logs", "-o", "json")), &document); err != nil || len(document.Records) < 3 || document.Records[0]["msg"] == nil {
		t.Errorf("%v, %+v", err, document)
	}
	followed, ndjson := o.begin("logs", "-f", "-n", "0"), o.begin("logs", "-f", "-n", "0", "-o", "ndjson")
	o.ok("module", "pause", "chat")
	o.ok("config", "reload") // ends neither
	for _, s := range []*server{followed, ndjson} {
		s.stdout.wait(t, "module paused")
		s.stdout.wait(t, "configuration reloaded")
		s.signals <- syscall.SIGINT
		if code := s.wait(); code != 0 {
			t.Errorf("exit code %d, said %s", code, s.stderr)
		}
		s.stderr.wait(t, " shown, 0 dropped")
	}
	for line := range strings.Lines(ndjson.stdout.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("ndjson has the line %q", line)
		}
	}
	o.stopped()
}

func TestShellsCompleteWhatAServerHas(t *testing.T) {
	defer func(was time.Duration) { completionTimeout = was }(completionTimeout)
	completionTimeout = patience
	o := operate(t, "")
	ann := o.dial("/chat/lobby?name=ann")
	hears(t, ann, `{"type":"joined","from":"ann","members":1}`)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"module", "inspect", "-c", o.config(), ""}, "chat\n"},
		{[]string{"module", "promote", "-c", o.config(), "chat", ""}, ""},
		{[]string{"conn", "list", "-c", o.config(), "--module", ""}, "chat\n"},
		{[]string{"topic", "members", "-c", o.config(), "chat", ""}, "lobby\n"},
		{[]string{"tail", "--kind", ""}, "open\nmessage\nsend\npublish\nclose\nfailure\n"},
		{[]string{"module", "inspect", "--admin", "127.0.0.1:1", ""}, ""},
	} {
		_, stdout, _ := command(t, o.env, append([]string{"__complete"}, tc.args...)...)
		names, _, _ := strings.Cut(stdout, ":4\n")
		if names != tc.want {
			t.Errorf("%q completes to\n%s", tc.args, stdout)
		}
	}
	ann.Close()
	o.stopped()
}

func TestDoctorLooksAtTheServer(t *testing.T) {
	o := operate(t, "")
	env := machine(t, map[string]string{"go": "go version"})
	env.CacheDir = o.env.CacheDir
	_, stdout, _ := command(t, env, "doctor", "-c", o.config())
	_, told, found := strings.Cut(stdout, "\nserver at unix:")
	if !found {
		t.Fatalf("doctor says\n%s", stdout)
	}
	prints(t, "doctor", told, "…", "version …", "state ready", "connections 0", "modules chat")
	write(t, o.config(), append([]byte("pool: {workers: 7}\n"), must1(os.ReadFile(o.config()))...))
	o.stderr.wait(t, "needs a restart")
	_, stdout, _ = command(t, env, "doctor", "-c", o.config(), "-o", "json")
	var d diagnosis
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || d.Server == nil || d.Server.Status == nil || !strings.Contains(d.Server.Problem, "pool.workers") || d.Server.Cure == "" {
		t.Errorf("%v, %+v", err, d.Server)
	}
	o.stopped()
	code, stdout, _ := command(t, env, "doctor", "-c", o.config())
	if code != 0 || !strings.Contains(stdout, "cannot be reached") {
		t.Errorf("exit code %d, said\n%s", code, stdout)
	}
	if code, stdout, _ := command(t, env, "doctor"); code != 0 || strings.Contains(stdout, "server at") {
		t.Errorf("without a configuration: exit code %d, said\n%s", code, stdout)
	}
}

func must1(text []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return text
}

func TestMessagesOfAnOperatorMayBePiped(t *testing.T) {
	f := messageFlags{binary: "-"}
	env := Env{Stdin: io.LimitReader(zeros{}, 3)}
	_, encoded, err := f.message(&env, nil)
	if err != nil || encoded == nil || *encoded != "AAAA" {
		t.Errorf("got %v, %v", encoded, err)
	}
	f.binary = ""
	if _, _, err := f.message(&env, []string{"17", "\xff"}); err == nil {
		t.Error("text that is not UTF-8 is taken")
	}
	if !slices.Equal(forms, []string{"text", "json", "ndjson"}) {
		t.Errorf("the forms are %v", forms)
	}
}

// What a server says is shown, whatever it is, and never moves the cursor.
func FuzzLinesOfAServer(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05.006Z","level":"INFO","msg":"module loaded","module":"chat","gen":1}`))
	f.Add([]byte(`{"kind":"status","dropped":7}`))
	f.Add([]byte(`{"a":{"b":["\u001b[2J"]},"msg":1}`))
	f.Add([]byte("{\"time\":\"x\x1b\",\"x\x7f y\":null"))
	f.Fuzz(func(t *testing.T, line []byte) {
		readStatus(line)
		shown := logLine(line, false)
		var e admin.TailEvent
		if json.Unmarshal(line, &e) == nil {
			shown += tailLine(e, false)
		}
		if strings.ContainsFunc(shown, unicode.IsControl) {
			t.Errorf("%q is shown as %q", line, shown)
		}
		if s, err := settingOf("", "", line); err == nil {
			config.YAML(s.Inside, false)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
