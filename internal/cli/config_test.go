package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/internal/config"
)

const shownSite = `server:
  max_headers: 9
modules:
  chat:
    path: chat.wasm
    config: {key: "${env:KEY}", history: 50}
routes:
  - path: /chat/{room}
    module: chat
  - {path: /, static: public}
`

// ofSite is the world of a folder with weir.yaml.
func ofSite(text string, environ ...string) Env {
	return Env{ReadFile: onlyFiles(map[string]string{"weir.yaml": text}), Environ: append(environ, "KEY=hunter2")}
}

func TestConfigShow(t *testing.T) {
	env := ofSite(shownSite, "WEIR_LOG_LEVEL=warn")
	code, stdout, stderr := command(t, env, "config", "show", "--origin", "--set", "drain.spread=4s")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d, said %s", code, stderr)
	}
	for _, line := range []string{
		"  max_headers: 9  # weir.yaml:2:3\n",
		"  max_handshakes: 1024  # default\n",
		"  level: warn  # WEIR_LOG_LEVEL\n",
		"  spread: 4s  # --set drain.spread=4s\n",
		`    config: {"history":50,"key":"${env:KEY}"}  # weir.yaml:6:5` + "\n",
		`  - path: "/chat/{room}"  # weir.yaml:8:5` + "\n    module: chat  # weir.yaml:9:5\n",
		"    static: public  # weir.yaml:10:15\n",
	} {
		if !strings.Contains(stdout, line) {
			t.Errorf("lacks %q:\n%s", line, stdout)
		}
	}
	if strings.Contains(stdout, "hunter2") {
		t.Errorf("the secret is shown:\n%s", stdout)
	}

	_, plain, _ := command(t, env, "config", "show")
	if _, err := config.Load(config.Source{Files: []string{"a"}, Environ: env.Environ[1:], ReadFile: onlyFiles(map[string]string{"a": plain})}); err != nil {
		t.Errorf("what is shown is no configuration: %v\n%s", err, plain)
	}

	_, stdout, _ = command(t, env, "config", "show", "-o", "json")
	var tree struct {
		Server struct {
			MaxHeaders int `json:"max_headers"`
		}
		Modules map[string]struct{ Config map[string]any }
		Routes  []struct{ Path string }
		Drain   struct{ Spread string }
	}
	if err := json.Unmarshal([]byte(stdout), &tree); err != nil || tree.Server.MaxHeaders != 9 || tree.Modules["chat"].Config["key"] != "${env:KEY}" ||
		len(tree.Routes) != 2 || tree.Drain.Spread != "30s" {
		t.Errorf("%+v, %v of\n%s", tree, err, stdout)
	}

	_, stdout, _ = command(t, env, "config", "show", "-o", "json", "--origin", "log")
	var origins []originOfValue
	want := []originOfValue{{"log.level", "warn", "WEIR_LOG_LEVEL"}, {"log.format", "auto", "default"}}
	if err := json.Unmarshal([]byte(stdout), &origins); err != nil || !slices.Equal(origins, want) {
		t.Errorf("%+v, %v; want %+v", origins, err, want)
	}
	if _, stdout, _ := command(t, env, "config", "show", "modules.chat.path"); stdout != "path: chat.wasm\n" {
		t.Errorf("one key is %q", stdout)
	}
}

func TestConfigCheck(t *testing.T) {
	code, stdout, stderr := command(t, ofSite(shownSite), "config", "check")
	if code != 0 || stdout != "" || stderr != "the configuration is right: weir.yaml\n" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}

	wrong := ofSite("server:\n  listne: []\nlog: {level: loud}\n", "WEIR_LOG_LEVLE=warn")
	code, stdout, stderr = command(t, wrong, "config", "check", "--set", "drain.spread=5")
	want := `weir: 4 things are wrong:
  weir.yaml:2:3: server.listne: unknown key; did you mean "listen"?
      2 |   listne: []
        |   ^
  weir.yaml:3:7: log.level: "loud" is not one of debug, info, warn, error
      3 | log: {level: loud}
        |       ^
  WEIR_LOG_LEVLE: unknown variable; did you mean "WEIR_LOG_LEVEL"?
  --set drain.spread=5: "5" is not a duration; write one such as "30s" or "1m30s"
`
	if code != 2 || stdout != "" || stderr != want {
		t.Errorf("exit code %d, said\n%s%s\nwant\n%s", code, stdout, stderr, want)
	}

	code, stdout, _ = command(t, wrong, "config", "check", "-o", "json")
	var mistakes []checkedMistake
	first := checkedMistake{"weir.yaml", 2, 3, "server.listne", `unknown key; did you mean "listen"?`}
	if err := json.Unmarshal([]byte(stdout), &mistakes); err != nil || code != 2 || len(mistakes) != 3 || mistakes[0] != first {
		t.Errorf("exit code %d, %+v, %v", code, mistakes, err)
	}

	for name, args := range map[string][]string{
		"a file that is not there": {"config", "check", "other.yaml"},
		"nothing to serve":         {"config", "check"},
	} {
		code, _, stderr := command(t, Env{ReadFile: onlyFiles(nil)}, args...)
		if code != 2 || stderr == "" {
			t.Errorf("%s: exit code %d, said %q", name, code, stderr)
		}
	}
}

