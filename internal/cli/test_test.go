package cli

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	echoScenario = "module: echo.wasm\nscenarios:\n- name: a message comes back\n  steps:\n  - open: [ann]\n  - send: {ann: {text: hi}}\n  - expect: {ann: {text: hi}}\n  - advance: 61s\n"
	badScenario  = "module: echo.wasm\nscenarios:\n- name: a < b\n  steps:\n  - open: [ann]\n  - send: {ann: {text: hi}}\n  - expect: {ann: {text: ho}}\n- {name: later, skip: not yet, steps: [{open: [ann]}]}\n"
)

// testFolder is a folder with echo.wasm and further files.
func testFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	wasm, err := os.ReadFile(echoModule)
	if err != nil {
		t.Fatal(err)
	}
	with := map[string]string{"echo.wasm": string(wasm)}
	for name, text := range files {
		with[name] = text
	}
	return writeFiles(t, with)
}

func TestTestPlaysWhatItFinds(t *testing.T) {
	folder := testFolder(t, map[string]string{
		"echo.scenario.yaml":        echoScenario,
		"other.yaml":                "not: ours",
		"scenarios/a.yaml":          strings.ReplaceAll(echoScenario, "echo.wasm", "../echo.wasm"),
		"deep/scenarios/b.yml":      strings.ReplaceAll(echoScenario, "echo.wasm", "../../echo.wasm"),
		".hidden/x.scenario.yaml":   "not: ours",
		"node_modules/s/scenarios":  "not: ours",
		"testdata/scenarios/c.yaml": "not: ours",
	})
	for _, tc := range []struct {
		name string
		args []string
		want []string
	}{
		{"everything below a folder", []string{folder + "/..."}, []string{"deep/scenarios/b.yml", "echo.scenario.yaml", "scenarios/a.yaml"}},
		{"a folder is itself and its scenarios", []string{folder}, []string{"echo.scenario.yaml", "scenarios/a.yaml"}},
		{"a folder of scenarios", []string{folder + "/scenarios"}, []string{"scenarios/a.yaml"}},
		{"files, none twice", []string{folder + "/scenarios/a.yaml", folder + "/echo.scenario.yaml", folder + "/scenarios"}, []string{"scenarios/a.yaml", "echo.scenario.yaml"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errOut := command(t, realEnv(), append([]string{"test"}, tc.args...)...)
			var got []string
			for line := range strings.Lines(out) {
				if name, ok := strings.CutPrefix(line, folder+"/"); ok {
					got = append(got, strings.TrimSpace(name))
				}
			}
			if code != exitOK || !slices.Equal(got, tc.want) {
				t.Errorf("exit code %d, played %q, want %q\n%s", code, got, tc.want, errOut)
			}
			if want := fmt.Sprintf("%d passed, 0 failed, 0 skipped in ", len(tc.want)); !strings.Contains(out, want) || !strings.Contains(out, "1 min 1 s virtual") {
				t.Errorf("no %q in\n%s", want, out)
			}
		})
	}
}

