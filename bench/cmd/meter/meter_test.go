package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/bench/internal/report"
	"weir/bench/kernels"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden file")

// root is the project's folder.
const root = "../../.."

func mustBuildWeir(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weir")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Dir = root
	if err := build(cmd); err != nil {
		t.Fatal(err)
	}
	return path
}

func needsClang(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("clang-14"); err != nil {
		if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
			t.Fatal("needs clang-14: make tools")
		}
		t.Skip("needs clang-14: make tools")
	}
}

// TestAWholeRun builds weir and every guest, and has each answer: what they answer is compared with what plain Go
// computes.
func TestAWholeRun(t *testing.T) {
	needsClang(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "docs")
	var text, progress bytes.Buffer
	err := run(t.Context(), []string{
		"-weir", mustBuildWeir(t), "-root", root, "-guests", filepath.Join(dir, "guests"), "-out", out,
		"-rounds", "1", "-warmup", "1ms", "-time", "8ms", "-tries", "1", "-instances=false",
	}, &text, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	js, err := os.ReadFile(filepath.Join(out, "metering.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r results
	if err := json.Unmarshal(js, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Samples) != len(subjects(guests{})) || len(r.Overruns) != len(ways)*len(companies) {
		t.Errorf("%d samples, %d overruns", len(r.Samples), len(r.Overruns))
	}
	for _, x := range r.Samples {
		for what, s := range map[string]side{"plain": x.Plain, "metered": x.Metered} {
			if s.Messages == 0 || s.CPU <= 0 {
				t.Errorf("%s in %s, %s: got %+v", x.Name, x.Guest, what, s)
			}
		}
	}
	md, err := os.ReadFile(filepath.Join(out, "metering.md"))
	if err != nil || string(md) != text.String() {
		t.Errorf("metering.md is not what was printed (%v)", err)
	}
}

func TestAServerThatDoesNotStartFailsTheRun(t *testing.T) {
	needsClang(t)
	var text bytes.Buffer
	err := run(t.Context(), []string{
		"-weir", "/nowhere/weir", "-root", root, "-guests", t.TempDir(),
		"-only", "sha256-C", "-rounds", "1", "-tries", "1", "-instances=false",
	}, &text, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "2 measurements failed") {
		t.Errorf("got %v", err)
	}
	for _, want := range []string{"| sha256-C, round 1 |", "| overrun |", "/nowhere/weir"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing from\n%s", want, text.String())
		}
	}
}

func TestAWrongAnswerFailsTheMeasurement(t *testing.T) {
	o, err := parseOptions([]string{"-weir", mustBuildWeir(t), "-warmup", "1ms", "-time", "8ms"})
	if err != nil {
		t.Fatal(err)
	}
	module, err := filepath.Abs(filepath.Join(root, "examples", "echo-c", "echo.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = o.cost(t.Context(), t.TempDir(), compute(kernels.SHA256, "C", module, 1), 1)
	if err == nil || !strings.Contains(err.Error(), "a wrong answer") {
		t.Errorf("an echo passes for SHA-256: %v", err)
	}
}

func TestAHandlerThatReturnsIsNoOverrun(t *testing.T) {
	o, err := parseOptions([]string{"-weir", mustBuildWeir(t)})
	if err != nil {
		t.Fatal(err)
	}
	o.tries = 1
	module, err := filepath.Abs(filepath.Join(root, "examples", "echo-c", "echo.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	err = o.overruns(t.Context(), t.TempDir(), module, func(x overrun) { t.Errorf("got %+v", x) })
	if err == nil || !strings.Contains(err.Error(), "the guest answered") {
		t.Errorf("got %v", err)
	}
}

func TestMistakesAreReported(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no rounds", []string{"-rounds", "0"}, "-rounds"},
		{"less than no tries", []string{"-tries", "-1"}, "-tries"},
		{"no time", []string{"-time", "0"}, "-time"},
		{"an argument that is no flag", []string{"stray"}, "stray"},
		{"work that there is not, with what there is", []string{"-only", "sha256-C,sha256-Cobol"}, `"sha256-Cobol"; there are sha256-C,`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := run(t.Context(), c.args, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestTheConfigurationsDifferInMeteringOnly(t *testing.T) {
	dir := t.TempDir()
	read := func(metering bool) string {
		file, err := settings{module: "/m.wasm", metering: metering, deadline: time.Second}.config(dir)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	on, off := read(true), read(false)
	if want := strings.Replace(on, `"metering": "on"`, `"metering": "off"`, 1); on == off || off != want {
		t.Errorf("got\n%s\nand\n%s", on, off)
	}
}

func TestBenchmarkResultsAreGathered(t *testing.T) {
	got := parseBenchmark([]byte(`goos: linux
BenchmarkInstantiate/nop-2         	    4096	     24500 ns/op	   1000 B/op	      10 allocs/op
BenchmarkInstantiate/wasi-2        	    4096	     1500.5 ns/op
BenchmarkInstantiate/nop-2         	    4096	     25500 ns/op
BenchmarkInstantiateMore/nop-2     	    4096	     1 ns/op
BenchmarkInstantiate/alone 	    4096	     3000 ns/op
--- FAIL: BenchmarkInstantiate/broken
PASS
`))
	want := []instance{{"nop", []float64{24.5, 25.5}}, {"wasi", []float64{1.5005}}, {"alone", []float64{3}}}
	if !slices.EqualFunc(got, want, func(a, b instance) bool { return a.Guest == b.Guest && slices.Equal(a.Micros, b.Micros) }) {
		t.Errorf("got %+v", got)
	}
}

// known are the results of a run of three rounds in which everything is known.
func known() *results {
	r := &results{
		Command: "meter -weir weir", Commit: "abc123", Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Machine: report.Machine{CPU: "Test CPU", CPUs: 2, Kernel: "6.1", Go: "go1.26", GOMAXPROCS: 2},
		Rounds:  3, Warmup: 100 * time.Millisecond, Measure: 400 * time.Millisecond, Deadline: overrunDeadline,
		Subjects: []subject{
			{Name: "sha256", Guest: "C", Work: "a digest", Compute: true},
			{Name: "json", Guest: "Go", Work: "a document", Compute: true},
			{Name: "mandelbrot", Guest: "C", Work: "never measured", Compute: true},
			{Name: "chat", Guest: "C", Work: "a line"},
		},
		Instances: []instance{{"nop", []float64{20, 30, 25}}},
		Failures:  []failure{{"mandelbrot-C, round 1", "a | b\nc"}},
	}
	add := func(name, guest string, plain, metered []float64) {
		for i := range plain {
			r.Samples = append(r.Samples, sample{name, guest, i + 1, side{100, plain[i], 0.01}, side{100, metered[i], 0.03}})
		}
	}
	add("sha256", "C", []float64{4000, 4100, 4200}, []float64{4400, 4305, 4620})
	add("json", "Go", []float64{1000, 1000, 1000}, []float64{1300, 1200, 1250})
	add("chat", "C", []float64{10, 11, 12}, []float64{10, 11, 15})
	for _, w := range ways {
		for _, c := range companies {
			r.Overruns = append(r.Overruns, overrun{w.Name, c.Name, []float64{0.5, 1, 3}})
		}
	}
	return r
}

func TestMarkdown(t *testing.T) {
	const golden = "testdata/metering.md"
	got := known().markdown()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTheWorstAndTheMedianAreOfOneKindOfWork(t *testing.T) {
	rows := known().rows()
	computing, ok := judge(rows, true)
	if !ok || computing.ratios.N != 2 || computing.worst.subject.Name != "json" || computing.ratios.Max != 1.25 {
		t.Errorf("computing: got %+v", computing)
	}
	passing, ok := judge(rows, false)
	if !ok || passing.ratios.N != 1 || passing.worst.subject.Name != "chat" || passing.ratios.Median != 1 {
		t.Errorf("passing on: got %+v", passing)
	}
	if _, ok := judge(nil, true); ok {
		t.Error("nothing is judged")
	}
}

func TestTheBarsOfTheOverrun(t *testing.T) {
	busy := func(x overrun) bool { return x.Company != "alone" && x.Way == "fill" }
	for _, c := range []struct {
		name              string
		change            func(*results)
		reached, measured bool
	}{
		{"in time everywhere reaches them", func(*results) {}, true, true},
		{"one that is late misses them", func(r *results) {
			for i, x := range r.Overruns {
				if busy(x) {
					r.Overruns[i].Millis = []float64{1, 1, 20.1}
				}
			}
		}, false, true},
		{"a median that is late misses them", func(r *results) {
			for i, x := range r.Overruns {
				if busy(x) {
					r.Overruns[i].Millis = []float64{1, 5.1, 6}
				}
			}
		}, false, true},
		{"being late alone is not what they are about", func(r *results) {
			for i, x := range r.Overruns {
				if x.Company == "alone" {
					r.Overruns[i].Millis = []float64{100}
				}
			}
		}, true, true},
		{"what is missing is not reached", func(r *results) { r.Overruns = slices.DeleteFunc(r.Overruns, busy) }, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := known()
			c.change(r)
			reached, measured := r.inTime()
			if measured != c.measured || measured && reached != c.reached {
				t.Errorf("reached %t, measured %t", reached, measured)
			}
		})
	}
}
