package child

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryServerHasTheSameEnvironment(t *testing.T) {
	t.Setenv("GOGC", "off")
	t.Setenv("GOMAXPROCS", "64")
	var tuning []string
	for _, kv := range environment(2) {
		if strings.HasPrefix(kv, "GOGC=") || strings.HasPrefix(kv, "GOMAXPROCS=") {
			tuning = append(tuning, kv)
		}
	}
	if !slices.Equal(tuning, []string{"GOMAXPROCS=2"}) {
		t.Errorf("got %q", tuning)
	}
}

func TestAServerThatEndsAtOnceLeavesItsLastWords(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho \"no $1\" >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var asked string
	_, err := Start(t.Context(), 1, broken, func(address string) []string { asked = address; return []string{address} })
	for _, want := range []string{"no " + asked, "exit status 3"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing from %v", want, err)
		}
	}
}
