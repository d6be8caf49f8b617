package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// TestAChatThatTrapsLeavesATapeThatTellsWhetherItIsFixed is the way from a trap
// in production to a handler that is known to be mended.
func TestAChatThatTrapsLeavesATapeThatTellsWhetherItIsFixed(t *testing.T) {
	needsClang(t)
	folder := filepath.Join(t.TempDir(), "chat")
	if code, _, stderr := command(t, realEnv(), "new", "chat", "--lang", "c", "--dir", folder); code != 0 {
		t.Fatal(stderr)
	}
	write := func(name, text string) {
		t.Helper()
		check(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644))
	}
	buildAs := func(name string) string {
		t.Helper()
		file := filepath.Join(folder, name)
		if code, _, stderr := command(t, realEnv(), "build", folder, "-o", file); code != 0 {
			t.Fatal(stderr)
		}
		return file
	}
	source, err := os.ReadFile("../../examples/chat-c/chat.c")
	check(t, err)
	write("handler.c", string(source))
	fixed := buildAs("fixed.wasm")
	const sane = "    if (!say || text.len == 0) return"
	broken := strings.Replace(string(source), sane, `    if (say && weir_equal(weir_view(&text), WEIR_S("boom"))) __builtin_trap();`+"\n"+sane, 1)
	if broken == string(source) {
		t.Fatal("the example has changed")
	}
	write("handler.c", broken)
	module := buildAs("chat.wasm")
	tapes := filepath.Join(folder, "tapes")
	write("weir.yaml", "server: {listen: [\"127.0.0.1:0\"]}\nruntime: {tape_dir: "+tapes+"}\n"+
		"modules: {chat: {path: chat.wasm, capabilities: [topics], record: on_trap}}\nroutes: [{path: \"/chat/{room}\", module: chat}]\n")

	s := serve(t, realEnv(), "serve", "--config", filepath.Join(folder, "weir.yaml"))
	ws := dial(t, s.url, "/chat/lobby?name=ann")
	for _, text := range []string{"hello", "and now", "boom"} {
		check(t, ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"say","text":"`+text+`"}`)))
	}
	for err = nil; err == nil; {
		_, _, err = ws.ReadMessage()
	}
	if !websocket.IsCloseError(err, websocket.CloseInternalServerErr) {
		t.Errorf("the client's connection ended with %v", err)
	}
	line := s.stderr.wait(t, "handler failed")
	if !strings.Contains(line, "reason=trap") || !strings.Contains(line, "gen=1") || !strings.Contains(line, "tape=") {
		t.Errorf("the log says %s", line)
	}
	if code := s.stop(); code != 0 { // waits for the tape
		t.Errorf("exit code %d", code)
	}
	found, _ := filepath.Glob(filepath.Join(tapes, "*.tape"))
	if len(found) != 1 {
		t.Fatalf("tapes: %q", found)
	}

	code, stdout, stderr := command(t, realEnv(), "replay", found[0], "--module", module)
	if code != 0 || !strings.Contains(stdout+stderr, "unreachable") {
		t.Errorf("on the module that trapped: exit code %d\n%s%s", code, stdout, stderr)
	}
	again, _, _ := command(t, realEnv(), "replay", found[0]) // the module lies beside its tapes
	if again != 0 {
		t.Errorf("without a module: exit code %d", again)
	}
	if code, stdout, stderr := command(t, realEnv(), "replay", found[0], "--module", fixed); code != 0 || !strings.Contains(stdout+stderr, "pass") {
		t.Errorf("on the fixed module: exit code %d\n%s%s", code, stdout, stderr)
	}

	// What docs/tapes.md tells people to type, in a folder with that tape.
	r := newReader(t)
	check(t, os.MkdirAll(filepath.Join(r.folder, "scenarios"), 0o755))
	check(t, os.CopyFS(filepath.Join(r.folder, "tapes"), os.DirFS(tapes)))
	check(t, os.CopyFS(r.folder, os.DirFS(tapes)))
	check(t, os.Rename(filepath.Join(r.folder, filepath.Base(found[0])), filepath.Join(r.folder, "chat.tape")))
	check(t, os.Rename(filepath.Join(r.folder, "tapes", filepath.Base(found[0])), filepath.Join(r.folder, "tapes", "chat-g2-20260102T150405Z-1.tape")))
	wasm, err := os.ReadFile(fixed)
	check(t, err)
	check(t, os.WriteFile(filepath.Join(r.folder, "chat.wasm"), wasm, 0o644))
	for _, b := range blocksOf(pagesToRead(t)["docs/tapes.md"]) {
		if b.isCommands() {
			r.follow("docs/tapes.md", b)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
