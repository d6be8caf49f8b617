package runtime

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
)

// newTestJail returns a jail whose child is this test binary. The test fails if it leaves a child, living or dead.
func newTestJail(t *testing.T) *jail {
	t.Helper()
	j, err := newJail()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
			t.Errorf("a child is left: %d, %v", pid, err)
		}
	})
	return j
}

// fake makes j run a shell script instead of itself.
func (j *jail) fake(t *testing.T, script string) {
	t.Helper()
	j.program = filepath.Join(t.TempDir(), "fake")
	if err := os.WriteFile(j.program, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// Modules are put together from sections here: no tool writes the ones that are wanted.

func wasmModule(sections ...[]byte) []byte {
	return append([]byte("\x00asm\x01\x00\x00\x00"), bytes.Join(sections, nil)...)
}

func wasmSection(id byte, body ...[]byte) []byte {
	return append([]byte{id}, sized(bytes.Join(body, nil))...)
}

func sized(p []byte) []byte { return append(uleb(uint64(len(p))), p...) }

func uleb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// oneFunction is a module with a function of no parameters and no results.
func oneFunction(body ...[]byte) []byte {
	return wasmModule(wasmSection(1, []byte{1, 0x60, 0, 0}), wasmSection(3, []byte{1, 0}),
		wasmSection(10, []byte{1}, sized(bytes.Join(body, nil))))
}

func nestedLoops(n int) []byte {
	return oneFunction([]byte{0}, bytes.Repeat([]byte{0x03, 0x40}, n), bytes.Repeat([]byte{0x0b}, n+1))
}

const billions = 1<<32 - 1

func TestTheJailJudgesAModule(t *testing.T) {
	j := newTestJail(t)
	for name, c := range map[string]struct {
		wasm   []byte
		reason string // empty: it is good
		eats   bool   // memory, so that only the limit on it stops the child
	}{
		"a good module passes":              {wasm: guest(t, "echo")},
		"an empty module passes":            {wasm: wasmModule()},
		"many locals pass":                  {wasm: oneFunction([]byte{1}, uleb(50_000), []byte{0x7f, 0x0b})},
		"the compiler's error is handed on": {wasm: []byte("MZ\x90\x00 no module"), reason: "compile: invalid magic number"},
		"a declared memory over the limit": {wasm: wasmModule(wasmSection(5, []byte{1, 0}, uleb(513))),
			reason: "compile: section memory: min 513 pages (32 Mi) over limit of 512 pages (32 Mi)"},
		"a table of four billion entries": {wasm: wasmModule(wasmSection(4, []byte{1, 0x70, 0}, uleb(billions))),
			reason: "compile: section table: table min must be at most 134217728"},
		"billions of imports":   {wasm: wasmModule(wasmSection(2, uleb(billions))), reason: "compile: out of memory (1 GiB)", eats: true},
		"billions of functions": {wasm: wasmModule(wasmSection(3, uleb(billions))), reason: "compile: out of memory (1 GiB)", eats: true},
		"billions of globals":   {wasm: wasmModule(wasmSection(6, uleb(billions))), reason: "compile: out of memory (1 GiB)", eats: true},
		"billions of locals": {wasm: oneFunction([]byte{1}, uleb(billions), []byte{0x7f, 0x0b}),
			reason: "compile: out of memory (1 GiB)", eats: true},
		"a hundred million locals": {wasm: oneFunction([]byte{1}, uleb(100_000_000), []byte{0x7f, 0x0b}),
			reason: "compile: out of memory (1 GiB)", eats: true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.eats && !jailLimitsMemory {
				t.Skip("memory is not limited under the race detector")
			}
			for _, interpreter := range []bool{false, true} {
				if interpreter && c.eats {
					continue // found while the file is read, alike for both
				}
				err := j.compile(t.Context(), c.wasm, jailSpec{MemoryPages: 512, Interpreter: interpreter})
				if !judged(err, c.reason) {
					t.Errorf("interpreter %v: got %v, want %q", interpreter, err, c.reason)
				}
			}
		})
	}
}

// judged says whether err is the *jailError with that text, or nil if there is none.
func judged(err error, reason string) bool {
	if reason == "" || err == nil {
		return err == nil && reason == ""
	}
	refused, ok := errors.AsType[*jailError](err)
	return ok && refused.Error() == reason
}

func TestAModuleThatCompilesTooLongIsRefused(t *testing.T) {
	j := newTestJail(t)
	j.limits.wall = time.Hour // the machine may be busy
	j.limits.cpu = time.Second
	err := j.compile(t.Context(), nestedLoops(50_000), jailSpec{MemoryPages: 512})
	if !judged(err, "compile: took more than 1 s of CPU") {
		t.Error(err)
	}
	j.limits = defaultJailLimits
	j.limits.wall = 10 * time.Millisecond
	if err := j.compile(t.Context(), nestedLoops(50_000), jailSpec{MemoryPages: 512}); !judged(err, "compile: took more than 0.01 s") {
		t.Error(err)
	}
}

func TestWhatTheJailCompiledIsFoundInTheCache(t *testing.T) {
	j := newTestJail(t)
	wasm := guest(t, "echo")
	dir := t.TempDir()
	t.Chdir(dir)
	spec := jailSpec{MemoryPages: 512, CacheDir: "code"} // below this process's folder, which is not the child's
	if err := j.compile(t.Context(), wasm, spec); err != nil {
		t.Fatal(err)
	}
	left := filesBelow(t, dir)
	if len(left) != 1 {
		t.Fatalf("the child left %v", left)
	}

	cache, err := wazero.NewCompilationCacheWithDir(spec.CacheDir)
	if err != nil {
		t.Fatal(err)
	}
	rt := wazero.NewRuntimeWithConfig(t.Context(), spec.config().WithCompilationCache(cache))
	defer func() { _ = rt.Close(context.Background()); _ = cache.Close(context.Background()) }()
	if _, err := rt.CompileModule(t.Context(), wasm); err != nil {
		t.Fatal(err)
	}
	now := filesBelow(t, dir)
	for name := range left {
		if len(now) != 1 || now[name] == nil || !os.SameFile(left[name], now[name]) {
			t.Errorf("this process compiled again: %v, before %v", now, left)
		}
	}
}

func TestABadCacheIsNoReasonToRefuseAModule(t *testing.T) {
	j := newTestJail(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, "/proc/nowhere"} {
		if err := j.compile(t.Context(), guest(t, "echo"), jailSpec{MemoryPages: 512, CacheDir: dir}); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func filesBelow(t *testing.T, dir string) map[string]fs.FileInfo {
	t.Helper()
	files := map[string]fs.FileInfo{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = d.Info()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// The child stands still while it waits for the rest of its module; by then it is in jail.
func TestTheChildIsLockedIn(t *testing.T) {
	inherited, err := syscall.Dup(0) // without FD_CLOEXEC
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(inherited) }()
	t.Setenv("WEIR_ADMIN_TOKEN", "secret")

	j := newTestJail(t)
	child := j.command(t.Context())
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	child.Stdout, child.Stderr = &stdout, &stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { // a module that lacks its end
		_ = stdin.Close()
		if err := child.Wait(); err != nil || !strings.Contains(stdout.String(), "unexpected EOF") {
			t.Errorf("the child ended with %v, %s%s", err, &stdout, &stderr)
		}
	}()
	request, err := jailRequest(make([]byte, 4<<20), jailSpec{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(stdin, request, 2<<20); err != nil { // more than any pipe holds
		t.Fatal(err)
	}

	proc := func(name string) string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", child.Process.Pid, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", child.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		open = append(open, e.Name())
	}
	if !slices.Equal(open, []string{"0", "1", "2"}) {
		t.Errorf("its descriptors are %v", open)
	}
	for _, variable := range strings.Split(strings.TrimRight(proc("environ"), "\x00"), "\x00") {
		if variable != jailMarker && !strings.HasPrefix(variable, "GO") {
			t.Errorf("its environment has %q", variable)
		}
	}
	for line := range strings.Lines(proc("limits")) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "Max cpu time"):
			if fields[3] != "10" || fields[4] != "11" {
				t.Error(line)
			}
		case strings.HasPrefix(line, "Max core file size"):
			if fields[4] != "0" || fields[5] != "0" {
				t.Error(line)
			}
		case strings.HasPrefix(line, "Max address space") && jailLimitsMemory:
			statm, _, _ := strings.Cut(proc("statm"), " ")
			limit, _ := strconv.ParseUint(fields[3], 10, 64)
			pages, _ := strconv.ParseUint(statm, 10, 64)
			reserved := pages * uint64(os.Getpagesize())
			if limit < reserved+768<<20 || limit > reserved+1<<30 || fields[3] != fields[4] {
				t.Errorf("%s leaves %d MiB", line, (int64(limit)-int64(reserved))>>20)
			}
		}
	}
	if got := strings.TrimSpace(proc("oom_score_adj")); got != "1000" {
		t.Errorf("oom_score_adj %s", got)
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", child.Process.Pid)); err != nil || cwd != "/" {
		t.Errorf("it runs in %s, %v", cwd, err)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", child.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		_, stat, _ := strings.Cut(proc("task/"+thread.Name()+"/stat"), ") ")
		fields := strings.Fields(stat) // from the third on, proc(5)
		if group, nice := fields[2], fields[16]; group != strconv.Itoa(child.Process.Pid) || nice != strconv.Itoa(jailNice) {
			t.Errorf("thread %s has group %s and nice %s", thread.Name(), group, nice)
		}
	}
}

func TestAChildThatLiesHarmsNobody(t *testing.T) {
	wasm := guest(t, "echo")
	honest := fmt.Sprintf(`printf '{"digest":"%s"}'`, digestText(wasm))
	for name, c := range map[string]struct{ script, reason string }{
		"it reads nothing and vouches": {honest, ""}, // as good as any: it is our program, or all is lost
		"it says nothing":              {``, "compile: the compiler's process gave no answer: unexpected end of JSON input"},
		"it speaks of another module":  {`cat >/dev/null; printf '{"digest":"00"}'`, "compile: the compiler's process answered for another module"},
		"it adds something to its answer": {honest + `; printf '{"digest":""}'`,
			"compile: the compiler's process gave no answer: invalid character '{' after top-level value"},
		"it vouches and fails":      {honest + `; exit 4`, "compile: the compiler's process ended with exit status 4"},
		"it talks for ever":         {`exec yes`, "compile: the compiler's process says too much"},
		"it shouts for ever":        {`exec yes >&2`, "compile: killed by signal 13 (broken pipe)"},
		"it crashes":                {`echo 'fatal error: oops' >&2; exit 2`, "compile: the compiler crashed: fatal error: oops"},
		"it dies":                   {`kill -SEGV $$`, "compile: killed by signal 11 (segmentation fault)"},
		"somebody kills it":         {`kill -KILL $$`, "compile: killed by signal 9 (killed)"},
		"it sends control codes":    {`printf '{"refuse":"\\u001b[2Ja\\nb"}'`, "compile: \uFFFD[2Ja b"},
		"it says that it got none":  {`echo 'fatal error: runtime: cannot allocate memory' >&2; exit 2`, "compile: out of memory (1 GiB)"},
		"it hangs":                  {`exec sleep 1000`, "compile: took more than 0.2 s"},
		"it closes all and hangs":   {`exec sleep 1000 <&- >&- 2>&-`, "compile: took more than 0.2 s"},
		"its child holds the pipes": {`sleep 3 & exit 4`, "compile: the compiler's process ended with exit status 4"},
	} {
		t.Run(name, func(t *testing.T) {
			j := newTestJail(t)
			j.fake(t, c.script)
			if strings.Contains(c.reason, "0.2 s") {
				j.limits.wall = 200 * time.Millisecond
			}
			module := wasm
			if c.reason != "" { // one that fills its pipe
				module = append(slices.Clone(wasm), make([]byte, 1<<20)...)
			}
			if strings.HasPrefix(c.script, honest) {
				module = wasm
			}
			if err := j.compile(t.Context(), module, jailSpec{MemoryPages: 512}); !judged(err, c.reason) {
				t.Errorf("got %v, want %q", err, c.reason)
			}
		})
	}
}

func TestAJailThatDoesNotWorkSaysNothingAboutTheModule(t *testing.T) {
	j := newTestJail(t)
	j.fake(t, `printf '{"broken":"limit CPU time to 10: operation not permitted"}'`)
	err := j.compile(t.Context(), guest(t, "echo"), jailSpec{})
	if err == nil || err.Error() != "compile jail: limit CPU time to 10: operation not permitted" {
		t.Error(err)
	}
	if _, refused := errors.AsType[*jailError](err); refused {
		t.Errorf("the module is blamed: %v", err)
	}
	j.program = filepath.Join(t.TempDir(), "missing")
	err = j.compile(t.Context(), guest(t, "echo"), jailSpec{})
	if _, refused := errors.AsType[*jailError](err); refused || !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// sleeper is a child that has told its process id, and whose end can be waited for.
type sleeper struct {
	fifo  string
	lines *bufio.Reader
	file  *os.File
}

// newSleeper returns what a script says to become one.
func newSleeper(t *testing.T) (*sleeper, string) {
	t.Helper()
	s := &sleeper{fifo: filepath.Join(t.TempDir(), "fifo")}
	if err := syscall.Mkfifo(s.fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	return s, "exec 3>'" + s.fifo + "'; echo $$ >&3; exec sleep 1000"
}

// wait returns when the child sleeps.
func (s *sleeper) wait(t *testing.T) {
	t.Helper()
	var err error
	if s.file, err = os.Open(s.fifo); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.file.Close() })
	s.lines = bufio.NewReader(s.file)
	if _, err := s.lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

// gone returns when nobody holds the FIFO any more: the child is dead.
func (s *sleeper) gone() { _, _ = s.lines.ReadByte() }

func TestTheChildDiesWithItsContext(t *testing.T) {
	j := newTestJail(t)
	s, script := newSleeper(t)
	j.fake(t, script)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- j.compile(ctx, guest(t, "echo"), jailSpec{}) }()
	s.wait(t)

	// Meanwhile another one waits for its turn, not for ever.
	impatient, giveUp := context.WithCancel(t.Context())
	giveUp()
	if err := j.compile(impatient, guest(t, "echo"), jailSpec{}); !errors.Is(err, context.Canceled) {
		t.Errorf("while it is not its turn: %v", err)
	}

	reason := errors.New("the server stops")
	cancel(reason)
	if err := <-done; !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
	s.gone()
}

// The parent is this test binary again, and it is killed.
func TestTheChildDiesWithItsParent(t *testing.T) {
	const variable = "JAIL_TEST_PARENT"
	if fake := os.Getenv(variable); fake != "" {
		j := newTestJail(t)
		j.program = fake
		t.Error(j.compile(t.Context(), guest(t, "echo"), jailSpec{}))
		return
	}
	j := newTestJail(t)
	s, script := newSleeper(t)
	j.fake(t, script)
	parent := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	parent.Env = append(os.Environ(), variable+"="+j.program)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	s.wait(t)
	_ = parent.Process.Kill()
	_ = parent.Wait()
	s.gone()
}

func TestOneModuleIsCompiledAtATime(t *testing.T) {
	j := newTestJail(t)
	log := filepath.Join(t.TempDir(), "log")
	j.fake(t, "echo in >>'"+log+"'; cat >/dev/null; echo out >>'"+log+"'; exit 4")
	const compilations = 16
	var all sync.WaitGroup
	for range compilations {
		all.Go(func() {
			if err := j.compile(t.Context(), make([]byte, 1<<20), jailSpec{}); !judged(err, "compile: the compiler's process ended with exit status 4") {
				t.Error(err)
			}
		})
	}
	all.Wait()
	text, err := os.ReadFile(log)
	if err != nil || string(text) != strings.Repeat("in\nout\n", compilations) {
		t.Errorf("%v\n%s", err, text)
	}
}

// BenchmarkJail measures the smallest compilation: what the jail adds to any.
func BenchmarkJail(b *testing.B) {
	j, err := newJail()
	if err != nil {
		b.Fatal(err)
	}
	wasm := guest(b, "echo")
	for b.Loop() {
		if err := j.compile(b.Context(), wasm, jailSpec{MemoryPages: 512}); err != nil {
			b.Fatal(err)
		}
	}
}
