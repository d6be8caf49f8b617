package admin

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"weir/host"
	"weir/runtime"
)

// staff is an operator who does nothing but say what was asked.
type staff struct{ uploads []Upload }

func (s *staff) Sources() map[string]Source {
	return map[string]Source{"echo": {Path: "echo.wasm", Routes: []ModuleRoute{{Path: "/echo", Scope: "pool"}}}}
}
func (s *staff) Deploy(_ context.Context, u Upload) (Deployed, error) {
	s.uploads = append(s.uploads, u)
	return Deployed{Generation: 2}, nil
}
func (s *staff) Persist(context.Context, string) error         { return host.ErrConflict }
func (s *staff) Reload(context.Context) (Reload, error)        { return Reload{Count: 1}, nil }
func (s *staff) LastReload() Reload                            { return Reload{} }
func (s *staff) Configuration(context.Context) ([]byte, error) { return []byte("{}"), nil }

// client is one of the API.
type client struct {
	t *testing.T
	l *Listener
}

// newClient serves the API of a server that echoes.
func newClient(t *testing.T, o Options) (*client, Subject) {
	t.Helper()
	o.Token = goodToken
	l := listenWith(t, o)
	s := subject(t)
	s.Operator = &staff{}
	l.Watch(s)
	return &client{t, l}, s
}

func (c *client) request(method, target, body string) *http.Response {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, "http://localhost"+target, strings.NewReader(body))
	check(c.t, err)
	request.Header = bearer(goodToken)
	response, err := clientOf(c.l, nil).Do(request)
	check(c.t, err)
	return response
}

// do makes a request that must succeed and reads the answer into v.
func (c *client) do(v any, method, target, body string) {
	c.t.Helper()
	response := c.request(method, target, body)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check(c.t, err)
	if response.StatusCode/100 != 2 {
		c.t.Fatalf("%s %s: %d %s", method, target, response.StatusCode, text)
	}
	check(c.t, json.Unmarshal(text, v))
}

// fails makes a request that must not succeed.
func (c *client) fails(method, target, body string) string {
	c.t.Helper()
	status, p, _ := c.l.attempt(c.t, attempt{method: method, target: target, body: body, header: bearer(goodToken)})
	return fmt.Sprint(status, " ", p.Code)
}

func TestConnectionsAreListedHeardAndClosed(t *testing.T) {
	c, s := newClient(t, Options{})
	var all []*websocket.Conn
	for range 3 {
		all = append(all, echo(t, s, "hello"))
	}
	var first, rest Conns
	c.do(&first, "GET", "/v1/connections?limit=2&module=echo&route=/echo&remote=127.0.0.0/8", "")
	c.do(&rest, "GET", "/v1/connections?limit=2&after="+first.Next, "")
	if len(first.Connections) != 2 || len(rest.Connections) != 1 || first.Next == "" || rest.Next != "" {
		t.Fatalf("%+v, then %+v", first, rest)
	}
	one := first.Connections[0]
	if one.Module != "echo" || one.Route != "/echo" || one.Path != "/echo" || one.Generation != 1 || one.Topics == nil || one.OpenedAt.IsZero() {
		t.Errorf("%+v", one)
	}
	var none Conns
	c.do(&none, "GET", "/v1/connections?remote=10.0.0.0/8", "")
	if len(none.Connections) != 0 || none.Connections == nil {
		t.Errorf("%+v", none)
	}
	byRemote := map[string]*websocket.Conn{}
	for _, ws := range all {
		byRemote[ws.LocalAddr().String()] = ws
	}
	ws, path := byRemote[one.Remote], fmt.Sprintf("/v1/connections/%d", one.ID)
	var again Conn
	c.do(&again, "GET", path, "")
	if again.ID != one.ID || again.Remote != one.Remote {
		t.Errorf("%+v, then %+v", one, again)
	}

	c.do(&Empty{}, "POST", path+"/messages", `{"text":"héllo"}`)
	c.do(&Empty{}, "POST", path+"/messages", `{"base64":"AAH/"}`)
	for _, want := range []struct {
		kind int
		text string
	}{{websocket.TextMessage, "héllo"}, {websocket.BinaryMessage, "\x00\x01\xff"}} {
		if kind, got, err := ws.ReadMessage(); err != nil || kind != want.kind || string(got) != want.text {
			t.Errorf("heard %d %q, %v", kind, got, err)
		}
	}
	for body, want := range map[string]string{
		`{}`: "400 invalid", `{"text":"a","base64":"AA=="}`: "400 invalid", `{"base64":"?"}`: "400 invalid", `{"txt":"a"}`: "400 invalid",
		`"a"`: "400 invalid",
	} {
		if got := c.fails("POST", path+"/messages", body); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	for target, want := range map[string]string{
		"DELETE " + path + "?code=999": "400 invalid", "DELETE " + path + "?code=1005": "400 invalid", "DELETE " + path + "?reason=" + strings.Repeat("x", 124): "413 too_large",
		"GET /v1/connections/999999999": "404 unknown_connection", "GET /v1/connections/x": "404 unknown_connection", "DELETE /v1/connections/999999999": "404 unknown_connection",
		"GET /v1/connections?module=nobody": "404 unknown_module", "GET /v1/connections?remote=nowhere": "400 invalid", "GET /v1/connections?after=x": "400 invalid",
		"GET /v1/connections?limit=1001": "400 invalid",
	} {
		method, target, _ := strings.Cut(target, " ")
		if got := c.fails(method, target, ""); got != want {
			t.Errorf("%s %s: %s, want %s", method, target, got, want)
		}
	}
	c.do(&Empty{}, "DELETE", path+"?code=4001&reason=go", "")
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, 4001) || !strings.Contains(err.Error(), "go") {
		t.Errorf("it ended in %v", err)
	}
}

