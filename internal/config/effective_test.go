package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// good lists the configuration files that Load accepts.
func good(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(all) == 0 {
		t.Fatal("no test data", err)
	}
	return all
}

func TestWhatIsShownIsAConfigurationThatSaysTheSame(t *testing.T) {
	for _, file := range good(t) {
		for _, origin := range []bool{false, true} {
			t.Run(filepath.Base(file), func(t *testing.T) {
				r := Read(Source{Files: []string{file}, ReadFile: os.ReadFile})
				if r.Err() != nil {
					t.Fatal(r.Err())
				}
				text := YAML(r.Settings(), origin)
				again, err := Load(Source{Files: []string{"shown.yaml"}, ReadFile: files(map[string]string{"shown.yaml": string(text)})})
				if err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
				got := dump("", reflect.ValueOf(again.WithDefaults()))
				for line := range strings.Lines(dump("", reflect.ValueOf(r.Config.WithDefaults()))) {
					if !strings.Contains("\n"+got, "\n"+line) && !strings.HasSuffix(line, " = []\n") && !strings.HasSuffix(line, " = map[]\n") {
						t.Errorf("lost: %s", line)
					}
				}
				if twice := YAML((&Reading{Config: again}).Settings(), false); !origin && string(twice) != string(text) {
					t.Errorf("shown again it is\n%s\nnot\n%s", twice, text)
				}
			})
		}
	}
}

func TestEveryValueTellsWhereItComesFrom(t *testing.T) {
	r := Read(Source{
		Files: []string{"a.yaml", "b.yaml"},
		ReadFile: files(map[string]string{
			"a.yaml": "server:\n  max_headers: 1\n  max_handshakes: 1\nmodules:\n  chat.v2: {path: x.wasm, limits: {fuel: 7}}\nroutes: [{path: /, module: chat.v2}]",
			"b.yaml": "server: {max_headers: 2, allowed_origins: ['*']}",
		}),
		Environ:   []string{"WEIR_LOG_LEVEL=warn"},
		Overrides: []Override{{"--set drain.spread=4s", "drain.spread", "4s"}},
	})
	for key, want := range map[string][2]string{ // text, source
		"server.max_handshakes":       {"1", "a.yaml:3:3"},
		"server.max_headers":          {"2", "b.yaml:1:10"},
		"server.allowed_origins":      {`["*"]`, "b.yaml:1:26"},
		"server.listen":               {`[":8080"]`, "default"},
		"log.level":                   {"warn", "WEIR_LOG_LEVEL"},
		"drain.spread":                {"4s", "--set drain.spread=4s"},
		"drain.timeout":               {"1m", "default"},
		"modules.chat.v2.path":        {"x.wasm", "a.yaml:5:13"},
		"modules.chat.v2.limits.fuel": {"7", "a.yaml:5:36"},
		"modules.chat.v2.on_trap":     {"close", "default"},
		"routes[0].path":              {"/", "a.yaml:6:11"},
		"routes[0].scope":             {"pool", "default"},
	} {
		s, ok := r.Find(key)
		if !ok || s.Text() != want[0] || s.Source() != want[1] {
			t.Errorf("%s: %v, %s from %s; want %v", key, ok, s.Text(), s.Source(), want)
		}
	}
	if _, ok := r.Find("routes[1].path"); ok {
		t.Error("a route that is not there has a value")
	}
}

