package cli

import (
	"context"
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"testing/fstest"
)

// echoModule is a guest that sends every message back.
const echoModule = "../../runtime/testdata/echo.wasm"

// command runs one that ends by itself.
func command(t *testing.T, env Env, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut strings.Builder
	env.Args, env.Stdout, env.Stderr, env.Terminal = args, &out, &errOut, true
	if env.ReadFile == nil {
		env.ReadFile = os.ReadFile
	}
	code = Run(context.Background(), env)
	return code, out.String(), errOut.String()
}

// onlyFiles is a ReadFile that knows no others.
func onlyFiles(texts map[string]string) func(string) ([]byte, error) {
	fsys := fstest.MapFS{}
	for name, text := range texts {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return func(name string) ([]byte, error) { return fs.ReadFile(fsys, name) }
}

func TestRefusals(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	wasm, err := os.ReadFile(echoModule)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := os.ReadFile("../../runtime/testdata/wrong.wasm")
	if err != nil {
		t.Fatal(err)
	}

	for _, tc := range []struct {
		name  string
		args  []string
		files map[string]string
		env   []string
		code  int
		want  []string // parts of what is said, in order
	}{
		{"a mistyped command is corrected", []string{"sevre"}, nil, nil, 2,
			[]string{`weir: unknown command "sevre"; did you mean "serve"?`}},
		{"a strange command is pointed to the list", []string{"frobnicate"}, nil, nil, 2,
			[]string{`weir: unknown command "frobnicate"; ` + "`weir help` lists the commands"}},
		{"a mistyped flag is corrected", []string{"serve", "--lisen", ":1"}, nil, nil, 2,
			[]string{`weir: unknown flag "--lisen"; did you mean "--listen"?`}},
		{"a flag without its value", []string{"serve", "--config"}, nil, nil, 2,
			[]string{"flag needs an argument: --config; see `weir serve --help`"}},
		{"a second module", []string{"serve", "a.wasm", "b.wasm"}, nil, nil, 2,
			[]string{`unexpected argument "b.wasm"`}},
		{"nothing to serve", []string{"serve"}, map[string]string{}, nil, 2,
			[]string{"there is nothing to serve; give a MODULE.wasm"}},
		{"an empty weir.yaml", []string{"serve"}, map[string]string{"weir.yaml": ""}, nil, 2,
			[]string{"there is nothing to serve"}},
		{"a configuration file that is not there", []string{"serve", "-c", "x.yaml"}, map[string]string{}, nil, 2,
			[]string{"weir: x.yaml: file does not exist"}},
		{"every mistake of a configuration", []string{"serve", "--set", "server.max_header=3", "--log-level", "loud"},
			map[string]string{"weir.yaml": "server:\n  listne: []\nroutes:\n  - {path: /, module: chat}"}, []string{"WEIR_SERVER_LISTNE=:1"}, 2,
			[]string{
				"weir: 5 things are wrong:\n",
				`  weir.yaml:2:3: server.listne: unknown key; did you mean "listen"?`,
				`  weir.yaml:4:15: routes[0].module: there is no module "chat"`,
				`  WEIR_SERVER_LISTNE: unknown variable; did you mean "WEIR_SERVER_LISTEN"?`,
				`  --log-level: "loud" is not one of debug, info, warn, error`,
				`  --set server.max_header=3: unknown key; did you mean "max_headers"?`,
			}},
		{"a value that is not KEY=VALUE", []string{"serve", "--set", "server.listen"}, nil, nil, 2,
			[]string{"--set server.listen: write it as KEY=VALUE"}},
		{"a module beside routes", []string{"serve", "-c", "weir.yaml", "m.wasm"}, map[string]string{"weir.yaml": "routes: [{path: /, static: .}]"}, nil, 2,
			[]string{"weir.yaml names modules or routes of its own; give either them or a MODULE.wasm"}},
		{"modules that are not there, all of them", []string{"serve"},
			map[string]string{"weir.yaml": "modules: {a: {path: a.wasm}, b: {path: b.wasm}}\nroutes: [{path: /, module: a}]"}, nil, 2,
			[]string{"weir: 2 things are wrong:", "module a: open a.wasm: file does not exist", "module b: open b.wasm: file does not exist"}},
		{"a module that is no WebAssembly", []string{"serve", "x.wasm"}, map[string]string{"x.wasm": "hello"}, nil, 2,
			[]string{"module x: "}},
		{"a module with many faults, each of them", []string{"serve", "x.wasm"}, map[string]string{"x.wasm": string(wrong)}, nil, 2,
			[]string{"things are wrong:", "module x: it exports no memory", "module x: import weir_1.conn_teleport"}},
		{"an address that is taken", []string{"serve", "--listen", taken.Addr().String(), "x.wasm"}, map[string]string{"x.wasm": string(wasm)}, nil, 69,
			[]string{"weir: listen on " + taken.Addr().String()}},
		{"an address without a port", []string{"serve", "--listen", "127.0.0.1", "x.wasm"}, map[string]string{"x.wasm": string(wasm)}, nil, 2,
			[]string{"missing port in address"}},
		{"a static folder that is not there", []string{"serve", "--listen", "127.0.0.1:0", "--static", "no/such/folder"}, map[string]string{}, nil, 2,
			[]string{"no/such/folder"}},
		{"a form that version does not have", []string{"version", "-o", "xml"}, nil, nil, 2,
			[]string{"-o xml: write text or json"}},
		{"a demo with a wrong variable", []string{"demo"}, nil, []string{"WEIR_LOG_LEVEL=loud"}, 2,
			[]string{`WEIR_LOG_LEVEL: "loud" is not one of`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := Env{Environ: tc.env}
			if tc.files != nil {
				env.ReadFile = onlyFiles(tc.files)
			}
			code, stdout, stderr := command(t, env, tc.args...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if stdout != "" {
				t.Errorf("printed %q to standard output", stdout)
			}
			rest := stderr
			for _, part := range tc.want {
				_, after, found := strings.Cut(rest, part)
				if !found {
					t.Fatalf("said\n%s\nwithout (in this order)\n%s", stderr, part)
				}
				rest = after
			}
		})
	}
}

func TestHelp(t *testing.T) {
	code, stdout, stderr := command(t, Env{})
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d, said %q", code, stderr)
	}
	for _, part := range []string{"weir demo", "Start here:", "serve ", "version "} {
		if !strings.Contains(stdout, part) {
			t.Errorf("help lacks %q:\n%s", part, stdout)
		}
	}
}

func TestVersion(t *testing.T) {
	code, stdout, _ := command(t, Env{}, "version")
	if code != 0 || !strings.HasPrefix(stdout, "weir ") || !strings.Contains(stdout, "guest ABI 1") {
		t.Errorf("exit code %d, printed %q", code, stdout)
	}
	code, stdout, _ = command(t, Env{}, "version", "-o", "json")
	var v versionInfo
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != 0 || v.ABI != 1 || v.Version == "" || v.Go == "" {
		t.Errorf("exit code %d, printed %q (%v)", code, stdout, err)
	}
}

func TestVersionOfABuild(t *testing.T) {
	v := readVersion(&debug.BuildInfo{
		Main: debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123456789abcdef0123"},
			{Key: "vcs.time", Value: "2026-01-02T03:04:05Z"},
			{Key: "vcs.modified", Value: "true"},
		},
	})
	if want := "weir v1.2.3 · 0123456789ab of 2026-01-02, modified · guest ABI 1 · "; !strings.HasPrefix(v.String(), want) {
		t.Errorf("got %q, want %q…", v, want)
	}
}

func TestNameOf(t *testing.T) {
	for file, want := range map[string]string{
		"examples/echo-c/echo.wasm": "echo",
		"My Handler (2).WASM":       "my-handler-2-",
		"_x.wasm":                   "x",
		"日本.wasm":                   "module",
		strings.Repeat("a", 100):    strings.Repeat("a", 64),
	} {
		if got := nameOf(filepath.FromSlash(file)); got != want {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}

func TestURLs(t *testing.T) {
	addrs := []net.Addr{
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80},
		&net.TCPAddr{IP: net.IPv6unspecified, Port: 8080},
		&net.TCPAddr{IP: net.IPv6loopback, Port: 1},
		&net.UnixAddr{Net: "unix", Name: "/run/weir.sock"},
	}
	const want = "http://127.0.0.1:80 http://localhost:8080 http://[::1]:1 unix:/run/weir.sock"
	if got := strings.Join(urls(addrs, false), " "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := strings.Join(urls(addrs, true), " "); got != strings.ReplaceAll(want, "http:", "https:") {
		t.Errorf("with TLS: got %q", got)
	}
}
