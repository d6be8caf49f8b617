package cli

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeRust is a machine that has these programs, of which a rustc knows the folder
// of the standard library; cargo makes a module of the package echo-it.
func fakeRust(t *testing.T, library string, programs ...string) (env Env, ran func() []*exec.Cmd) {
	var commands []*exec.Cmd
	env = realEnv()
	env.LookPath = func(name string) (string, error) {
		switch {
		case !slices.Contains(programs, name):
			return "", exec.ErrNotFound
		case filepath.IsAbs(name):
			return name, nil
		}
		return "/home/me/bin/" + name, nil
	}
	env.Exec = func(cmd *exec.Cmd) error {
		commands = append(commands, cmd)
		folder, err := filepath.EvalSymlinks(cmd.Dir)
		if err != nil {
			return err
		}
		target := filepath.Join(folder, "target")
		switch cmd.Args[1] {
		case "--print":
			home := filepath.Dir(filepath.Dir(cmd.Path))
			if home == library {
				_, err = io.WriteString(cmd.Stdout, t.TempDir()+"/..\n") // a folder that holds something
			} else {
				_, err = io.WriteString(cmd.Stdout, "/no/such/folder\n")
			}
		case "build":
			module := filepath.Join(target, rustTarget, "release", "echo_it.wasm")
			if err = os.MkdirAll(filepath.Dir(module), 0o755); err == nil {
				err = os.WriteFile(module, []byte(emptyModule), 0o644)
			}
		case "metadata":
			quoted := strings.ReplaceAll(`{"target_directory": "TARGET", "packages": [
				{"manifest_path": "/elsewhere/Cargo.toml", "targets": [{"name": "other", "crate_types": ["cdylib"]}]},
				{"manifest_path": "FOLDER/Cargo.toml", "targets": [{"name": "tool", "crate_types": ["bin"]}, {"name": "echo-it", "crate_types": ["rlib", "cdylib"]}]}]}`,
				"TARGET", filepath.ToSlash(target))
			_, err = io.WriteString(cmd.Stdout, strings.ReplaceAll(quoted, "FOLDER", filepath.ToSlash(folder)))
		}
		return err
	}
	return env, func() []*exec.Cmd { return commands }
}

func TestRustIsBuiltByTheFirstToolchainThatCan(t *testing.T) {
	const mine, system = "/home/me/bin/", "/usr/bin/"
	all := []string{"cargo", "rustc", system + "cargo", system + "rustc"}
	for _, tc := range []struct {
		name, library string
		programs      []string
		want          string // the command that is shown
	}{
		{"the user's own", "/home/me", all, "\nCARGO"},
		{"the system's, where the user's own lacks the target", "/usr", all, "\nRUSTC=/usr/bin/rustc CARGO"},
		{"the system's, where there is no other", "/usr", all[2:], "\nRUSTC=/usr/bin/rustc CARGO"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env, ran := fakeRust(t, tc.library, tc.programs...)
			folder := writeFiles(t, map[string]string{"Cargo.toml": ""})
			code, stdout, stderr := command(t, env, "build", folder, "--", "--features", "x")
			if code != 0 || !strings.HasPrefix(stdout, filepath.Join(folder, "echo.wasm")+": 8 B in ") {
				t.Fatalf("exit code %d, printed %q and said %q", code, stdout, stderr)
			}
			cargo, words := mine+"cargo", "cargo build"
			if tc.library == "/usr" {
				cargo, words = system+"cargo", system+"cargo build"
			}
			words += " --release --target wasm32-unknown-unknown --features x\n"
			if said := "\n" + strings.TrimPrefix(stderr, "cd "+folder+" && "); !strings.HasPrefix(said, tc.want) || !strings.HasSuffix(said, words) {
				t.Errorf("said %q, want %q and %q", said, tc.want, words)
			}
			for _, cmd := range ran() {
				if cmd.Dir != folder || filepath.Base(cmd.Path) == "cargo" && cmd.Path != cargo {
					t.Errorf("it ran %s in %s", cmd.Path, cmd.Dir)
				}
			}
		})
	}
}

func TestWhatRustLacksIsNamedWithItsCure(t *testing.T) {
	for _, tc := range []struct {
		programs []string
		want     string
	}{
		{nil, "there is no cargo in the PATH; install Rust 1.63 or later with that target (rustup: rustup target add wasm32-unknown-unknown; Debian: apt install cargo rustc"},
		{[]string{"cargo"}, "there is no rustc in the PATH; "},
		{[]string{"cargo", "rustc"}, "/home/me/bin/rustc: there is no standard library for wasm32-unknown-unknown; "},
		{[]string{"cargo", "rustc", "/usr/bin/cargo"}, "/home/me/bin/rustc: there is no standard library for wasm32-unknown-unknown; "},
	} {
		env, _ := fakeRust(t, "", tc.programs...)
		code, stdout, stderr := command(t, env, "build", writeFiles(t, map[string]string{"Cargo.toml": ""}))
		if code != 3 || stdout != "" || !strings.HasPrefix(stderr, "weir: build echo: "+tc.want) {
			t.Errorf("with %q: exit code %d, printed %q and said %q", tc.programs, code, stdout, stderr)
		}
	}
}

func TestACrateThatIsNoModuleIsToldWhatItNeeds(t *testing.T) {
	const metadata = `{"target_directory": "/t", "packages": [{"manifest_path": "/x/Cargo.toml", "targets": [{"name": "x", "crate_types": ["cdylib"]}]}]}`
	if _, err := rustModule([]byte(metadata), t.TempDir()); err == nil || !strings.Contains(err.Error(), `crate-type = ["cdylib"]`) {
		t.Errorf("another package's module is taken: %v", err)
	}
	if _, err := rustModule([]byte("warning: x"), t.TempDir()); err == nil || !strings.Contains(err.Error(), "cargo metadata: ") {
		t.Errorf("what is no JSON is taken: %v", err)
	}
}

// The real compiler, with a mistake in the source and then without.
func TestRustMistakesAreShown(t *testing.T) {
	needsLanguage(t, languageRust)
	folder := writeFiles(t, map[string]string{
		"Cargo.toml": "[package]\nname = \"fn\"\nversion = \"0.0.0\"\nedition = \"2021\"\nrust-version = \"1.63\"\n\n[lib]\nname = \"handler\"\ncrate-type = [\"cdylib\"]\n",
		"src/lib.rs": "pub fn f() { undefined_function() }\n",
	})
	code, stdout, stderr := command(t, realEnv(), "build", folder)
	if code != 3 || stdout != "" || !strings.Contains(stderr, "undefined_function") || !strings.Contains(stderr, "src/lib.rs:1:14") {
		t.Errorf("exit code %d, printed %q and said\n%s", code, stdout, stderr)
	}
	if err := os.WriteFile(filepath.Join(folder, "src", "lib.rs"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = command(t, realEnv(), "build", folder)
	if code != 0 || !strings.HasPrefix(stdout, filepath.Join(folder, "echo.wasm")+": ") {
		t.Errorf("exit code %d, printed %q and said\n%s", code, stdout, stderr)
	}
}
