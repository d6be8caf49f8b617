package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// devProject is a folder whose "compiler" is a shell: it copies handler.src to
// echo.wasm, or fails when the source says so, and counts.
const devProject = `
modules:
  echo:
    path: echo.wasm
    capabilities: [topics, timers, metrics]
    build: >-
      echo x >> .builds;
      mkdir .lock || echo two builds at once;
      trap 'rmdir .lock' EXIT; trap 'exit 1' INT;
      if grep -q slow handler.src; then echo "it takes an hour"; sleep 3600; fi;
      if grep -q wrong handler.src; then echo "handler.src:1:1: wrong"; exit 1; fi;
      cp handler.src echo.wasm
routes: [{path: "/{path...}", module: echo}]
`

// variant is an echo like any other, with bytes of its own.
func variant(t *testing.T, name string) string {
	t.Helper()
	wasm, err := os.ReadFile(echoModule)
	if err != nil {
		t.Fatal(err)
	}
	section := append([]byte{byte(len(name))}, name...) // a custom section (WebAssembly §5.5.3)
	return string(wasm) + string(append([]byte{0, byte(len(section))}, section...))
}

// project writes one and returns its folder.
func project(t *testing.T, source string, more map[string]string) string {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("needs sh")
	}
	files := map[string]string{"weir.yaml": devProject, "handler.src": source}
	for name, text := range more {
		files[name] = text
	}
	return writeFiles(t, files)
}

func save(t *testing.T, folder, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// develop runs weir dev until it listens.
func develop(t *testing.T, folder string) *server {
	t.Helper()
	return serve(t, realEnv(), "dev", folder, "--listen", "127.0.0.1:0")
}

func (s *server) stopped() {
	s.t.Helper()
	if code := s.stop(); code != 0 {
		s.t.Errorf("exit code %d; it said\n%s", code, s.stderr)
	}
}

// state is what the playground shows.
func (s *server) state() playgroundInfo {
	s.t.Helper()
	var info playgroundInfo
	if _, body := get(s.t, s.url+"/_weir/state"); json.Unmarshal([]byte(body), &info) != nil {
		s.t.Fatalf("the state is %q", body)
	}
	return info
}

// shows waits until the playground shows what ok says.
func (s *server) shows(what string, ok func(playgroundInfo) bool) {
	s.t.Helper()
	next, end := events(s.t, s.url+"/_weir")
	defer end()
	var last string
	for {
		event := next()
		var info playgroundInfo
		if event == "" || json.Unmarshal([]byte(event), &info) != nil {
			s.t.Fatalf("the page never shows %s; last it showed %s; the log is\n%s", what, last, s.stderr)
		}
		if ok(info) {
			return
		}
		last = event
	}
}

func (s *server) count(part string) int { return strings.Count(s.stderr.String(), part) }

func TestDevSwapsOnEverySaveWithSocketsOpen(t *testing.T) {
	folder := project(t, variant(t, "one"), nil)
	s := develop(t, folder)
	s.stdout.wait(t, "Playground: "+s.url+"/\n")
	ws := s.dial("/any/path")
	echo(t, ws, "before")
	for generation, source := range []string{2: "two", 3: "three"} {
		if source == "" {
			continue
		}
		save(t, folder, "handler.src", variant(t, source))
		line := s.stderr.wait(t, fmt.Sprintf("generation %d · ", generation))
		want := `^weir: generation \d · build [\d.]+ ms · compile [\d.]+ ms · swap [\d.]+ ms · 1 connection kept\n$`
		if !regexp.MustCompile(want).MatchString(line) {
			t.Errorf("said %q, want %s", line, want)
		}
		echo(t, ws, "after "+source)
		s.shows("the new generation", func(i playgroundInfo) bool {
			return len(i.Modules) == 1 && i.Modules[0].Generation == uint64(generation) && i.Build.State == buildOK &&
				i.Modules[0].Digest == digestOf([]byte(variant(t, source)))
		})
	}
	if strings.Contains(s.stderr.String(), "module reloaded") {
		t.Error("a swap is told twice")
	}
	ws.Close()
	s.stopped()
}

func TestAFailedBuildKeepsTheOldGenerationAndIsShown(t *testing.T) {
	folder := project(t, variant(t, "one"), nil)
	s := develop(t, folder)
	ws := s.dial("/")
	const refused = "\x00asm\x01\x00\x00\x00" // nothing is exported
	for _, tc := range []struct{ name, source, said, shown string }{
		{"a build fails", "wrong", "handler.src:1:1: wrong\n", "handler.src:1:1: wrong\n"},
		{"what is built is no module", "text", "is not WebAssembly", "is not WebAssembly"},
		{"a module is refused", refused, "still serving echo generation", "module echo: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.t = t
			before := s.state().Modules
			save(t, folder, "handler.src", tc.source)
			s.shows("the failure", func(i playgroundInfo) bool {
				return i.Build.State == buildFailed && strings.Contains(i.Build.Message, tc.shown) &&
					len(i.Modules) == 1 && i.Modules[0] == before[0]
			})
			s.stderr.wait(t, tc.said)
			echo(t, ws, "still "+tc.name)
			save(t, folder, "handler.src", variant(t, tc.name))
			s.shows("the cure", func(i playgroundInfo) bool {
				return i.Build.State == buildOK && i.Build.Message == "" && i.Modules[0].Generation == before[0].Generation+1
			})
			echo(t, ws, "again "+tc.name)
		})
	}
	s.t = t
	ws.Close()
	s.stopped()
}

