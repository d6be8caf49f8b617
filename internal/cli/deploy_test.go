package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"weir/internal/admin"
)

// planted is a token that must not be told by anything.
const planted = "planted-3f9c1d70b2a84e56-planted-3f9c1d70b2a84e56"

// desk is where an operator of a server sits: a client of its API.
type desk struct {
	*server
	api   string // "http://127.0.0.1:port"
	token string
}

// serveDesk serves a folder with weir.yaml, whose module chat is that file, and an
// admin listener.
func serveDesk(t *testing.T, wasm []byte, config string) (d *desk, folder string, hangups chan os.Signal) {
	t.Helper()
	folder = t.TempDir()
	write(t, filepath.Join(folder, "chat.wasm"), wasm)
	write(t, filepath.Join(folder, "weir.yaml"), []byte(config))
	env := realEnv()
	env.Environ = append(env.Environ, "WEIR_ADMIN_LISTEN=127.0.0.1:0", "WEIR_ADMIN_TOKEN="+planted)
	hangups = make(chan os.Signal, 1)
	env.Hangups = hangups
	s := serve(t, env, "serve", "--listen", "127.0.0.1:0", "--config", filepath.Join(folder, "weir.yaml"))
	line := s.stderr.wait(t, "the admin API is served")
	return &desk{s, regexp.MustCompile(`http://[0-9.:]+`).FindString(line), planted}, folder, hangups
}

// ask makes a request of the API and reads the answer, which must be JSON.
func (d *desk) ask(method, path string, body []byte, headers ...string) (status int, answer []byte) {
	d.t.Helper()
	request, err := http.NewRequestWithContext(d.t.Context(), method, d.api+path, bytes.NewReader(body))
	must(d.t, err)
	request.Header.Set("Authorization", "Bearer "+d.token)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Do(request)
	must(d.t, err)
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	must(d.t, err)
	if !json.Valid(answer) {
		d.t.Errorf("%s %s answers %q", method, path, answer)
	}
	return response.StatusCode, answer
}

// must200 asks for what must succeed and reads the answer into v.
func (d *desk) get(v any, method, path string, body []byte, headers ...string) {
	d.t.Helper()
	status, answer := d.ask(method, path, body, headers...)
	if status/100 != 2 {
		d.t.Fatalf("%s %s is %d: %s", method, path, status, answer)
	}
	must(d.t, json.Unmarshal(answer, v))
}

// refused asks for what must fail.
func (d *desk) refused(method, path string, body []byte, headers ...string) (p admin.Problem) {
	d.t.Helper()
	status, answer := d.ask(method, path, body, headers...)
	must(d.t, json.Unmarshal(answer, &p))
	if p.Status != status || status/100 == 2 || p.Detail == "" || p.Title == "" {
		d.t.Errorf("%s %s is %d: %s", method, path, status, answer)
	}
	return p
}

func (d *desk) module() (m admin.Module) {
	d.t.Helper()
	d.get(&m, "GET", "/v1/modules/chat", nil)
	return m
}

