//go:build unix

package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/goccy/go-yaml"
)

// The playground of a running weir dev is driven as a user would: two clients
// stay while the source is edited, and a scenario is saved.
func TestThePlayground(t *testing.T) {
	node := tool(t, "node")
	chromium := tool(t, "chromium")
	tool(t, "clang-14")
	if _, err := os.Stat("node_modules/playwright-core/package.json"); err != nil {
		missing(t, "playwright-core", "npm ci in test/browser")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	project, url, stop := startPlayground(ctx, t)
	folder := os.Getenv("PLAYGROUND_SCREENSHOTS") // to look at them afterwards
	if folder == "" {
		folder = t.TempDir()
	}
	out, err := exec.CommandContext(ctx, node, "playground.mjs", url, chromium, folder, project).CombinedOutput()
	if err != nil {
		t.Errorf("playground.mjs: %v", err)
	}
	t.Logf("playground.mjs:\n%s", out)
	for _, name := range []string{"light.png", "dark.png", "narrow.png", "failed.png", "swapped.png", "scenario.png"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			t.Errorf("no screenshot: %v", err)
		}
	}

	saved, err := os.ReadFile(filepath.Join(folder, "ann-and-bob-chat.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := `
config: ../weir.yaml
scenarios:
  - name: ann and bob chat
    steps:
      - open: {ann: /chat/lobby?name=ann}
      - expect: {ann: {json: {type: joined, from: ann, members: 1}}}
      - open: {bob: /chat/lobby?name=bob}
      - expect: {ann: {json: {type: joined, from: bob, members: 2}}, bob: {json: {type: joined, from: bob, members: 2}}}
      - send: {ann: {json: {type: say, text: 'hi: "bob" <b>'}}}
      - expect: {bob: {json: {type: say, from: ann, text: 'hi: "bob" <b>'}}}
      - silence: {ann: 1s}
      - send: {bob: {text: not JSON}}
      - expect: {bob: {close: {code: 4400, reason: not a chat message}}}
      - expect: {ann: {json: {type: left, from: bob, members: 1}}}
      - close: {ann: {code: 4001, reason: "enough: really"}}
`
	if got, want := parse(t, string(saved)), parse(t, want); !reflect.DeepEqual(merged(got), merged(want)) {
		t.Errorf("saved\n%s\nwhich is %v, want %v", saved, got, want)
	}
	stop()
}

// merged joins neighbouring expectations of different clients: which of two
// clients was told first is the network's business.
func merged(file any) any {
	scenario := file.(map[string]any)["scenarios"].([]any)[0].(map[string]any)
	var steps []any
	for _, step := range scenario["steps"].([]any) {
		if expect, ok := step.(map[string]any)["expect"].(map[string]any); ok && len(steps) > 0 {
			if last, ok := steps[len(steps)-1].(map[string]any)["expect"].(map[string]any); ok {
				for client, what := range expect {
					last[client] = what
				}
				continue
			}
		}
		steps = append(steps, step)
	}
	scenario["steps"] = steps
	return file
}

func parse(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return v
}

// emit reads a recording as JSON and writes it as a scenario file; {"hex": …}
// stands for bytes.
const emit = `
import { pathToFileURL } from "node:url";
import { readFileSync } from "node:fs";
const { toYAML } = await import(pathToFileURL(process.argv[1]));
const revive = (_, v) => typeof v?.hex === "string" ? new Uint8Array(Buffer.from(v.hex, "hex")) : v;
process.stdout.write(toYAML(JSON.parse(readFileSync(0, "utf8"), revive)));
`

func TestAScenarioSaysWhatHappened(t *testing.T) {
	node := tool(t, "node")
	open := func(client string) string {
		return fmt.Sprintf(`{"at":0,"kind":"open","client":%q,"path":"/","protocols":[]}`, client)
	}
	for _, tc := range []struct {
		name   string
		events string // joined into a list
		until  int
		want   string // the steps, in YAML
	}{
		{"nothing is no steps", ``, 0, `[]`},
		{"clients that connect together share a step", open("ann") + "," + open("bob"), 0, `[{open: {ann: /, bob: /}}]`},
		{"who connects again needs another step", open("ann") + "," + open("ann"), 0, `[{open: {ann: /}}, {open: {ann: /}}]`},
		{"subprotocols are kept", `{"at":0,"kind":"open","client":"ann","path":"/x?a=1&b","protocols":["v1","v.2"]}`, 0,
			`[{open: {ann: {path: "/x?a=1&b", protocols: [v1, v.2]}}}]`},
		{"who could not connect is a comment", `{"at":0,"kind":"open","client":"ann","path":"/","protocols":[],"failed":true}`, 0, `[]`},
		{"bytes are digits, and never a number", open("ann") + `,{"at":1,"kind":"send","client":"ann","data":{"hex":"0010"}},{"at":2,"kind":"receive","client":"ann","data":{"hex":""}}`, 0,
			`[{open: {ann: /}}, {send: {ann: {bytes: "0010"}}}, {expect: {ann: {bytes: ""}}}]`},
		{"messages of one client stay in order", open("ann") + `,{"at":1,"kind":"receive","client":"ann","data":"a"},{"at":1,"kind":"receive","client":"ann","data":"b"}`, 0,
			`[{open: {ann: /}}, {expect: {ann: {text: a}}}, {expect: {ann: {text: b}}}]`},
		{"a text between slashes is not taken for a pattern", open("ann") + `,{"at":1,"kind":"receive","client":"ann","data":"/a.b/"}`, 0,
			`[{open: {ann: /}}, {expect: {ann: {text: '/^/a\.b/$/'}}}]`},
		{"but is sent as it is", open("ann") + `,{"at":1,"kind":"send","client":"ann","data":"/a.b/"}`, 0,
			`[{open: {ann: /}}, {send: {ann: {text: "/a.b/"}}}]`},
		{"a number that JavaScript would round stays text", open("ann") + `,{"at":1,"kind":"receive","client":"ann","data":"[12345678901234567890]"}`, 0,
			`[{open: {ann: /}}, {expect: {ann: {text: "[12345678901234567890]"}}}]`},
		{"a key twice stays text", open("ann") + `,{"at":1,"kind":"receive","client":"ann","data":"{\"a\":1,\"a\":2}"}`, 0,
			`[{open: {ann: /}}, {expect: {ann: {text: '{"a":1,"a":2}'}}}]`},
		{"spaces and forms of numbers do not matter", open("ann") + `,{"at":1,"kind":"receive","client":"ann","data":"{ \"a\" : [1.50, -2e3, null, true, {}] }"}`, 0,
			`[{open: {ann: /}}, {expect: {ann: {json: {a: [1.5, -2000, null, true, {}]}}}}]`},
		{"who heard nothing for a second is silent", open("ann") + "," + open("bob") + `,{"at":10,"kind":"send","client":"ann","data":"x"},{"at":20,"kind":"receive","client":"bob","data":"x"}`, 1010,
			`[{open: {ann: /, bob: /}}, {send: {ann: {text: x}}}, {expect: {bob: {text: x}}}, {silence: {ann: 1s}}]`},
		{"less than a second is too soon to tell", open("ann") + `,{"at":10,"kind":"send","client":"ann","data":"x"}`, 1009,
			`[{open: {ann: /}}, {send: {ann: {text: x}}}]`},
		{"the client's own close is a step, its echo is not", open("ann") + `,{"at":1,"kind":"close","client":"ann","code":1000,"reason":""},{"at":2,"kind":"closed","client":"ann","code":1000,"reason":"","asked":true}`, 0,
			`[{open: {ann: /}}, {close: {ann: {code: 1000}}}]`},
		{"the server's close is expected", open("ann") + `,{"at":2,"kind":"closed","client":"ann","code":4400,"reason":"no: \"way\""}`, 5000,
			`[{open: {ann: /}}, {expect: {ann: {close: {code: 4400, reason: 'no: "way"'}}}}]`},
		{"a note is a comment, whatever it says", open("ann") + `,{"at":2,"kind":"note","text":"a\nb\u0000\u0085- c"}`, 0, `[{open: {ann: /}}]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := play(t, node, fmt.Sprintf(`{"subject":"../a.wasm","name":"n","silence":true,"until":%d,"events":[%s]}`, tc.until, tc.events))
			steps := got["scenarios"].([]any)[0].(map[string]any)["steps"]
			if want := parse(t, tc.want); !reflect.DeepEqual(steps, want) {
				t.Errorf("got  %v\nwant %v", steps, want)
			}
		})
	}
}

