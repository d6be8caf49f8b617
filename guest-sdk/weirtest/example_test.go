package weirtest_test

import (
	"testing"
	"time"

	"weir/guest-sdk/weirtest"
)

var (
	t *testing.T
	f *testing.F
	b *testing.B
)

func Example() {
	// func TestChat(t *testing.T) {
	w := weirtest.New(t, weirtest.Module("chat.wasm"))
	ann := w.Open("ann", "/lobby?name=ann")
	ann.WantJSON(map[string]any{"type": "joined", "from": "ann"})
	bob := w.Open("bob", "/lobby?name=bob")
	ann.WantJSON(map[string]any{"from": "bob", "members": 2})
	bob.WantJSON(map[string]any{"from": "bob", "members": 2})
	ann.SendJSON(map[string]any{"type": "say", "text": "hi"})
	bob.WantJSON(map[string]any{"type": "say", "from": "ann", "text": "hi"})
	ann.Silence(time.Second)
	// }
}

func ExampleWorld_Reload() {
	w := weirtest.New(t, weirtest.Config("weir.yaml"), weirtest.WithSeed(42))
	ann := w.Open("ann", "/chat/lobby")
	w.Reload("chat_v2.wasm")
	ann.Send("ping")
	ann.Want("pong-2")
	w.Advance(time.Hour)
	w.Drain()
	ann.WantClose(1001)
}

func ExampleRunScenarios() {
	// func TestScenarios(t *testing.T) {
	weirtest.RunScenarios(t, "scenarios/*.yaml")
	// }
}

func ExampleFuzz() {
	// func FuzzChat(f *testing.F) {
	weirtest.Fuzz(f, weirtest.Module("chat.wasm"), weirtest.WithMessages(`{"type":"say","text":"hi"}`))
	// }
}

func ExampleBench() {
	// func BenchmarkChat(b *testing.B) {
	weirtest.Bench(b, `{"type":"say","text":"hi"}`, weirtest.Module("chat.wasm"), weirtest.WithPath("/lobby"))
	// }
}

func ExampleServe() {
	url := weirtest.Serve(t, weirtest.Module("chat.wasm")) // ws://127.0.0.1:PORT
	t.Log("serving on " + url)
}