// guestOf is the smallest module that handles those events, by a body of
// weir_event in binary format.
func guestOf(events int64, body ...byte) []byte {
	section := func(id byte, content ...byte) []byte {
		return append(binary.AppendUvarint([]byte{id}, uint64(len(content))), content...)
	}
	function := func(body ...byte) []byte {
		body = append(append([]byte{0}, body...), 0x0b) // no locals, end
		return append(binary.AppendUvarint(nil, uint64(len(body))), body...)
	}
	export := func(name string, kind, index byte) []byte {
		return append(append([]byte{byte(len(name))}, name...), kind, index)
	}
	signed := []byte{0x42} // i64.const
	for more := true; more; {
		b := byte(events & 0x7f)
		events >>= 7
		if more = events != 0 || b&0x40 != 0; more {
			b |= 0x80
		}
		signed = append(signed, b)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	return join([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, 3, 0x60, 0, 1, 0x7e, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 5, 0x7f, 0x7e, 0x7e, 0x7f, 0x7f, 1, 0x7f),
		section(3, 3, 0, 1, 2),
		section(5, 1, 0, 2),
		section(7, join([]byte{4}, export("memory", 2, 0), export("weir_abi_1", 0, 0), export("weir_inbound", 0, 1), export("weir_event", 0, 2))...),
		section(10, join([]byte{3}, function(signed...), function(0x41, 0x80, 0x08), function(body...))...))
}

const (
	onInit = 1 << 0
	onText = 1 << 3
)

var (
	silent   = guestOf(onText, 0x41, 0)                                      // i32.const 0
	refuses  = guestOf(onInit|onText, 0x41, 3)                               // i32.const 3
	trapping = guestOf(onText, 0x00)                                         // unreachable
	bomb     = []byte("\x00asm\x01\x00\x00\x00\x03\x05\xff\xff\xff\xff\x0f") // 4,294,967,295 functions
)

const echoTest = `module: chat.wasm
scenarios:
  - name: it echoes
    steps:
      - open: [ann]
      - send: {ann: {text: hello}}
      - expect: {ann: {text: hello}}
`

func TestAnUploadThatIsBadNeverReplacesAGoodOneAndTheAPISaysWhy(t *testing.T) {
	first, second := versions(t)
	imports, err := os.ReadFile("../../runtime/testdata/wrong.wasm")
	must(t, err)
	topics, err := os.ReadFile("demo/chat.wasm")
	must(t, err)
	d, folder, _ := serveDesk(t, first, "modules: {chat: {path: chat.wasm, self_test: echo.yaml, rollout: {min_events: 4}, on_trap: keep, breaker: {traps: 100}}}\nroutes: [{path: '/{path...}', module: chat}]\n")
	ws := d.dial("/")
	for _, tc := range []struct {
		name, code, stage, detail string
		wasm                      []byte
	}{
		{"half of one", "refused", "admission", "", second[:len(second)/2]},
		{"an empty body", "refused", "admission", "not a WebAssembly module", nil},
		{"a script", "refused", "admission", "not a WebAssembly module", []byte("#!/bin/sh\n")},
		{"a bomb", "refused", "admission", "function", bomb},
		{"an import that nobody has", "refused", "admission", "this host has no such function", imports},
		{"a capability that is not granted", "refused", "admission", `needs the capability "topics", which is not granted`, topics},
		{"a self-test that fails", "refused", "self_test", "it echoes", silent},
		{"too many bytes", "too_large", "", "8388608 bytes", make([]byte, 8<<20+1)},
	} {
		write(t, filepath.Join(folder, "echo.yaml"), []byte(echoTest))
		p := d.refused("PUT", "/v1/modules/chat", tc.wasm)
		if p.Code != tc.code || p.Stage != tc.stage || !strings.Contains(p.Detail, tc.detail) {
			t.Errorf("%s: %+v", tc.name, p)
		}
		echo(t, ws, "after "+tc.name)
		m := d.module()
		if m.Generation != 1 || m.Digest != digestOf(first) || m.Source != "file" || m.Canary != nil {
			t.Errorf("%s: %+v", tc.name, m)
		}
		if r := m.LastRefusal; tc.code == "refused" && (r == nil || r.Detail != p.Detail || r.Source != "api" || r.Stage != tc.stage || r.Digest != digestOf(tc.wasm) || time.Since(r.Time) > time.Hour) {
			t.Errorf("%s: the module tells %+v", tc.name, r)
		}
	}
	ws.Close()
	d.stop()
}

func TestAnUploadThatRefusesItsInitIsRefused(t *testing.T) {
	first, _ := versions(t)
	d, _, _ := serveDesk(t, first, followedSite)
	p := d.refused("PUT", "/v1/modules/chat", refuses)
	if p.Status != 422 || p.Code != "refused" || p.Stage != "init" || !strings.Contains(p.Detail, "init returned 3") {
		t.Errorf("%+v", p)
	}
	if p := d.refused("PUT", "/v1/modules/chta", silent); p.Code != "unknown_module" || p.Status != 404 {
		t.Errorf("%+v", p)
	}
	d.stop()
}

func TestAFileThatIsRefusedIsToldOf(t *testing.T) {
	first, _ := versions(t)
	d, folder, hangups := serveDesk(t, first, followedSite)
	if m := d.module(); m.LastRefusal != nil {
		t.Errorf("before any: %+v", m.LastRefusal)
	}
	write(t, filepath.Join(folder, "chat.wasm"), refuses)
	d.stderr.wait(t, "a module is refused")
	r := d.module().LastRefusal
	if r == nil || r.Source != "file" || r.Stage != "init" || r.Digest != digestOf(refuses) || !strings.Contains(r.Detail, "init returned 3") {
		t.Errorf("it tells %+v", r)
	}
	must(t, os.Remove(filepath.Join(folder, "chat.wasm")))
	must(t, os.Mkdir(filepath.Join(folder, "chat.wasm"), 0o755))
	hangups <- syscall.SIGHUP
	d.stderr.wait(t, "a module cannot be read")
	if r := d.module().LastRefusal; r == nil || r.Source != "file" || r.Stage != "read" || !strings.Contains(r.Detail, "not a regular file") {
		t.Errorf("it tells %+v", r)
	}
	d.stop()
}

func TestAnUploadThatTrapsIsRolledBackAndTheAPISaysWhy(t *testing.T) {
	first, _ := versions(t)
	d, folder, _ := serveDesk(t, first, "modules: {chat: {path: chat.wasm, rollout: {min_events: 4}, on_trap: keep, breaker: {traps: 100}}}\nroutes: [{path: '/{path...}', module: chat}]\n")
	ws := d.dial("/")
	echo(t, ws, "before")
	var done admin.Deployed
	d.get(&done, "PUT", "/v1/modules/chat", trapping)
	if m := d.module(); done.Generation != 2 || m.Generation != 2 || m.Source != "api" || m.Digest != done.Digest || m.Digest != digestOf(trapping) {
		t.Errorf("%+v, then %+v", done, m)
	}
	for range 6 {
		must(t, ws.WriteMessage(websocket.TextMessage, []byte("trap")))
	}
	d.stderr.wait(t, "module rolled back")
	m := d.module()
	if m.Generation != 3 || m.Digest != digestOf(first) || m.Source != "file" {
		t.Errorf("after the rollback: %+v", m)
	}
	if failed := m.Generations[1]; failed.Number != 2 || failed.Fate != "rolled_back" || !strings.Contains(failed.Why, "events trapped") || failed.Traps < 4 {
		t.Errorf("the failed generation: %+v", failed)
	}
	other := d.dial("/")
	echo(t, other, "the good one serves")

	// Settings that change do not bring the bad code back, nor does reading all again.
	write(t, filepath.Join(folder, "weir.yaml"), []byte("modules: {chat: {path: chat.wasm, instances: 3, on_trap: keep}}\nroutes: [{path: '/{path...}', module: chat}]\n"))
	d.stderr.waitFor(t, "module reloaded", 2)
	if m := d.module(); m.Digest != digestOf(first) || m.Generation != 4 {
		t.Errorf("after a change of settings: %+v", m)
	}
	ws.Close()
	other.Close()
	d.stop()
}

func TestOfTwoUploadsAtOnceOneWins(t *testing.T) {
	first, second := versions(t)
	d, _, _ := serveDesk(t, first, followedSite)
	for _, canary := range []string{"", "?canary=10"} {
		latest := d.module().Generation
		var wg sync.WaitGroup
		statuses := make(chan int, 2)
		for _, wasm := range [][]byte{second, silent} {
			wg.Go(func() { // ends with the answer
				status, answer := d.ask("PUT", "/v1/modules/chat"+canary, wasm, "If-Match", fmt.Sprintf("%q", fmt.Sprint(latest)))
				if status == 409 && !bytes.Contains(answer, []byte(`"conflict"`)) {
					t.Errorf("%s", answer)
				}
				statuses <- status
			})
		}
		wg.Wait()
		if a, b := <-statuses, <-statuses; a+b != 200+409 {
			t.Errorf("%s: %d and %d, want 200 and 409", canary, a, b)
		}
	}
	if p := d.refused("PUT", "/v1/modules/chat", second, "If-Match", `"x"`); p.Code != "invalid" {
		t.Errorf("%+v", p)
	}
	d.stop()
}

func TestAnUploadHoldsUntilItsFileChanges(t *testing.T) {
	first, second := versions(t)
	d, folder, hangups := serveDesk(t, first, followedSite)
	ws := d.dial("/")
	file := filepath.Join(folder, "chat.wasm")
	var done admin.Deployed
	d.get(&done, "PUT", "/v1/modules/chat", second)
	echo(t, ws, "on the same socket")

	write(t, filepath.Join(folder, "weir.yaml"), []byte(strings.Replace(followedSite, "{path: chat.wasm", "{instances: 3, path: chat.wasm", 1)))
	d.stderr.waitFor(t, "module reloaded", 2)
	if m := d.module(); m.Digest != digestOf(second) || m.Source != "api" || m.Generation != 3 {
		t.Errorf("settings have changed, and it serves %+v", m)
	}

	write(t, file, silent)
	d.stderr.waitFor(t, "module reloaded", 3)
	if m := d.module(); m.Digest != digestOf(silent) || m.Source != "file" {
		t.Errorf("the file has changed, and it serves %+v", m)
	}

	d.get(&done, "PUT", "/v1/modules/chat", second)
	hangups <- syscall.SIGHUP
	d.stderr.waitFor(t, "module reloaded", 5)
	if m := d.module(); m.Digest != digestOf(silent) || m.Source != "file" {
		t.Errorf("all was read again, and it serves %+v", m)
	}
	ws.Close()
	d.stop()
}

// A canary was judged under the settings that were there: others end it, and who
// wants it sends it again.
func TestSettingsThatChangeEndAnUploadedCanary(t *testing.T) {
	first, second := versions(t)
	d, folder, _ := serveDesk(t, first, followedSite)
	d.get(new(admin.Deployed), "PUT", "/v1/modules/chat?canary=10", second)
	write(t, filepath.Join(folder, "weir.yaml"), []byte(strings.Replace(followedSite, "{path: chat.wasm", "{instances: 3, path: chat.wasm", 1)))
	d.stderr.waitFor(t, "module reloaded", 2)
	m := d.module()
	if m.Digest != digestOf(first) || m.Source != "file" || m.Canary != nil || m.Generations[1].Digest != digestOf(first) || m.Generations[2].Why != "another generation came" {
		t.Errorf("%+v", m)
	}
	d.stop()
}

func TestAnUploadMayReplaceItsFile(t *testing.T) {
	first, second := versions(t)
	d, folder, hangups := serveDesk(t, first, followedSite)
	file := filepath.Join(folder, "chat.wasm")
	holds := func(want []byte) {
		t.Helper()
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the file holds %d bytes, want %d; %v", len(got), len(want), err)
		}
	}
	must(t, os.Chmod(file, 0o640))
	if p := d.refused("PUT", "/v1/modules/chat?persist=true", bomb); p.Code != "refused" {
		t.Errorf("%+v", p)
	}
	holds(first)
	if p := d.refused("PUT", "/v1/modules/chat?persist=true&canary=5", second); p.Code != "invalid" || !strings.Contains(p.Detail, "promoted") {
		t.Errorf("%+v", p)
	}
	holds(first)
	var done admin.Deployed
	d.get(&done, "PUT", "/v1/modules/chat?persist=true", second)
	holds(second)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 || !done.Persisted {
		t.Errorf("%v, %v, %+v", info.Mode(), err, done)
	}

	// A canary replaces it when it is promoted.
	d.get(&done, "PUT", "/v1/modules/chat?canary=5", first)
	holds(second)
	var m admin.Module
	d.get(&m, "POST", "/v1/modules/chat/promote?persist=true", nil)
	holds(first)
	if m.Source != "file" || m.Generation != done.Generation || m.Digest != digestOf(first) {
		t.Errorf("%+v", m)
	}
	// What the server wrote itself is nothing new to it.
	hangups <- syscall.SIGHUP
	d.stderr.wait(t, "configuration reloaded")
	d.get(new(admin.Reload), "POST", "/v1/config/reload", nil) // after the look that the hang-up brought
	if m := d.module(); m.Generation != done.Generation {
		t.Errorf("its own file was loaded again: %+v", m)
	}
	if left := inFolder(t, folder); len(left) != 2 {
		t.Errorf("it left %q", left)
	}

	d.stop()
}

