package host

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

func TestEchoOfEverySize(t *testing.T) {
	w := start(t)
	c := w.dial("/")
	for _, n := range []int{0, 1, 125, 126, 127, 4096, 16 << 10, 65535, 65536} {
		blob := strings.Repeat("b", n)
		check(t, c.ws.WriteMessage(websocket.BinaryMessage, []byte(blob)))
		kind, got, err := c.ws.ReadMessage()
		check(t, err)
		if kind != websocket.BinaryMessage || string(got) != blob {
			t.Fatalf("%d bytes came back as %d", n, len(got))
		}
	}
	c.say("echo " + strings.Repeat("é", 1000))
	c.want(strings.Repeat("é", 1000))
}

func TestEffectsAreAllOrNothing(t *testing.T) {
	w := start(t)
	for _, end := range []string{"trap", "fail 7"} {
		listener := w.dial("/?open=join+room")
		bad := w.dial("/")
		bad.say("echo never;publish room never;join room;set never;" + end)
		bad.wantClose(codeInternal)

		// The next message on another connection is served, by a new instance, and
		// nothing of the failed invocation is there.
		if got := listener.ask("count room"); got != "count=1" {
			t.Errorf("after %q: %s, want only the listener", end, got)
		}
		listener.say("publish room now")
		listener.want("now")
		listener.ws.Close()
		bad.ws.Close()
		w.until("both are gone, and the room with them", func(s Stats) bool { return s.Open == 0 })
	}
	if got := w.srv.Stats().HandlerFailures; got != 2 {
		t.Errorf("%d handler failures are counted, want 2", got)
	}
	if !strings.Contains(w.log.String(), "handler failed") {
		t.Error("the log does not say that a handler failed")
	}
}

func TestAHandlerThatTrapsInOpenClosesOnlyItsConnection(t *testing.T) {
	w := start(t)
	good := w.dial("/")
	w.dial("/?open=trap").wantClose(codeInternal)
	good.say("echo still here")
	good.want("still here")
}

func TestRepliesLeaveInCommitOrder(t *testing.T) {
	w := start(t)
	c := w.dial("/?open=join+me")
	c.say("echo 1;publish me 2;echo 3;publish me 4;echo 5")
	c.want("1", "2", "3", "4", "5")
	for i := range 50 {
		c.say(fmt.Sprintf("echo a%d;publish me b%d", i, i))
	}
	for i := range 50 {
		c.want(fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i))
	}
}

func TestPublishReachesMembersOnly(t *testing.T) {
	w := start(t)
	ann, bob, eve := w.dial("/?open=join+room"), w.dial("/?open=join+room"), w.dial("/?open=join+other")
	for _, c := range []*client{bob, eve} { // the open event may come after the client's side is open
		c.want(c.echo("in"))
	}
	ann.say("?publish room to all")
	bob.want("to all")
	got := map[string]bool{ann.hear(): true, ann.hear(): true}
	if !got["to all"] || !got["status=0"] {
		t.Errorf("the publisher heard %v", got)
	}
	ann.say("publishx room not to me")
	bob.want("not to me")
	bob.say("leave room;?leave room")
	bob.want("status=-7")
	ann.say("publish room after")
	ann.want("after")
	if got := eve.ask("count room"); got != "count=1" {
		t.Errorf("%s after one left", got)
	}
	watcher := w.dial("/?open=join+gone")
	watcher.want(watcher.echo("in"))
	// A dropped connection leaves its topics and its close event is told once.
	ann.ws.Close()
	eve.ws.Close()
	watcher.want("closed 1006 unclean ", "closed 1006 unclean ")
	if got := watcher.ask("count other"); got != "count=0" {
		t.Errorf("%s after the last left", got)
	}
}

func TestAnInvocationSeesItsOwnWrites(t *testing.T) {
	w := start(t)
	c := w.dial("/")
	c.say("set one;get;count t;join t;count t;leave t;count t;set two;get")
	c.want("one", "count=0", "count=1", "count=0", "two")
	c.say("get")
	c.want("two")
	c.say("?timer 1 100000 0;?cancel 1;?cancel 1")
	c.want("status=0", "status=0", "status=-7")
	c.say("close 4000 done;?echo late")
	c.wantClose(4000)
}

func TestSendToAnotherConnection(t *testing.T) {
	w := start(t)
	ann, bob := w.dial("/"), w.dial("/")
	id := strings.TrimPrefix(bob.ask("id"), "id=")
	ann.say("send " + id + " hello bob")
	bob.want("hello bob")
	if got := ann.ask("?send 12345 nobody"); got != "status=-1" {
		t.Errorf("an unknown connection gave %s", got)
	}
	ann.say("closeid " + id + " 4001")
	bob.wantClose(4001)
	watcher := w.dial("/")
	if got := watcher.ask("?send " + id + " old id"); got != "status=-1" && got != "status=-2" {
		t.Errorf("a connection that is going or gone gave %s", got)
	}
}