// topical is a server with the demo's chat, whose rooms are topics.
func topical(t *testing.T) (*client, Subject) {
	t.Helper()
	l := listenWith(t, Options{Token: goodToken})
	wasm, err := os.ReadFile("../cli/demo/chat.wasm")
	check(t, err)
	s := subjectOf(t, host.Module{Name: "chat", Wasm: wasm, Capabilities: runtime.CapabilityDefault}, host.Route{Path: "/chat/{room}", Module: "chat"})
	l.Watch(s)
	return &client{t, l}, s
}

func TestTopicsAreListedAndPublishedTo(t *testing.T) {
	c, s := topical(t)
	join := func(room string) *websocket.Conn {
		t.Helper()
		ws, _, err := websocket.DefaultDialer.Dial("ws://"+s.Server.Addrs()[0].String()+"/chat/"+room+"?name=ann", nil)
		check(t, err)
		t.Cleanup(func() { ws.Close() })
		_, _, err = ws.ReadMessage() // it has joined
		check(t, err)
		return ws
	}
	ws := join("a")
	join("b")
	join("c")
	var first, rest Topics
	c.do(&first, "GET", "/v1/topics?limit=2", "")
	if len(first.Topics) != 2 || first.Next == "" {
		t.Fatalf("%+v", first)
	}
	c.do(&rest, "GET", "/v1/topics?limit=2&after="+first.Next, "")
	if len(rest.Topics) != 1 || rest.Next != "" || rest.Topics[0].Members != 1 || rest.Topics[0].Module != "chat" {
		t.Errorf("%+v", rest)
	}
	topic := first.Topics[0].Topic
	var some Topics
	c.do(&some, "GET", "/v1/topics?module=chat&prefix="+topic, "")
	if len(some.Topics) != 1 || some.Topics[0].Topic != topic {
		t.Errorf("%+v", some)
	}
	var members Members
	c.do(&members, "GET", "/v1/topics/members?module=chat&topic="+topic, "")
	if len(members.Members) != 1 || members.Members[0] == 0 || members.Next != "" {
		t.Errorf("%+v", members)
	}
	var done Published
	c.do(&done, "POST", "/v1/topics/publish", `{"module":"chat","topic":"`+topic+`","text":"from outside"}`)
	if _, got, err := ws.ReadMessage(); done.Receivers != 1 || err != nil || string(got) != "from outside" {
		t.Errorf("%+v; heard %q, %v", done, got, err)
	}
	c.do(&done, "POST", "/v1/topics/publish", `{"module":"chat","topic":"nobody's","base64":"AA=="}`)
	if done.Receivers != 0 {
		t.Errorf("%+v", done)
	}
	for request, want := range map[string]string{
		`{"module":"chta","topic":"a","text":"x"}`: "404 unknown_module", `{"module":"chat","topic":"","text":"x"}`: "400 invalid", `{"module":"chat","topic":"a"}`: "400 invalid",
	} {
		if got := c.fails("POST", "/v1/topics/publish", request); got != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
	for target, want := range map[string]string{
		"/v1/topics?module=chta": "404 unknown_module", "/v1/topics?after=x": "400 invalid", "/v1/topics/members?module=chat": "400 invalid", "/v1/topics/members?module=chta&topic=a": "404 unknown_module",
	} {
		if got := c.fails("GET", target, ""); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}

// lines reads a stream.
func lines[T any](t *testing.T, r io.Reader) func() T {
	scanner := bufio.NewScanner(r)
	return func() (v T) {
		t.Helper()
		if !scanner.Scan() {
			t.Fatalf("the stream ends: %v", scanner.Err())
		}
		check(t, json.Unmarshal(scanner.Bytes(), &v))
		return v
	}
}

func TestATailTellsWhatHappens(t *testing.T) {
	c, s := newClient(t, Options{})
	response := c.request("GET", "/v1/tail?payload=4&module=echo&kinds=open,message,send,close", "")
	defer response.Body.Close()
	next := lines[TailEvent](t, response.Body)
	if begin := next(); begin.Kind != "status" || response.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("it begins with %+v", begin)
	}
	ws := echo(t, s, "hé€llo")
	check(t, ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4000, "bye")))
	told := map[string]TailEvent{}
	for len(told) < 4 {
		if ev := next(); ev.Kind != "status" {
			told[ev.Kind] = ev
		}
	}
	message, closed := told["message"], told["close"]
	if message.PayloadText != "hé" || message.Size != len("hé€llo") || message.Module != "echo" || message.Route != "/echo" || message.Conn == 0 || message.Remote != ws.LocalAddr().String() {
		t.Errorf("%+v", message)
	}
	if told["open"].Conn != message.Conn || told["send"].PayloadText != "hé" || closed.Code != 4000 && closed.Code != 4000|1<<16 || closed.Reason != "bye" {
		t.Errorf("%+v", told)
	}
	for target, want := range map[string]string{
		"/v1/tail?module=nobody": "404 unknown_module", "/v1/tail?kinds=open,shut": "400 invalid", "/v1/tail?sample=0": "400 invalid", "/v1/tail?payload=4097": "400 invalid",
	} {
		if got := c.fails("GET", target, ""); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}