// Whatever is a text comes back as that text: as a name, a key, a value.
func TestAScenarioQuotesEveryText(t *testing.T) {
	node := tool(t, "node")
	texts := []string{
		"", " ", "a b", "a  b", " a", "a ", "a:b", "a: b", "a #b", "#a", "- a", "-", "?", "? a", "a ? b", "a - b", "!t", "&a", "*a", "%a", "@a", "`a",
		"|", ">", "'", `"`, `a"b'c`, `\`, `\n`, "a\nb", "\n", "\ta", "a\t", "a\r\nb", "[a]", "{a}", "a,b", "a, b", "]", "}", ",",
		"null", "Null", "~", "true", "True", "no", "NO", "on", "y", "N", "yes", "0", "00", "1", "-1", "1.5", "1e3", "0x1f", "0o7", "1_000", ".5", ".inf", ".nan", "inf", "NaN",
		"2026-01-02", "12:30", "1:2:3", "<<", "=", "---", "...", "a\x00b", "\x01", "\x7f", "\u0085", "\u00a0", "\u2028a\u2029", "\ufeff", "grüße", "日本", "🙂", "a🙂: b",
		"/chat/{room}", "/chat/lobby?name=ann&x=1", "/a#b", "../a.wasm", "https://x/y", "a.", "a-", "toString", "__proto__", "constructor",
		strings.Repeat("long ", 400),
	}
	var events []map[string]any
	var want []any
	for i, text := range texts {
		client := fmt.Sprintf("c%d", i)
		events = append(events,
			map[string]any{"at": 0, "kind": "open", "client": client, "path": "/", "protocols": []string{text}},
			map[string]any{"at": 0, "kind": "note", "text": "apart"},
			map[string]any{"at": 0, "kind": "send", "client": client, "data": text})
		want = append(want, map[string]any{"open": map[string]any{client: map[string]any{"path": "/", "protocols": []any{text}}}},
			map[string]any{"send": map[string]any{client: map[string]any{"text": text}}})
		nested, err := json.Marshal(map[string]any{text: []any{text}})
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, map[string]any{"at": 0, "kind": "receive", "client": client, "data": string(nested)})
		want = append(want, map[string]any{"expect": map[string]any{client: map[string]any{"json": map[string]any{text: []any{text}}}}})
	}
	recording, err := json.Marshal(map[string]any{"subject": "a: b", "name": "- #", "silence": false, "until": 0, "events": events})
	if err != nil {
		t.Fatal(err)
	}
	first, second := write(t, node, string(recording)), write(t, node, string(recording))
	if first != second {
		t.Error("one recording gave two files")
	}
	got := play(t, node, string(recording))
	if got["config"] != "a: b" {
		t.Errorf("the subject is %q", got["config"])
	}
	scenario := got["scenarios"].([]any)[0].(map[string]any)
	if scenario["name"] != "- #" {
		t.Errorf("the name is %q", scenario["name"])
	}
	steps := scenario["steps"].([]any)
	if len(steps) != len(want) {
		t.Fatalf("%d steps, want %d", len(steps), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(steps[i], want[i]) {
			t.Errorf("got  %#v\nwant %#v", steps[i], want[i])
		}
	}
}

// play turns a recording into YAML and back.
func play(t *testing.T, node, recording string) map[string]any {
	t.Helper()
	text := write(t, node, recording)
	file, ok := parse(t, text).(map[string]any)
	if !ok {
		t.Fatalf("not a map:\n%s", text)
	}
	return file
}

// write is the scenario file of a recording.
func write(t *testing.T, node, recording string) string {
	t.Helper()
	cmd := exec.Command(node, "--input-type=module", "-e", emit, "--", "../../internal/cli/playground/scenario.mjs")
	cmd.Stdin = strings.NewReader(recording)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return string(out)
}

// playgroundSite is a chat that is built from C, unless a file says that it takes
// its time, and an echo that is there already.
const playgroundSite = `
modules:
  chat:
    path: chat.wasm
    capabilities: [topics]
    build: >-
      if test -e slow; then exec sleep 3600; fi;
      clang-14 --target=wasm32 -std=c11 -O2 -nostdlib -Wl,--no-entry -Wl,-z,stack-size=65536 -Wl,--stack-first
      -I sdk -o chat.wasm handler.c
  echo:
    path: echo.wasm
routes:
  - {path: "/chat/{room}", module: chat}
  - {path: /echo, module: echo, protocols: [echo.v1, echo.v2]}
`

// startPlayground makes a project and runs weir dev on it until stop, which also
// checks that it ends in order.
func startPlayground(ctx context.Context, t *testing.T) (project, url string, stop func()) {
	t.Helper()
	weir := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", weir, "../..").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	project = filepath.Join(t.TempDir(), "chat")
	run := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, weir, args...)
		for _, v := range os.Environ() {
			if !strings.HasPrefix(v, "WEIR_") { // those are configuration
				cmd.Env = append(cmd.Env, v)
			}
		}
		return cmd
	}
	if out, err := run("new", "chat", "--lang", "c", "--dir", project).CombinedOutput(); err != nil {
		t.Fatalf("weir new: %v\n%s", err, out)
	}
	echo, err := os.ReadFile("../../examples/echo-c/echo.wasm")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"weir.yaml": playgroundSite, "echo.wasm": string(echo)} {
		if err := os.WriteFile(filepath.Join(project, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	cmd := run("dev", project, "--listen", "127.0.0.1:0", "--no-open")
	var log strings.Builder
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	url, found := strings.CutPrefix(strings.TrimSpace(line), "Playground: ")
	if !found {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("weir dev printed %q (%v) and logged\n%s", line, err, log.String())
	}
	return project, url, func() {
		t.Helper()
		cmd.Process.Signal(syscall.SIGTERM)
		rest, _ := io.ReadAll(stdout) // Wait closes the pipe; read it dry before
		if err := cmd.Wait(); err != nil {
			t.Errorf("weir dev ended with %v, printed\n%s\nand logged\n%s", err, rest, log.String())
		}
		if t.Failed() {
			t.Logf("weir dev logged\n%s", log.String())
		}
	}
}
