package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

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

// needsLanguage skips a test by the name of what a language's builds lack here.
func needsLanguage(t *testing.T, l *language) {
	t.Helper()
	if l != languageC && (testing.Short() || underRace) {
		t.Skip("compilers take seconds, and what the race detector looks for is elsewhere")
	}
	lacks := func(name, problem string) {
		t.Helper()
		if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
			t.Fatalf("needs %s: %s: make tools", name, problem)
		}
		t.Skipf("needs %s: %s: make tools", name, problem)
	}
	env := realEnv()
	for _, one := range l.tools {
		if found := one.diagnose(t.Context(), &env); found.Problem != "" {
			lacks(found.Name, found.Problem)
		}
	}
	tests, _, _ := strings.Cut(l.tests, " ")
	if _, err := exec.LookPath(tests); err != nil {
		lacks(tests, err.Error())
	}
}

// What a user does first: a project of each language, from an empty folder to
// clients that talk, with nothing but its compiler.
func TestANewProjectBuildsPassesItsTestsAndServes(t *testing.T) {
	weir, err := os.Executable() // which is the program, if asProgram is set
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range languages() {
		t.Run(l.name, func(t *testing.T) {
			needsLanguage(t, l)
			folder := filepath.Join(t.TempDir(), "my project")
			run := func(args ...string) (printed string) {
				t.Helper()
				code, stdout, stderr := command(t, realEnv(), args...)
				if code != 0 {
					t.Fatalf("weir %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
				}
				return stdout
			}
			printed := run("new", "talk", "--lang", l.name, "--dir", folder)
			if !strings.Contains(printed, "\n  cd '"+folder+"'\n  "+l.tests) || !strings.Contains(printed, "weir test") {
				t.Errorf("new prints\n%s", printed)
			}
			if printed := run("build", folder); !strings.HasPrefix(printed, filepath.Join(folder, "talk.wasm")+": ") {
				t.Errorf("build prints %q", printed)
			}
			tests := exec.Command("sh", "-c", l.tests)
			tests.Dir, tests.Env = folder, append(realEnv().Environ, asProgram+"=1", "WEIR="+weir)
			if out, err := tests.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", l.tests, err, out)
			}
			if printed := run("test", folder); !strings.Contains(printed, " 0 failed") {
				t.Errorf("test prints\n%s", printed)
			}

			s := serve(t, Env{Environ: []string{"WEIR_SERVER_LISTEN=127.0.0.1:0"}}, "serve", "-c", filepath.Join(folder, "weir.yaml"))
			ann := s.dial("/chat/lobby?name=ann")
			hears(t, ann, `{"type":"joined","from":"ann","members":1}`)
			bob := s.dial("/chat/lobby?name=bob")
			hears(t, bob, `{"type":"joined","from":"bob","members":2}`)
			hears(t, ann, `{"type":"joined","from":"bob","members":2}`)
			says(t, ann, `{"type":"say","text":"hi"}`)
			hears(t, bob, `{"type":"say","from":"ann","text":"hi"}`)
			says(t, bob, `hello`)
			if _, _, err := bob.ReadMessage(); !websocket.IsCloseError(err, 4400) {
				t.Errorf("what is no chat message ended with %v", err)
			}
			hears(t, ann, `{"type":"left","from":"bob","members":1}`)
			if code := s.stop(); code != 0 {
				t.Errorf("exit code %d; it said\n%s", code, s.stderr)
			}
		})
	}
}

func says(t *testing.T, ws *websocket.Conn, text string) {
	t.Helper()
	if err := ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func hears(t *testing.T, ws *websocket.Conn, want string) {
	t.Helper()
	if _, got, err := ws.ReadMessage(); err != nil || string(got) != want {
		t.Fatalf("heard %q, %v; want %q", got, err, want)
	}
}

// The real compilers, and a client that stays while its handler is edited.
func TestDevInEveryLanguage(t *testing.T) {
	const nobody = `"guest"` // in every template the name of who gives none
	handlers := map[string]string{"go": "handler.go", "c": "handler.c", "rust": "src/lib.rs", "assemblyscript": "handler.ts", "ts": "handler.ts"}
	for _, l := range languages() {
		t.Run(l.name, func(t *testing.T) {
			needsLanguage(t, l)
			folder := filepath.Join(t.TempDir(), "talk")
			if code, _, stderr := command(t, realEnv(), "new", "talk", "--lang", l.name, "--dir", folder); code != 0 {
				t.Fatal(stderr)
			}
			if l == languageAssemblyScript {
				linkPackages(t, folder)
			}
			file := handlers[l.name]
			source, err := os.ReadFile(filepath.Join(folder, file))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(source), nobody) {
				t.Fatalf("%s is not what this test edits", file)
			}

			s := develop(t, folder)
			ann := s.dial("/chat/lobby?name=ann")
			hears(t, ann, `{"type":"joined","from":"ann","members":1}`)
			save(t, folder, file, strings.Replace(string(source), nobody, `"nobody"`, 1))
			line := s.stderr.wait(t, "generation 2 · build ")
			if !strings.HasSuffix(line, " · 1 connection kept\n") {
				t.Errorf("said %q", line)
			}
			t.Log(line)
			bob := s.dial("/chat/lobby")
			hears(t, bob, `{"type":"joined","from":"nobody","members":2}`)
			hears(t, ann, `{"type":"joined","from":"nobody","members":2}`)

			save(t, folder, file, "this is no "+l.title)
			s.shows("the failure", func(i playgroundInfo) bool {
				return i.Build.State == buildFailed && strings.Contains(i.Build.Message, filepath.Base(file)) && i.Modules[0].Generation == 2
			})
			says(t, bob, `{"type":"say","text":"hi"}`)
			hears(t, ann, `{"type":"say","from":"nobody","text":"hi"}`)
			ann.Close()
			bob.Close()
			s.stopped()
			if s.count("generation ") > 3 { // the first two, and one in the failure's words at most
				t.Errorf("it has built without a change:\n%s", s.stderr)
			}
		})
	}
}
