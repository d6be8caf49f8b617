package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// versions are two modules with other bytes that do the same.
func versions(t *testing.T) (first, second []byte) {
	t.Helper()
	read := func(name string) []byte {
		wasm, err := os.ReadFile(filepath.FromSlash("../../examples/" + name))
		if err != nil {
			t.Fatal(err)
		}
		return wasm
	}
	return read("echo-c/echo.wasm"), read("echo-wat/echo.wasm")
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// serveFile serves one module file with a hang-up to be sent.
func serveFile(t *testing.T, args ...string) (*server, chan os.Signal) {
	t.Helper()
	hangups := make(chan os.Signal, 1)
	env := realEnv()
	env.Hangups = hangups
	return serve(t, env, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...), hangups
}

func TestAServerSwapsAModuleHoweverItsFileIsReplaced(t *testing.T) {
	first, second := versions(t)
	for name, replace := range map[string]func(t *testing.T, file string){
		"written in place": func(t *testing.T, file string) { write(t, file, second) },
		"renamed over": func(t *testing.T, file string) {
			write(t, file+".new", second)
			must(t, os.Rename(file+".new", file))
		},
		"deleted and made again": func(t *testing.T, file string) {
			must(t, os.Remove(file))
			write(t, file, second)
		},
		"written in two pieces": func(t *testing.T, file string) {
			write(t, file, second[:len(second)/2])
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.Write(second[len(second)/2:])
			must(t, err)
			must(t, f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "chat.wasm")
			write(t, file, first)
			s, _ := serveFile(t, file)
			ws := s.dial("/")
			echo(t, ws, "before")
			replace(t, file)
			s.stderr.wait(t, "module reloaded")
			echo(t, ws, "after") // on the same socket
			ws.Close()
			if code := s.stop(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestAServerFollowsALinkThatLeadsElsewhere(t *testing.T) {
	first, second := versions(t)
	folder := t.TempDir() // as Kubernetes mounts configuration: chat.wasm → ..data/chat.wasm, ..data → ..1
	for version, wasm := range map[string][]byte{"..1": first, "..2": second} {
		must(t, os.Mkdir(filepath.Join(folder, version), 0o755))
		write(t, filepath.Join(folder, version, "chat.wasm"), wasm)
	}
	must(t, os.Symlink("..1", filepath.Join(folder, "..data")))
	must(t, os.Symlink(filepath.Join("..data", "chat.wasm"), filepath.Join(folder, "chat.wasm")))
	s, _ := serveFile(t, filepath.Join(folder, "chat.wasm"))
	must(t, os.Symlink("..2", filepath.Join(folder, "..data_tmp")))
	must(t, os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")))
	s.stderr.wait(t, "module reloaded")
	s.stop()
}

func TestAModuleThatIsRefusedLeavesTheOldOneServing(t *testing.T) {
	first, second := versions(t)
	for name, tc := range map[string]struct {
		wasm []byte
		want string
	}{
		"half of it":          {second[:len(second)/2], "a module is refused; the old generation stays"},
		"not WebAssembly":     {[]byte("#!/bin/sh\necho hello, this is a script\n"), "a module is refused; the old generation stays"},
		"another kind of one": {[]byte(emptyModule), "a module is refused; the old generation stays"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "chat.wasm")
			write(t, file, first)
			s, _ := serveFile(t, file)
			ws := s.dial("/")
			write(t, file, tc.wasm)
			line := s.stderr.wait(t, tc.want)
			if !strings.Contains(line, "gen=1") || !strings.Contains(line, "digest=") {
				t.Errorf("it says %q", line)
			}
			echo(t, ws, "still here")
			write(t, file, second)
			s.stderr.wait(t, "module reloaded")
			ws.Close()
			s.stop()
		})
	}
}

func TestAHangUpReadsTheConfigurationAgain(t *testing.T) {
	first, second := versions(t)
	folder := t.TempDir()
	module, file := filepath.Join(folder, "chat.wasm"), filepath.Join(folder, "weir.yaml")
	const site = "modules: {chat: {path: chat.wasm, reload: signal, capabilities: [topics]}}\nroutes: [{path: '/{path...}', module: chat}]\n"
	write(t, module, first)
	write(t, file, []byte(site))
	s, hangups := serveFile(t, "--config", file)
	ws := s.dial("/")

	write(t, module, second)
	write(t, file, []byte(site+"log: {level: debug}\nserver: {max_connections: 7}\n"))
	hangups <- syscall.SIGHUP
	s.stderr.wait(t, `some of what has changed in the configuration needs a restart keys=server`)
	s.stderr.wait(t, "module reloaded")
	echo(t, ws, "on the same socket")

	write(t, file, []byte("modlues: {}\n"))
	hangups <- syscall.SIGHUP
	line := s.stderr.wait(t, "the configuration is refused; the old one stays")
	if !strings.Contains(line, "did you mean") {
		t.Errorf("it says %q", line)
	}
	echo(t, ws, "and still there")
	ws.Close()
	s.stop()
}

func TestAFileThatEndsWithinASectionIsNotWhole(t *testing.T) {
	wasm, _ := versions(t)
	ends := 0
	for n := range len(wasm) {
		if isWhole(wasm[:n]) {
			ends++ // between two sections it cannot be told
		}
	}
	if !isWhole(wasm) || ends > 12 || isWhole(nil) {
		t.Errorf("%d of %d beginnings pass for a whole file", ends, len(wasm))
	}
}
