package cli

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine is one with these programs, each of which says a line.
func machine(t *testing.T, programs map[string]string) Env {
	env := realEnv()
	env.CacheDir = t.TempDir()
	env.LookPath = func(name string) (string, error) {
		if _, ok := programs[name]; ok {
			return "/bin/" + name, nil
		}
		return "", exec.ErrNotFound
	}
	env.Exec = func(cmd *exec.Cmd) error {
		says := programs[filepath.Base(cmd.Path)]
		if says == "" {
			return errors.New("exit status 1")
		}
		_, err := cmd.Stdout.Write([]byte(says + "\nand more"))
		return err
	}
	return env
}

func TestDoctorTellsWhatIsThereAndHowToGetTheRest(t *testing.T) {
	code, stdout, stderr := command(t, machine(t, map[string]string{"go": "go version go1.26.8 linux/amd64", "apt-get": "x", "clang-19": "clang 19"}), "doctor")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d, said %q", code, stderr)
	}
	for _, want := range []string{
		"ready    Go              --lang go\n",
		"go           go version go1.26.8 linux/amd64 · /bin/go\n",
		"missing  C               --lang c\n",
		"clang-19     clang 19 · /bin/clang-19\n",
		"there is no wasm-ld-14 in the PATH",
		"get it: apt install lld\n",
		"missing  Rust ",
		"a server takes up to ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing in\n%s", want, stdout)
		}
	}
}

func TestDoctorIsReadByPrograms(t *testing.T) {
	code, stdout, _ := command(t, machine(t, map[string]string{"go": "go version"}), "doctor", "-o", "json")
	var d diagnosis
	if err := json.Unmarshal([]byte(stdout), &d); code != 0 || err != nil {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if len(d.Languages) != len(languages()) || !d.Languages[0].Ready || d.Languages[1].Ready {
		t.Errorf("got %+v", d.Languages)
	}
}

func TestDoctorWithoutAnyLanguageFails(t *testing.T) {
	code, stdout, stderr := command(t, machine(t, nil), "doctor")
	if code != 1 || !strings.Contains(stderr, "no language can be built here") || !strings.Contains(stdout, "https://go.dev/dl") {
		t.Errorf("exit code %d, printed %q and said %q", code, stdout, stderr)
	}
}

func TestDoctorSurvivesAToolThatFails(t *testing.T) {
	code, stdout, _ := command(t, machine(t, map[string]string{"go": "go version", "node": "", "npm": "10"}), "doctor")
	if code != 0 || !strings.Contains(stdout, "node: exit status 1") {
		t.Errorf("exit code %d, printed %q", code, stdout)
	}
}
