package chaos

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	loadWithin = 35 * time.Second // a bound for what hangs, not a goal
	loadCPU    = 15 * time.Second // what one module's compilation may take of the processor, and the rest

	// What a load may take, as far as the system counts it. A refused module has no business taking memory; a module
	// that is compiled may, within the compiler's bound.
	refusedPeakKiB = 128 << 10
	servedPeakKiB  = 1 << 20

	loadAddressKiB = 4 << 20 // of virtual memory, of which Go reserves a lot
)

func TestHostileModulesAtLoad(t *testing.T) {
	needBinary(t)
	forgetOwnPeak(t)
	for _, h := range cases(t) {
		if !h.atLoad() {
			continue
		}
		t.Run(h.title(), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), h.name+".wasm")
			if err := os.WriteFile(file, h.wasm, 0o600); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			s := launch(t, configuration(t, module{name: h.name, path: file}), loadAddressKiB)
			if s.start(loadWithin) {
				servedAtLoad(t, h, s, time.Since(begun))
				return
			}
			took := time.Since(begun)
			refusedAtLoad(t, h, s)
			note(row{h: h, outcome: "refused", stop: took, peakKiB: peakKiB(s.cmd.ProcessState)})
		})
	}
}

// forgetOwnPeak makes this process's peak what it has now. Linux takes a parent's peak for the least that a child of its
// ever had (getrusage), and other tests send large things.
func forgetOwnPeak(t *testing.T) {
	t.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Logf("what a load takes at its peak is counted too high: %v", err)
	}
}

// servedAtLoad expects a server that has taken the module to do its work.
func servedAtLoad(t *testing.T, h *hostile, s *server, took time.Duration) {
	if h.outcome == loadRefused {
		t.Errorf("the module is served; want it refused for %v", h.reasons)
	}
	c, err := dial(s.address(), "/"+h.name)
	if err != nil {
		t.Error(err)
	} else if err := c.goodbye(); err != nil {
		t.Error(err)
	}
	if err := s.stop(2 * patience); err != nil {
		t.Error(err)
	}
	checkCPU(t, s)
	peak := peakKiB(s.cmd.ProcessState)
	if peak > servedPeakKiB {
		t.Errorf("loading it took %d MiB", peak>>10)
	}
	note(row{h: h, outcome: "served", stop: took, peakKiB: peak})
}

// refusedAtLoad expects a server that has ended to have said why in good form.
func refusedAtLoad(t *testing.T, h *hostile, s *server) {
	if s.code() != 2 {
		t.Fatalf("exit code %d (%v), want 2\n%s", s.code(), s.failed, s.said())
	}
	checkCPU(t, s)
	said := strings.Join(s.everything(), "\n")
	for _, reason := range h.reasons {
		if !reason.MatchString(said) {
			t.Errorf("no reason matches %q:\n%s", reason, s.said())
		}
	}
	if !names(said, h.name) {
		t.Errorf("the module is not named:\n%s", s.said())
	}
	if peak := peakKiB(s.cmd.ProcessState); h.outcome == loadRefused && peak > refusedPeakKiB {
		t.Errorf("refusing it took %d MiB", peak>>10)
	}
}

// checkCPU bounds the processor time of an ended server. Unlike time it does not depend on who else is busy.
func checkCPU(t *testing.T, s *server) {
	t.Helper()
	if spent := s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime(); spent > loadCPU {
		t.Errorf("it took %v of processor time", spent)
	}
}

// names reports whether the server's complaints are about the module, too.
func names(said, module string) bool {
	return strings.Contains(said, "module "+module+":") || strings.Contains(said, "module \""+module+"\":")
}

// wholeAt returns the lengths to which a good module can be cut and is one still: between sections, behind its code.
func wholeAt(good []byte) []int {
	const codeSection = 10
	var cuts []int
	code := false
	for at := 8; at < len(good); {
		id := good[at]
		size, n := binary.Uvarint(good[at+1:])
		code = code || id == codeSection
		if at += 1 + n + int(size); code {
			cuts = append(cuts, at)
		}
	}
	return cuts
}

// TestBrokenFilesAtLoad gives the server whole families of broken files at once: all of them are refused, each by name,
// and the process ends in order.
func TestBrokenFilesAtLoad(t *testing.T) {
	needBinary(t)
	good, err := os.ReadFile(canaryPath)
	if err != nil {
		t.Fatal(err)
	}
	const seed = 69
	for _, tc := range []struct {
		name string
		all  bool // every file must be refused; else some may be good
		make func() map[string][]byte
	}{
		{"T-071 a module that ends anywhere too early is refused", true, func() map[string][]byte {
			files := map[string][]byte{}
			whole := wholeAt(good)
			for n := range len(good) {
				if slices.Contains(whole, n) {
					continue
				}
				files[fmt.Sprintf("cut-%04d", n)] = good[:n]
			}
			return files
		}},
		{"T-071 a module with changed bytes is refused or is good", false, func() map[string][]byte {
			files, random := map[string][]byte{}, rand.New(rand.NewPCG(seed, 1))
			for n := range 400 {
				file := bytes.Clone(good)
				for range 1 + random.IntN(4) {
					file[8+random.IntN(len(file)-8)] = byte(random.Uint32())
				}
				files[fmt.Sprintf("changed-%04d", n)] = file
			}
			return files
		}},
		{"T-071 random bytes behind a good head are refused", true, func() map[string][]byte {
			files, random := map[string][]byte{}, rand.New(rand.NewPCG(seed, 2))
			for n := range 200 {
				file := []byte("\x00asm\x01\x00\x00\x00")
				for range 16 + random.IntN(2000) {
					file = append(file, byte(random.Uint32()))
				}
				files[fmt.Sprintf("random-%04d", n)] = file
			}
			return files
		}},
		{"T-071 a file of more than max_module_bytes is refused", true, func() map[string][]byte {
			return map[string][]byte{
				"large-zeros": append(slices.Clone(good), make([]byte, 9<<20)...),
				"large-100mb": append([]byte("\x00asm\x01\x00\x00\x00"), make([]byte, 100<<20)...),
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := t.TempDir()
			var modules []module
			for name, wasm := range tc.make() {
				file := filepath.Join(folder, name)
				if err := os.WriteFile(file, wasm, 0o600); err != nil {
					t.Fatal(err)
				}
				modules = append(modules, module{name: name, path: file})
			}
			s := launch(t, configuration(t, modules...), loadAddressKiB)
			if s.start(loadWithin) {
				t.Fatal("the server takes all of them")
			}
			if s.code() != 2 {
				t.Fatalf("exit code %d (%v), want 2; seed %d\n%s", s.code(), s.failed, seed, s.said())
			}
			said := strings.Join(s.everything(), "\n")
			var missing []string
			for _, m := range modules {
				if !names(said, m.name) {
					missing = append(missing, m.name)
				}
			}
			if tc.all && len(missing) > 0 {
				t.Errorf("%d of %d are not refused by name, such as %s", len(missing), len(modules), missing[0])
			}
			t.Logf("%d of %d refused", len(modules)-len(missing), len(modules))
		})
	}
}