func TestAFirstBuildThatFailsWaitsForTheNextSave(t *testing.T) {
	folder := project(t, "wrong", map[string]string{"echo.wasm": variant(t, "of another day")})
	s := develop(t, folder)
	s.stderr.wait(t, "nothing serves yet, save a file to try again")
	info := s.state()
	if info.Build.State != buildFailed || info.Build.Message != "handler.src:1:1: wrong\n" || len(info.Modules) != 0 || len(info.Routes) != 1 {
		t.Errorf("the page shows %+v", info)
	}
	_, answer, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.url, "http")+"/", nil)
	if err == nil || answer == nil || answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("who connects gets %v, %v; want 503", answer, err)
	}
	save(t, folder, "handler.src", variant(t, "two"))
	s.stderr.wait(t, "generation 2 · ")
	ws := s.dial("/")
	echo(t, ws, "at last")
	ws.Close()
	s.stopped()
}

func TestTheStandInIsWhatItsTextSays(t *testing.T) {
	wat2wasm, err := exec.LookPath("wat2wasm")
	if err != nil {
		t.Skip("needs wat2wasm: make tools")
	}
	out := filepath.Join(t.TempDir(), "unbuilt.wasm")
	if said, err := exec.Command(wat2wasm, "dev/unbuilt.wat", "-o", out).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if made, err := os.ReadFile(out); err != nil || string(made) != string(unbuiltModule) {
		t.Errorf("wat2wasm dev/unbuilt.wat makes another dev/unbuilt.wasm (%v)", err)
	}
}

func TestAFirstModuleThatIsRefusedWaitsToo(t *testing.T) {
	folder := project(t, emptyModule, nil)
	s := develop(t, folder)
	s.stderr.wait(t, "nothing serves yet")
	if info := s.state(); info.Build.State != buildFailed || !strings.Contains(info.Build.Message, "module echo: ") || len(info.Modules) != 0 {
		t.Errorf("the page shows %+v", info)
	}
	save(t, folder, "handler.src", variant(t, "two"))
	s.stderr.wait(t, "generation 2 · ")
	s.stopped()
}