func TestAnUploadReplacesWhatALinkLeadsTo(t *testing.T) {
	first, second := versions(t)
	d, folder, _ := serveDesk(t, first, followedSite)
	file, real := filepath.Join(folder, "chat.wasm"), filepath.Join(t.TempDir(), "real.wasm")
	must(t, os.Rename(file, real), os.Symlink(real, file))
	d.get(new(admin.Deployed), "PUT", "/v1/modules/chat?persist", second)
	if got, err := os.ReadFile(real); err != nil || !bytes.Equal(got, second) {
		t.Errorf("it holds %d bytes, %v", len(got), err)
	}
	if info, err := os.Lstat(file); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is %v, %v", info, err)
	}
	d.stop()
}

func TestAnUploadWhoseFileCannotBeWrittenChangesNothing(t *testing.T) {
	first, second := versions(t)
	d, folder, _ := serveDesk(t, first, followedSite)
	ws := d.dial("/")
	must(t, os.RemoveAll(folder))
	if p := d.refused("PUT", "/v1/modules/chat?persist=true", second); p.Code != "failed" || !strings.Contains(p.Detail, "no such file") {
		t.Errorf("%+v", p)
	}
	echo(t, ws, "still here")
	if m := d.module(); m.Generation != 1 {
		t.Errorf("%+v", m)
	}
	ws.Close()
	d.stop()
}

