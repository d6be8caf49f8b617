package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/bench/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestAWholeRun looks at what is told, not at rates.
func TestAWholeRun(t *testing.T) {
	if _, err := exec.LookPath("clang-14"); err != nil {
		if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
			t.Fatal("needs clang-14: make tools")
		}
		t.Skip("needs clang-14: make tools")
	}
	const root = "../../.."
	dir := t.TempDir()
	weir := filepath.Join(dir, "weir")
	build := exec.Command("go", "build", "-o", weir, ".")
	build.Dir = root
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var out, progress bytes.Buffer
	args := []string{"-weir", weir, "-root", root, "-out", dir, "-only", "waiting", "-conns", "10", "-rounds", "1", "-over", "500ms"}
	if err := run(t.Context(), args, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	text, err := os.ReadFile(filepath.Join(dir, "overload.md"))
	if err != nil || string(text) != out.String() {
		t.Errorf("overload.md is not what was told: %v", err)
	}
	for _, want := range []string{"\n## waiting\n", "\n| 1 | ", "| waiting | goodput ≥ 90 % of the peak |", "| back within 5s |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, args := range []string{"-conns 0", "-rounds 0", "-procs 0", "-over 0s", "-only some", "-queue-timeout -1s", "more"} {
		if _, err := parseOptions(strings.Fields(args)); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
	if o, err := parseOptions(nil); err != nil || o.procs != 1 || len(chosen(o.only)) != 3 {
		t.Errorf("without flags: %+v, %v", o, err)
	}
}

// answers makes one slice with a single answer for each time; 0 is a slice without.
func answers(took ...time.Duration) []load.Slice {
	all := make([]load.Slice, len(took))
	for i, d := range took {
		all[i].Offered = 2
		if d > 0 {
			all[i].Answered, all[i].InTime = 1, 1
			all[i].Latency.Record(d)
		}
	}
	return all
}

func TestBackIsWhenItStaysAsBefore(t *testing.T) {
	const quick, slow = time.Millisecond, 50 * time.Millisecond
	withheld := answers(quick, quick, quick, quick, quick)
	withheld[0].Withheld = 1
	for name, tc := range map[string]struct {
		after []load.Slice
		back  time.Duration
	}{
		"at once":                           {answers(quick, quick, quick, quick), 0},
		"after a slow slice":                {answers(slow, quick, quick, quick, quick), slice},
		"a relapse counts":                  {answers(quick, quick, quick, slow, quick, quick, quick, quick), 4 * slice},
		"no answers are not quick ones":     {answers(0, quick, quick, quick, quick), slice},
		"messages given up are not answers": {withheld, slice},
		"it is not seen to last":            {answers(slow, quick, quick, quick), never},
	} {
		t.Run(name, func(t *testing.T) {
			var r round
			r.judge(answers(quick, 2*quick), answers(slow, slow), tc.after, 2*slice)
			if r.Back != tc.back {
				t.Errorf("back after %v, want %v", r.Back, tc.back)
			}
			if r.Offered != 8 || r.Answered != 4 || r.Goodput != 4 || r.P99Over < slow || r.P99Before < 2*quick {
				t.Errorf("it says %+v", r)
			}
		})
	}
}

func TestBarsAreJudgedByTheMedian(t *testing.T) {
	r := results{Kinds: kinds()[:1], Rounds: map[string][]round{"waiting": {
		{Peak: 100, Goodput: 95, PeakCPU: 1, OverCPU: .5, Back: time.Second}, {Peak: 100, Goodput: 20, PeakCPU: 1, OverCPU: .5, Back: never}, {Peak: 100, Goodput: 92, PeakCPU: 1, OverCPU: 1, Back: 2 * time.Second},
	}}}
	for _, want := range []string{
		"| waiting | goodput ≥ 90 % of the peak | 92 % (20 to 95) | reached |",
		"| the same for each second of CPU that the server had | 92 % (40 to 190) | reached |",
		"| back within 5s | 2.00 s (not seen to 1.00 s) | reached |",
	} {
		if text := r.markdown(); !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestOnACrowdedMachineNothingIsJudged(t *testing.T) {
	r := results{Kinds: kinds()[:1], Rounds: map[string][]round{"waiting": {{Peak: 100, Goodput: 95}, {Peak: 100, Goodput: 95, Others: .2}}}}
	if text := r.markdown(); strings.Contains(text, "| reached |") || !strings.Contains(text, "not judged") {
		t.Errorf("it says\n%s", text)
	}
}
