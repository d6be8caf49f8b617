package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// The compile jail is the second wall behind admission. wazero trusts the counts in a file, so that compiling one can
// exhaust memory, which no Go program survives, or take minutes. A module is therefore compiled first in a child: this
// program again, started with nothing but three pipes, under limits of the kernel. Whatever happens to the child is an
// answer about the module. Its compiled code is left in the cache's folder, where this process then finds it.

// errNoJail means that modules cannot be compiled in a child here. The error that matches it says why.
var errNoJail = errors.New("no compile jail")

// jailError says why the jail does not vouch for a module.
type jailError struct{ reason string }

// Error returns the reason, such as "compile: out of memory (1 GiB)".
func (e *jailError) Error() string { return "compile: " + e.reason }

func refuseCompile(format string, args ...any) error {
	return &jailError{fmt.Sprintf(format, args...)}
}

// jailLimits bound the child.
type jailLimits struct {
	memoryBytes uint64        // address space on top of what the child starts with
	cpu         time.Duration // of the whole child, in whole seconds
	wall        time.Duration // from its start to its end
}

var defaultJailLimits = jailLimits{memoryBytes: 1 << 30, cpu: 10 * time.Second, wall: 30 * time.Second}

// jailSpec is how a module is compiled. It is the same for both processes: what differs would not be found in the cache.
type jailSpec struct {
	MemoryPages uint32 `json:"memory_pages"` // most that an instance may have, in units of 64 KiB
	Interpreter bool   `json:"interpreter"`
	CacheDir    string `json:"cache_dir"` // empty: the compiled code is thrown away
}

func (s jailSpec) config() wazero.RuntimeConfig {
	config := wazero.NewRuntimeConfig()
	if s.Interpreter {
		config = wazero.NewRuntimeConfigInterpreter()
	}
	return config.
		WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(s.MemoryPages).
		WithDebugInfoEnabled(false)
}

// jail compiles modules in children. Any goroutine may use it.
type jail struct {
	program string        // what the child runs
	turn    chan struct{} // holds one token while a child exists: one at a time
	limits  jailLimits
}

// jailReady says that this program calls JailMain. Another would run itself, whatever that does, instead of a jail.
var jailReady atomic.Bool

// newJail returns a jail that runs this program, or an error that matches errNoJail.
func newJail() (*jail, error) {
	if !jailReady.Load() {
		return nil, fmt.Errorf("%w: this program does not call runtime.JailMain", errNoJail)
	}
	program, err := jailProgram()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoJail, err)
	}
	return &jail{program: program, turn: make(chan struct{}, 1), limits: defaultJailLimits}, nil
}

const (
	// maxAnswerBytes bounds what a child may answer; maxCrashBytes bounds what of its last words is read.
	maxAnswerBytes = 4 << 10
	maxCrashBytes  = 16 << 10

	// maxRequestBytes bounds the head of a request. What varies in it is the name of a folder.
	maxRequestBytes = 64 << 10

	// maxJailedBytes bounds the module in a request: metering adds to a file of the largest size that is allowed.
	maxJailedBytes = 1 << 30

	// pipeDelay is how long a child's pipes are served after its end: somebody else may hold them, if it was no child
	// of our making.
	pipeDelay = time.Second
)

// compile lets a child compile the module, and returns when the child has gone. It waits for its turn. A *jailError
// says what is wrong with the module; every other error says that nothing was found out, such as that ctx has ended.
// wasm is lent.
func (j *jail) compile(ctx context.Context, wasm []byte, spec jailSpec) error {
	if spec.CacheDir != "" {
		dir, err := filepath.Abs(spec.CacheDir)
		if err != nil {
			return fmt.Errorf("compile jail: %w", err)
		}
		spec.CacheDir = dir // the child runs in another folder
	}
	request, err := jailRequest(wasm, spec)
	if err != nil {
		return fmt.Errorf("compile jail: %w", err)
	}
	select {
	case j.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("compile jail: %w", context.Cause(ctx))
	}
	defer func() { <-j.turn }()

	// The child dies with the thread that has started it, so that thread must stay.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()

	limited, cancel := context.WithTimeout(ctx, j.limits.wall)
	defer cancel()
	answer, crash := jailPipe{most: maxAnswerBytes}, jailPipe{most: maxCrashBytes}
	child := j.command(limited)
	child.Stdin, child.Stdout, child.Stderr = request, &answer, &crash
	err = child.Run()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("compile jail: %w", context.Cause(ctx))
	case err == nil:
		return readAnswer(answer.buf.Bytes(), wasm)
	case limited.Err() != nil:
		return refuseCompile("took more than %g s", j.limits.wall.Seconds())
	case child.ProcessState == nil: // it was not started
		return fmt.Errorf("compile jail: %w", err)
	case answer.over:
		return refuseCompile("the compiler's process says too much")
	case child.ProcessState.Success(): // the trouble was with the pipes
		return refuseCompile("the compiler's process gave no answer: %s", printable(err.Error(), maxMessageBytes))
	default:
		return j.explainEnd(child.ProcessState, crash.buf.String())
	}
}

