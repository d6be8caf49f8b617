//go:build linux

package deploy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// supervisor does what systemd does for weir.socket and weir.service: it binds, passes
// the socket to one process after another, and hears what they tell.
type supervisor struct {
	t      *testing.T
	folder string // stands for /etc/weir
	socket *net.TCPListener
	hears  *net.UnixConn
	told   chan map[string]string // capacity: more than a server tells in a test
	wg     sync.WaitGroup
}

const serverConfig = `
server: {listen: [systemd]}
log: {format: json}
modules: {echo: {path: echo.wasm}}
routes: [{path: /, module: echo}]
`

func newSupervisor(t *testing.T) *supervisor {
	t.Helper()
	s := &supervisor{t: t, folder: t.TempDir(), told: make(chan map[string]string, 1024)}
	s.write("weir.yaml", serverConfig)
	s.write("echo.wasm", read(t, "examples/echo-c/echo.wasm"))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.socket = ln.(*net.TCPListener)
	s.hears, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(s.folder, "notify")})
	if err != nil {
		t.Fatal(err)
	}
	s.wg.Go(s.listen) // ends when the test closes hears
	t.Cleanup(func() {
		s.socket.Close()
		s.hears.Close()
		s.wg.Wait()
	})
	return s
}

func (s *supervisor) write(name, text string) {
	s.t.Helper()
	file := filepath.Join(s.folder, name)
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		s.t.Fatal(err)
	}
}

func (s *supervisor) listen() {
	p := make([]byte, 4096)
	for {
		n, err := s.hears.Read(p)
		if err != nil {
			return
		}
		states := map[string]string{}
		for line := range strings.Lines(string(p[:n])) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			states[name] = value
		}
		s.told <- states
	}
}

// hear waits until the service tells a state, and returns all that it tells with it.
func (s *supervisor) hear(state string) map[string]string {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case states := <-s.told:
			if _, ok := states[state]; ok {
				return states
			}
		case <-timeout:
			s.t.Fatalf("the service never told %s", state)
		}
	}
}

// process is a run of the unit's command.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	exited chan struct{} // closed once err and said are there
	err    error
	said   string
}

// start runs the command of the unit as systemd does, with the socket as descriptor 3.
func (s *supervisor) start(extra ...string) *process {
	s.t.Helper()
	binary := needBinary(s.t)
	u := readUnit(s.t, "deploy/systemd/weir.service")
	command := strings.Fields(s.here(u.one(s.t, "Service.ExecStart"), binary))
	// Only the child knows its own number: the shell does, and becomes the command.
	args := append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, command...)
	p := &process{t: s.t, cmd: exec.Command("/bin/sh", args...), exited: make(chan struct{})}
	p.cmd.Env = append(environment(), "LISTEN_FDS=1", "LISTEN_FDNAMES=weir.socket", "NOTIFY_SOCKET="+s.hears.LocalAddr().String())
	for _, variable := range u["Service.Environment"] {
		p.cmd.Env = append(p.cmd.Env, strings.ReplaceAll(variable, "%C", s.folder))
	}
	p.cmd.Env = append(p.cmd.Env, extra...)
	f, err := s.socket.File()
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	p.cmd.ExtraFiles = []*os.File{f}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { // ends with the process
		defer close(p.exited)
		said, _ := io.ReadAll(bufio.NewReader(stderr))
		p.said = string(said)
		p.err = p.cmd.Wait()
	}()
	s.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if s.t.Failed() {
			s.t.Logf("the server said:\n%s", p.said)
		}
	})
	return p
}

// here replaces the paths of a unit's command.
func (s *supervisor) here(command, binary string) string {
	return strings.NewReplacer("/usr/bin/weir", binary, "/etc/weir/", s.folder+"/").Replace(command)
}

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for the end.
func (p *process) wait() error {
	select {
	case <-p.exited:
		return p.err
	case <-time.After(patience):
		return errors.New("it does not end")
	}
}

// stop is what systemctl stop does.
func (p *process) stop() error {
	p.signal(syscall.SIGTERM)
	if err := p.wait(); err != nil {
		return fmt.Errorf("%w; it said\n%s", err, p.said)
	}
	return nil
}

// environment is this process's without what weir would take for configuration.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WEIR_") })
}