func TestTheSchemaAcceptsWhatLoadAccepts(t *testing.T) {
	var document any
	if err := json.Unmarshal(JSONSchema(), &document); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("weir.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("weir.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) error {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		plain, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if v, err = jsonschema.UnmarshalJSON(strings.NewReader(string(plain))); err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	for _, file := range good(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(text)) == "" {
			continue
		}
		if err := check(string(text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if err := check(string(Template(nil))); err != nil {
		t.Errorf("the template: %v", err)
	}
	for name, text := range map[string]string{
		"an unknown key":             "server: {listne: []}",
		"a size without a unit":      "websocket: {max_message_size: 64}",
		"a duration without a unit":  "drain: {spread: 5}",
		"a word that is not known":   "log: {level: loud}",
		"a list that is none":        "server: {listen: ':1'}",
		"a module without a file":    "modules: {chat: {}}",
		"a module with a wrong name": "modules: {Chat Room: {path: a.wasm}}",
		"an unknown capability":      "modules: {chat: {path: a.wasm, capabilities: [topic]}}",
		"a route without a path":     "routes: [{module: chat}]",
	} {
		if check(text) == nil {
			t.Errorf("%s passes", name)
		}
		if _, err := Load(Source{Files: []string{"a.yaml"}, ReadFile: files(map[string]string{"a.yaml": text})}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestTheWordsOfAKeyAreThoseThatItAccepts(t *testing.T) {
	for _, f := range schema() {
		if f.oneOf == nil || f.path == "routes[].scope" { // a scope wants other keys beside it
			continue
		}
		for _, word := range append([]string{"no such word"}, f.oneOf...) {
			text := word
			if f.kind() == "list of text" {
				text = "[" + word + "]"
			}
			path := strings.Split(strings.ReplaceAll(f.path, "*", "chat"), ".")
			for i := range path {
				name, list := strings.CutSuffix(path[i], "[]")
				path[i] = strings.Repeat(" ", 2*i) + name + ":"
				if list {
					path[i+1] = "- " + path[i+1]
				}
			}
			file := strings.Join(path, "\n") + " " + strings.ReplaceAll(text, word, `"`+word+`"`) + "\n"
			_, err := Load(Source{Files: []string{"a.yaml"}, ReadFile: files(map[string]string{"a.yaml": file})})
			if refused := err != nil && strings.Contains(err.Error(), `"`+word+`"`); refused != (word == "no such word") {
				t.Errorf("%s: %q: %v", f.path, word, err)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	for _, tc := range []struct {
		key  string
		want Knob // Doc: how it begins
	}{
		{"websocket.ping_interval", Knob{Key: "websocket.ping_interval", Doc: "ping_interval is how long", Type: "duration", Default: "25s", Variable: "WEIR_WEBSOCKET_PING_INTERVAL", Reload: ClassHot}},
		{"modules.NAME.path", Knob{Key: "modules.NAME.path", Doc: "path is the .wasm file", Type: "text", Reload: ClassGeneration, Required: true}},
		{"modules.my.chat.limits.fuel", Knob{Key: "modules.NAME.limits.fuel", Doc: "fuel bounds", Type: "whole number", Default: "100000000", Reload: ClassGeneration}},
		{"modules.chat.config.history", Knob{Key: "modules.NAME.config", Doc: "config is handed", Type: "mapping", Reload: ClassGeneration}},
		{"modules.my.chat.metrics.orders.type", Knob{Key: "modules.NAME.metrics.NAME.type", Doc: "type is \"counter\"", Type: "text", OneOf: []string{"counter", "gauge"}, Default: "counter", Reload: ClassGeneration}},
		{"modules.chat.metrics.orders", Knob{Key: "modules.NAME.metrics", Doc: "metrics are those", Type: "mapping of names to mappings", Reload: ClassGeneration, Keys: []string{"modules.NAME.metrics.NAME.type", "modules.NAME.metrics.NAME.help"}}},
		{"routes[3].module", Knob{Key: "routes[].module", Doc: "module is the name", Type: "text", Reload: ClassConnections}},
		{"log.level", Knob{Key: "log.level", Doc: "level is the least", Type: "text", OneOf: []string{"debug", "info", "warn", "error"}, Default: "info", Variable: "WEIR_LOG_LEVEL", Reload: ClassHot}},
		{"log", Knob{Key: "log", Doc: "These keys say what the server tells", Type: "mapping", Reload: ClassRestart, Keys: []string{"log.level", "log.format"}}},
		{"modules.chat", Knob{Key: "modules.NAME", Doc: "modules are the handlers", Type: "mapping of names to mappings", Reload: ClassGeneration}},
	} {
		got, err := Explain(tc.key)
		if err != nil || !strings.HasPrefix(got.Doc, tc.want.Doc) {
			t.Errorf("%s: %q, %v", tc.key, got.Doc, err)
			continue
		}
		if got.Doc = tc.want.Doc; tc.key == "modules.chat" {
			if len(got.Keys) < 10 {
				t.Errorf("modules.chat has the keys %q", got.Keys)
			}
			got.Keys, got.Key = nil, "modules.NAME"
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tc.key, got, tc.want)
		}
	}
	for key, hint := range map[string]string{
		"server.listne":      `did you mean "listen"`,
		"max_headers":        `did you mean "server.max_headers"`,
		"modules.chat.pth":   `did you mean "path"`,
		"modules.a.limits.x": "unknown key",
	} {
		if _, err := Explain(key); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: %v, want %s", key, err, hint)
		}
	}
	if top, err := Explain(""); err != nil || len(top.Keys) < 8 {
		t.Errorf("the whole: %q, %v", top.Keys, err)
	}
}

func TestEveryKeyIsExplained(t *testing.T) {
	for _, key := range Keys() {
		if k, err := Explain(key); err != nil || k.Key != key || k.Doc == "" || k.Reload == "" {
			t.Errorf("%s: %+v, %v", key, k, err)
		}
	}
}
