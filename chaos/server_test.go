package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is the real binary in a process of its own.
type server struct {
	cmd     *exec.Cmd
	listens chan struct{} // closed when it listens
	exited  chan struct{} // closed when it has ended and its last line is read

	mu    sync.Mutex // below
	addr  string
	lines []string // of standard error
	log   []record // those of them that are records

	failed error // of Wait; after exited
}

// record is one line of the server's log.
type record struct {
	Level   string
	Message string `json:"msg"`
	Module  string
	Event   string
	Reason  string
	Err     string
	URL     string
}

// module is one handler of a configuration.
type module struct {
	name, path, memory string
	grant              []string
	deny               bool // what is not granted answers denied; else the module is refused
}

const canaryPath = "../examples/echo-c/echo.wasm"

// configuration writes a file that serves each module under /NAME, and returns its path.
func configuration(t *testing.T, modules ...module) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("server: {listen: [\"127.0.0.1:0\"]}\nlog: {format: json, level: info}\ndrain: {spread: 1s, timeout: 8s}\nmodules:\n")
	for _, m := range modules {
		path, err := filepath.Abs(m.path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "  %s:\n    path: %q\n    capabilities: [%s]\n", m.name, path, strings.Join(m.grant, ", "))
		if m.memory != "" {
			fmt.Fprintf(&b, "    memory_size: %s\n", m.memory)
		}
		if m.deny {
			b.WriteString("    ungranted: deny\n")
		}
	}
	b.WriteString("routes:\n")
	for _, m := range modules {
		fmt.Fprintf(&b, "  - {path: /%s, module: %s}\n", m.name, m.name)
	}
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// launch starts the server. addressKiB bounds its address space, lest a bomb that is not defused takes the machine down.
func launch(t *testing.T, config string, addressKiB int) *server {
	t.Helper()
	s := &server{listens: make(chan struct{}), exited: make(chan struct{})}
	s.cmd = exec.Command("/bin/sh", "-c", `ulimit -v "$0" && exec "$@"`, strconv.Itoa(addressKiB), needBinary(t), "serve", "--config", config)
	s.run(t)
	return s
}

// run starts s.cmd, which becomes the server, and kills it when the test ends.
func (s *server) run(t *testing.T) {
	t.Helper()
	s.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WEIR_") })
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.exited)
		s.read(stderr)
		s.failed = s.cmd.Wait()
	}()
	t.Cleanup(s.kill)
}

// maxLineBytes bounds a line of the log; the guests' part of it is bounded to 4 KiB, and a control character takes six.
const maxLineBytes = 64 << 10

func (s *server) read(stderr io.Reader) {
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			s.take(strings.TrimSuffix(line, "\n"))
		}
		if err != nil {
			return
		}
	}
}

func (s *server) take(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
	var r record
	if json.Unmarshal([]byte(line), &r) != nil {
		return
	}
	s.log = append(s.log, r)
	if r.Message == "listening" && s.addr == "" {
		if u, err := url.Parse(r.URL); err == nil {
			s.addr = u.Host
			close(s.listens)
		}
	}
}

// kill ends the process at once, by its own number, and waits for it.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// start waits until the server listens. It returns false if it has ended instead, or takes longer than it may.
func (s *server) start(within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-s.listens:
		return true
	case <-s.exited:
	case <-late.C:
		s.kill()
	}
	return false
}

// code returns the exit code once the server has ended; -1 if a signal ended it.
func (s *server) code() int { return s.cmd.ProcessState.ExitCode() }

func (s *server) alive() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// stop ends the server in order and reports what was wrong about that.
func (s *server) stop(within time.Duration) error {
	if !s.alive() {
		return fmt.Errorf("the server had ended: %v\n%s", s.failed, s.said())
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-s.exited:
	case <-late.C:
		s.kill()
		return fmt.Errorf("the server did not stop within %v\n%s", within, s.said())
	}
	if s.failed != nil {
		return fmt.Errorf("the server stopped with %v\n%s", s.failed, s.said())
	}
	return nil
}

// address is where it listens; after start.
func (s *server) address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// mark returns how many records there are.
func (s *server) mark() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.log)
}

// records returns those of a module from a mark on.
func (s *server) records(module string, from int) []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var of []record
	for _, r := range s.log[from:] {
		if r.Module == module {
			of = append(of, r)
		}
	}
	return of
}

// said is the end of what the server has written.
func (s *server) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.lines[max(0, len(s.lines)-12):]
	short := make([]string, len(last))
	for i, line := range last {
		short[i] = line[:min(len(line), 300)]
	}
	return strings.Join(short, "\n")
}

// everything is all that the server has written.
func (s *server) everything() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// usage is what /proc says of the process.
type usage struct {
	residentKiB, peakKiB, threads, descriptors int
}

func (u usage) String() string {
	return fmt.Sprintf("%d MiB resident (%d MiB at most), %d threads, %d descriptors", u.residentKiB>>10, u.peakKiB>>10, u.threads, u.descriptors)
}

var statusLine = regexp.MustCompile(`(?m)^(VmRSS|VmHWM|Threads):\s+(\d+)`)

func (s *server) usage(t *testing.T) usage {
	t.Helper()
	folder := filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid))
	status, err := os.ReadFile(filepath.Join(folder, "status"))
	if err != nil {
		t.Fatal(err)
	}
	var u usage
	fields := map[string]*int{"VmRSS": &u.residentKiB, "VmHWM": &u.peakKiB, "Threads": &u.threads}
	for _, m := range statusLine.FindAllStringSubmatch(string(status), -1) {
		*fields[m[1]], _ = strconv.Atoi(m[2])
		delete(fields, m[1])
	}
	if len(fields) > 0 {
		t.Fatalf("/proc/…/status lacks %v", slices.Sorted(maps.Keys(fields)))
	}
	open, err := os.ReadDir(filepath.Join(folder, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	u.descriptors = len(open)
	return u
}

// eventually polls until f says true; it reports false after patience.
func eventually(f func() bool) bool {
	late := time.NewTimer(patience)
	defer late.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if f() {
			return true
		}
		select {
		case <-again.C:
		case <-late.C:
			return f()
		}
	}
}
