package cli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// patience ends a test that hangs. Nothing waits for it to pass.
const patience = 30 * time.Second

// server is a serving command in this process.
type server struct {
	t       *testing.T
	url     string // "http://127.0.0.1:port"
	signals chan os.Signal
	code    chan int
	stderr  *lines
	stdout  *lines
}

// serve runs a command until it listens.
func serve(t *testing.T, env Env, args ...string) *server {
	t.Helper()
	s := &server{t: t, signals: make(chan os.Signal, 2), code: make(chan int, 1), stderr: newLines(), stdout: newLines()}
	env.Args, env.Terminal, env.Signals = args, true, s.signals
	env.Stdout, env.Stderr = s.stdout, s.stderr
	if env.ReadFile == nil {
		env.ReadFile = os.ReadFile
	}
	go func() { s.code <- Run(context.Background(), env) }() // ends with stop
	line := s.stderr.wait(t, "listening on http")
	s.url = regexp.MustCompile(`https?://[0-9.:]+`).FindString(line)
	return s
}

// stop asks the server to end and returns its exit code.
func (s *server) stop() int {
	s.t.Helper()
	s.signals <- syscall.SIGTERM
	return s.wait()
}

func (s *server) wait() int {
	s.t.Helper()
	select {
	case code := <-s.code:
		return code
	case <-time.After(patience):
		s.t.Fatalf("it did not end; it said\n%s", s.stderr)
		return -1
	}
}

func (s *server) dial(path string) *websocket.Conn {
	s.t.Helper()
	return dial(s.t, s.url, path)
}

func dial(t *testing.T, url, path string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	if err := ws.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return ws
}

func echo(t *testing.T, ws *websocket.Conn, message string) {
	t.Helper()
	if err := ws.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		t.Fatal(err)
	}
	kind, got, err := ws.ReadMessage()
	if err != nil || kind != websocket.TextMessage || string(got) != message {
		t.Fatalf("sent %q, got %d %q, %v", message, kind, got, err)
	}
}

// get reads one page.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// lines is a writer whose lines can be waited for.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced at every write
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	close(l.more)
	l.more = make(chan struct{})
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// wait returns the first line that has part in it.
func (l *lines) wait(t *testing.T, part string) string {
	t.Helper()
	return l.waitFor(t, part, 1)
}

// waitFor returns the nth line that has part in it.
func (l *lines) waitFor(t *testing.T, part string, nth int) string {
	t.Helper()
	return l.waitLong(t, part, nth, patience)
}

// waitLong is waitFor with another patience.
func (l *lines) waitLong(t *testing.T, part string, nth int, patience time.Duration) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		l.mu.Lock()
		text, more := l.text.String(), l.more
		l.mu.Unlock()
		found := 0
		for line := range strings.Lines(text) {
			if strings.Contains(line, part) && strings.HasSuffix(line, "\n") {
				if found++; found == nth {
					return line
				}
			}
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("nobody said %q; what was said:\n%s", part, text)
		}
	}
}

func TestServeAModule(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "hello.txt"), []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Env{}, "serve", "--listen", "127.0.0.1:0", "--static", folder, echoModule)
	for _, path := range []string{"/", "/any/path", "/?q=1"} {
		ws := s.dial(path)
		echo(t, ws, "over "+path)
		ws.Close()
	}
	if status, body := get(t, s.url+"/hello.txt"); status != 200 || body != "hello" {
		t.Errorf("got %d %q", status, body)
	}
	if line := s.stderr.wait(t, "listening on "); line != "weir: listening on "+s.url+" · module echo (generation 1)\n" {
		t.Errorf("said %q", line)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d; it said\n%s", code, s.stderr)
	}
}

func TestServeAConfiguration(t *testing.T) {
	folder := t.TempDir()
	wasm, err := os.ReadFile(echoModule)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"echo.wasm":         string(wasm),
		"public/index.html": "<h1>weir</h1>",
		"weir.yaml": `
server: {listen: ["127.0.0.1:1"]} # the environment says better
websocket: {max_message_size: 10B}
modules:
  echo: {path: echo.wasm, capabilities: [topics]}
  idle: {path: echo.wasm}
routes:
  - {path: "/echo/{name}", module: echo}
  - {path: /, static: public}
`,
	} {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, Env{Environ: []string{"WEIR_SERVER_LISTEN=127.0.0.1:0"}}, "serve", "-c", filepath.Join(folder, "weir.yaml"))
	s.stderr.wait(t, "· modules echo, idle (generation 1)")
	s.stderr.wait(t, "weir: warning: no route leads to the module module=idle")
	if _, body := get(t, s.url+"/"); body != "<h1>weir</h1>" {
		t.Errorf("got %q", body)
	}
	ws := s.dial("/echo/ann")
	echo(t, ws, "0123456789")
	if err := ws.WriteMessage(websocket.TextMessage, []byte("0123456789a")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("the limit of the configuration does not hold: %v", err)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d; it said\n%s", code, s.stderr)
	}
}

