package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
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

const followedSite = "modules: {chat: {path: chat.wasm, capabilities: [topics]}}\nroutes: [{path: '/{path...}', module: chat}]\n"

// serveSite serves a folder with weir.yaml and a module.
func serveSite(t *testing.T, config string) (s *server, file string, hangups chan os.Signal) {
	t.Helper()
	folder := t.TempDir()
	file = filepath.Join(folder, "weir.yaml")
	first, _ := versions(t)
	write(t, filepath.Join(folder, "chat.wasm"), first)
	write(t, file, []byte(config))
	s, hangups = serveFile(t, "--config", file)
	return s, file, hangups
}

// tooLong says that a message of n bytes is above the limit of the server.
func tooLong(t *testing.T, ws *websocket.Conn, n int) {
	t.Helper()
	must(t, ws.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("x", n))))
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("a message of %d bytes ended in %v", n, err)
	}
	ws.Close()
}

func TestAConfigurationThatChangesIsTaken(t *testing.T) {
	s, file, hangups := serveSite(t, followedSite)
	ws, other := s.dial("/"), s.dial("/")
	echo(t, ws, strings.Repeat("x", 2000))

	write(t, file, []byte(followedSite+"websocket: {max_message_size: 1000B}\nnetpoll: {shards: 1}\n"))
	s.stderr.wait(t, `configuration reloaded changed=websocket.max_message_size`)
	s.stderr.wait(t, "some of what has changed in the configuration needs a restart keys=netpoll.shards")
	echo(t, ws, "on the same socket")
	tooLong(t, ws, 2000)

	write(t, file, []byte("modlues: {}\nlog: {level: 7}\n"))
	line := s.stderr.wait(t, "the configuration is refused; the old one stays")
	if !strings.Contains(line, "did you mean") || !strings.Contains(line, "log.level") {
		t.Errorf("it says %q", line)
	}
	echo(t, other, "a mistake closes nobody")

	// The same mistake again, because it is asked for; then nothing new.
	hangups <- syscall.SIGHUP
	s.stderr.waitFor(t, "the configuration is refused", 2)
	must(t, os.Remove(file))
	write(t, file, []byte(followedSite+"netpoll: {shards: 1}\n"))
	s.stderr.waitFor(t, "configuration reloaded", 2)
	echo(t, other, strings.Repeat("x", 2000))
	other.Close()
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestAConfigurationIsFollowedThroughALink(t *testing.T) {
	folder := t.TempDir() // as Kubernetes mounts it
	first, _ := versions(t)
	for version, size := range map[string]string{"..1": "64KiB", "..2": "1000B"} {
		must(t, os.Mkdir(filepath.Join(folder, version), 0o755))
		write(t, filepath.Join(folder, version, "weir.yaml"), []byte(followedSite+"websocket: {max_message_size: "+size+"}\n"))
	}
	write(t, filepath.Join(folder, "chat.wasm"), first)
	must(t, os.Symlink("..1", filepath.Join(folder, "..data")), os.Symlink("..data/weir.yaml", filepath.Join(folder, "weir.yaml")))
	s, _ := serveFile(t, "--config", filepath.Join(folder, "weir.yaml"))
	ws := s.dial("/")
	must(t, os.Symlink("..2", filepath.Join(folder, "..data_tmp")), os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")))
	s.stderr.wait(t, "configuration reloaded")
	tooLong(t, ws, 2000)
	s.stop()
}

func TestSettingsOfAModuleBringAboutAGeneration(t *testing.T) {
	s, file, _ := serveSite(t, strings.Replace(followedSite, "{path: chat.wasm", "{reload: signal, path: chat.wasm", 1))
	ws := s.dial("/")
	_, second := versions(t)
	write(t, filepath.Join(filepath.Dir(file), "chat.wasm"), second) // is for a signal to take
	write(t, file, []byte(strings.Replace(followedSite, "{path: chat.wasm", "{reload: signal, instances: 3, path: chat.wasm", 1)))
	s.stderr.wait(t, "configuration reloaded changed=modules.chat.instances")
	line := s.stderr.wait(t, "module reloaded")
	if first, _ := versions(t); !strings.Contains(line, digestOf(first)[:12]) {
		t.Errorf("other code was loaded too: %s", line)
	}
	echo(t, ws, "on the same socket")
	ws.Close()
	s.stop()
}

func TestASecretThatChangesIsRead(t *testing.T) {
	folder := t.TempDir()
	write(t, filepath.Join(folder, "size"), []byte("64KiB\n"))
	first, _ := versions(t)
	write(t, filepath.Join(folder, "chat.wasm"), first)
	write(t, filepath.Join(folder, "weir.yaml"), []byte(followedSite+"websocket: {max_message_size: '${file:size}'}\n"))
	s, _ := serveFile(t, "--config", filepath.Join(folder, "weir.yaml"))
	ws := s.dial("/")
	write(t, filepath.Join(folder, "size"), []byte("1000B\n"))
	s.stderr.wait(t, "configuration reloaded")
	tooLong(t, ws, 2000)
	s.stop()
}

func TestAHangUpReadsTheConfigurationAgain(t *testing.T) {
	quiet := "reload: signal\n" + strings.Replace(followedSite, "{path: chat.wasm", "{reload: signal, path: chat.wasm", 1)
	s, file, hangups := serveSite(t, quiet)
	ws := s.dial("/")
	_, second := versions(t)
	write(t, filepath.Join(filepath.Dir(file), "chat.wasm"), second)
	write(t, file, []byte(quiet+"log: {level: debug}\npool: {workers: 7}\n"))
	hangups <- syscall.SIGHUP
	s.stderr.wait(t, "configuration reloaded changed=log.level")
	s.stderr.wait(t, `some of what has changed in the configuration needs a restart keys=pool.workers`)
	s.stderr.wait(t, "module reloaded")
	echo(t, ws, "on the same socket")
	ws.Close()
	s.stop()
}

func TestAReloadIsAskedForAndTold(t *testing.T) {
	_, second := versions(t)
	folder := t.TempDir()
	file := filepath.Join(folder, "weir.yaml")
	write(t, filepath.Join(folder, "chat.wasm"), second)
	write(t, file, []byte("reload: signal\n"+followedSite))
	env := realEnv()
	env.Stderr, env.Signals = newLines(), make(chan os.Signal)
	flags := serveFlags{files: []string{file}, listen: []string{"127.0.0.1:0"}}
	site, err := flags.site(&env, nil)
	must(t, err)
	f := newFollower(&env, site, func() (reading, error) { return flags.configuration(&env, nil) })
	if f.LastReload().Count != 0 {
		t.Errorf("before any: %+v", f.LastReload())
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, &env, site) }() // ends with stop

	for _, tc := range []struct {
		name, text string
		want       reload
	}{
		{"nothing has changed", "", reload{Count: 1}},
		{"some has", "drain: {spread: 1s}\nnetpoll: {shards: 1}\n", reload{Changed: []string{"drain.spread"}, Kept: []string{"netpoll.shards"}, Count: 2}},
		{"a mistake", "drain: {spread: 1}\n", reload{Problems: []string{file + `:4:9: drain.spread: 1 is not a duration; write it with its unit, such as "1s" or "1ms"`}, Count: 3, Refused: 1}},
		{"what a server refuses", "", reload{Problems: []string{"routes[1].static: stat " + filepath.Join(folder, "nowhere") + ": no such file or directory"}, Count: 4, Refused: 2}},
	} {
		text := "reload: signal\n" + followedSite + tc.text
		if tc.name == "what a server refuses" {
			text = strings.Replace(text, "module: chat}]", "module: chat}, {path: /x, static: nowhere}]", 1)
		}
		write(t, file, []byte(text))
		waiting, cancel := context.WithTimeout(ctx, patience)
		got, err := f.Reload(waiting)
		cancel()
		must(t, err)
		if got.Time.IsZero() || !reflect.DeepEqual(got, f.LastReload()) {
			t.Errorf("%s: got %+v, and then %+v", tc.name, got, f.LastReload())
		}
		if got.Time = (time.Time{}); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tc.name, got, tc.want)
		}
	}
	stop()
	must(t, <-done)
	if _, err := f.Reload(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a server that has ended answers %v", err)
	}
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
