package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestAWholeRun looks at promises, not at times.
func TestAWholeRun(t *testing.T) {
	const root = "../../.."
	weir := filepath.Join(t.TempDir(), "weir")
	build := exec.Command("go", "build", "-o", weir, ".")
	build.Dir = root
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var out bytes.Buffer
	err := run(t.Context(), []string{
		"-weir", weir, "-guest", root + "/host/testdata/puppet.wasm", "-subscribers", "20", "-stalled", "5", "-rate", "50", "-for", "400ms",
	}, &out)
	if err != nil || !strings.Contains(out.String(), "missed by readers: 0") {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, args := range []string{"-subscribers 0", "-stalled -1", "-rate 0", "-size 8", "-for 0s", "more"} {
		if _, err := parseOptions(strings.Fields(args)); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
	if o, err := parseOptions(nil); err != nil || o.subscribers != 9000 || o.stalled != 1000 {
		t.Errorf("without flags: %+v, %v", o, err)
	}
}

func TestTheConfigurationNamesThePolicy(t *testing.T) {
	o, err := parseOptions([]string{"-policy", "conflate"})
	if err != nil {
		t.Fatal(err)
	}
	file, err := writeConfig(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), `"when_slow": "conflate"`) {
		t.Errorf("it says\n%s, %v", text, err)
	}
}