func TestTailsAreFewAndEndWithTheListener(t *testing.T) {
	l, err := Listen(Options{Listen: "127.0.0.1:0", Token: goodToken})
	check(t, err)
	l.Watch(subject(t))
	c := &client{t, l}
	var open []*http.Response
	for range 8 {
		response := c.request("GET", "/v1/tail", "")
		defer response.Body.Close()
		open = append(open, response)
	}
	if got := c.fails("GET", "/v1/tail", ""); got != "429 too_many_requests" {
		t.Errorf("the ninth: %s", got)
	}
	check(t, l.Close(t.Context())) // which does not wait for them
	for _, response := range open {
		if _, err := io.ReadAll(response.Body); err != nil {
			t.Errorf("it was cut: %v", err)
		}
	}
}

func TestAPayloadThatIsCutIsStillText(t *testing.T) {
	for text, want := range map[string]string{"": "", "abc": "abc", "h\xc3": "h", "h\xe2\x82": "h", "h\xf0\x9f\x98": "h", "\xff\xfe": "", "a\xffb": ""} {
		got, ok := beginningOfText([]byte(text))
		if got != want || ok == strings.Contains(text, "\xff") {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
	ev := tailEventOf(host.TailEvent{Binary: true, Payload: []byte("abc")})
	if ev.PayloadText != "" || ev.PayloadBase64 != base64.StdEncoding.EncodeToString([]byte("abc")) {
		t.Errorf("%+v", ev)
	}
}

func TestAnUploadIsHandedOn(t *testing.T) {
	c, s := newClient(t, Options{})
	request, err := http.NewRequestWithContext(t.Context(), "PUT", "http://localhost/v1/modules/echo?canary=7", strings.NewReader("bytes"))
	check(t, err)
	request.Header = bearer(goodToken, "If-Match", `"3"`)
	response, err := clientOf(c.l, nil).Do(request)
	check(t, err)
	response.Body.Close()
	c.do(&Deployed{}, "PUT", "/v1/modules/echo?persist", "more")
	got := s.Operator.(*staff).uploads
	if len(got) != 2 || string(got[0].Wasm) != "bytes" || *got[0].Canary != 7 || got[0].Latest != 3 || got[0].Persist || response.Header.Get("ETag") != `"2"` {
		t.Fatalf("%+v", got)
	}
	if got[1].Canary != nil || got[1].Latest != 0 || !got[1].Persist {
		t.Errorf("%+v", got[1])
	}
	if got := c.fails("PUT", "/v1/modules/echo?canary=101", "x"); got != "400 invalid" {
		t.Error(got)
	}
}

// The API answers whatever comes with JSON, and a token decides first.
func FuzzRequests(f *testing.F) {
	for _, rt := range routes() {
		f.Add(rt.method, strings.ReplaceAll(rt.path, "{name}", "echo"), "localhost", `{"percent":5}`, `"1"`, true)
	}
	for _, target := range []string{"/v1/../x", "/v1/%2e%2e/", "/v1/tail?kinds=%00", "/v1/connections?remote=::ffff:1.2.3.4%25eth0/99", "/v1/logs?lines=-1", "/v1/modules/a%2fb?x=%zz", "/v1"} {
		f.Add("GET", target, "[::1]:99999", "{", "*", true)
	}
	s := subject(f)
	s.Operator = &staff{}
	l, err := Listen(Options{Listen: "127.0.0.1:0", Token: goodToken, Logs: NewLogRing()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close(context.Background()) })
	l.Watch(s)
	handler := l.handler()
	ended, cancel := context.WithCancel(context.Background())
	cancel() // so that no stream goes on
	f.Fuzz(func(t *testing.T, method, target, host, body, ifMatch string, token bool) {
		request, err := http.NewRequestWithContext(ended, method, "http://localhost", strings.NewReader(body))
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		if request.URL, err = request.URL.Parse(target); err != nil {
			return
		}
		request.Host = host
		request.RemoteAddr = "127.0.0.1:1"
		request.Header.Set("If-Match", ifMatch)
		if token {
			request.Header.Set("Authorization", "Bearer "+goodToken)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request)
		if !isOfAPI(request.URL.Path) || strings.HasPrefix(request.URL.Path, "/debug/") || method == http.MethodHead {
			return
		}
		for line := range strings.Lines(w.Body.String()) {
			if strings.Contains(w.Header().Get("Content-Type"), "ndjson") && !json.Valid([]byte(line)) {
				t.Errorf("%s %q: a line is %q", method, target, line)
			}
		}
		if !strings.Contains(w.Header().Get("Content-Type"), "ndjson") && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %q answers %d %q", method, target, w.Code, w.Body)
		}
		if !token && w.Code < 400 && request.URL.Path != "/v1/openapi.json" {
			t.Errorf("%s %q is %d without a token", method, target, w.Code)
		}
		if w.Code == http.StatusInternalServerError && !strings.Contains(w.Body.String(), `"failed"`) {
			t.Errorf("%s %q: %s", method, target, w.Body)
		}
	})
}

func TestTheNameOfATokensFileIsOne(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:9100": "127.0.0.1_9100.token", "localhost:9100": "127.0.0.1_9100.token", "[::1]:9100": "__1_9100.token", "unix:/run/weir/admin.sock": "unix_run_weir_admin.sock.token",
	} {
		if got := TokenFile("/cache", address); got != filepath.Join("/cache", "weir", "admin", want) {
			t.Errorf("%s: %s", address, got)
		}
	}
}
