package cli

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// realEnv has this machine's files and programs, and nothing from a network.
func realEnv() Env {
	ours := func(variable string) bool { return strings.HasPrefix(variable, "WEIR_") } // those of the test run
	return Env{
		Environ:   append(slices.DeleteFunc(os.Environ(), ours), "GOPROXY=off", "GOFLAGS=", "GOWORK=off"),
		ReadFile:  os.ReadFile,
		ReadDir:   os.ReadDir,
		MkdirAll:  os.MkdirAll,
		WriteFile: os.WriteFile,
		Rename:    os.Rename,
		Remove:    os.Remove,
		LookPath:  exec.LookPath,
		Exec:      (*exec.Cmd).Run,
	}
}

// needsClang skips a test by the name of what it lacks.
func needsClang(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("clang-14"); err != nil {
		if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
			t.Fatal("needs clang-14: make tools")
		}
		t.Skip("needs clang-14: make tools")
	}
}

// inFolder lists the files of a folder, with slashes.
func inFolder(t *testing.T, folder string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(folder), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestWhatANewProjectHolds(t *testing.T) {
	for language, want := range map[string][]string{
		"go": {".gitignore", "README.md", "go.mod", "handler.go", "handler_test.go", "scenarios/chat.yaml", "weir.yaml", "sdk/go.mod", "sdk/weirtest/server.go"},
		"c":  {".gitignore", "Makefile", "README.md", "handler.c", "handler_test.c", "scenarios/chat.yaml", "weir.yaml", "sdk/weir.h", "sdk/weir_abi.h", "sdk/weir_json.h", "sdk/weir_test.h"},
		"assemblyscript": {".gitignore", "README.md", "asconfig.json", "handler.ts", "handler.test.mjs", "package.json", "package-lock.json", "tsconfig.json",
			"scenarios/chat.yaml", "weir.yaml", "sdk/index.ts", "sdk/module.ts", "sdk/package.json", "sdk/asconfig.json", "sdk/abi.mjs",
			"sdk/assembly/abi.ts", "sdk/testing/index.mjs", "sdk/testing/host.mjs"},
		"rust": {".gitignore", "README.md", "Cargo.toml", "src/lib.rs", "src/tests.rs", "scenarios/chat.yaml", "weir.yaml", "sdk/Cargo.toml", "sdk/src/lib.rs", "sdk/src/testing.rs"},
	} {
		files, err := projectFiles("talk", language)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range want {
			if len(files[name]) == 0 {
				t.Errorf("%s: there is no %s", language, name)
			}
		}
		for name, text := range files {
			switch {
			case strings.Contains(string(text), "{{") && !strings.HasPrefix(name, "sdk/"):
				t.Errorf("%s: %s is not filled in:\n%s", language, name, text)
			case strings.HasSuffix(name, ".yaml"):
				var tree any
				if err := yaml.Unmarshal(text, &tree); err != nil {
					t.Errorf("%s: %s: %v", language, name, err)
				}
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"a.txt", "b.txt", "c.txt", "d.txt", "e.txt", "f.txt", "g.txt"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		args []string
		want []string
	}{
		{"no name", []string{"--lang", "go"}, []string{"NAME is missing; see `weir new --help`"}},
		{"two names", []string{"a", "b"}, []string{`unexpected argument "b"`}},
		{"no language", []string{"talk"}, []string{"--lang is missing; there are go, c, rust"}},
		{"an unknown language", []string{"talk", "--lang", "russt"}, []string{`unknown language "russt"; did you mean "rust"?`}},
		{"a wrong name and a wrong language, both", []string{"Talk It", "--lang", "cobol"}, []string{`"Talk It" is not a project's name`, `unknown language "cobol"`}},
		{"a name that is a path", []string{"../talk", "--lang", "go"}, []string{"is not a project's name"}},
		{"a name that YAML takes for a truth value", []string{"true", "--lang", "go"}, []string{"means something else in YAML"}},
		{"a name that Windows takes for a device", []string{"nul", "--lang", "go"}, []string{"or to Windows"}},
		{"a folder with something in it", []string{"talk", "--lang", "go", "--dir", folder}, []string{folder + " is not empty: a.txt, b.txt, c.txt, d.txt, e.txt and 2 more; give another folder with --dir"}},
		{"a folder that is a file", []string{"talk", "--lang", "go", "--dir", filepath.Join(folder, "a.txt")}, []string{"a.txt: not a directory"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := command(t, realEnv(), append([]string{"new"}, tc.args...)...)
			if code != 2 || stdout != "" {
				t.Errorf("exit code %d, printed %q", code, stdout)
			}
			for _, part := range tc.want {
				if !strings.Contains(stderr, part) {
					t.Errorf("said %q without %q", stderr, part)
				}
			}
		})
	}
	if got := inFolder(t, folder); len(got) != 7 {
		t.Errorf("a refusal left %q", got)
	}
}

func TestAFolderWithOnlyARepositoryIsEmpty(t *testing.T) {
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := command(t, realEnv(), "new", "talk", "--lang", "c", "--dir", folder)
	if code != 0 || !slices.Contains(inFolder(t, folder), "weir.yaml") {
		t.Errorf("exit code %d, said %q, wrote %q", code, stderr, inFolder(t, folder))
	}
}

func TestAFileThatCannotBeWrittenIsNamed(t *testing.T) {
	env := realEnv()
	env.WriteFile = func(name string, _ []byte, _ fs.FileMode) error {
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	folder := filepath.Join(t.TempDir(), "talk")
	code, _, stderr := command(t, env, "new", "talk", "--lang", "c", "--dir", folder)
	if code != 1 || !strings.Contains(stderr, filepath.Join(folder, ".gitignore")+": permission denied") {
		t.Errorf("exit code %d, said %q", code, stderr)
	}
}