const (
	jailArg    = "compile-jail" // nobody types both
	jailMarker = "WEIR_COMPILE_JAIL=1"
)

// command describes the child. Its environment is what a Go program needs to be small.
func (j *jail) command(ctx context.Context) *exec.Cmd {
	child := exec.CommandContext(ctx, j.program)
	child.Args = []string{"weir", jailArg,
		strconv.FormatUint(j.limits.memoryBytes, 10), strconv.FormatUint(j.limits.cpuSeconds(), 10)}
	child.Env = []string{jailMarker,
		"GOMAXPROCS=1",
		"GODEBUG=containermaxprocs=0,updatemaxprocs=0", // else it keeps files of its cgroup open
		"GOTRACEBACK=none",
	}
	child.Dir = "/"
	child.SysProcAttr = jailAttr()
	child.WaitDelay = pipeDelay
	return child
}

// cpuSeconds rounds up to the unit of the kernel.
func (l jailLimits) cpuSeconds() uint64 { return uint64((l.cpu + time.Second - 1) / time.Second) }

// exitOverCPU is the child's exit code when its time is over. Go itself uses 2 for crashes.
const exitOverCPU = 3

// explainEnd says why a child has died.
func (j *jail) explainEnd(state *os.ProcessState, crash string) error {
	signal, killed := endSignal(state)
	last := firstLine(crash)
	switch {
	case outOfMemory(crash):
		return refuseCompile("%s", memoryRefusal(j.limits.memoryBytes))
	case state.ExitCode() == exitOverCPU:
		return refuseCompile("took more than %d s of CPU", j.limits.cpuSeconds())
	case killed:
		return refuseCompile("killed by signal %s", signal) // SIGKILL: most likely the machine's memory was short
	case last != "":
		return refuseCompile("the compiler crashed: %s", last)
	default:
		return refuseCompile("the compiler's process ended with %s", state)
	}
}

// outOfMemory recognises the last words of a Go program that got no memory, whichever part of it asked.
func outOfMemory(crash string) bool {
	return slices.ContainsFunc([]string{"out of memory", "cannot allocate memory", "failed to create new OS thread"},
		func(words string) bool { return strings.Contains(crash, words) })
}

// firstLine returns what a crashed Go program says first about its end.
func firstLine(crash string) string {
	first := ""
	for line := range strings.Lines(crash) {
		if line = printable(line, maxMessageBytes); strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "panic: ") {
			return line
		} else if first == "" {
			first = line
		}
	}
	return first
}

func memoryRefusal(limitBytes uint64) string {
	if limitBytes%(1<<30) == 0 {
		return fmt.Sprintf("out of memory (%d GiB)", limitBytes>>30)
	}
	return fmt.Sprintf("out of memory (%d MiB)", limitBytes>>20)
}

// jailPipe keeps the first bytes of a stream, and refuses what follows: then nobody reads the pipe any more.
type jailPipe struct {
	buf  bytes.Buffer
	most int
	over bool // there was more
}

func (p *jailPipe) Write(said []byte) (int, error) {
	n := min(len(said), p.most-p.buf.Len())
	p.buf.Write(said[:n])
	if n < len(said) {
		p.over = true
		return n, io.ErrShortWrite
	}
	return n, nil
}

// A request is the length of its head (4 bytes, big-endian), the head in JSON, and the module.
type jailHead struct {
	Bytes int `json:"bytes"` // size of the module
	jailSpec
}

// An answer is one jailAnswer in JSON. At most one of its errors is set; if none is, the module compiles.
type jailAnswer struct {
	Digest string `json:"digest"` // SHA-256 of the module that was compiled, in hexadecimal
	Refuse string `json:"refuse"` // the compiler's error
	Broken string `json:"broken"` // what kept the child from trying
}

func jailRequest(wasm []byte, spec jailSpec) (io.Reader, error) {
	h, err := json.Marshal(jailHead{Bytes: len(wasm), jailSpec: spec})
	if err != nil {
		return nil, err
	}
	if len(h) > maxRequestBytes {
		return nil, fmt.Errorf("the name of the cache's folder is %d bytes long", len(spec.CacheDir))
	}
	length := binary.BigEndian.AppendUint32(nil, uint32(len(h)))
	return io.MultiReader(bytes.NewReader(length), bytes.NewReader(h), bytes.NewReader(wasm)), nil
}

