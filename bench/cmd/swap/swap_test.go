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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestAWholeRun swaps once under a little load and looks at promises, not at times.
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
	err := run(t.Context(), []string{
		"-weir", weir, "-root", root, "-out", dir, "-conns", "20", "-rate", "400", "-swaps", "1", "-every", "1500ms",
	}, &out, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	text, err := os.ReadFile(filepath.Join(dir, "swap.md"))
	if err != nil || string(text) != out.String() {
		t.Errorf("swap.md is not what was told: %v", err)
	}
	for _, want := range []string{"| lost, doubled or out of order | 0 |", "| steps to an older generation | 0 |", "| connections lost | 0 |", "\n| 2 | "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestWhatDoesNotHoldIsToldByTheExitStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		tally tally
		wrong bool
	}{
		"all is well":          {tally{Sent: 5, Heard: 5}, false},
		"a message is lost":    {tally{Sent: 5, Heard: 4}, true},
		"an order is wrong":    {tally{Sent: 5, Heard: 5, Wrong: 1}, true},
		"one went back":        {tally{Sent: 5, Heard: 5, Back: 1}, true},
		"a connection is lost": {tally{Sent: 5, Heard: 5, LostConns: 1}, true},
	} {
		if err := (&results{Tally: tc.tally}).broken(); (err != nil) != tc.wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReloadsAreFoundInTheLog(t *testing.T) {
	all := reloads([]byte(`{"time":"2026-01-02T03:04:05.000000006Z","msg":"module loaded","gen":1}
no JSON
{"time":"2026-01-02T03:04:05.000000006Z","msg":"module reloaded","gen":2,"load":7000000,"swap":1500}
`))
	if len(all) != 1 || all[0].Generation != 2 || all[0].Load != 7*time.Millisecond || all[0].Swap != 1500*time.Nanosecond || all[0].Time.Nanosecond() != 6 {
		t.Errorf("%+v", all)
	}
}