func TestAServerThatStopsTakesNothing(t *testing.T) {
	f := newFollower(&Env{}, &site{}, nil)
	close(f.ended)
	_, err := f.Deploy(t.Context(), admin.Upload{Module: "chat"})
	if !errors.Is(err, admin.ErrUnavailable) || !errors.Is(f.Persist(t.Context(), "chat"), admin.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if _, err := f.Reload(t.Context()); !errors.Is(err, admin.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// Whatever is asked at once, of the API and by the files, a server goes on, and what
// was said last holds.
func TestUploadsFilesAndReloadsMeet(t *testing.T) {
	first, second := versions(t)
	d, folder, _ := serveDesk(t, first, followedSite)
	ws := d.dial("/")
	file, another := filepath.Join(folder, "chat.wasm"), filepath.Join(folder, "weir.yaml")
	const rounds = 8
	var wg sync.WaitGroup
	for _, act := range []func(n int){
		func(n int) {
			d.ask("PUT", "/v1/modules/chat"+[]string{"", "?canary=50", "?persist=true"}[n%3], [][]byte{first, second}[n%2])
		},
		func(n int) {
			d.ask("POST", "/v1/modules/chat/"+[]string{"promote", "rollback", "promote?persist=true"}[n%3], nil)
		},
		func(n int) {
			must(t, os.WriteFile(file+".new", [][]byte{first, second}[n%2], 0o644), os.Rename(file+".new", file))
		},
		func(n int) {
			write(t, another, []byte(followedSite+fmt.Sprintf("drain: {spread: %ds}\n", 1+n)))
			d.ask("POST", "/v1/config/reload", nil)
		},
		func(n int) {
			d.ask("GET", "/v1/modules", nil)
			d.ask("GET", "/v1/config", nil)
			echo(t, ws, fmt.Sprint("meanwhile ", n))
		},
	} {
		wg.Go(func() { // ends after its rounds
			for n := range rounds {
				act(n)
			}
		})
	}
	wg.Wait()
	var done admin.Deployed
	d.get(&done, "PUT", "/v1/modules/chat?persist=true&canary=0", second)
	d.get(new(admin.Reload), "POST", "/v1/config/reload", nil)
	m := d.module()
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, second) || m.Digest != digestOf(second) || m.Generation != done.Generation || m.Canary != nil {
		t.Errorf("after %+v it serves %+v, and the file holds %d bytes, %v", done, m, len(got), err)
	}
	echo(t, ws, "after all")
	ws.Close()
	d.stop()
}

func TestACanaryIsWalkedThrough(t *testing.T) {
	first, second := versions(t)
	d, _, _ := serveDesk(t, first, followedSite)
	if p := d.refused("POST", "/v1/modules/chat/promote", nil); p.Code != "no_canary" || p.Status != 409 {
		t.Errorf("%+v", p)
	}
	if p := d.refused("POST", "/v1/modules/chat/rollback", nil); p.Code != "no_previous" {
		t.Errorf("%+v", p)
	}
	var done admin.Deployed
	d.get(&done, "PUT", "/v1/modules/chat?canary=10", second)
	m := d.module()
	if !done.Canary || m.Canary == nil || m.Canary.Share != 10 || m.Canary.Generation != 2 || m.Generation != 1 || m.Source != "file" {
		t.Errorf("%+v, then %+v", done, m)
	}
	d.get(&m, "POST", "/v1/modules/chat/canary", []byte(`{"percent":50}`))
	if m.Canary == nil || m.Canary.Share != 50 {
		t.Errorf("%+v", m)
	}
	for _, body := range []string{`{"percent":20}`, `{"percent":101}`} {
		if p := d.refused("POST", "/v1/modules/chat/canary", []byte(body)); p.Code != "share" {
			t.Errorf("%s: %+v", body, p)
		}
	}
	for _, body := range []string{`{"percent":"50"}`, `{"share":50}`, `{"percent":60} {}`, `[`, ``} {
		if p := d.refused("POST", "/v1/modules/chat/canary", []byte(body)); p.Code != "invalid" {
			t.Errorf("%s: %+v", body, p)
		}
	}
	var paused admin.Module
	d.get(&paused, "POST", "/v1/modules/chat/pause", nil)
	d.get(&m, "POST", "/v1/modules/chat/resume", nil)
	if !paused.Paused || m.Paused {
		t.Errorf("paused: %v, then %v", paused.Paused, m.Paused)
	}
	m = admin.Module{}
	d.get(&m, "POST", "/v1/modules/chat/promote", nil)
	if m.Generation != 2 || m.Canary != nil || m.Source != "api" {
		t.Errorf("promoted: %+v", m)
	}
	d.get(&m, "POST", "/v1/modules/chat/rollback", nil)
	if m.Generation != 3 || m.Digest != digestOf(first) || m.Generations[1].Fate != "rolled_back" || m.Generations[1].Why == "" {
		t.Errorf("rolled back: %+v", m)
	}
	for _, line := range []string{
		`asked="a version of a module" path=/v1/modules/chat remote=127.0.0.1:`, `asked="the canary's promotion"`, `asked="a rollback"`, `asked="a pause"`, `refused=no_canary`,
	} {
		d.stderr.wait(t, line)
	}
	d.stop()
}

func TestAConfigurationIsReadAgainAndShownThroughTheAPI(t *testing.T) {
	first, _ := versions(t)
	quiet := "reload: signal\n" + followedSite
	d, folder, _ := serveDesk(t, first, quiet)
	file := filepath.Join(folder, "weir.yaml")
	write(t, file, []byte(quiet+"drain: {spread: 1s}\npool: {workers: 7}\n"))
	var done admin.Reload
	d.get(&done, "POST", "/v1/config/reload", nil)
	if fmt.Sprint(done.Changed, done.Kept) != "[drain.spread] [pool.workers]" || done.Count != 1 {
		t.Errorf("%+v", done)
	}
	write(t, file, []byte(quiet+"drian: {}\nlog: {level: 7}\n"))
	p := d.refused("POST", "/v1/config/reload", nil)
	if p.Status != 422 || p.Code != "refused" || len(p.Problems) != 2 || !strings.Contains(p.Detail, "did you mean") {
		t.Errorf("%+v", p)
	}
	var shown struct {
		Config struct {
			Drain struct{ Spread string }
			Pool  struct{ Workers int }
			Admin struct{ Token string }
		}
		Reload admin.Reload
	}
	d.get(&shown, "GET", "/v1/config", nil)
	if c := shown.Config; c.Drain.Spread != "1s" || c.Pool.Workers == 7 || c.Admin.Token != "(secret)" || shown.Reload.Refused != 1 {
		t.Errorf("%+v", shown)
	}
	var status admin.Status
	d.get(&status, "GET", "/v1/status", nil)
	if !status.Ready || status.Draining || status.PID != os.Getpid() || len(status.Modules) != 1 || status.Config.Count != 2 || len(status.Listen) != 1 {
		t.Errorf("%+v", status)
	}
	d.stop()
}

func TestATokenInAFileIsExchanged(t *testing.T) {
	first, _ := versions(t)
	folder := t.TempDir()
	write(t, filepath.Join(folder, "chat.wasm"), first)
	write(t, filepath.Join(folder, "token"), []byte(planted+"\n"))
	write(t, filepath.Join(folder, "weir.yaml"), []byte(followedSite+"admin: {listen: '127.0.0.1:0', token: '${file:token}'}\n"))
	s, _ := serveFile(t, "--config", filepath.Join(folder, "weir.yaml"))
	d := &desk{s, regexp.MustCompile(`http://[0-9.:]+`).FindString(s.stderr.wait(t, "the admin API is served")), planted}
	d.get(new(admin.Status), "GET", "/v1/status", nil)
	d.token = "another-" + planted
	if p := d.refused("GET", "/v1/status", nil); p.Code != "unauthorized" {
		t.Errorf("%+v", p)
	}
	write(t, filepath.Join(folder, "token"), []byte(d.token+"\n"))
	s.stderr.wait(t, "configuration reloaded changed=admin.token")
	d.get(new(admin.Status), "GET", "/v1/status", nil)
	d.token = planted
	if p := d.refused("GET", "/v1/status", nil); p.Code != "unauthorized" {
		t.Errorf("%+v", p)
	}
	if strings.Contains(s.stderr.String(), planted) {
		t.Error("a token is told")
	}
	d.stop()
}

// Whatever a server tells, a secret is not in it.
func TestSecretsAreToldNowhere(t *testing.T) {
	first, second := versions(t)
	folder := t.TempDir()
	write(t, filepath.Join(folder, "key"), []byte("planted-in-a-file\n"))
	write(t, filepath.Join(folder, "chat.wasm"), first)
	site := "log: {level: debug}\n" + strings.Replace(followedSite, "{path: chat.wasm", "{config: {key: '${file:key}'}, path: chat.wasm", 1)
	file := filepath.Join(folder, "weir.yaml")
	write(t, file, []byte(site))
	env := realEnv()
	env.Environ = append(env.Environ, "WEIR_ADMIN_LISTEN=127.0.0.1:0", "WEIR_ADMIN_TOKEN="+planted, "WEIR_ADMIN_PPROF=true")
	s := serve(t, env, "serve", "--listen", "127.0.0.1:0", "--config", file)
	d := &desk{s, regexp.MustCompile(`http://[0-9.:]+`).FindString(s.stderr.wait(t, "the admin API is served")), planted}

	write(t, file, []byte(strings.Replace(site, "${file:key}", "in the clear", 1))) // what runs still has the other
	s.stderr.wait(t, "configuration reloaded")
	d.ask("PUT", "/v1/modules/chat", second)
	d.ask("PUT", "/v1/modules/chat", bomb)
	d.ask("GET", "/v1/modules?token="+planted, nil)
	d.token = "planted-and-wrong"
	d.ask("GET", "/v1/modules", nil)
	d.token = planted
	told := s.stderr.String()
	for _, path := range []string{"/metrics", "/healthz", "/v1/status", "/v1/config", "/v1/modules", "/v1/modules/chat", "/v1/logs?lines=1000", "/v1/openapi.json", "/debug/pprof/cmdline"} {
		request, err := http.NewRequestWithContext(t.Context(), "GET", d.api+path, nil)
		must(t, err)
		request.Header.Set("Authorization", "Bearer "+d.token)
		response, err := http.DefaultTransport.RoundTrip(request)
		must(t, err)
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != 200 || len(text) == 0 {
			t.Errorf("%s: %d, %v", path, response.StatusCode, err)
		}
		told += path + "\n" + string(text)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for line := range strings.Lines(told) {
		if strings.Contains(line, "planted") {
			t.Errorf("it is told: %s", line)
		}
	}
	d.stop()
}

func TestOnlySignedUploadsTakeOver(t *testing.T) {
	first, second := versions(t)
	keys := t.TempDir()
	key, public := signer(t, keys, "team.key")
	d, _, _ := serveDesk(t, signWith(t, key, first, "5"), strings.Replace(followedSite, "{path: chat.wasm", "{signers: ['"+public+"'], path: chat.wasm", 1))
	if p := d.refused("PUT", "/v1/modules/chat", second); p.Code != "refused" || p.Stage != "signature" || !strings.Contains(p.Detail, "not signed") {
		t.Errorf("%+v", p)
	}
	if p := d.refused("PUT", "/v1/modules/chat", signWith(t, key, second, "4")); p.Code != "older" || p.Status != 409 {
		t.Errorf("%+v", p)
	}
	var done admin.Deployed
	d.get(&done, "PUT", "/v1/modules/chat", signWith(t, key, second, "6"))
	if done.Generation != 2 {
		t.Errorf("%+v", done)
	}
	d.stop()
}