func TestModulesCannotReachEachOthersConnections(t *testing.T) {
	w := start(t, func(s *setup) {
		other := s.modules[0]
		other.Name = "other"
		s.modules = append(s.modules, other)
		s.opts.Routes = []Route{{Path: "/a", Module: "puppet"}, {Path: "/b", Module: "other"}}
	})
	a, b := w.dial("/a?open=join+room"), w.dial("/b?open=join+room")
	id := strings.TrimPrefix(b.ask("id"), "id=")
	for _, script := range []string{"?send " + id + " x", "?closeid " + id + " 4000"} {
		if got := a.ask(script); got != "status=-1" {
			t.Errorf("%s gave %s", script, got)
		}
	}
	a.say("publish room only a")
	a.want("only a")
	if got := b.ask("count room"); got != "count=1" {
		t.Errorf("topics of two modules met: %s", got)
	}
}

func TestAttributes(t *testing.T) {
	w := start(t, func(s *setup) {
		s.opts.Routes = []Route{
			{Path: "/chat/{room}", Module: "puppet", Protocols: []string{"b", "a"}},
			{Path: "/files/{rest...}", Module: "puppet"},
		}
	})
	c := w.dial("/chat/lobby?x=1&y", "X-Kept", "kept value", "Sec-WebSocket-Protocol", "c", "Sec-WebSocket-Protocol", "a")
	if c.ws.Subprotocol() != "a" {
		t.Errorf("subprotocol %q, want the client's first that the route lists", c.ws.Subprotocol())
	}
	for name, want := range map[string]string{
		"path": "/chat/lobby", "query": "x=1&y", "protocol": "a", "param:room": "lobby", "header:x-kept": "kept value",
		"remote_addr": c.ws.LocalAddr().String(),
	} {
		if got := c.ask("attr " + name); got != want {
			t.Errorf("attr %s = %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"param:nothing", "header:user-agent", "colour"} {
		if got := c.ask("?attr " + name); got != "status=-7" {
			t.Errorf("attr %s gave %s, want not found", name, got)
		}
	}
	if got := w.dial("/files/a/b/c").ask("attr param:rest"); got != "a/b/c" {
		t.Errorf("the rest is %q", got)
	}
	_, resp, err := websocket.DefaultDialer.Dial("ws://"+w.addr+"/chat", nil)
	if err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("a path without a route gave %v", err)
	}
}

func TestTheUpgradeEventDecides(t *testing.T) {
	w := start(t)
	refuse := func(path string, status int) *http.Response {
		t.Helper()
		_, resp, err := websocket.DefaultDialer.Dial("ws://"+w.addr+path, nil)
		if err == nil || resp == nil || resp.StatusCode != status {
			t.Fatalf("%s gave %v %v, want %d", path, resp, err, status)
		}
		return resp
	}
	if resp := refuse("/?reject=401", 401); resp.Header.Get("X-Puppet") != "no" {
		t.Error("the handler's response header is missing")
	}
	refuse("/?trap=1", 500)
	if resp := refuse("/?evil=1", 403); resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("X-Evil") != "" {
		t.Errorf("a header value smuggled a line: %v", resp.Header)
	}
	refuse("/?reject=200", 500) // not a refusal that HTTP knows

	c := w.dial("/", "Authorization", "secret")
	if got := c.ask("get"); got != "secret" {
		t.Errorf("state set in the upgrade event is %q at the first message", got)
	}
	picked := w.dial("/?pick=b", "Sec-WebSocket-Protocol", "a, b")
	if picked.ws.Subprotocol() != "b" {
		t.Errorf("subprotocol %q, want the handler's choice", picked.ws.Subprotocol())
	}
	refuse("/?pick=b", 400) // not offered
}

func TestHTTPOnTheSamePort(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "page.html"), []byte("<p>hello</p>"), 0o600))
	w := start(t, func(s *setup) {
		s.opts.Routes = []Route{{Path: "/ws", Module: "puppet"}, {Path: "/", Static: dir}}
	})
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get("http://" + w.addr + path)
		check(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		check(t, err)
		return resp.StatusCode, string(b)
	}
	for range 3 {
		if status, body := get("/page.html"); status != 200 || body != "<p>hello</p>" {
			t.Errorf("GET /page.html: %d %q", status, body)
		}
	}
	if status, _ := get("/missing"); status != 404 {
		t.Errorf("GET /missing: %d", status)
	}
	resp, err := http.Post("http://"+w.addr+"/page.html", "text/plain", strings.NewReader("body"))
	check(t, err)
	resp.Body.Close()
	if resp.StatusCode != 405 {
		t.Errorf("POST: %d", resp.StatusCode)
	}
	w.dial("/ws").ask("echo works beside")
}