func TestConfigExplain(t *testing.T) {
	env := ofSite(shownSite)
	for _, tc := range []struct {
		name string
		args []string
		want string // the whole of what is printed
	}{
		{"a key", []string{"server.max_headers"}, `server.max_headers

  max_headers bounds the number of header fields, range [1, 256]; more are
  answered 431. 0 means 64.

  type      whole number
  default   64
  variable  WEIR_SERVER_MAX_HEADERS
  reload    new connections
  value     9 (weir.yaml:2:3)
`},
		{"a key of a module, in general", []string{"modules.NAME.path"}, `modules.NAME.path

  path is the .wasm file, relative to the configuration file. Required.

  type      text, required
  reload    new generation
`},
		{"a section", []string{"log"}, `log

  These keys say what the server tells about itself, on standard error.

  log.level
  log.format
`},
		{"where a path leads", []string{"route", "/chat/42"}, `WebSocket connections: module chat, by routes[0] /chat/{room} (weir.yaml:8:5)
other requests:        files of public, by routes[1] / (weir.yaml:10:6)
`},
		{"where a path without a handler leads", []string{"route", "/x/y"}, `WebSocket connections: nowhere
other requests:        files of public, by routes[1] / (weir.yaml:10:6)
`},
	} {
		code, stdout, stderr := command(t, env, append([]string{"config", "explain"}, tc.args...)...)
		if code != 0 || stdout != tc.want {
			t.Errorf("%s: exit code %d, %s, printed\n%s\nwant\n%s", tc.name, code, stderr, stdout, tc.want)
		}
	}

	_, stdout, _ := command(t, env, "config", "explain", "modules.chat.on_trap", "-o", "json")
	var e explained
	if err := json.Unmarshal([]byte(stdout), &e); err != nil || e.Key != "modules.NAME.on_trap" || e.Value != "close" || e.Origin != "default" ||
		e.Reload != "generation" || !slices.Equal(e.OneOf, []string{"close", "keep"}) {
		t.Errorf("%+v, %v of %s", e, err, stdout)
	}
	if _, stdout, _ := command(t, ofSite("log: 7"), "config", "explain", "log.level"); !strings.Contains(stdout, "value     unknown: the configuration has mistakes") {
		t.Errorf("of a wrong configuration it prints\n%s", stdout)
	}
}

func TestConfigInit(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "weir.yaml")
	wasm, err := os.ReadFile(echoModule)
	must(t, err)
	write(t, filepath.Join(folder, "my echo.wasm"), wasm)
	code, stdout, stderr := command(t, realEnv(), "config", "init", file)
	if code != 0 || stdout != file+"\n"+filepath.Join(folder, schemaFile)+"\n" {
		t.Fatalf("exit code %d, printed %q, said %q", code, stdout, stderr)
	}
	if code, _, stderr := command(t, realEnv(), "config", "check", "-c", file); code != 0 {
		t.Errorf("exit code %d, said %s", code, stderr)
	}
	_, schema, _ := command(t, realEnv(), "config", "schema")
	if written, err := os.ReadFile(filepath.Join(folder, schemaFile)); err != nil || string(written) != schema || !json.Valid(written) {
		t.Errorf("the schema beside it is not the one that is printed, %v", err)
	}
	s := serve(t, realEnv(), "serve", "-c", file, "-l", "127.0.0.1:0")
	ws := s.dial("/any/path")
	echo(t, ws, "it serves")
	ws.Close()
	s.stop()

	write(t, file, []byte("mine"))
	for _, name := range []string{file, filepath.Join(folder, "other.yaml")} { // beside which the schema is
		code, _, stderr := command(t, realEnv(), "config", "init", name)
		if text, _ := os.ReadFile(file); code != 2 || !strings.Contains(stderr, "exists already") || string(text) != "mine" {
			t.Errorf("%s: exit code %d, said %q; weir.yaml is %q", name, code, stderr, text)
		}
	}
}

func TestConfigRefusals(t *testing.T) {
	for want, args := range map[string][]string{
		`unknown command "shwo"; did you mean "show"?`:                   {"config", "shwo"},
		`-o xml: write yaml or json`:                                     {"config", "show", "-o", "xml"},
		`-o yaml: write text or json`:                                    {"config", "check", "-o", "yaml"},
		`server.listne: unknown key; did you mean "listen"?`:             {"config", "explain", "server.listne"},
		`modules.other.path has no value here`:                           {"config", "show", "modules.other.path"},
		`unexpected argument "b"; see ` + "`weir config explain --help`": {"config", "explain", "a", "b"},
		`--set x: write it as KEY=VALUE`:                                 {"config", "show", "--set", "x"},
	} {
		code, stdout, stderr := command(t, ofSite(shownSite), args...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit code %d, printed %q, said %q", args, code, stdout, stderr)
		}
	}
}