func TestTestTellsFailures(t *testing.T) {
	folder := testFolder(t, map[string]string{"scenarios/a.yaml": strings.ReplaceAll(echoScenario, "echo.wasm", "../echo.wasm"),
		"scenarios/b.yaml": strings.ReplaceAll(badScenario, "echo.wasm", "../echo.wasm")})
	file := filepath.Join(folder, "scenarios", "b.yaml")
	junit := filepath.Join(folder, "junit.xml")

	t.Run("as text", func(t *testing.T) {
		code, out, errOut := command(t, realEnv(), "test", folder, "--junit", junit, "--seed", "7")
		if code != exitFailed || errOut != "" {
			t.Errorf("exit code %d, said %q", code, errOut)
		}
		for _, want := range []string{
			"  FAIL  a < b  ", file + ":7: - expect: {ann: {text: ho}}", `expected  ann: text "ho"`, `got       text "hi"`,
			"again     weir test " + file + " -run '^a < b$' --seed 7", "  skip  later (not yet)", "1 passed, 1 failed, 1 skipped in ",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is missing in\n%s", want, out)
			}
		}
	})
	t.Run("as JUnit", func(t *testing.T) {
		text, err := os.ReadFile(junit)
		if err != nil {
			t.Fatal(err)
		}
		var all junitSuites
		if err := xml.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		if all.Tests != 3 || all.Failures != 1 || all.Skipped != 1 || len(all.Suites) != 2 {
			t.Errorf("got %+v", all)
		}
		if c := all.Suites[1].Cases[0]; c.Name != "a < b" || c.Failure == nil || !strings.Contains(c.Failure.Text, `got       text "hi"`) {
			t.Errorf("got %+v", c)
		}
	})
	t.Run("as JSON", func(t *testing.T) {
		code, out, _ := command(t, realEnv(), "test", folder, "-o", "json")
		var doc struct {
			Files []fileResult
			testSummary
		}
		if err := json.Unmarshal([]byte(out), &doc); err != nil || code != exitFailed {
			t.Fatalf("exit code %d, %v:\n%s", code, err, out)
		}
		one := doc.Files[1].Scenarios[0]
		if doc.Passed != 1 || doc.VirtualMS < 61_000 || one.Result != "failed" || one.Failure.Line != 7 || one.Failure.Got != `text "hi"` || one.Seed != 1 {
			t.Errorf("got %+v", doc)
		}
		if again := doc.Files[0].Scenarios[0]; again.Hash == "" || again.Result != "passed" {
			t.Errorf("got %+v", again)
		}
	})
	t.Run("as lines of JSON", func(t *testing.T) {
		_, out, _ := command(t, realEnv(), "test", folder, "-o", "ndjson")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != 4 || !strings.HasPrefix(lines[3], `{"summary":{"passed":1,"failed":1,"skipped":1,`) {
			t.Errorf("got\n%s", out)
		}
	})
	t.Run("only the named ones", func(t *testing.T) {
		for _, flag := range [][]string{{"-run", "comes back"}, {"-run=comes"}, {"--run", "^a message"}} {
			code, out, errOut := command(t, realEnv(), append([]string{"test", folder}, flag...)...)
			if code != exitOK || !strings.Contains(out, "1 passed, 0 failed, 0 skipped") {
				t.Errorf("%q: exit code %d\n%s%s", flag, code, out, errOut)
			}
		}
	})
	t.Run("with what was said", func(t *testing.T) {
		_, out, _ := command(t, realEnv(), "test", folder, "-v", "-run", "comes back")
		if !strings.Contains(out, `< text "hi"`) || !strings.Contains(out, "module loaded") {
			t.Errorf("got\n%s", out)
		}
	})
	t.Run("with a seed by chance, which is told", func(t *testing.T) {
		_, out, _ := command(t, realEnv(), "test", folder, "--seed", "random")
		if !strings.Contains(out, "\nseed ") {
			t.Errorf("got\n%s", out)
		}
	})
}

func TestTestRefuses(t *testing.T) {
	folder := testFolder(t, map[string]string{
		"a/x.scenario.yaml": "modul: echo.wasm\nscenarios: []\n",
		"b/x.scenario.yaml": "module: no.wasm\nscenarios: [{name: a, steps: [{open: [ann]}]}]\n",
		"c/x.txt":           "",
		"d/x.scenario.yaml": strings.ReplaceAll(echoScenario, "echo.wasm", "../echo.wasm"),
	})
	for _, tc := range []struct {
		name string
		args []string
		want []string
	}{
		{"flags, all of them", []string{"-run", "(", "--seed", "x", "-o", "xml"}, []string{"--run (: ", "--seed x: give a whole number from 0, or random", "-o xml: write text, json or ndjson"}},
		{"a folder without scenarios", []string{folder + "/c"}, []string{"c: there are no scenario files"}},
		{"a file that is not there", []string{folder + "/no.yaml"}, []string{"no.yaml: no such file"}},
		{"a name that no scenario has", []string{folder + "/d", "-run", "nobody"}, []string{"--run nobody: no scenario has such a name"}},
		{"the mistakes of all files", []string{folder + "/a", folder + "/b"}, []string{
			`x.scenario.yaml:1:1: modul: unknown key; did you mean "module"?`, "1 | modul: echo.wasm", "is empty; it is a list of scenarios",
			"x.scenario.yaml:1:9: module: there is no " + folder + "/b/no.wasm; build it with `weir build " + folder + "/b`"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errOut := command(t, realEnv(), append([]string{"test"}, tc.args...)...)
			if code != exitUsage {
				t.Errorf("exit code %d\n%s", code, out)
			}
			for _, want := range tc.want {
				if !strings.Contains(errOut, want) {
					t.Errorf("%q is missing in\n%s", want, errOut)
				}
			}
		})
	}
}

