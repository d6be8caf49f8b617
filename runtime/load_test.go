package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
)

func TestALoadedModuleKnowsWhatItIs(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		wasm := guest(t, "echo")
		m := load(t, newEngine(t, o), "echo", ModuleOptions{Name: "chat", Generation: 42})
		digest := sha256.Sum256(wasm)
		if m.Name() != "chat" || m.Generation() != 42 || m.Digest() != hex.EncodeToString(digest[:]) {
			t.Errorf("%s, %d, %s", m.Name(), m.Generation(), m.Digest())
		}
		for ev := Event(0); ev < 70; ev++ {
			if want := ev == EventText || ev == EventBinary; m.Handles(ev) != want {
				t.Errorf("handles %s: %v", ev, !want)
			}
		}
		stats := m.Stats()
		if stats.Instances != 1 || stats.Idle != 1 || stats.MaxInstances != 2*goruntime.GOMAXPROCS(0) || stats.MemoryBytes != 2*wasmPageBytes {
			t.Errorf("one warm instance is %+v", stats)
		}
		i := m.TryTake()
		if i == nil || !i.Fresh() || i.Module() != m {
			t.Error("the warm instance is not there")
		}
		m.Give(i)
	})
}

func TestABadModuleIsRefusedWithEveryReason(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		e := newEngine(t, o)
		for name, c := range map[string]struct {
			wasm    []byte
			reasons []string
		}{
			"wrong": {guest(t, "wrong"), []string{
				`it exports no memory named "memory"`,
				`export weir_abi_1 has the type () -> (i32); it must be () -> (i64)`,
				`export weir_inbound has the type (i64) -> (i32); it must be (i32) -> (i32)`,
				`it does not export the function weir_event`,
				`export _initialize has the type (i32) -> (); it must be () -> ()`,
				`import weir_1.conn_send has the type (i32) -> (i32); it must be (i64, i32, i32, i32) -> (i32)`,
				`import weir_1.conn_teleport: this host has no such function`,
				`import weir_2.conn_send: unknown module; there are weir_1 and wasi_snapshot_preview1`,
				`import env.abort: unknown module; there are weir_1 and wasi_snapshot_preview1`,
				`import wasi_snapshot_preview1.fd_write has the type (i32) -> (i32); it must be (i32, i32, i32, i32) -> (i32)`,
				`import wasi_snapshot_preview1.fd_teleport: this host has no such function`,
				`its memory starts with 1000 pages of 64 KiB; at most 512 are allowed (memory_size 32MiB)`,
			}},
			"built for another ABI": {guest(t, "late"), []string{
				`it exports weir_abi_2: it was built for another version of the ABI; this host speaks weir_abi_1`}},
			"memory over its limit": {guest(t, "large"), []string{
				`its memory starts with 600 pages of 64 KiB; at most 512 are allowed (memory_size 32MiB)`}},
			"a foreign memory": {guest(t, "foreign"), []string{
				`import section, byte 32: imports the memory "env"."memory": only functions can be imported`,
				`import section, byte 46: imports the global "env"."base": only functions can be imported`}},
			"a foreign global": {guest(t, "global"), []string{`import section, byte 32: imports the global "env"."base": only functions can be imported`}},
			"a command": {guest(t, "command"), []string{`weir_abi_1: unreachable`,
				`it exports _start but not _initialize: it was built as a command, not as a reactor or library`}},
			"an exit at start": {guest(t, "exit0"), []string{`_initialize: exited with code 0`}},
			"an empty file":    {nil, []string{`the file is not a WebAssembly module`}},
			"text": {[]byte(" (module)"), []string{
				`the file is WebAssembly text; compile it to a binary first`}},
			"a component": {[]byte("\x00asm\x0d\x00\x01\x00"), []string{
				`the file is a WebAssembly component; weir runs core modules`}},
			"something else": {[]byte("\x7fELF"), []string{`the file is not a WebAssembly module`}},
			"nothing in it": {[]byte("\x00asm\x01\x00\x00\x00"), []string{
				`it exports no memory named "memory"`,
				`it does not export the function weir_abi_1`,
				`it does not export the function weir_inbound`,
				`it does not export the function weir_event`,
			}},
		} {
			t.Run(name, func(t *testing.T) {
				m, err := e.Load(t.Context(), c.wasm, ModuleOptions{Name: "bad"})
				refused, ok := errors.AsType[*LoadError](err)
				if m != nil || !ok || refused.Module != "bad" {
					t.Fatalf("got %v, %v", m, err)
				}
				slices.Sort(refused.Reasons)
				slices.Sort(c.reasons)
				if !slices.Equal(refused.Reasons, c.reasons) {
					t.Errorf("reasons:\n%s\nwant:\n%s", strings.Join(refused.Reasons, "\n"), strings.Join(c.reasons, "\n"))
				}
			})
		}
		t.Run("cut off anywhere", func(t *testing.T) {
			wasm := guest(t, "echo")
			for n := range wasm {
				m, err := e.Load(t.Context(), wasm[:n], ModuleOptions{Name: "bad"})
				if err == nil { // without the names at its end it is whole
					m.Retire()
				} else if _, ok := errors.AsType[*LoadError](err); !ok {
					t.Errorf("after %d bytes: %v", n, err)
				}
			}
		})
		if open := e.open(); len(open) > 0 {
			t.Errorf("still open: %v", open)
		}
	})
}

