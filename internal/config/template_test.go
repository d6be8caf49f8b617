package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	const golden = "testdata/template.golden"
	got := Template([]TemplateModule{{"chat", "chat.wasm"}, {"game.v2", "game v2.wasm"}})
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the template is\n%s\nnot that of %s; -update writes it", got, golden)
	}
}

// A key that is inactive has its "#" right before it; words for people have a
// space.
var inactive = regexp.MustCompile(`(?m)^( *)#(\S| {2,})`)

func TestATemplateIsAcceptedAsItIsAndWithEveryKey(t *testing.T) {
	for name, modules := range map[string][]TemplateModule{
		"no modules":  nil,
		"one module":  {{"chat", "chat.wasm"}},
		"two modules": {{"chat", "chat.wasm"}, {"yes", "a b.wasm"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := string(Template(modules))
			load := func(text string) *Reading {
				t.Helper()
				r := Read(Source{Files: []string{"weir.yaml"}, ReadFile: files(map[string]string{"weir.yaml": text})})
				if r.Err() != nil {
					t.Fatalf("%v\n%s", r.Err(), text)
				}
				return r
			}
			plain := load(text)
			if n := len(plain.Config.Modules); n != len(modules) || len(plain.Config.Routes) != n {
				t.Errorf("%d modules, %d routes", n, len(plain.Config.Routes))
			}
			for _, m := range modules {
				if plain.Config.Modules[m.Name].Path != m.Path {
					t.Errorf("module %q is %+v", m.Name, plain.Config.Modules[m.Name])
				}
			}

			whole := load(inactive.ReplaceAllString(text, "$1$2"))
			name := "chat"
			for _, f := range schema() {
				if key := strings.Replace(f.path, "*", name, 1); f.leaf() && !strings.ContainsAny(key, "[*") && !whole.isSet(key) {
					t.Errorf("the template lacks %s", key)
				}
			}
			if len(modules) == 0 {
				return // the example is served only then
			}
			// All values that it shows are the defaults.
			whole.Config.Routes, plain.Config.Routes = nil, nil
			if got, want := whole.Settings(), plain.Settings(); !reflect.DeepEqual(texts(got), texts(want)) {
				t.Errorf("with every key it says\n%s\nnot\n%s", YAML(got, false), YAML(want, false))
			}
		})
	}
}

// texts are the values by their keys, empty ones left out.
func texts(settings []Setting) map[string]string {
	all := map[string]string{}
	for _, s := range settings {
		if text := s.Text(); s.Value != nil && text != `""` && text != "[]" && text != "{}" {
			all[s.Key] = text
		}
		for key, text := range texts(s.Inside) {
			all[key] = text
		}
	}
	return all
}
