package scenario

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func mustRead(name string) []byte {
	b, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return b
}

var (
	echoWasm   = mustRead("../../examples/echo-c/echo.wasm")
	chatWasm   = mustRead("../cli/demo/chat.wasm")
	puppetWasm = mustRead("../../host/testdata/puppet.wasm")
)

// readFrom reads from a file system in memory that has the C guests.
func readFrom(texts map[string]string) func(string) ([]byte, error) {
	fsys := fstest.MapFS{
		"m.wasm":    {Data: puppetWasm},
		"echo.wasm": {Data: echoWasm},
		"chat.wasm": {Data: chatWasm},
	}
	for name, text := range texts {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return func(name string) ([]byte, error) { return fs.ReadFile(fsys, path.Clean(name)) }
}

// load loads a document whose files are in memory.
func load(document string) (*File, error) {
	return Load("s.yaml", readFrom(map[string]string{"s.yaml": document}))
}

// inSteps is a file with one scenario of these steps.
func inSteps(steps string) string {
	return "module: m.wasm\nscenarios:\n- name: a\n  steps:\n" + steps
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct {
		name     string
		document string
		want     []string // each a part of one mistake, in order; no more of them
	}{
		{"an empty file", ``, []string{`s.yaml: nothing is not a scenario file; write {module: …} or another of module, config`}},
		{"what is no YAML", `a: [`, []string{`s.yaml:1:`}},
		{"a list", `[a]`, []string{`s.yaml:1:1: a list is not a scenario file`}},
		{"no module and no scenarios", `seed: 3`, []string{
			`s.yaml:1:1: scenarios is missing: what is played`, `a scenario file has one of module, config`}},
		{"module and config at once", "module: m.wasm\nconfig: c.yaml\nscenarios: [{name: a, steps: [{open: [ann]}]}]", []string{
			`s.yaml:2:1: config: stands beside module`}},
		{"a mistyped key", "modul: m.wasm\nscenarios: [{name: a, steps: [{open: [ann]}]}]", []string{
			`s.yaml:1:1: modul: unknown key; did you mean "module"?`}},
		{"a configuration beside its own capabilities", "config: c.yaml\ncapabilities: [topics]\nscenarios: [{name: a, steps: [{open: [ann]}]}]", []string{
			`s.yaml:1:9: config: c.yaml: file does not exist`, `capabilities: goes without config only`}},
		{"an unknown capability", "module: m.wasm\ncapabilities: [topic]\nscenarios: [{name: a, steps: [{open: [ann]}]}]", []string{
			`capabilities[0]: "topic" is not one of topics, timers, metrics; did you mean "topics"?`}},
		{"two scenarios of one name", "module: m.wasm\nscenarios:\n- {name: a, steps: [{open: [ann]}]}\n- {name: a, steps: [{open: [ann]}]}", []string{
			`s.yaml:4:10: scenarios[1].name: another scenario of this file has the same name`}},
		{"a scenario without a name", "module: m.wasm\nscenarios: [{steps: [{open: [ann]}]}]", []string{
			`scenarios[0]: name is missing: a sentence about behaviour`}},
		{"a mistyped step", inSteps("  - opne: [ann]\n"), []string{`s.yaml:5:5: scenarios[0].steps[0].opne: unknown key; did you mean "open"?`}},
		{"a strange step", inSteps("  - frobnicate: [ann]\n"), []string{`unknown key; a step has open, send, close`}},
		{"two steps in one", inSteps("  - open: [ann]\n    drain: true\n"), []string{
			`s.yaml:6:5: scenarios[0].steps[0].drain: stands beside open; a step has one of open, `}},
		{"a client that nobody opened", inSteps("  - open: [ann]\n  - send: {anm: {text: hi}}\n  - abort: [zoe]\n"), []string{
			`s.yaml:6:12: scenarios[0].steps[1].send: no client "anm" was opened before; did you mean "ann"?`,
			`s.yaml:7:13: scenarios[0].steps[2].abort: no client "zoe" was opened before; open: [zoe] does so`}},
		{"a client after a step with mistakes is not judged", inSteps("  - opne: [ann]\n  - send: {ann: {text: hi}}\n"), []string{`did you mean "open"?`}},
		{"a text that looks like a number", inSteps("  - open: [ann]\n  - send: {ann: {text: 5}}\n"), []string{
			`s.yaml:6:24: scenarios[0].steps[1].send.ann.text: 5 is not a text; put it in quotes if it is meant so`}},
		{"a match that is a text", inSteps("  - open: [ann]\n  - expect: {ann: hello}\n"), []string{
			`"hello" is not what a client is to hear, or a list of it, in order; write {text: …} or another of text, json,`}},
		{"a duration without a unit", inSteps("  - advance: 5\n"), []string{`5 is not a duration such as 250ms, 2s or 1h30m; write it with its unit, such as 5s or 5ms`}},
		{"a duration that goes back", inSteps("  - advance: -5s\n"), []string{`"-5s" is not a duration from 0s to`}},
		{"a pattern that is no expression", inSteps("  - open: [ann]\n  - expect: {ann: {text: /(/}}\n"), []string{`/(/ is not a regular expression: `}},
		{"bytes that are not hexadecimal", inSteps("  - open: [ann]\n  - send: {ann: {bytes: \"0x\"}}\n"), []string{`"0x" is not hexadecimal`}},
		{"a message of two kinds", inSteps("  - open: [ann]\n  - send: {ann: {text: a, ping: b}}\n"), []string{`ping: stands beside text; a message to send has one of`}},
		{"a path that is none", inSteps("  - open: {ann: lobby, bob: /a b}\n"), []string{`"lobby" is not a path`, `"/a b" is not a path`}},
		{"a header that is none", inSteps("  - open: {ann: {headers: {\"a b\": c}}}\n"), []string{`"a b" is not the name of a header`}},
		{"a fault that nobody knows", inSteps("  - faults: [splat]\n"), []string{`"splat" is not one of split, delay,`}},
		{"a fault of the simulator's own clients", inSteps("  - faults: [resets]\n"), []string{`"resets" is not one of split, delay,`}},
		{"a fault of a host function that cannot fail", inSteps("  - faults: [{call: time_mono_ns, error: queue_full}]\n"), []string{`"time_mono_ns" is not one of`}},
		{"a fault with an error that is none", inSteps("  - faults: [{call: topic_publish, nth: 2, error: queue_ful}]\n"), []string{`"queue_ful" is not one of`}},
		{"within where nothing waits", inSteps("  - open: [ann]\n    within: 1s\n"), []string{`within: only expect takes it`}},
		{"a count of what is no message", inSteps("  - open: [ann]\n  - expect: {ann: {close: {}, count: 2}}\n"), []string{`count: counts messages, and close is none`}},
		{"a repetition of what is no text", inSteps("  - open: [ann]\n  - send: {ann: {json: 1, times: 2}}\n  - expect: {ann: [{json: 1, times: 2}, {text: /a/, times: 2}]}\n"), []string{
			`send.ann.times: repeats a text or bytes, and neither is here`, `7:37: `, `7:60: `}},
		{"a repetition without end", inSteps("  - open: [ann]\n  - send: {ann: {text: abc, times: 9999999}}\n"), []string{`times: 9999999 times 3 bytes are more than 16777216`}},
		{"an end in any order", inSteps("  - open: [ann]\n  - expect: {ann: {any_order: [{close: {}}]}}\n"), []string{`any_order: close is not a message`}},
		{"a reason without a code", inSteps("  - open: [ann]\n  - close: {ann: {reason: bye}}\n"), []string{`a reason goes with a code only`}},
		{"time in together", inSteps("  - open: [ann]\n  - together: [{advance: 1s}, {send: {ann: {text: a, delay: 1s}}}]\n"), []string{
			`advance cannot be done together with others`, `a message with a delay takes time`}},
		{"a metric that nobody counts", inSteps("  - assert: {metrics: {message_received: 1}}\n"), []string{`unknown metric "message_received"; did you mean "messages_received"?`}},
		{"a drain that is not", inSteps("  - drain: false\n"), []string{`only true says something here`}},
		{"a mistake in a repeat, told once", inSteps("  - repeat: {times: 3, steps: [{opne: [ann]}]}\n"), []string{`opne: unknown key`}},
		{"a variable that makes nonsense, told once", inSteps("  - repeat: {times: 3, steps: [{advance: \"${i}x\"}]}\n"), []string{`"0x" is not a duration`}},
		{"a variable that nobody sets", inSteps("  - advance: \"${i}s\"\n"), []string{`"${i}s" is not a duration`}},
		{"more steps than anybody needs", inSteps("  - repeat: {times: 100000, steps: [{drain: true}, {drain: true}]}\n"), []string{`the file has more than 100000 steps`}},
		{"a file to send that is not there", inSteps("  - open: [ann]\n  - send: {ann: {file: x.bin}}\n"), []string{`file: x.bin: file does not exist`}},
		{"a module to reload that nobody loaded", inSteps("  - reload: {n: m.wasm}\n"), []string{`there is no module "n"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := load(tc.document)
			if err == nil {
				t.Fatal("no mistake was found")
			}
			got := []error{err}
			if many, ok := err.(interface{ Unwrap() []error }); ok {
				got = many.Unwrap()
			}
			for i, want := range tc.want {
				if i >= len(got) {
					t.Errorf("missing: %s", want)
				} else if !strings.Contains(got[i].Error(), want) {
					t.Errorf("mistake %d is\n%v\nwant %s", i, got[i], want)
				}
			}
			for _, more := range got[min(len(tc.want), len(got)):] {
				t.Errorf("not expected: %v", more)
			}
		})
	}
}

func TestAMistakeShowsItsLine(t *testing.T) {
	_, err := load(inSteps("  - advance: 5\n"))
	const want = `s.yaml:5:14: scenarios[0].steps[0].advance: 5 is not a duration such as 250ms, 2s or 1h30m; write it with its unit, such as 5s or 5ms
    5 |   - advance: 5
      |              ^`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestAMissingModuleSaysHowToBuildIt(t *testing.T) {
	const document = "module: ../chat/chat.wasm\nscenarios: [{name: a, steps: [{open: [ann]}, {reload: ../chat/v2.wasm}]}]"
	read := readFrom(map[string]string{"a/s.yaml": document})
	_, err := Load("a/s.yaml", read)
	if missing := Missing(err); !slices.Equal(missing, []string{"chat/chat.wasm", "chat/v2.wasm"}) {
		t.Errorf("missing are %q", missing)
	}
	if err == nil || !strings.Contains(err.Error(), "a/s.yaml:1:9: module: there is no chat/chat.wasm; build it with `weir build chat`") {
		t.Errorf("got %v", err)
	}
	if modules := Modules("a/s.yaml", read); !slices.Equal(modules, []string{"chat/chat.wasm", "chat/v2.wasm"}) {
		t.Errorf("the file's modules are %q", modules)
	}
	if _, found := errors.AsType[*MissingError](err); !found {
		t.Error("errors.AsType does not find it")
	}
}

func TestWhatAFileIsMadeOf(t *testing.T) {
	f, err := Load("a/s.yaml", readFrom(map[string]string{
		"a/s.yaml":  "config: ../c.yaml\nseed: 7\nscenarios: [{name: a, steps: [{open: [ann]}, {send: {ann: {file: x.bin}}}]}]",
		"c.yaml":    "modules: {m: {path: m.wasm}, echo: {path: echo.wasm}}\nroutes: [{path: /, module: m, static: no/such}, {path: /files, static: x}]",
		"a/x.bin":   "x",
		"unrelated": "",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a/s.yaml", "c.yaml", "echo.wasm", "m.wasm", "a/x.bin"}; !slices.Equal(f.Sources, want) {
		t.Errorf("sources are %q, want %q", f.Sources, want)
	}
	if f.Seed != 7 || len(f.modules) != 2 || len(f.options.Routes) != 1 || f.options.Routes[0].Static != "" {
		t.Errorf("seed %d, %d modules, routes %v", f.Seed, len(f.modules), f.options.Routes)
	}
}

func TestAMistakeInTheConfigurationIsToldWithItsPlace(t *testing.T) {
	_, err := Load("s.yaml", readFrom(map[string]string{
		"s.yaml": "config: c.yaml\nscenarios: [{name: a, steps: [{open: [ann]}]}]",
		"c.yaml": "modules: {m: {path: m.wasm}}\nroutes: [{path: /, modul: m}]",
	}))
	if err == nil || !strings.Contains(err.Error(), `c.yaml:2:20: routes[0].modul: unknown key; did you mean "module"?`) {
		t.Errorf("got %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(inSteps("  - open: [ann]\n  - send: {ann: [{text: a}, {json: {a: [1, null]}, split: 1, delay: 1s}]}\n  - expect: {ann: {any_order: [{text: /a/}, {bytes: \"00\"}]}}\n")))
	f.Add([]byte(inSteps("  - repeat: {times: 3, as: j, steps: [{open: {\"c${j}\": {path: /, headers: {A: b}}}}, {silence: 1s}]}\n")))
	f.Add([]byte("config: c.yaml\nscenarios: [{name: a, only: true, steps: [{drain: true}]}]"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("module: m.wasm\nscenarios: &s\n- {name: a, steps: [{assert: {topics: {a: 1}, state: {ann: {json: {}}}}}]}\n"))
	f.Fuzz(func(t *testing.T, document []byte) {
		if len(document) > 4<<10 {
			return
		}
		file, err := load(string(document))
		if (file == nil) == (err == nil) {
			t.Errorf("a file and an error, or neither: %v", err)
		}
		if file == nil && err.Error() == "" {
			t.Error("an error that says nothing")
		}
	})
}
