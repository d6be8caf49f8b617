package cli

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"time"
)

// residentCompiler is a compiler that stays between the builds of dev, because
// starting it takes longer than compiling. One goroutine at a time.
type residentCompiler interface {
	// run does what cmd would, and reports whether it has: otherwise cmd is still to
	// be run. ctx ends it.
	run(ctx context.Context, cmd *exec.Cmd) (done bool, err error)
	// close ends the compiler and waits for it.
	close()
}

// residentAsc is AssemblyScript's compiler in a process of Node. The process
// starts with the first build; when it has died the next build starts another.
type residentAsc struct {
	env     *Env
	process *ascProcess // nil: none
}

// ascScript is what the process runs.
//
//go:embed dev/asc.mjs
var ascScript string

// ascProcess is one process. It is one goroutine, which ends with it.
type ascProcess struct {
	stdin   io.WriteCloser
	answers chan ascAnswer // capacity 1: there is one request at a time
	done    chan struct{}  // closed when the process has ended
	kill    context.CancelFunc
	line    bytes.Buffer // the beginning of an answer; exec's goroutine
}

// ascRequest is a line to the process, ascAnswer the line that it answers with.
type ascRequest struct {
	Folder string   `json:"folder"`
	Args   []string `json:"args"` // of asc
}

type ascAnswer struct {
	OK   bool   `json:"ok"`
	Said string `json:"said"`
}

// errAscRefused is what a compiler that is run once ends with.
var errAscRefused = errors.New("exit status 1")

func (r *residentAsc) run(ctx context.Context, cmd *exec.Cmd) (bool, error) {
	if len(cmd.Args) < 2 || filepath.Base(cmd.Args[1]) != "asc.js" {
		return false, nil
	}
	folder, err := filepath.Abs(cmd.Dir)
	if err != nil {
		return false, nil
	}
	if r.process != nil && r.process.ended() {
		r.process = nil
	}
	if r.process == nil {
		asc := cmd.Args[1]
		if !filepath.IsAbs(asc) {
			asc = filepath.Join(folder, asc)
		}
		if r.process, err = startAsc(r.env, cmd.Path, filepath.Join(filepath.Dir(asc), "..", "dist", "asc.js")); err != nil {
			return false, nil
		}
	}
	p := r.process
	request, err := json.Marshal(ascRequest{folder, cmd.Args[2:]})
	if err != nil {
		return false, nil
	}
	if _, err := p.stdin.Write(append(request, '\n')); err != nil {
		r.close()
		return false, nil
	}
	select {
	case a := <-p.answers:
		if _, err := io.WriteString(cmd.Stdout, a.Said); err != nil {
			return true, err
		}
		if !a.OK {
			return true, errAscRefused
		}
		return true, nil
	case <-p.done:
		r.process = nil
		return false, nil
	case <-ctx.Done():
		// It does not listen while it compiles.
		p.kill()
		<-p.done
		r.process = nil
		return true, ctx.Err()
	}
}

func (r *residentAsc) close() {
	if r.process == nil {
		return
	}
	r.process.stdin.Close() // it ends with its input
	select {
	case <-r.process.done:
	case <-time.After(2 * time.Second):
		r.process.kill()
		<-r.process.done
	}
	r.process = nil
}

// startAsc starts a process with the compiler of that path.
func startAsc(env *Env, node, asc string) (*ascProcess, error) {
	ctx, kill := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, node, "--input-type=module", "--eval", ascScript, asc)
	p := &ascProcess{answers: make(chan ascAnswer, 1), done: make(chan struct{}), kill: kill}
	end := inGroup(cmd)
	cmd.Env = env.Environ
	cmd.Stdout = p
	cmd.WaitDelay = time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		kill()
		return nil, err
	}
	p.stdin = stdin
	go func() { // ends with the process, which ends with its input, or is killed
		defer close(p.done)
		defer kill()
		defer end()
		_ = env.Exec(cmd) // whoever waits for an answer sees that it is done
	}()
	return p, nil
}

func (p *ascProcess) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Write takes what the process writes, and delivers whole lines.
func (p *ascProcess) Write(b []byte) (int, error) {
	p.line.Write(b)
	for {
		end := bytes.IndexByte(p.line.Bytes(), '\n')
		if end < 0 {
			return len(b), nil
		}
		var a ascAnswer
		if err := json.Unmarshal(p.line.Next(end+1), &a); err != nil {
			return 0, err // no compiler of ours: it ends with its output
		}
		select {
		case p.answers <- a:
		default:
			return 0, errors.New("an answer that nobody asked for")
		}
	}
}