func TestALongListOfReasonsIsCut(t *testing.T) {
	var r reasons
	for n := range 100 {
		r.add("reason %d", n)
	}
	if len(r.list) != maxReasons || r.list[maxReasons-2] != "reason 30" || r.list[maxReasons-1] != "and 69 more" {
		t.Errorf("%d reasons: %q", len(r.list), r.list)
	}
}

func TestTheMemoryLimitIsTheModules(t *testing.T) {
	m := load(t, newEngine(t, Options{}), "large", ModuleOptions{MemoryPages: 600})
	if got := m.Stats().MemoryBytes; got != 600*wasmPageBytes {
		t.Errorf("%d bytes", got)
	}
}

func TestAFileMayBeTooLong(t *testing.T) {
	wasm := guest(t, "echo")
	for _, c := range []struct {
		most int
		ok   bool
	}{{len(wasm), true}, {len(wasm) - 1, false}, {0, true}} {
		e := newEngine(t, Options{MaxModuleBytes: c.most})
		if _, err := e.Load(t.Context(), wasm, ModuleOptions{Name: "m"}); (err == nil) != c.ok {
			t.Errorf("%d bytes, at most %d: %v", len(wasm), c.most, err)
		}
	}
}

func TestBadOptionsAreNamed(t *testing.T) {
	if _, err := NewEngine(Options{MaxModuleBytes: -1}); err == nil || !strings.Contains(err.Error(), "max_module_bytes") {
		t.Errorf("got %v", err)
	}
	_, err := newEngine(t, Options{}).Load(t.Context(), guest(t, "nop"), ModuleOptions{MemoryPages: 8193, Instances: -1})
	for _, want := range []string{"name", "memory_pages", "instances"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
	if _, ok := errors.AsType[*LoadError](err); ok {
		t.Error("the module is blamed")
	}
}

func TestLoadStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newEngine(t, Options{}).Load(ctx, guest(t, "nop"), ModuleOptions{Name: "m"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestGenerationsOfOneFileLiveApart(t *testing.T) {
	onBothEngines(t, func(t *testing.T, o Options) {
		e := newEngine(t, o)
		first := load(t, e, "behave", ModuleOptions{Generation: 1, MemoryPages: 4})
		second := load(t, e, "behave", ModuleOptions{Generation: 2, MemoryPages: 8})
		i := take(t, second)
		first.Retire()
		goruntime.GC() // whatever the first one left behind may go
		goruntime.GC()
		for _, c := range []struct{ pages, want int64 }{{6, 2}, {1, -1}} {
			if got, err := i.Call(&fakeHost{}, EventText, 1, growArg|c.pages<<8, 0); err != nil || int64(got) != c.want {
				t.Errorf("growing by %d pages: %d, %v; want %d", c.pages, got, err, c.want)
			}
		}
		_, err := i.Call(&fakeHost{}, EventText, 1, trapArg, 0)
		if trap, ok := errors.AsType[*TrapError](err); !ok || trap.Generation != 2 || !strings.Contains(trap.Stack, "outer") {
			t.Errorf("got %#v", err)
		}
		second.Discard(i)
	})
}

func TestTheEngineClosesWhenTheLastUserHasLeft(t *testing.T) {
	e, err := NewEngine(Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := load(t, e, "nop", ModuleOptions{Name: "n", Generation: 5})
	if !m.Retain() {
		t.Fatal("retired")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	err = e.Close(ended)
	if want := "still in use: n@" + m.Digest()[:12] + " generation 5"; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if _, err := e.Load(t.Context(), guest(t, "nop"), ModuleOptions{Name: "m"}); !errors.Is(err, ErrClosed) {
		t.Errorf("loading into a closing engine: %v", err)
	}

	closed := make(chan error, 1)
	go func() { closed <- e.Close(t.Context()) }() // ends with the Release below
	m.Release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// cached lists the files below dir.
func cached(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestCompiledCodeIsKeptInAPrivateFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache", "weir")
	run := func(logger Options) {
		t.Helper()
		i := only(t, logger, "echo", ModuleOptions{})
		h := &fakeHost{}
		if result, err := send(i, h, EventText, 1, 0, "x"); result != 0 || err != nil || len(h.calls) != 1 {
			t.Errorf("%d, %v, %q", result, err, h.calls)
		}
	}
	run(Options{CacheDir: dir})
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	files := cached(t, dir)
	if len(files) != 1 {
		t.Fatalf("%d files are kept", len(files))
	}
	before, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}

	t.Run("a second start uses it", func(t *testing.T) {
		run(Options{CacheDir: dir})
		after, err := os.Stat(files[0])
		if err != nil || !after.ModTime().Equal(before.ModTime()) || len(cached(t, dir)) != 1 {
			t.Errorf("compiled again: %v", err)
		}
	})

	t.Run("a damaged file is no reason to refuse a module", func(t *testing.T) {
		kept, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		for name, damage := range map[string][]byte{
			"empty":     {},
			"cut":       kept[:len(kept)/2],
			"a bit off": append(bytes.Clone(kept[:len(kept)-20]), append([]byte{^kept[len(kept)-20]}, kept[len(kept)-19:]...)...),
		} {
			if err := os.WriteFile(files[0], damage, 0o600); err != nil {
				t.Fatal(err)
			}
			logger, said := logged()
			run(Options{CacheDir: dir, Logger: logger})
			if text := said(); !strings.Contains(text, "compile cache unusable") {
				t.Errorf("%s: nobody was told: %q", name, text)
			}
		}
	})
}

func TestAFolderThatOthersWriteToIsNoCache(t *testing.T) {
	if goruntime.GOOS == "windows" {
		t.Skip("modes mean nothing there")
	}
	dir := t.TempDir()
	for mode, ok := range map[fs.FileMode]bool{0o700: true, 0o755: true, 0o775: false, 0o777: false} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		e, err := NewEngine(Options{CacheDir: dir})
		if (err == nil) != ok {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if err == nil {
			if err := e.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAModuleThatWantsMoreThanItIsGrantedIsRefused(t *testing.T) {
	e := newEngine(t, Options{})
	o := ModuleOptions{Name: "probe", Generation: 1, Capabilities: CapabilityTopics | CapabilityMetrics}
	_, err := e.Load(context.Background(), guest(t, "probe"), o)
	refused, ok := errors.AsType[*LoadError](err)
	want := []string{
		`import weir_1.timer_set needs the capability "timers", which is not granted`,
		`import weir_1.timer_cancel needs the capability "timers", which is not granted`,
	}
	if !ok || !slices.Equal(refused.Reasons, want) {
		t.Errorf("got %v", err)
	}
	o.Capabilities |= CapabilityTimers
	m, err := e.Load(context.Background(), guest(t, "probe"), o)
	if err != nil {
		t.Fatal(err)
	}
	m.Retire()
}
