package admin

import (
	"context"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"weir/host"
	"weir/netpoll"
	"weir/pool"
	"weir/runtime"
)

var update = flag.Bool("update", false, "write what the tests compare with")

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// patience ends a test that hangs. Nothing waits for it to pass.
const patience = 30 * time.Second

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// subject is a real server that echoes on /echo, and what it stands on.
func subject(t testing.TB) Subject {
	t.Helper()
	wasm, err := os.ReadFile("../../examples/echo-c/echo.wasm")
	check(t, err)
	return subjectOf(t, host.Module{Name: "echo", Wasm: wasm})
}

// subjectOf is a real server of one module, which is on /echo if no route is given.
func subjectOf(t testing.TB, m host.Module, routes ...host.Route) Subject {
	t.Helper()
	engine, err := runtime.NewEngine(runtime.Options{Jail: "off"})
	check(t, err)
	poller, err := netpoll.Open(netpoll.Options{})
	check(t, err)
	workers := pool.New(pool.Options{})
	if len(routes) == 0 {
		routes = []host.Route{{Path: "/echo", Module: m.Name}}
	}
	server, err := host.New(host.Options{
		Server: host.ServerOptions{Listen: []string{"127.0.0.1:0"}},
		Routes: routes,
	}, host.Deps{Engine: engine, Poller: poller, Pool: workers, TimeHandlers: true})
	check(t, err)
	check(t, server.Load(context.Background(), m))
	check(t, server.Listen())
	t.Cleanup(func() {
		check(t, server.Close())
		check(t, workers.Close(context.Background()))
		check(t, poller.Close())
		check(t, engine.Close(context.Background()))
	})
	return Subject{Server: server, Poller: poller, Pool: workers, Engine: engine}
}

// echo sends a message on a connection of its own and waits for its return.
func echo(t *testing.T, s Subject, message string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+s.Server.Addrs()[0].String()+"/echo", nil)
	check(t, err)
	t.Cleanup(func() { ws.Close() })
	check(t, ws.SetReadDeadline(time.Now().Add(patience)))
	check(t, ws.WriteMessage(websocket.TextMessage, []byte(message)))
	if _, got, err := ws.ReadMessage(); err != nil || string(got) != message {
		t.Fatalf("sent %q, got %q, %v", message, got, err)
	}
	return ws
}

func listen(t *testing.T) *Listener {
	t.Helper()
	l, err := Listen(Options{Listen: "127.0.0.1:0"})
	check(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		check(t, l.Close(ctx))
	})
	return l
}

// golden compares a generated file, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		check(t, os.WriteFile(name, []byte(got), 0o644))
	}
	want, err := os.ReadFile(name)
	check(t, err)
	if got != string(want) {
		t.Errorf("%s is not what the table says; write it with\n\tgo test ./internal/admin -run TestGenerated -update", strings.TrimPrefix(name, "../../"))
	}
}
