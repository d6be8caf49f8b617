package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestAssemblyScriptIsCompiledWithTheProjectsOwnCompiler(t *testing.T) {
	const asc = "node_modules/assemblyscript/bin/asc.js"
	for _, tc := range []struct {
		name  string
		files map[string]string
		build string // below the folder
		want  string // the commands that are shown
	}{
		{"in the folder", map[string]string{"asconfig.json": "{}", asc: ""}, ".", "node node_modules/assemblyscript/bin/asc.js --config asconfig.json -o echo.wasm --converge\n"},
		{"in a folder above", map[string]string{"a/b/asconfig.json": "{}", asc: ""}, "a/b",
			"node ../../node_modules/assemblyscript/bin/asc.js --config asconfig.json -o b.wasm --converge\n"},
		{"brought by npm", map[string]string{"asconfig.json": "{}", "package.json": "{}"}, ".",
			"npm install --no-audit --no-fund\nnode node_modules/assemblyscript/bin/asc.js --config asconfig.json -o echo.wasm --converge\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := writeFiles(t, tc.files)
			env := fakeCompiler("node", func(cmd *exec.Cmd, out string) error {
				if cmd.Path == "/bin/npm" {
					return nil
				}
				return writes(emptyModule)(cmd, out)
			})
			env.LookPath = func(name string) (string, error) { return "/bin/" + name, nil }
			t.Chdir(filepath.Join(folder, tc.build))
			code, _, stderr := command(t, env, "build", "--", "--converge")
			if code != 0 || stderr != tc.want {
				t.Errorf("exit code %d, said\n%swant\n%s", code, stderr, tc.want)
			}
		})
	}
}

func TestWhatAssemblyScriptLacksIsNamedWithItsCure(t *testing.T) {
	for _, tc := range []struct {
		name     string
		files    map[string]string
		programs string
		want     string
	}{
		{"no Node", map[string]string{"asconfig.json": "{}"}, "npm", "there is no node in the PATH; install Node 20.11 or later"},
		{"no compiler and no package", map[string]string{"asconfig.json": "{}"}, "node npm", "there is no node_modules/assemblyscript; npm install assemblyscript@0.28.20"},
		{"no npm to bring it", map[string]string{"asconfig.json": "{}", "package.json": "{}"}, "node", "there is no npm in the PATH; npm install brings the compiler"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := realEnv()
			env.LookPath = func(name string) (string, error) {
				if strings.Contains(tc.programs, name) {
					return "/bin/" + name, nil
				}
				return "", exec.ErrNotFound
			}
			code, _, stderr := command(t, env, "build", writeFiles(t, tc.files))
			if code != 3 || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit code %d, said %q", code, stderr)
			}
		})
	}
}

// ascProject is a new project in AssemblyScript with the repository's packages.
func ascProject(t *testing.T) (folder string) {
	t.Helper()
	needsLanguage(t, languageAssemblyScript)
	files, err := projectFiles("echo", "assemblyscript")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for name, text := range files {
		texts[name] = string(text)
	}
	folder = writeFiles(t, texts)
	linkPackages(t, folder)
	return folder
}

// linkPackages gives a project the repository's packages.
func linkPackages(t *testing.T, folder string) {
	t.Helper()
	packages, err := filepath.Abs("../../node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(packages, "assemblyscript")); err != nil {
		if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
			t.Fatal("needs assemblyscript: make tools")
		}
		t.Skip("needs assemblyscript: make tools")
	}
	if err := os.Symlink(packages, filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
}

// asc is the command that the one-shot compiler would be.
func asc(t *testing.T, folder, out string) (cmd *exec.Cmd, said *bytes.Buffer) {
	t.Helper()
	said = &bytes.Buffer{}
	cmd = exec.Command("node", ascProgram, "--config", "asconfig.json", "-o", out)
	cmd.Dir, cmd.Stdout = folder, said
	return cmd, said
}