func TestDemoServesPageAndChat(t *testing.T) {
	var browsed string
	env := Env{Browse: func(url string) error { browsed = url; return nil }}
	s := serve(t, env, "demo", "--listen", "127.0.0.1:0", "--open")
	if line := s.stdout.wait(t, "Open http://"); !strings.HasPrefix(line, "Open "+s.url+"/ in two tabs") {
		t.Errorf("printed %q", line)
	}
	if status, body := get(t, s.url+"/"); status != 200 || !strings.Contains(body, "</") {
		t.Errorf("the page: %d %q", status, body)
	}
	if status, _ := get(t, s.url+"/nothing"); status != 404 {
		t.Errorf("an unknown page: %d", status)
	}
	s.dial("/chat/lobby").Close()
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d; it said\n%s", code, s.stderr)
	}
	if browsed != s.url+"/" {
		t.Errorf("--open opened %q", browsed)
	}
}

func TestAFreePortWhenTheDemosIsTaken(t *testing.T) {
	first := serve(t, Env{}, "serve", "--listen", "127.0.0.1:0", echoModule)
	taken := strings.TrimPrefix(first.url, "http://")
	if got := freeAddress(taken); got != "127.0.0.1:0" {
		t.Errorf("got %s for one that is taken", got)
	}
	if code := first.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := freeAddress(taken); got != taken {
		t.Errorf("got %s for %s, which is free", got, taken)
	}
}

// Under load, a stop loses no reply and closes every connection with 1001.
func TestASignalDrains(t *testing.T) {
	s := serve(t, Env{}, "serve", "--listen", "127.0.0.1:0", echoModule)
	const clients = 20
	var started, ended sync.WaitGroup
	for range clients {
		ws := s.dial("/")
		started.Add(1)
		ended.Go(func() { // ends with the server's Close frame
			var once sync.Once
			for n := 0; ; n++ {
				// The server reads until its Close frame is out, so only a write
				// after that may fail.
				writeErr := ws.WriteMessage(websocket.TextMessage, []byte("ping"))
				_, got, err := ws.ReadMessage()
				once.Do(started.Done)
				if err != nil {
					if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
						t.Errorf("after %d echoes: %v (write: %v)", n, err, writeErr)
					}
					return
				}
				if string(got) != "ping" {
					t.Errorf("echo %d is %q", n, got)
				}
			}
		})
	}
	started.Wait()
	code := s.stop()
	ended.Wait()
	if code != 0 || t.Failed() {
		t.Errorf("exit code %d; it said\n%s", code, s.stderr)
	}
	s.stderr.wait(t, "weir: draining; once more to stop at once signal=terminated")
	s.stderr.wait(t, "weir: stopped\n")
}

func TestTheEndOfTheContextDrains(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	stderr := newLines()
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, Env{
			Args: []string{"serve", "--listen", "127.0.0.1:0", echoModule}, Terminal: true,
			Stdout: io.Discard, Stderr: stderr, ReadFile: os.ReadFile,
		})
	}()
	stderr.wait(t, "listening on")
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d; it said\n%s", got, stderr)
	}
}

// A peer that does not answer the Close frame keeps the drain busy; a second
// signal does not wait for it.
func TestASecondSignalStopsAtOnce(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "serve", "--listen", "127.0.0.1:0", "--set", "websocket.close_timeout=10m", "--set", "drain.timeout=10m", echoModule)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	said := bufio.NewScanner(pipe)
	next := func(part string) string {
		for said.Scan() {
			if strings.Contains(said.Text(), part) {
				return said.Text()
			}
		}
		t.Fatalf("nobody said %q", part)
		return ""
	}
	line := next("listening on ")
	ws := dial(t, regexp.MustCompile(`https?://[0-9.:]+`).FindString(line), "/")
	echo(t, ws, "hello")
	cmd.Process.Signal(syscall.SIGTERM)
	next("draining; once more to stop at once")
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	next("weir: warning: stopped at once signal=interrupt")
	if said.Scan() {
		t.Errorf("and went on: %q", said.Text())
	}
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d (%v), want 1", code, err)
	}
}