func TestTestBuildsFirst(t *testing.T) {
	wasm, err := os.ReadFile(echoModule)
	if err != nil {
		t.Fatal(err)
	}
	folder := writeFiles(t, map[string]string{"go.mod": "", "scenarios/a.yaml": strings.ReplaceAll(echoScenario, "echo.wasm", "../echo.wasm")})
	env := fakeCompiler("go", writes(string(wasm)))
	if code, out, errOut := command(t, env, "test", "--build", folder); code != exitOK || !strings.Contains(errOut, "go build") {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
	env = fakeCompiler("go", func(*exec.Cmd, string) error { return &exec.ExitError{} })
	if code, _, errOut := command(t, env, "test", "--build", folder); code != exitBuild {
		t.Errorf("exit code %d after a compiler that failed\n%s", code, errOut)
	}
}

func TestTestBuildsCWhenItIsOlder(t *testing.T) {
	wasm, err := os.ReadFile(echoModule)
	if err != nil {
		t.Fatal(err)
	}
	folder := testFolder(t, map[string]string{"echo.c": "", "scenarios/a.yaml": strings.ReplaceAll(echoScenario, "echo.wasm", "../echo.wasm")})
	builds := 0
	env := fakeCompiler("clang-14", func(_ *exec.Cmd, out string) error {
		builds++
		return os.WriteFile(out, wasm, 0o644)
	})
	now := time.Now()
	for i, age := range []time.Duration{-time.Hour, time.Hour} { // of the source
		if err := os.Chtimes(filepath.Join(folder, "echo.c"), now.Add(age), now.Add(age)); err != nil {
			t.Fatal(err)
		}
		if code, _, errOut := command(t, env, "test", "--build", folder); code != exitOK || builds != i {
			t.Errorf("exit code %d, %d builds with a source that is %v newer\n%s", code, builds, age, errOut)
		}
	}
}

// memory is files that a test changes.
type memory struct {
	mu    sync.Mutex
	files map[string]string
}

func (m *memory) set(name, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = text
}

func (m *memory) read(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, ok := m.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

// syncBuilder is a strings.Builder that two goroutines use.
type syncBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestWatchPlaysAgainWhenAFileChanges(t *testing.T) {
	wasm, err := os.ReadFile(echoModule)
	if err != nil {
		t.Fatal(err)
	}
	files := &memory{files: map[string]string{"echo.wasm": string(wasm), "a.yaml": echoScenario}}
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal)
		var out, said syncBuilder
		env := Env{Args: []string{"test", "--watch", "a.yaml"}, Stdout: &out, Stderr: &said, Signals: signals, ReadFile: files.read,
			ReadDir: func(string) ([]fs.DirEntry, error) { return nil, fs.ErrNotExist }}
		done := make(chan int)
		go func() { done <- Run(context.Background(), env) }() // ends with the signal
		wait := func(want string, in *syncBuilder) {
			t.Helper()
			time.Sleep(2 * watchEvery) // virtual: it lasts until everything waits
			synctest.Wait()
			if !strings.Contains(in.String(), want) {
				t.Errorf("%q is missing in\n%s", want, in.String())
			}
		}
		wait("1 passed, 0 failed", &out)
		before := strings.Count(out.String(), "passed")
		wait("watching 2 files", &said)
		if n := strings.Count(out.String(), "passed"); n != before {
			t.Errorf("it has played %d times, and nothing has changed", n)
		}
		files.set("a.yaml", badScenario)
		wait("0 passed, 1 failed, 1 skipped", &out)
		files.set("a.yaml", "modul: x")
		wait(`did you mean "module"?`, &said)
		files.set("a.yaml", echoScenario)
		wait("1 passed, 0 failed, 0 skipped", &out)
		if n := strings.Count(out.String(), "1 passed, 0 failed"); n != 2 {
			t.Errorf("it has passed %d times, want 2", n)
		}
		signals <- os.Interrupt
		if code := <-done; code != exitOK {
			t.Errorf("exit code %d", code)
		}
	})
}