func readRequest(r io.Reader) (wasm []byte, spec jailSpec, err error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, spec, fmt.Errorf("read request: %w", err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxRequestBytes {
		return nil, spec, fmt.Errorf("read request: its head has %d bytes; at most %d are allowed", n, maxRequestBytes)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, spec, fmt.Errorf("read request: %w", err)
	}
	var h jailHead
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, spec, fmt.Errorf("read request: %w", err)
	}
	if h.Bytes < 0 || h.Bytes > maxJailedBytes {
		return nil, spec, fmt.Errorf("read request: a module of %d bytes; at most %d are allowed", h.Bytes, maxJailedBytes)
	}
	wasm, err = io.ReadAll(io.LimitReader(r, int64(h.Bytes)))
	if err == nil && len(wasm) < h.Bytes {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, spec, fmt.Errorf("read request: module: %w", err)
	}
	return wasm, h.jailSpec, nil
}

// readAnswer judges what a child that ended well has said about wasm.
func readAnswer(said, wasm []byte) error {
	var a jailAnswer
	if err := json.Unmarshal(said, &a); err != nil {
		return refuseCompile("the compiler's process gave no answer: %s", printable(err.Error(), maxMessageBytes))
	}
	switch {
	case a.Broken != "":
		return fmt.Errorf("compile jail: %s", printable(a.Broken, maxMessageBytes))
	case a.Refuse != "":
		return refuseCompile("%s", printable(a.Refuse, maxMessageBytes))
	case a.Digest != digestText(wasm):
		return refuseCompile("the compiler's process answered for another module")
	default:
		return nil
	}
}

func digestText(wasm []byte) string {
	digest := sha256.Sum256(wasm)
	return hex.EncodeToString(digest[:])
}

// JailMain is the whole program of a child that compiles one module for its parent, in which case handled is true and
// the process must end with code at once. A program that is to have the compile jail calls it before anything else,
// with its arguments, its environment and its streams; without that call, modules are compiled in the process itself.
// In a child it closes every descriptor but the streams, and limits the process.
func JailMain(args, environ []string, stdin io.Reader, stdout io.Writer) (code int, handled bool) {
	if len(args) != 4 || args[1] != jailArg || !slices.Contains(environ, jailMarker) {
		jailReady.Store(true)
		return 0, false
	}
	said, err := json.Marshal(jailed(args[2], args[3], stdin))
	if err == nil {
		_, err = stdout.Write(said)
	}
	if err != nil {
		return 1, true
	}
	return 0, true
}

// jailed compiles the module on stdin under the limits that the arguments name.
func jailed(memoryBytes, cpuSeconds string, stdin io.Reader) jailAnswer {
	memory, err := strconv.ParseUint(memoryBytes, 10, 63)
	if err != nil {
		return jailAnswer{Broken: err.Error()}
	}
	cpu, err := strconv.ParseUint(cpuSeconds, 10, 63)
	if err != nil {
		return jailAnswer{Broken: err.Error()}
	}
	if err := enterJail(memory, cpu); err != nil {
		return jailAnswer{Broken: err.Error()}
	}
	debug.SetMemoryLimit(int64(memory / 4 * 3)) // garbage is no reason to refuse a module

	wasm, spec, err := readRequest(stdin)
	if err != nil {
		return jailAnswer{Broken: err.Error()}
	}
	a := jailAnswer{Digest: digestText(wasm)}
	switch err := compileHere(wasm, spec); {
	case err == nil:
	case outOfMemory(err.Error()): // mmap's, which is an error rather than the end
		a.Refuse = memoryRefusal(memory)
	default:
		a.Refuse = printable(err.Error(), maxMessageBytes)
	}
	return a
}

// compileHere compiles a module to learn whether that can be done, and to leave the code in the cache.
func compileHere(wasm []byte, spec jailSpec) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the compiler panicked: %v", p)
		}
	}()
	background := context.Background()
	config := spec.config()
	if spec.CacheDir != "" {
		cache, cacheErr := wazero.NewCompilationCacheWithDir(spec.CacheDir)
		if cacheErr == nil {
			_, cacheErr = wazero.NewRuntimeWithConfig(background, config.WithCompilationCache(cache)).
				CompileModule(background, wasm)
		}
		if cacheErr == nil {
			return nil
		}
		// Without the cache: that tells a bad module from a bad cache.
	}
	_, err = wazero.NewRuntimeWithConfig(background, config).CompileModule(background, wasm)
	return err
}
