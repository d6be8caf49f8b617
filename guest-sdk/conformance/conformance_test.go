package conformance

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"weir/internal/scenario"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if binary.folder != "" {
		os.RemoveAll(binary.folder)
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// languages are those that weir supports: a folder with a guest for each.
var languages = []string{"go", "c", "rust", "assemblyscript", "ts"}

// binary is the weir command, made once for all tests.
var binary struct {
	sync.Once
	folder, path string
	err          error
}

func weir(t testing.TB) string {
	t.Helper()
	binary.Do(func() {
		if binary.folder, binary.err = os.MkdirTemp("", "weir-conformance"); binary.err != nil {
			return
		}
		binary.path = filepath.Join(binary.folder, "weir")
		if out, err := exec.Command("go", "build", "-o", binary.path, "weir").CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("go build weir: %w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.path
}

// withoutWeir is the environment without what weir would take for its configuration.
func withoutWeir() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WEIR_") })
}

// notHere are what `weir build` says where a toolchain is missing.
var notHere = []string{"in the PATH", "no standard library for", "make js-engine", "npm install", "npm ci"}

// buildAs builds what is in a folder as its users would.
func buildAs(t testing.TB, language, folder string) []byte {
	t.Helper()
	if testing.Short() || underRace {
		t.Skip("compiling guests takes seconds, and what the race detector looks for is elsewhere")
	}
	file := filepath.Join(t.TempDir(), "guest.wasm")
	args := []string{"build", folder, "-o", file}
	if language == "c" {
		sdk, err := filepath.Abs("../c")
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "--", "-I", sdk)
	}
	cmd := exec.Command(weir(t), args...)
	cmd.Env = withoutWeir()
	if out, err := cmd.CombinedOutput(); err != nil {
		if slices.ContainsFunc(notHere, func(words string) bool { return bytes.Contains(out, []byte(words)) }) && os.Getenv("WEIR_REQUIRE_TOOLS") != "1" {
			t.Skipf("the toolchain of %s is missing (make tools): %s", language, bytes.TrimSpace(out))
		}
		t.Fatalf("weir build %s: %v\n%s", folder, err, out)
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// table is what `make conformance` prints: how each language did in each scenario, in both engines.
type table struct {
	mu        sync.Mutex
	scenarios []string
	results   map[[2]string]string // by language and scenario
	otherwise map[string]string    // by language: the result of all scenarios that have none
}

func newTable() *table {
	return &table{results: map[[2]string]string{}, otherwise: map[string]string{}}
}

func (c *table) note(language, name, result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.scenarios, name) {
		c.scenarios = append(c.scenarios, name)
	}
	if cell := [2]string{language, name}; c.results[cell] != failed {
		c.results[cell] = result
	}
}

// noteRest notes how a language did as a whole.
func (c *table) noteRest(language string, t *testing.T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case t.Skipped():
		c.otherwise[language] = "skipped"
	case t.Failed():
		c.otherwise[language] = failed
	}
}

const failed = "FAIL"

func (c *table) print(w io.Writer) {
	const width = 66
	fmt.Fprintf(w, "%-*s", width, "scenario")
	for _, language := range languages {
		fmt.Fprintf(w, "  %-14s", language)
	}
	fmt.Fprintln(w)
	for _, name := range c.scenarios {
		fmt.Fprintf(w, "%-*.*s", width, width, name)
		for _, language := range languages {
			fmt.Fprintf(w, "  %-14s", cmp.Or(c.results[[2]string{language, name}], c.otherwise[language], "not played"))
		}
		fmt.Fprintln(w)
	}
}

func TestEveryLanguagePassesEveryScenario(t *testing.T) {
	files, err := filepath.Glob("scenarios/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	results := newTable()
	if path := os.Getenv("CONFORMANCE_TABLE"); path != "" {
		t.Cleanup(func() { // when all languages are done
			var page bytes.Buffer
			results.print(&page)
			if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
				t.Error(err)
			}
		})
	}
	for _, language := range languages {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			defer results.noteRest(language, t)
			wasm := buildAs(t, language, language)
			for _, interpreter := range []bool{false, true} {
				engine, err := scenario.NewEngine(scenario.EngineOptions{Interpreter: interpreter})
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range files {
					play(t, results, engine, language, path, wasm, interpreter)
				}
				if err := engine.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// play plays one file with one guest.
func play(t *testing.T, results *table, engine *scenario.Engine, language, path string, wasm []byte, interpreter bool) {
	in := "compiler"
	if interpreter {
		in = "interpreter"
	}
	f, err := scenario.Load(path, func(name string) ([]byte, error) {
		switch filepath.Base(name) {
		case "guest.wasm":
			return wasm, nil
		case "next.wasm": // another version that does the same: a custom section more
			return slices.Concat(wasm, []byte{0, 5, 4}, []byte("next")), nil
		}
		return os.ReadFile(name)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range f.Run(context.Background(), scenario.Options{Engine: engine}).Results {
		result := "pass"
		t.Run(r.Name+"/"+in, func(t *testing.T) {
			if !r.Passed() {
				result = failed
				t.Error(describe(r))
			}
		})
		results.note(language, r.Name, result)
	}
}

func describe(r scenario.Result) error {
	if r.Failure == nil {
		return errors.New("skipped: " + r.Skipped)
	}
	return fmt.Errorf("%s:%d: %s\nexpected %s\ngot %s\n%s", r.Failure.File, r.Failure.Line, r.Failure.Step, r.Failure.Expected, r.Failure.Got, strings.Join(r.Log, "\n"))
}