func TestASaveWhileABuildRunsEndsItAndAnotherFollows(t *testing.T) {
	folder := project(t, variant(t, "one"), nil)
	s := develop(t, folder)
	save(t, folder, "handler.src", "slow")
	s.stderr.wait(t, "it takes an hour")
	s.shows("that it builds", func(i playgroundInfo) bool { return i.Build.State == buildRunning })
	save(t, folder, "handler.src", variant(t, "two"))
	s.stderr.wait(t, "generation 2 · ")
	if said := s.stderr.String(); strings.Contains(said, "two builds at once") || strings.Contains(said, "error") {
		t.Errorf("it said\n%s", said)
	}
	if got := builds(t, folder); got != 3 {
		t.Errorf("%d builds, want 3", got)
	}
	save(t, folder, "handler.src", "slow")
	for s.count("it takes an hour") < 2 {
		s.stderr.next(t)
	}
	s.stopped() // with a build at work
}

// Files that change all the time, be it by the build itself, end some builds,
// but not one after another for ever.
func TestABuildIsDoneHoweverFastFilesChange(t *testing.T) {
	compile := make(chan struct{})
	env := fakeCompiler("go", func(cmd *exec.Cmd, out string) error {
		<-compile
		return writes(emptyModule)(cmd, out)
	})
	env.Stderr = io.Discard
	b := builder{env: &env, folder: writeFiles(t, map[string]string{"go.mod": ""})}
	var ended []bool
	for range 2 * (maxRestarts + 1) {
		b.start(t.Context())
		b.start(t.Context()) // a change
		b.start(t.Context()) // and another
		compile <- struct{}{}
		<-b.outcome()
		stale, cancelled := b.finish()
		if !stale {
			t.Error("nobody knows that another build must follow")
		}
		ended = append(ended, cancelled)
	}
	if want := []bool{true, true, true, false, true, true, true, false}; !slices.Equal(ended, want) {
		t.Errorf("builds that were ended: %v, want %v", ended, want)
	}
}

func builds(t *testing.T, folder string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, ".builds"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "x\n")
}

// next waits for anything more to be said.
func (l *lines) next(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	more := l.more
	l.mu.Unlock()
	select {
	case <-more:
	case <-time.After(patience):
		t.Fatalf("nothing more was said than\n%s", l)
	}
}

// pulse stands for time.After: debounces end when the test says so, and nothing
// else ever does.
type pulse struct {
	mu    sync.Mutex
	last  chan time.Time
	asked int
	free  bool          // debounces end at once
	more  chan struct{} // closed and replaced with every debounce
}

func (p *pulse) after(d time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	if d != debounce {
		return c
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = c
	p.asked++
	if p.free {
		c <- time.Time{}
	}
	close(p.more)
	p.more = make(chan struct{})
	return c
}

// wait returns when more than n debounces were asked for, with their number.
func (p *pulse) wait(t *testing.T, n int) int {
	t.Helper()
	for {
		p.mu.Lock()
		asked, more := p.asked, p.more
		p.mu.Unlock()
		if asked > n {
			return asked
		}
		select {
		case <-more:
		case <-time.After(patience):
			t.Fatal("a save gives no notice")
		}
	}
}

func (p *pulse) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = true
	p.last <- time.Time{}
}

func TestABurstOfSavesIsOneBuild(t *testing.T) {
	folder := project(t, variant(t, "one"), nil)
	env := realEnv()
	stderr, code := newLines(), make(chan error, 1)
	env.Stdout, env.Stderr, env.Terminal = io.Discard, stderr, true
	d := newDevelopment(&env, folder, devFlags{listen: []string{"127.0.0.1:0"}})
	clock := &pulse{more: make(chan struct{})}
	d.after = clock.after
	ctx, cancel := context.WithCancel(context.Background())
	go func() { code <- d.run(ctx) }() // ends with cancel
	stderr.wait(t, "handlers are at")
	n := 0
	for i := range 5 {
		save(t, folder, "handler.src", variant(t, fmt.Sprint(i)))
		n = clock.wait(t, n)
		save(t, folder, fmt.Sprintf("other-%d.txt", i), "new")
		n = clock.wait(t, n)
	}
	save(t, folder, "handler.src", variant(t, "last")) // its notice may come before or after
	clock.release()
	stderr.wait(t, "generation 2 · ")
	cancel()
	if err := <-code; err != nil {
		t.Error(err)
	}
	if got := builds(t, folder); got != 2 {
		t.Errorf("%d builds, want the first and one for the burst; it said\n%s", got, stderr)
	}
}

