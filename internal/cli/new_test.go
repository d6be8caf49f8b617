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
	"github.com/gorilla/websocket"

	guestsdk "weir/guest-sdk"
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

// A project of each language, from an empty folder to clients that talk, with
// nothing but its compiler.
func TestANewProjectBuildsTestsAndServes(t *testing.T) {
	for _, language := range guestsdk.Languages() {
		t.Run(language, func(t *testing.T) {
			if language == "c" {
				needsClang(t)
			}
			folder := filepath.Join(t.TempDir(), "my project")
			code, stdout, stderr := command(t, realEnv(), "new", "talk", "--lang", language, "--dir", folder)
			if code != 0 || stderr != "" || !strings.Contains(stdout, "\n  cd '"+folder+"'\n") || !strings.Contains(stdout, "weir test") {
				t.Fatalf("exit code %d, printed\n%s\nand said\n%s", code, stdout, stderr)
			}
			if language == "go" {
				test := exec.Command("go", "test", ".")
				test.Dir, test.Env = folder, realEnv().Environ
				if out, err := test.CombinedOutput(); err != nil {
					t.Errorf("its tests: %v\n%s", err, out)
				}
			}
			code, stdout, stderr = command(t, realEnv(), "build", folder)
			if code != 0 || !strings.HasPrefix(stdout, filepath.Join(folder, "talk.wasm")+": ") {
				t.Fatalf("exit code %d, printed\n%s\nand said\n%s", code, stdout, stderr)
			}
			if language == "go" && underRace {
				t.Skip("a Go module takes minutes to compile under the race detector")
			}

			s := serve(t, Env{Environ: []string{"WEIR_SERVER_LISTEN=127.0.0.1:0"}}, "serve", "-c", filepath.Join(folder, "weir.yaml"))
			receive := func(ws *websocket.Conn, want string) {
				t.Helper()
				if _, got, err := ws.ReadMessage(); err != nil || string(got) != want {
					t.Errorf("got %q, %v; want %q", got, err, want)
				}
			}
			ann := s.dial("/chat/lobby?name=ann")
			receive(ann, `{"type":"joined","from":"ann","members":1}`)
			bob := s.dial("/chat/lobby?name=bob")
			receive(bob, `{"type":"joined","from":"bob","members":2}`)
			receive(ann, `{"type":"joined","from":"bob","members":2}`)
			if err := ann.WriteMessage(websocket.TextMessage, []byte(`{"type":"say","text":"hi"}`)); err != nil {
				t.Fatal(err)
			}
			receive(bob, `{"type":"say","from":"ann","text":"hi"}`)
			if err := bob.WriteMessage(websocket.TextMessage, []byte(`hello`)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := bob.ReadMessage(); !websocket.IsCloseError(err, 4400) {
				t.Errorf("what is no chat message ended with %v", err)
			}
			receive(ann, `{"type":"left","from":"bob","members":1}`)
			if code := s.stop(); code != 0 {
				t.Errorf("exit code %d; it said\n%s", code, s.stderr)
			}
		})
	}
}

func TestWhatANewProjectHolds(t *testing.T) {
	for language, want := range map[string][]string{
		"go": {".gitignore", "README.md", "go.mod", "handler.go", "handler_test.go", "scenarios/chat.yaml", "weir.yaml", "sdk/go.mod", "sdk/weirtest/server.go"},
		"c":  {".gitignore", "README.md", "handler.c", "scenarios/chat.yaml", "weir.yaml", "sdk/weir.h", "sdk/weir_abi.h", "sdk/weir_json.h"},
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
		{"no language", []string{"talk"}, []string{"--lang is missing; there are go, c"}},
		{"an unknown language", []string{"talk", "--lang", "rust"}, []string{`unknown language "rust"`}},
		{"a wrong name and a wrong language, both", []string{"Talk It", "--lang", "rust"}, []string{`"Talk It" is not a project's name`, `unknown language "rust"`}},
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
