package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	guestsdk "weir/guest-sdk"
)

func TestTheCommandsKnowTheLanguagesOfTheSDK(t *testing.T) {
	var names []string
	for _, l := range languages() {
		names = append(names, l.name)
	}
	if !slices.Equal(names, guestsdk.Languages()) {
		t.Errorf("the commands know %v, the SDK has %v", names, guestsdk.Languages())
	}
}

// TestANewProjectBuildsAndPassesItsTests is what a user does first, in each
// language, with the toolchains of this machine.
func TestANewProjectBuildsAndPassesItsTests(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("compilers take seconds, and what the race detector looks for is elsewhere")
	}
	for _, l := range languages() {
		t.Run(l.name, func(t *testing.T) {
			env := realEnv()
			env.CacheDir, _ = os.UserCacheDir()
			env.Environ = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WEIR_") })
			for _, one := range l.tools {
				if found := one.diagnose(context.Background(), &env); found.Problem != "" {
					if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
						t.Fatalf("%s: make tools", found.Problem)
					}
					t.Skipf("%s (make tools)", found.Problem)
				}
			}
			folder := filepath.Join(t.TempDir(), "demo-"+l.name)
			run := func(args ...string) string {
				t.Helper()
				code, stdout, stderr := command(t, env, args...)
				if code != 0 {
					t.Fatalf("weir %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
				}
				return stdout
			}
			if said := run("new", "demo-"+l.name, "--lang", l.name, "--dir", folder); !strings.Contains(said, l.tests) {
				t.Errorf("new does not tell of %q:\n%s", l.tests, said)
			}
			run("build", folder)
			if l.tests != "" {
				cmd := exec.Command("sh", "-c", l.tests)
				cmd.Dir, cmd.Env = folder, env.Environ
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", l.tests, err, out)
				}
			}
			run("test", filepath.Join(folder, "..."))
		})
	}
}