// A save that leaves every byte as it was is none.
func TestOnlyContentCounts(t *testing.T) {
	folder := project(t, variant(t, "one"), nil)
	s := develop(t, folder)
	save(t, folder, "handler.src", variant(t, "one"))
	save(t, folder, "handler.src~", "an editor's")
	save(t, folder, ".hidden", "nobody's")
	save(t, folder, "notes.md", "a source, for all we know")
	s.stderr.wait(t, "nothing has changed")
	if got := builds(t, folder); got != 2 {
		t.Errorf("%d builds, want 2", got)
	}
	if s.count("generation 2") != 0 {
		t.Errorf("the same module was loaded again:\n%s", s.stderr)
	}
	s.stopped()
}

func TestAModuleThatSomebodyElseBuildsIsSwapped(t *testing.T) {
	folder := writeFiles(t, map[string]string{
		"weir.yaml":  "modules: {a: {path: out/a.wasm}, b: {path: b.wasm}}\nroutes: [{path: /a, module: a}, {path: /b, module: b}]\n",
		"out/a.wasm": variant(t, "one"), "b.wasm": variant(t, "one"),
	})
	s := develop(t, folder)
	s.stderr.wait(t, "nothing is built here")
	ws := s.dial("/a")
	echo(t, ws, "before")
	save(t, folder, ".a.new", variant(t, "two"))
	if err := os.Rename(filepath.Join(folder, ".a.new"), filepath.Join(folder, "out", "a.wasm")); err != nil {
		t.Fatal(err)
	}
	line := s.stderr.wait(t, "a: generation 2 · compile ")
	if !strings.HasSuffix(line, " · 1 connection kept\n") {
		t.Errorf("said %q", line)
	}
	echo(t, ws, "after")
	if s.count("b: generation") != 0 {
		t.Errorf("the other one was swapped too:\n%s", s.stderr)
	}
	ws.Close()
	s.stopped()
}

func TestTheConfigurationIsAppliedLiveWhereItCan(t *testing.T) {
	folder := project(t, variant(t, "one"), nil)
	s := develop(t, folder)
	ws := s.dial("/")
	echo(t, ws, "before")
	save(t, folder, "weir.yaml", strings.Replace(devProject, "capabilities: [topics, timers, metrics]", "capabilities: [topics]\n    limits: {memory_growth: 0}\n    instances: 3", 1))
	s.stderr.wait(t, "unknown key")
	s.shows("the mistake", func(i playgroundInfo) bool {
		return i.Build.State == buildFailed && strings.Contains(i.Build.Message, "memory_growth")
	})
	echo(t, ws, "with a mistake")

	live := strings.Replace(devProject, "capabilities: [topics, timers, metrics]", "capabilities: [topics]\n    instances: 3", 1)
	save(t, folder, "weir.yaml", live)
	s.stderr.wait(t, "generation 2 · ")
	s.shows("the cure", func(i playgroundInfo) bool { return i.Build.State == buildOK })

	save(t, folder, "weir.yaml", strings.Replace(live, "routes: [", "routes: [{path: /more, module: echo}, ", 1)+"websocket: {max_message_size: 100B}\npool: {workers: 2}\n")
	s.stderr.wait(t, "restart weir dev for what has changed in weir.yaml: pool.workers\n")
	more := s.dial("/more")
	echo(t, more, "a route of its own")
	more.Close()
	s.shows("the route", func(i playgroundInfo) bool { return len(i.Routes) == 2 })
	must(t, ws.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("above the limit ", 20))))
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("a message above the new limit ended in %v", err)
	}
	ws.Close()
	s.stopped()
}

