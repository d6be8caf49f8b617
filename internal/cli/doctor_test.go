package cli

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	guestsdk "weir/guest-sdk"
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
		"connections        up to ",
		"listen             :8080\n",
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
	if len(d.System.Checks) < 4 || d.System.Go == "" {
		t.Errorf("got %+v", d.System)
	}
}

func TestDoctorFailsWhereNothingCanBeBuilt(t *testing.T) {
	env := machine(t, nil)
	d := diagnose(t.Context(), &env)
	for i, l := range d.Languages {
		if l.Ready != (l.Name == "ts" && hasEngine()) { // needs no program
			t.Errorf("%s is ready without any program", l.Name)
		}
		d.Languages[i].Ready = false
	}
	if err := d.verdict(); !errors.Is(err, errNoLanguage) {
		t.Errorf("the verdict is %v", err)
	}
	if text := d.String(); !strings.Contains(text, "get it: https://go.dev/dl") {
		t.Errorf("no cure is named in\n%s", text)
	}
	d.Languages[2].Ready = true
	if err := d.verdict(); err != nil {
		t.Errorf("with one language the verdict is %v", err)
	}
}

func hasEngine() bool {
	_, within := guestsdk.Engine()
	return within
}

func TestDoctorTellsWhatTheMachineLetsAServerHave(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	settings := map[string]string{"/proc/sys/net/core/somaxconn": "128\n", "/proc/sys/vm/max_map_count": "262144\n"}
	env := machine(t, nil)
	env.ReadFile = func(name string) ([]byte, error) {
		if text, ok := settings[name]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}
	check := func(k int) checkDiagnosis {
		c, ok := kernelLimits[k].check(&env)
		if !ok {
			t.Errorf("%s is not found", kernelLimits[k].name)
		}
		return c
	}
	nowhere := machine(t, nil)
	nowhere.CacheDir = ""
	readOnly := machine(t, nil)
	readOnly.WriteFile = func(string, []byte, fs.FileMode) error { return fs.ErrPermission }
	for _, tc := range []struct {
		name          string
		got           checkDiagnosis
		value         string
		problem, cure string // parts
	}{
		{"few files", checkConnections(960), "up to 960", "open files", "LimitNOFILE=65600"},
		{"enough files", checkConnections(65_536), "up to 65536", "", ""},
		{"an address that is taken", checkListen(t.Context(), taken.Addr().String()), taken.Addr().String(), "in use", "--listen"},
		{"an address that is free", checkListen(t.Context(), "127.0.0.1:0"), "127.0.0.1:0", "", ""},
		{"a short queue of the kernel", check(0), "128", "refused", "sysctl -w net.core.somaxconn=4096"},
		{"many mappings", check(1), "262144", "", ""},
		{"a cache", checkCache(&env), filepath.Join(env.CacheDir, "weir"), "", ""},
		{"no folder for the cache", checkCache(&nowhere), "", "names no folder", "compiled at every start"},
		{"a cache that cannot be written", checkCache(&readOnly), filepath.Join(readOnly.CacheDir, "weir"), "permission denied", "compiled at every start"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.got.Value != tc.value || (tc.got.Problem == "") != (tc.problem == "") ||
				!strings.Contains(tc.got.Problem, tc.problem) || !strings.Contains(tc.got.Cure, tc.cure) || tc.problem == "" && tc.got.Cure != "" {
				t.Errorf("got %+v", tc.got)
			}
		})
	}
	if left := inFolder(t, env.CacheDir); len(left) != 0 {
		t.Errorf("it has left %q", left)
	}
	delete(settings, "/proc/sys/net/core/somaxconn")
	if c, ok := kernelLimits[0].check(&env); ok {
		t.Errorf("a system without the setting has %+v", c)
	}
}

func TestDoctorSurvivesAToolThatFails(t *testing.T) {
	code, stdout, _ := command(t, machine(t, map[string]string{"go": "go version", "node": "", "npm": "10"}), "doctor")
	if code != 0 || !strings.Contains(stdout, "node: exit status 1") {
		t.Errorf("exit code %d, printed %q", code, stdout)
	}
}
