package weirtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weir/internal/scenario"
)

// RunScenarios plays scenario files, those that match a pattern
// (filepath.Glob), each scenario as a subtest: FILE/NAME. No file is an error.
// docs/scenarios.md describes the files.
func RunScenarios(t *testing.T, pattern string) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatalf("weirtest: %q: %v", pattern, err)
	}
	if len(names) == 0 {
		t.Fatalf("weirtest: no scenario file matches %s", pattern)
	}
	for _, name := range names {
		t.Run(filepath.ToSlash(name), func(t *testing.T) {
			f, err := scenario.Load(name, os.ReadFile)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range f.Scenarios {
				t.Run(s.Name, func(t *testing.T) { runScenario(t, f, s.Name) })
			}
		})
	}
}

func runScenario(t *testing.T, f *scenario.File, name string) {
	t.Helper()
	report := f.Run(t.Context(), scenario.Options{
		Engine: theEngine(t), Run: regexp.MustCompile("^" + regexp.QuoteMeta(name) + "$"), Verbose: testing.Verbose(),
	})
	for _, r := range report.Results {
		if r.Skipped != "" {
			t.Skip(r.Skipped)
		}
		if len(r.Log) > 0 {
			t.Log("log\n" + strings.Join(r.Log, "\n"))
		}
		if r.Failure != nil {
			t.Error(r.Failure)
		}
	}
}