func TestThePlaygroundGivesWayToAPage(t *testing.T) {
	folder := project(t, variant(t, "one"), map[string]string{
		"weir.yaml":         devProject[:strings.Index(devProject, "routes")] + "routes: [{path: /ws, module: echo}, {path: /, static: public}]\n",
		"public/index.html": "<h1>mine</h1>",
	})
	s := develop(t, folder)
	s.stdout.wait(t, "Playground: "+s.url+"/_weir/\n")
	if _, body := get(t, s.url+"/"); body != "<h1>mine</h1>" {
		t.Errorf("/ is %q", body)
	}
	for path, part := range map[string]string{"/_weir/": "playground", "/_weir/playground.js": "WebSocket", "/_weir": "playground"} {
		if status, body := get(t, s.url+path); status != 200 || !strings.Contains(body, part) {
			t.Errorf("%s: %d %.100q", path, status, body)
		}
	}
	save(t, folder, filepath.Join("public", "index.html"), "<h1>yours</h1>")
	if _, body := get(t, s.url+"/"); body != "<h1>yours</h1>" {
		t.Errorf("/ is %q", body)
	}
	save(t, folder, "handler.src", variant(t, "two"))
	s.stderr.wait(t, "generation 2 · ")
	if got := builds(t, folder); got != 2 {
		t.Errorf("%d builds, want none for the page", got)
	}
	s.stopped()
}

func TestABrowserIsOpenedForPeople(t *testing.T) {
	folder := project(t, variant(t, "one"), nil)
	for _, more := range [][]string{nil, {"--no-open"}} {
		opened := make(chan string, 1)
		env := realEnv()
		env.Browse = func(url string) error { opened <- url; return nil }
		s := serve(t, env, append([]string{"dev", folder, "--listen", "127.0.0.1:0"}, more...)...)
		s.stderr.wait(t, "handlers are at")
		s.stopped()
		select {
		case url := <-opened:
			if more != nil || url != s.url+"/" {
				t.Errorf("%q opened %s", more, url)
			}
		default:
			if more == nil {
				t.Error("no browser was opened")
			}
		}
	}
}

func TestTheNextPortIsTakenWhenNobodyInsists(t *testing.T) {
	folder := project(t, variant(t, "one"), nil)
	first := develop(t, folder)
	taken := strings.TrimPrefix(first.url, "http://")
	save(t, folder, "weir.yaml", devProject+"server: {listen: [\""+taken+"\"]}\n")
	second := serve(t, realEnv(), "dev", folder)
	second.stderr.wait(t, taken+" is taken; listening on 127.0.0.1:")
	if first.url == second.url {
		t.Errorf("both are at %s", first.url)
	}
	second.stopped()
	if code, _, stderr := command(t, realEnv(), "dev", folder, "--listen", taken); code != 69 || !strings.Contains(stderr, "address already in use") {
		t.Errorf("who insists gets exit code %d and reads %q", code, stderr)
	}
	first.stopped()
}

func TestDevRefuses(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		args  []string
		want  string
	}{
		{"a folder without source", map[string]string{"a.txt": ""}, nil, "there is nothing to build"},
		{"a configuration that is wrong", map[string]string{"weir.yaml": "modlues: {}"}, nil, `did you mean "modules"?`},
		{"a configuration without modules", map[string]string{"weir.yaml": "routes: [{path: /, static: x}]"}, nil, "names no module; `weir new` starts a handler"},
		{"flags that have no place", map[string]string{"weir.yaml": "modules: {a: {path: a.wasm, build: make}}"}, []string{"--", "-x"}, "it takes neither -o nor flags"},
		{"two folders", map[string]string{"a.txt": ""}, []string{"other"}, `unexpected argument "other"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := command(t, realEnv(), append([]string{"dev", writeFiles(t, tc.files)}, tc.args...)...)
			if code != 2 || stdout != "" || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit code %d, printed %q and said %q", code, stdout, stderr)
			}
		})
	}
}
