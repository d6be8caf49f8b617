package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// startPatience is how long a server may take until it accepts.
	startPatience = 15 * time.Second
	// stopPatience is how long it may take to end after SIGTERM.
	stopPatience = 3 * time.Second
)

// Process is a server that was started.
type Process struct {
	Address string // where it listens, on loopback

	cmd    *exec.Cmd
	output *os.File // what it said
	ended  chan error
}

// Start starts a program and waits until it accepts connections. args gets the address that it is to listen on, which
// nobody does now. procs is its GOMAXPROCS. The caller stops it.
func Start(ctx context.Context, procs int, path string, args func(address string) []string) (*Process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	output, err := os.CreateTemp("", "weir-bench-*.log")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(output.Name()) // it lives as long as it is open
	p := &Process{
		Address: address,
		cmd:     exec.Command(path, args(address)...),
		output:  output,
		ended:   make(chan error, 1), // one: its end
	}
	p.cmd.Env = environment(procs)
	p.cmd.Stdout, p.cmd.Stderr = output, output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, output.Close())
	}
	go func() { p.ended <- p.cmd.Wait() }() // ends with the process; Stop sees to that
	if err := p.ready(ctx); err != nil {
		err = fmt.Errorf("start %s: %w%s", path, err, p.LastWords())
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// environment is the one that every server gets: this process's, without what would tune one Go program differently
// from another, and without what the tests' own scripts are told, which weir would take for a setting.
func environment(procs int) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GODEBUG", "WEIR_REQUIRE_TOOLS":
		default:
			env = append(env, kv)
		}
	}
	return append(env, "GOMAXPROCS="+strconv.Itoa(procs))
}

// freeAddress is a loopback address that nobody listens on now.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// ready waits until the server accepts a connection.
func (p *Process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		c, err := net.Dial("tcp", p.Address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-again.C:
		case err := <-p.ended:
			p.ended <- err
			return fmt.Errorf("it ended at once: %v", err)
		case <-ctx.Done():
			return fmt.Errorf("it does not accept: %w", err)
		}
	}
}

// Stop ends the server, by force if it must. To be ended by the signal is a good end; to have ended before is none.
func (p *Process) Stop() error {
	defer p.output.Close()
	select {
	case err := <-p.ended:
		return fmt.Errorf("the server ended by itself: %v", err)
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-p.ended:
	case <-patience.C:
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return nil
}

// Output is all that the server has said so far; an error after Stop.
func (p *Process) Output() ([]byte, error) {
	info, err := p.output.Stat()
	if err != nil {
		return nil, err
	}
	text := make([]byte, info.Size())
	_, err = p.output.ReadAt(text, 0)
	return text, err
}

// LastWords is the end of what the server said, on a line of its own; empty after Stop.
func (p *Process) LastWords() string {
	const most = 1000
	info, err := p.output.Stat()
	if err != nil || info.Size() == 0 {
		return ""
	}
	text := make([]byte, min(info.Size(), most))
	if _, err := p.output.ReadAt(text, info.Size()-int64(len(text))); err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return "\n" + strings.TrimSpace(string(text))
}
