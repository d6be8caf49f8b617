package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"weir/host"
	"weir/runtime"
)

func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			c, err := Load(Source{Files: []string{filepath.ToSlash(file)}, ReadFile: os.ReadFile})
			var got string
			if filepath.Base(filepath.Dir(file)) == "good" {
				if err != nil {
					t.Fatal(err)
				}
				got = dump("", reflect.ValueOf(*c))
			} else {
				if err == nil {
					t.Fatalf("was accepted: %+v", c)
				}
				got = err.Error() + "\n"
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant (%s; -update writes it)\n%s", got, golden, want)
			}
		})
	}
}

// dump writes every value that is not zero as "key = value".
func dump(key string, v reflect.Value) string {
	var b strings.Builder
	switch {
	case v.IsZero() || v.Kind() == reflect.Func:
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			tag, _, squash := strings.Cut(v.Type().Field(i).Tag.Get("koanf"), ",")
			if !squash && key != "" {
				tag = key + "." + tag
			}
			b.WriteString(dump(tag, v.Field(i)))
		}
	case v.Kind() == reflect.Map && v.Type().Elem().Kind() == reflect.Struct:
		names := v.MapKeys()
		slices.SortFunc(names, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, name := range names {
			b.WriteString(dump(key+"."+name.String(), v.MapIndex(name)))
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			b.WriteString(dump(fmt.Sprintf("%s[%d]", key, i), v.Index(i)))
		}
	default:
		fmt.Fprintf(&b, "%s = %v\n", key, v.Interface())
	}
	return b.String()
}

