package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// emptyModule is the shortest file that is WebAssembly.
const emptyModule = "\x00asm\x01\x00\x00\x00"

// writeFiles fills a new folder and returns it.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "echo")
	for name, text := range files {
		file := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// fakeCompiler is found under one name; run stands for what it does, with the
// file after -o, or with none.
func fakeCompiler(program string, run func(cmd *exec.Cmd, out string) error) Env {
	env := realEnv()
	env.LookPath = func(name string) (string, error) {
		if name == program {
			return "/bin/" + name, nil
		}
		return "", exec.ErrNotFound
	}
	env.Exec = func(cmd *exec.Cmd) error {
		out := ""
		if i := slices.Index(cmd.Args, "-o"); i >= 0 {
			out = cmd.Args[i+1]
			if !filepath.IsAbs(out) {
				out = filepath.Join(cmd.Dir, out)
			}
		}
		return run(cmd, out)
	}
	return env
}

func writes(text string) func(*exec.Cmd, string) error {
	return func(_ *exec.Cmd, out string) error { return os.WriteFile(out, []byte(text), 0o644) }
}

func TestBuildFindsTheCompilerAndTheTarget(t *testing.T) {
	const oneModule = "modules: {talk: {path: out/talk.wasm}}"
	for _, tc := range []struct {
		name    string
		files   map[string]string
		program string
		args    []string // more of build
		target  string   // relative to the folder
		want    []string // parts of the command that is shown, in order
	}{
		{"go.mod means Go", map[string]string{"go.mod": ""}, "go", nil, "echo.wasm",
			[]string{"GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared '-ldflags=-s -w' -o echo.wasm .\n"}},
		{"go.mod means Go, whatever else there is", map[string]string{"go.mod": "", "x.c": "", "x.ts": ""}, "go", nil, "echo.wasm", []string{"go build"}},
		{"a Go file means Go", map[string]string{"main.go": "", "x_test.c": "", "x.test.js": ""}, "go", nil, "echo.wasm", []string{"go build"}},
		{"a C file means C, with every C file", map[string]string{"a.c": "", "b.c": ""}, "clang-14", nil, "echo.wasm",
			[]string{"clang-14 --target=wasm32", " -o echo.wasm a.c b.c\n"}},
		{"the SDK beside it is included", map[string]string{"a.c": "", "sdk/weir.h": ""}, "clang", nil, "echo.wasm", []string{" clang --target", "-I sdk -o echo.wasm"}},
		{"another clang does as well", map[string]string{"a.c": ""}, "clang-19", nil, "echo.wasm", []string{"clang-19 "}},
		{"weir.yaml names the target", map[string]string{"go.mod": "", "weir.yaml": oneModule, "out/x": ""}, "go", nil, "out/talk.wasm", []string{"-o out/talk.wasm"}},
		{"-o names it more loudly", map[string]string{"go.mod": "", "weir.yaml": oneModule}, "go", []string{"-o", "FOLDER/x.wasm"}, "x.wasm", []string{"-o x.wasm"}},
		{"flags go to the compiler", map[string]string{"go.mod": ""}, "go", []string{"--", "-tags", "a b"}, "echo.wasm", []string{"-o echo.wasm -tags 'a b' ."}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := writeFiles(t, tc.files)
			var ran *exec.Cmd
			env := fakeCompiler(tc.program, func(cmd *exec.Cmd, out string) error {
				ran = cmd
				return writes(emptyModule)(cmd, out)
			})
			args := []string{"build", folder}
			for _, a := range tc.args {
				args = append(args, strings.Replace(a, "FOLDER", folder, 1))
			}
			code, stdout, stderr := command(t, env, args...)
			target := filepath.Join(folder, filepath.FromSlash(tc.target))
			if code != 0 || !strings.HasPrefix(stdout, target+": 8 B in ") {
				t.Fatalf("exit code %d, printed %q and said %q", code, stdout, stderr)
			}
			rest := strings.ReplaceAll(stderr, folder+string(filepath.Separator), "")
			for _, part := range tc.want {
				_, after, found := strings.Cut(rest, part)
				if !found {
					t.Fatalf("said %q without %q", stderr, part)
				}
				rest = after
			}
			if ran.Dir != folder || ran.Path != "/bin/"+tc.program {
				t.Errorf("it ran %s in %s", ran.Path, ran.Dir)
			}
			if isGo := tc.program == "go"; slices.Contains(ran.Env, "GOOS=wasip1") != isGo || slices.Contains(ran.Env, "GOARCH=wasm") != isGo {
				t.Errorf("its environment is %q", ran.Env[max(0, len(ran.Env)-3):])
			}
			if got, err := os.ReadFile(target); err != nil || string(got) != emptyModule {
				t.Errorf("the target is %q, %v", got, err)
			}
			for _, name := range inFolder(t, folder) {
				if strings.HasSuffix(name, ".tmp") {
					t.Errorf("%s is left", name)
				}
			}
		})
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		args  []string
		want  string
	}{
		{"a folder without source", map[string]string{"a.txt": ""}, nil, "there is nothing to build: no go.mod, no *.go, no *.c, no Cargo.toml, no asconfig.json, no *.ts, no *.js; `weir new` starts a handler"},
		{"sources in several languages", map[string]string{"a.go": "", "b.c": "", "c.c": "", "d.c": ""}, nil,
			"is this Go (a.go) or C (b.c, c.c and 1 more)? Give each a folder of its own, name the one file to build, or say in weir.yaml how a module is built"},
		{"manifests of several languages", map[string]string{"go.mod": "", "Cargo.toml": "", "a.c": ""}, nil, "is this Go (go.mod) or Rust (Cargo.toml)?"},
		{"a file that no compiler takes by itself", map[string]string{"a.txt": ""}, []string{"FILE a.txt"}, "a file by itself can be one of *.c"},
		{"a configuration that is wrong", map[string]string{"weir.yaml": "modlues: {}"}, nil, `modlues: unknown key; did you mean "modules"?`},
		{"modules that it cannot tell apart", map[string]string{"go.mod": "", "weir.yaml": "modules: {a: {path: a.wasm}, b: {path: b.wasm}}"}, nil,
			"names 2 modules; say which file to make with -o"},
		{"-o beside a command", map[string]string{"weir.yaml": "modules: {a: {path: a.wasm, build: make}}"}, []string{"-o", "x.wasm"},
			"says how a is built; it takes neither -o nor flags"},
		{"two folders", map[string]string{}, []string{"other"}, `unexpected argument "other"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.files["keep"] = ""
			what, more := writeFiles(t, tc.files), tc.args
			if len(more) == 1 {
				if file, ok := strings.CutPrefix(more[0], "FILE "); ok {
					what, more = filepath.Join(what, file), nil
				}
			}
			code, stdout, stderr := command(t, realEnv(), append([]string{"build", what}, more...)...)
			if code != 2 || stdout != "" || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit code %d, printed %q and said %q", code, stdout, stderr)
			}
		})
	}
	code, _, stderr := command(t, realEnv(), "build", "no/such/folder")
	if code != 2 || !strings.Contains(stderr, "weir: no/such/folder: no such file") {
		t.Errorf("a folder that is not there: exit code %d, said %q", code, stderr)
	}
}

func TestAMissingCompilerIsNamedWithItsCure(t *testing.T) {
	for file, want := range map[string]string{
		"go.mod": "weir: build echo: there is no go in the PATH; install Go 1.24 or later (https://go.dev/dl)",
		"a.c":    "weir: build echo: there is no clang-14 in the PATH; install clang 14 or later with wasm-ld (Debian, Ubuntu: apt install clang lld",
	} {
		env := fakeCompiler("cobc", nil)
		code, stdout, stderr := command(t, env, "build", writeFiles(t, map[string]string{file: ""}))
		if code != 3 || stdout != "" || !strings.HasPrefix(stderr, want) {
			t.Errorf("%s: exit code %d, printed %q and said %q", file, code, stdout, stderr)
		}
	}
}

// The real compiler, with a mistake in the source.
func TestAFailedBuildShowsTheCompilersWordsAndKeepsTheModule(t *testing.T) {
	for language, files := range map[string]map[string]string{
		"go": {"go.mod": "module example/echo\n\ngo 1.24\n", "main.go": "package main\n\nfunc main() { undefinedFunction() }\n"},
		"c":  {"main.c": "int main(void) { return undefined_variable; }\n"},
	} {
		t.Run(language, func(t *testing.T) {
			want := "./main.go:3:15: undefined: undefinedFunction\n"
			if language == "c" {
				needsClang(t)
				want = "main.c:1:25: error: use of undeclared identifier 'undefined_variable'\n"
			}
			files["echo.wasm"] = "the old one"
			folder := writeFiles(t, files)
			code, stdout, stderr := command(t, realEnv(), "build", folder)
			if code != 3 || stdout != "" || !strings.Contains(stderr, "\n"+want) || !strings.Contains(stderr, "weir: build echo: ") {
				t.Errorf("exit code %d, printed %q and said\n%s", code, stdout, stderr)
			}
			if got := inFolder(t, folder); len(got) != len(files) {
				t.Errorf("the folder holds %q", got)
			}
			if got, _ := os.ReadFile(filepath.Join(folder, "echo.wasm")); string(got) != "the old one" {
				t.Errorf("the module is %q now", got)
			}
		})
	}
}

func TestWhatIsNotWebAssemblyNeverBecomesTheModule(t *testing.T) {
	for name, run := range map[string]func(*exec.Cmd, string) error{
		"is not WebAssembly":                        writes("#!/bin/sh"),
		"the command has succeeded and there is no": func(*exec.Cmd, string) error { return nil },
	} {
		folder := writeFiles(t, map[string]string{"go.mod": "", "echo.wasm": emptyModule})
		code, _, stderr := command(t, fakeCompiler("go", run), "build", folder)
		if code != 3 || !strings.Contains(stderr, name) {
			t.Errorf("exit code %d, said %q", code, stderr)
		}
		if got, _ := os.ReadFile(filepath.Join(folder, "echo.wasm")); string(got) != emptyModule {
			t.Errorf("the module is %q now", got)
		}
	}
}

func TestAModuleThatSaysHowItIsBuilt(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("needs sh")
	}
	folder := writeFiles(t, map[string]string{
		"go.mod": "", // the commands win
		"weir.yaml": `
modules:
  a: {path: a.wasm, build: 'printf "\0asm$GOOS" > a.wasm'}
  b: {path: out/b.wasm, build: 'mkdir -p out && cp a.wasm out/b.wasm'}
  c: {path: c.wasm}
`})
	code, stdout, stderr := command(t, realEnv(), "build", folder)
	if code != 0 || strings.Count(stdout, "\n") != 2 || !strings.Contains(stdout, filepath.Join(folder, "out", "b.wasm")+": 10 B in ") {
		t.Errorf("exit code %d, printed %q and said %q", code, stdout, stderr)
	}
	if !strings.Contains(stderr, `&& printf "\0asm$GOOS" > a.wasm`) {
		t.Errorf("it does not show the command: %q", stderr)
	}
	if got, _ := os.ReadFile(filepath.Join(folder, "a.wasm")); string(got) != "\x00asmwasip1" {
		t.Errorf("the command wrote %q", got)
	}
}

func TestTheErrorOfABuildCarriesTheCompilersWords(t *testing.T) {
	env := fakeCompiler("go", func(cmd *exec.Cmd, _ string) error {
		fmt.Fprint(cmd.Stdout, "one\n")
		fmt.Fprint(cmd.Stderr, strings.Repeat("x", 2*maxCompilerText))
		return errors.New("exit status 1")
	})
	stderr := newLines()
	env.Stderr = stderr
	_, err := build(context.Background(), &env, writeFiles(t, map[string]string{"go.mod": ""}), buildOptions{})
	var failed *buildError
	if !errors.As(err, &failed) || failed.Module != "echo" || !strings.Contains(failed.Command, "go build") {
		t.Fatalf("got %#v", err)
	}
	if !strings.HasPrefix(failed.Output, "one\nxxx") || len(failed.Output) != maxCompilerText {
		t.Errorf("it carries %d bytes: %.10q…", len(failed.Output), failed.Output)
	}
	if got := len(stderr.String()); got < 2*maxCompilerText {
		t.Errorf("only %d bytes were shown", got)
	}
}

// The compiler is a real process that would run for an hour.
func TestASignalEndsTheCompiler(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("needs sh")
	}
	folder := writeFiles(t, map[string]string{"weir.yaml": `modules: {a: {path: a.wasm, build: 'echo started; exec sleep 3600'}}`})
	env := realEnv()
	signals, stderr, code := make(chan os.Signal, 1), newLines(), make(chan int, 1)
	env.Args, env.Signals, env.Stderr, env.Stdout = []string{"build", folder}, signals, stderr, newLines()
	go func() { code <- Run(context.Background(), env) }()
	stderr.wait(t, "started")
	signals <- syscall.SIGINT
	select {
	case got := <-code:
		if got != 1 {
			t.Errorf("exit code %d, said %q", got, stderr)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}

func TestTextsForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 999: "999ns", 12345: "12.3µs", 1234567: "1.23ms", 1999 * time.Microsecond: "2ms",
		3 * time.Second: "3s", 12345 * time.Millisecond: "12.3s", 100 * time.Minute: "1h40m0s",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 3 << 20: "3.0 MiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	for s, want := range map[string]string{"": "''", "a-b_c.wasm": "a-b_c.wasm", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := quoteArgument(s); got != want {
			t.Errorf("%q is %s, want %s", s, got, want)
		}
	}
}