func TestAResidentCompilerCompilesAgainAndAgain(t *testing.T) {
	folder := ascProject(t)
	env := realEnv()
	r := &residentAsc{env: &env}
	defer r.close()
	compile := func(want error, words string) {
		t.Helper()
		os.Remove(filepath.Join(folder, "out.wasm"))
		cmd, said := asc(t, folder, "out.wasm")
		done, err := r.run(t.Context(), cmd)
		if !done || !errors.Is(err, want) || !strings.Contains(said.String(), words) {
			t.Fatalf("done %v, error %v; it said\n%s", done, err, said)
		}
		if _, err := os.Stat(filepath.Join(folder, "out.wasm")); (err == nil) != (want == nil) {
			t.Fatalf("the module: %v", err)
		}
	}
	handler, err := os.ReadFile(filepath.Join(folder, "handler.ts"))
	if err != nil {
		t.Fatal(err)
	}
	compile(nil, "")
	first := r.process
	save(t, folder, "handler.ts", string(handler)+"\nwrong();")
	compile(errAscRefused, "Cannot find name 'wrong'")
	save(t, folder, "handler.ts", string(handler))
	compile(nil, "")
	if r.process != first {
		t.Error("a failed build has cost the process")
	}

	if done, _ := r.run(t.Context(), exec.Command("npm", "install")); done {
		t.Error("it takes another program for the compiler")
	}

	first.kill()
	<-first.done
	compile(nil, "")
	if r.process == first {
		t.Error("the process that was killed has compiled")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cmd, _ := asc(t, folder, "out.wasm")
	if done, err := r.run(ctx, cmd); !done || !errors.Is(err, context.Canceled) || r.process != nil {
		t.Errorf("a build that was ended is done %v, with %v", done, err)
	}
}

// answering is an Exec that plays the resident compiler: each request gets the
// next answer, byte by byte; after the last the process ends.
func answering(answers ...string) func(*exec.Cmd) error {
	return func(cmd *exec.Cmd) error {
		stdin := cmd.Stdin.(*os.File)
		defer stdin.Close()
		requests := bufio.NewScanner(stdin)
		for _, answer := range answers {
			if !requests.Scan() {
				return nil
			}
			for i := range answer {
				if _, err := cmd.Stdout.Write([]byte{answer[i]}); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func TestTheResidentCompilersAnswers(t *testing.T) {
	env := realEnv()
	r := &residentAsc{env: &env}
	defer r.close()
	env.Exec = answering("{\"ok\":true,\"said\":\"a warning\"}\n", "{\"ok\":false,\"said\":\"an error\"}\n", "no JSON\n")
	for _, want := range []struct {
		done bool
		err  error
		said string
	}{{true, nil, "a warning"}, {true, errAscRefused, "an error"}, {false, nil, ""}} {
		cmd, said := asc(t, t.TempDir(), "out.wasm")
		if done, err := r.run(t.Context(), cmd); done != want.done || !errors.Is(err, want.err) || said.String() != want.said {
			t.Errorf("done %v, error %v, said %q; want %v", done, err, said, want)
		}
	}
	env.Exec = answering("{\"ok\":true}\n", "")
	cmd, _ := asc(t, t.TempDir(), "out.wasm")
	if done, err := r.run(t.Context(), cmd); !done || err != nil {
		t.Errorf("after a process that has failed: done %v, error %v", done, err)
	}
}

func TestAResidentCompilerThatDiesLeavesTheBuildToAnother(t *testing.T) {
	env := realEnv()
	env.Exec = func(*exec.Cmd) error { return errors.New("no such program") }
	r := &residentAsc{env: &env}
	defer r.close()
	cmd, _ := asc(t, t.TempDir(), "out.wasm")
	if done, err := r.run(t.Context(), cmd); done || err != nil {
		t.Errorf("done %v, error %v", done, err)
	}
}

func TestDevSwapsAssemblyScript(t *testing.T) {
	folder := ascProject(t)
	s := develop(t, folder)
	ws := s.dial("/chat/lobby?name=ann")
	receive := func(want string) {
		t.Helper()
		if _, got, err := ws.ReadMessage(); err != nil || string(got) != want {
			t.Fatalf("got %q, %v; want %q; it said\n%s", got, err, want, s.stderr)
		}
	}
	receive(`{"type":"joined","from":"ann","members":1}`)
	handler, err := os.ReadFile(filepath.Join(folder, "handler.ts"))
	if err != nil {
		t.Fatal(err)
	}
	save(t, folder, "handler.ts", strings.ReplaceAll(string(handler), "not a chat message", "no chat message"))
	s.stderr.wait(t, "generation 2 · ")
	if err := ws.WriteMessage(1, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(); err == nil || !strings.Contains(err.Error(), "no chat message") {
		t.Errorf("the new handler says %v", err)
	}
	s.stopped()
}