// files makes a ReadFile of names and texts.
func files(texts map[string]string) func(string) ([]byte, error) {
	fsys := fstest.MapFS{}
	for name, text := range texts {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return func(name string) ([]byte, error) { return fs.ReadFile(fsys, name) }
}

func TestADottedKeyIsToldHowItIsWritten(t *testing.T) {
	for text, want := range map[string]string{
		"server.max_handshakes: 3":                       "sections are nested in a file: server: {max_handshakes: …}",
		"modules.chat.path: a.wasm":                      "sections are nested in a file: modules: {chat: {path: …}}",
		"other.max_handshakes: 3":                        "unknown key",
		"server: {listen.port: 3}":                       "sections are nested in a file: listen: {port: …}",
		"modules: {chat: {path: a, limits.stack: 1MiB}}": "sections are nested in a file: limits: {stack: …}",
	} {
		_, err := Load(Source{Files: []string{"a.yaml"}, ReadFile: files(map[string]string{"a.yaml": text})})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestAMetricOfWhichNothingIsSaidIsDeclared(t *testing.T) {
	c, err := Load(Source{Files: []string{"testdata/good/full.yaml"}, ReadFile: os.ReadFile})
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := c.Modules["chat"].Metrics["visits"]; !ok || m != (host.Metric{}) {
		t.Errorf("it is %+v, %v", m, ok)
	}
}

func TestLaterSourcesWin(t *testing.T) {
	c, err := Load(Source{
		Files: []string{"a.yaml", "b.yaml"},
		ReadFile: files(map[string]string{
			"a.yaml": "server: {listen: [':1', ':2'], max_connections: 1, max_handshakes: 1, max_headers: 1}\nlog: {level: debug}",
			"b.yaml": "server: {listen: [':3'], max_handshakes: 2, max_headers: 2}",
		}),
		Environ: []string{"PATH=/bin", "WEIR_SERVER_MAX_HEADERS=3", "WEIR_DRAIN_SPREAD=3s", "WEIR_LOG_LEVEL="},
		Overrides: []Override{
			{"--set drain.spread=4s", "drain.spread", "4s"},
			{"--set pool.workers=4", "pool.workers", "4"},
			{"--set pool.workers=5", "pool.workers", "5"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Server.Listen; !slices.Equal(got, []string{":3"}) {
		t.Errorf("a later file's list replaces the earlier: got %q", got)
	}
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"a key that only the first file has stays", c.Server.MaxConnections, 1},
		{"a later file wins", c.Server.MaxHandshakes, 2},
		{"the environment beats files", c.Server.MaxHeaders, 3},
		{"an empty variable counts as not set", c.Log.Level, "debug"},
		{"a flag beats the environment", c.Drain.Spread, 4 * time.Second},
		{"a later flag wins", c.Pool.Workers, 5},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, tc.got, tc.want)
		}
	}
}

func TestTextFromVariablesAndFlags(t *testing.T) {
	c, err := Load(Source{
		Environ: []string{
			"WEIR_SERVER_LISTEN=:1, unix:/run/weir.sock",
			"WEIR_WEBSOCKET_MAX_MESSAGE_SIZE=2MiB",
			"WEIR_HANDLER_INLINE=never",
		},
		Overrides: []Override{
			{"", "modules.chat.path", "chat.wasm"},
			{"", "modules.chat.v2.path", "v2.wasm"},
			{"", "modules.chat.v2.capabilities", "topics,timers"},
			{"", "modules.chat.v2.memory_size", "1MiB"},
			{"", "modules.chat.v2.config.history", "50"},
			{"", "modules.chat.v2.config.rooms.open", "[lobby, attic]"},
			{"", "modules.chat.v2.limits.fuel", "7"},
			{"", "modules.chat.v2.metrics.orders.help", "Orders taken."},
			{"", "modules.chat.v2.metrics.players.type", "gauge"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Server.Listen, []string{":1", "unix:/run/weir.sock"}; !slices.Equal(got, want) {
		t.Errorf("listen: got %q, want %q", got, want)
	}
	if got := c.WebSocket.MaxMessageSize; got != 2<<20 {
		t.Errorf("max_message_size: got %v", got)
	}
	if got := c.Modules["chat"].Path; got != "chat.wasm" {
		t.Errorf("path: got %q", got)
	}
	m := c.Modules["chat.v2"]
	if m.Path != "v2.wasm" || m.Granted() != runtime.CapabilityTopics|runtime.CapabilityTimers || m.MemoryPages() != 16 || m.Limits.Fuel != 7 {
		t.Errorf("the module whose name holds a dot is %+v", m)
	}
	if want := map[string]host.Metric{"orders": {Help: "Orders taken."}, "players": {Type: "gauge"}}; !maps.Equal(m.Metrics, want) {
		t.Errorf("its metrics are %+v, want %+v", m.Metrics, want)
	}
	if got, err := m.JSON(); err != nil || string(got) != `{"history":50,"rooms":{"open":["lobby","attic"]}}` {
		t.Errorf("JSON: %s, %v", got, err)
	}
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct {
		name   string
		source Source
		want   string // the whole error
	}{
		{
			"a variable that is not in the table",
			Source{Environ: []string{"WEIR_SERVER_LISTNE=:1", "WEIR_SERVER_MAX_HANDSHAKE=1", "WEIR_X=1"}},
			"WEIR_SERVER_LISTNE: unknown variable; did you mean \"WEIR_SERVER_LISTEN\"?\n" +
				"WEIR_SERVER_MAX_HANDSHAKE: unknown variable; did you mean \"WEIR_SERVER_MAX_HANDSHAKES\"?\n" +
				"WEIR_X: unknown variable",
		},
		{
			"a section is no variable",
			Source{Environ: []string{"WEIR_SERVER={}"}},
			"WEIR_SERVER: unknown variable",
		},
		{
			"a variable's value of the wrong type",
			Source{Environ: []string{"WEIR_SERVER_MAX_HEADERS=lots", "WEIR_DRAIN_SPREAD=5", "WEIR_WEBSOCKET_MAX_FRAME_SIZE=64"}},
			"WEIR_DRAIN_SPREAD: \"5\" is not a duration; write one such as \"30s\" or \"1m30s\"\n" +
				"WEIR_SERVER_MAX_HEADERS: \"lots\" is not a whole number\n" +
				"WEIR_WEBSOCKET_MAX_FRAME_SIZE: size \"64\" needs a unit: 64B, 64KiB or 64MiB",
		},
		{
			"a variable's value out of range names the variable",
			Source{Environ: []string{"WEIR_SERVER_MAX_HEADERS=1000"}},
			"WEIR_SERVER_MAX_HEADERS: 1000 is outside [1, 256]",
		},
		{
			"flags with unknown keys",
			Source{Overrides: []Override{
				{"--set server.max_header=1", "server.max_header", "1"},
				{"--set max_headers=1", "max_headers", "1"},
				{"--set modules.chat.pth=x", "modules.chat.pth", "x"},
			}},
			"--set server.max_header=1: unknown key; did you mean \"max_headers\"?\n" +
				"--set max_headers=1: unknown key; did you mean \"server.max_headers\"?\n" +
				"--set modules.chat.pth=x: unknown key; did you mean \"path\"?",
		},
		{
			"flags with keys that hold no single value",
			Source{Overrides: []Override{
				{"--set routes=[]", "routes", "[]"},
				{"--set routes[0].path=/", "routes[0].path", "/"},
				{"--set server={}", "server", "{}"},
			}},
			"--set routes=[]: only single values can be set here; write this one in a file\n" +
				"--set routes[0].path=/: routes cannot be set here; write them in a file\n" +
				"--set server={}: only single values can be set here; write this one in a file",
		},
		{
			"mistakes of all sources come together, in their order",
			Source{
				Files:     []string{"a.yaml", "b.yaml", "c.yaml"},
				ReadFile:  files(map[string]string{"a.yaml": "pool: {workers: many}", "b.yaml": "log:\n  level: loud\n  colour: true"}),
				Environ:   []string{"WEIR_X=1"},
				Overrides: []Override{{"--log-format", "log.format", "yaml"}},
			},
			"a.yaml:1:8: pool.workers: \"many\" is not a whole number\n" +
				"b.yaml:2:3: log.level: \"loud\" is not one of debug, info, warn, error\n" +
				"b.yaml:3:3: log.colour: unknown key\n" +
				"c.yaml: file does not exist\n" +
				"WEIR_X: unknown variable\n" +
				"--log-format: \"yaml\" is not one of auto, text, json",
		},
		{
			"an unknown key beside a value of the wrong type",
			Source{Files: []string{"a.yaml"}, ReadFile: files(map[string]string{"a.yaml": "modlues: {}\nlog: {level: 7, colour: true}\nroutes: [{path: 1, modul: x}]"})},
			"a.yaml:1:1: modlues: unknown key; did you mean \"modules\"?\n" +
				"a.yaml:2:7: log.level: 7 is not text; put it in quotes if it is meant so\n" +
				"a.yaml:2:17: log.colour: unknown key\n" +
				"a.yaml:3:10: routes[0]: names neither a module nor a static folder\n" +
				"a.yaml:3:11: routes[0].path: 1 is not text; put it in quotes if it is meant so\n" +
				"a.yaml:3:20: routes[0].modul: unknown key; did you mean \"module\"?",
		},
		{
			"a module without a file",
			Source{Overrides: []Override{{"--set modules.chat.instances=1", "modules.chat.instances", "1"}}},
			"modules.chat.path: is missing; it names the .wasm file",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Load(tc.source)
			if err == nil {
				t.Fatal("was accepted")
			}
			if err.Error() != tc.want {
				t.Errorf("got\n%v\nwant\n%s", err, tc.want)
			}
			var m Mistake
			if !errors.As(err, &m) {
				t.Error("the error holds no Mistake")
			}
		})
	}
}

func TestPathsAreRelativeToTheirFile(t *testing.T) {
	c, err := Load(Source{
		Files: []string{"etc/weir/weir.yaml"},
		ReadFile: files(map[string]string{"etc/weir/weir.yaml": `
modules:
  a: {path: a.wasm}
  b: {path: ../b.wasm}
  c: {path: /srv/c.wasm}
  d: {path: d.wasm}
routes: [{path: /, static: public}]`}),
		Overrides: []Override{{"--set modules.d.path=d2.wasm", "modules.d.path", "d2.wasm"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "etc/weir/a.wasm", "b": "etc/b.wasm", "c": "/srv/c.wasm", "d": "d2.wasm"} {
		if got := filepath.ToSlash(c.Modules[name].Path); got != want {
			t.Errorf("path of %s: got %q, want %q", name, got, want)
		}
	}
	if got := filepath.ToSlash(c.Routes[0].Static); got != "etc/weir/public" {
		t.Errorf("static: got %q", got)
	}
}

func TestAliasesOfAliasesDoNotGrowWithoutBound(t *testing.T) {
	text := "a0: &a0 [x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 8), ", "))
	}
	_, err := Load(Source{Files: []string{"a.yaml"}, ReadFile: files(map[string]string{"a.yaml": text})})
	if want := "a.yaml:1:1: the file has more than 65536 values, aliases counted as often as they stand for something"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestParseSet(t *testing.T) {
	got, err := ParseSet("modules.a.config.q=x=y")
	if want := (Override{"--set modules.a.config.q=x=y", "modules.a.config.q", "x=y"}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "server.listen", "=1"} {
		if _, err := ParseSet(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestDefaults(t *testing.T) {
	c := Config{Modules: map[string]Module{"a": {}}}
	d := c.WithDefaults()
	if d.Log.Level != "info" || d.WebSocket.MaxMessageSize != 64<<10 || d.Modules["a"].MemorySize != 32<<20 {
		t.Errorf("got %+v", d)
	}
	if c.Modules["a"].MemorySize != 0 {
		t.Error("the original was changed")
	}
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the zero value is refused: %v", err)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"serve", "demo", "version"}
	for wrong, want := range map[string]string{"sevre": "serve", "verison": "version", "Demo": "demo", "deploy": "", "x": "", "": ""} {
		if got, ok := Nearest(wrong, known); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", wrong, got, ok, want)
		}
	}
}

func TestEveryLeafHasAVariableOfItsOwn(t *testing.T) {
	leaves := 0
	for _, f := range schema() {
		if f.variable() != "" {
			leaves++
		}
	}
	if leaves != len(variables()) || leaves < 36 {
		t.Errorf("%d values share %d variables", leaves, len(variables()))
	}
}

func TestEveryTypeHasAReader(t *testing.T) {
	for _, f := range schema() {
		if !f.leaf() {
			continue
		}
		switch f.typ {
		case reflect.TypeFor[time.Duration](), reflect.TypeFor[host.Size]():
			continue
		}
		switch f.typ {
		case reflect.TypeFor[string](), reflect.TypeFor[int](), reflect.TypeFor[int64](), reflect.TypeFor[bool](), reflect.TypeFor[[]string]():
		default:
			t.Errorf("%s: nothing reads a %v", f.path, f.typ)
		}
	}
}
