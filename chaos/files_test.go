//go:build unix

package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// noModules puts things that are no module's file into folder, and returns where each lies, relative to it, and what must
// be said of it.
func noModules(t *testing.T, folder string) map[string]struct{ path, said string } {
	t.Helper()
	at := func(name string) string { return filepath.Join(folder, name) }
	err := errors.Join(
		syscall.Mkfifo(at("pipe"), 0o600),
		os.Mkdir(at("folder"), 0o700),
		os.Symlink("/dev/zero", at("endless")),
		os.Symlink("pipe", at("to-a-pipe")),
		os.Symlink("circle", at("circle")),
		os.Symlink("/nowhere/x.wasm", at("dangling")),
	)
	if err != nil {
		t.Fatal(err)
	}
	const irregular, missing = "not a regular file", "no such file"
	return map[string]struct{ path, said string }{
		"pipe":       {"pipe", irregular},
		"folder":     {"folder", irregular},
		"endless":    {"endless", irregular},
		"device":     {"/dev/null", irregular},
		"to-a-pipe":  {"to-a-pipe", irregular},
		"circle":     {"circle", "too many levels of symbolic links"},
		"dangling":   {"dangling", missing},
		"long":       {strings.Repeat("x", 300), "file name too long"},
		"elsewhere":  {"../x", missing},
		"with-a-nul": {"a\x00b", "invalid argument"},
	}
}

// site writes a configuration of these lines into folder.
func site(t *testing.T, folder, text string) string {
	t.Helper()
	file := filepath.Join(folder, "weir.yaml")
	if err := os.WriteFile(file, []byte("server: {"+anyPort+"}\nlog: {format: json, level: info}\nadmin: {listen: \"127.0.0.1:0\"}\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// T-097: what stands where a module's file should, and names that lead elsewhere. None of it is waited for.
func TestModuleFilesThatAreNone(t *testing.T) {
	needBinary(t)
	good, err := os.ReadFile(canaryPath)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("T-097 at the start each is refused by name", func(t *testing.T) {
		folder := t.TempDir()
		text, bad := "routes: [{path: /x, module: pipe}]\nmodules:\n", noModules(t, folder)
		for name, file := range bad {
			text += fmt.Sprintf("  %s: {path: %q}\n", name, file.path)
		}
		begun := time.Now()
		s := launch(t, site(t, folder, text), loadAddressKiB)
		if s.start(4 * patience) {
			t.Fatal("it is served")
		}
		if s.code() != 2 {
			t.Fatalf("exit code %d (%v), want 2\n%s", s.code(), s.failed, s.said())
		}
		for name, file := range bad {
			told := slices.ContainsFunc(s.everything(), func(line string) bool { return names(line, name) && strings.Contains(line, file.said) })
			if !told {
				t.Errorf("%s is not refused for %q:\n%s", name, file.said, s.said())
			}
		}
		tell(t, "T-097", "modules whose file is a pipe, a folder, a device, a circle of links, or not there", "%d refused by name after %s ms, exit code 2", len(bad), ms(time.Since(begun)))
	})
	t.Run("T-097 a file that is another program's is not taken", func(t *testing.T) {
		folder := t.TempDir()
		if err := os.Symlink("/etc/passwd", filepath.Join(folder, "linked")); err != nil {
			t.Fatal(err)
		}
		text := "routes: [{path: /x, module: linked}]\nmodules: {linked: {path: linked}, far-away: {path: '" + strings.Repeat("../", 30) + "etc/passwd'}}\n"
		s := launch(t, site(t, folder, text), loadAddressKiB)
		if s.start(4*patience) || s.code() != 2 {
			t.Fatalf("exit code %d (%v), want 2\n%s", s.code(), s.failed, s.said())
		}
		said := strings.Join(s.everything(), "\n")
		if !names(said, "linked") || !names(said, "far-away") || strings.Contains(said, "root:") {
			t.Errorf("it says\n%s", said)
		}
	})
	t.Run("T-097 names that lead elsewhere are no names", func(t *testing.T) {
		folder := t.TempDir()
		wrong := []string{"../../etc/passwd", "a/b", "..", ".hidden", "a\x00b", strings.Repeat("n", 300), "CON"}
		text := "routes: [{path: /x, module: x}]\nmodules:\n"
		for _, name := range wrong {
			text += fmt.Sprintf("  %q: {path: x.wasm}\n", name)
		}
		s := launch(t, site(t, folder, text), loadAddressKiB)
		if s.start(4*patience) || s.code() != 2 {
			t.Fatalf("exit code %d (%v), want 2\n%s", s.code(), s.failed, s.said())
		}
		said := strings.Join(s.everything(), "\n")
		if n := strings.Count(said, ": a module's name is "); n != len(wrong) {
			t.Errorf("%d of %d names are refused:\n%s", n, len(wrong), said)
		}
		tell(t, "T-097", "modules by the names ../../etc/passwd, a/b, CON, of 300 characters, with a NUL", "%d refused, exit code 2", len(wrong))
	})
	t.Run("T-097 the old generation stays", func(t *testing.T) {
		folder := t.TempDir()
		at := filepath.Join(folder, "echo.wasm")
		if err := os.WriteFile(at, good, 0o600); err != nil {
			t.Fatal(err)
		}
		s := started(t, site(t, folder, "routes: [{path: '/{path...}', module: echo}]\nmodules: {echo: {path: echo.wasm}}\n"))
		refusals := func() (n int) {
			for _, line := range s.everything() {
				if strings.Contains(line, "the old generation stays") {
					n++
				}
			}
			return n
		}
		impostors := []struct {
			name string
			make func(path string) error
		}{
			{"a pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }},
			{"a folder", func(path string) error { return os.Mkdir(path, 0o700) }},
			{"a device", func(path string) error { return os.Symlink("/dev/zero", path) }},
		}
		for _, other := range impostors {
			before := refusals()
			next := filepath.Join(folder, ".next")
			err := errors.Join(other.make(next), os.RemoveAll(at), os.Rename(next, at))
			if err != nil {
				t.Fatal(err)
			}
			if !eventually(func() bool { return refusals() > before }) {
				t.Errorf("%s in its place is not refused\n%s", other.name, s.said())
			}
			if err := echoes(s.address()); err != nil {
				t.Errorf("with %s in its place: %v", other.name, err)
			}
			s.signal(t, syscall.SIGHUP)
		}
		// A link that leads out of the folder is the operator's own, as those of volumes are (..data).
		elsewhere, err := filepath.Abs("../examples/echo-wat/echo.wasm")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(at), os.Symlink(elsewhere, at)); err != nil {
			t.Fatal(err)
		}
		reloaded := func() bool {
			for _, line := range s.everything() {
				if strings.Contains(line, `"gen":2`) {
					return true
				}
			}
			return false
		}
		if !eventually(reloaded) {
			t.Errorf("a module that a link leads to is not served\n%s", s.said())
		}
		if err := errors.Join(echoes(s.address()), os.Remove(at), syscall.Mkfifo(at, 0o600)); err != nil {
			t.Error(err)
		}
		s.signal(t, syscall.SIGHUP)
		if err := s.stop(2 * patience); err != nil {
			t.Errorf("with a pipe in the module's place: %v", err)
		}
		tell(t, "T-097", "a pipe, a folder, a device take the place of a served module's file", "%d times the old generation stayed; a link to a module elsewhere was followed; SIGTERM with a pipe there: exit code 0", len(impostors))
	})
}
