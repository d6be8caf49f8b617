package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// consoleBlocks are the commands of a section of the README, a list a block.
func consoleBlocks(t *testing.T, readme, title string) [][]string {
	t.Helper()
	_, section, found := strings.Cut(readme, "\n## "+title+"\n")
	if !found {
		t.Fatalf("the README has no section %q", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks [][]string
	for _, m := range regexp.MustCompile("(?s)\n```console\n(.*?)```\n").FindAllStringSubmatch(section, -1) {
		var commands []string
		for line := range strings.Lines(m[1]) {
			if command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "); ok {
				commands = append(commands, command)
			}
		}
		blocks = append(blocks, commands)
	}
	return blocks
}

// follow runs commands in the working directory as a reader would, the last one
// until it listens.
func follow(t *testing.T, commands []string) *server {
	t.Helper()
	env := realEnv()
	env.Environ = append(env.Environ, "WEIR_SERVER_LISTEN=127.0.0.1:0") // the reader's port may be taken here
	for i, c := range commands {
		words := strings.Fields(c)
		switch {
		case words[0] == "cd" && len(words) == 2:
			t.Chdir(words[1])
		case words[0] != "weir":
			t.Fatalf("the test does not know how to run %q", c)
		case i == len(commands)-1:
			return serve(t, env, words[1:]...)
		default:
			code, stdout, stderr := command(t, env, words[1:]...)
			t.Logf("$ %s\n%s%s", c, stdout, stderr)
			if code != 0 {
				t.Fatalf("%s: exit code %d", c, code)
			}
			if words[1] == "test" && !regexp.MustCompile(`\b[1-9]\d* passed, 0 failed`).MatchString(stdout) {
				t.Errorf("%s: nothing has passed", c)
			}
		}
	}
	t.Fatal("there are no commands")
	return nil
}

// From an empty folder to a scenario that passes and an edit that is live, by
// nothing but what the README says.
func TestTheReadmesOwnHandler(t *testing.T) {
	if underRace {
		t.Skip("a Go module takes minutes to compile under the race detector")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	blocks := consoleBlocks(t, string(readme), "Write your own")
	if len(blocks) != 2 {
		t.Fatalf("there are %d blocks of commands, want a project and a folder of source", len(blocks))
	}

	t.Run("a project", func(t *testing.T) {
		t.Chdir(t.TempDir())
		s := follow(t, blocks[0])
		ann := s.dial("/chat/lobby?name=ann")
		say := func(ws *websocket.Conn, want string) {
			t.Helper()
			if _, got, err := ws.ReadMessage(); err != nil || string(got) != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		}
		say(ann, `{"type":"joined","from":"ann","members":1}`)
		source, err := os.ReadFile("handler.go")
		if err != nil {
			t.Fatal(err)
		}
		edited := strings.Replace(string(source), `Type: "joined"`, `Type: "welcome"`, 1)
		if edited == string(source) {
			t.Fatal("the handler is not what this test edits")
		}
		save(t, ".", "handler.go", edited)
		shown := regexp.MustCompile(`generation 2 · build \S+ m?s · compile \S+ m?s · swap \S+ m?s · 1 connection kept`)
		if line := s.stderr.wait(t, "generation 2 · "); !shown.MatchString(line) {
			t.Errorf("said %q, which is not what the README shows", line)
		}
		s.dial("/chat/lobby?name=bob").Close()
		say(ann, `{"type":"welcome","from":"bob","members":2}`)
		ann.Close()
		s.stopped()
	})

	t.Run("a folder of source", func(t *testing.T) {
		clone := t.TempDir()
		for _, folder := range []string{"examples/echo-go", "guest-sdk/go"} {
			if err := os.CopyFS(filepath.Join(clone, folder), os.DirFS(filepath.Join(repository, folder))); err != nil {
				t.Fatal(err)
			}
		}
		module, err := os.ReadFile(filepath.Join(repository, "examples", "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		save(t, filepath.Join(clone, "examples"), "go.mod", string(module))
		t.Chdir(clone)
		s := follow(t, blocks[1])
		ws := s.dial("/any/path")
		echo(t, ws, "hello")
		ws.Close()
		s.stopped()
	})
}

func TestTheReadmesHandlersAreThoseOfTheExamples(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for file, fence := range map[string]string{
		"echo-go/echo.go": "go", "echo-c/echo.c": "c", "echo-rust/src/lib.rs": "rust", "echo-assemblyscript/echo.ts": "ts", "echo-ts/echo.ts": "ts",
	} {
		source, err := os.ReadFile(filepath.Join("../../examples", file))
		if err != nil {
			t.Fatal(err)
		}
		handler, _, _ := strings.Cut(string(source), "\n#[cfg(test)]")
		if block := "```" + fence + "\n" + strings.TrimSpace(handler) + "\n```\n"; !strings.Contains(string(readme), block) {
			t.Errorf("the README has no\n%s", block)
		}
	}
}
