package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever is written, Load says what is wrong with it or takes it; and what it
// takes, it takes again when it has shown it.
func FuzzLoad(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range seeds {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "LOG_LEVEL=warn", "drain.spread=4s")
	}
	f.Add("log: {level: '${env:X}', format: '${file:a.yaml}'}", "SERVER_LISTEN_FILE=a.yaml", "modules.a.config.x=[1, {y: z}]")
	f.Add("modules: {a.b: {path: '$${env:X}', config: {? 1 : 2}}}", "RELOAD=signal", "modules.a.b.limits.fuel=7")
	f.Add("a: &a [*a, *a]\n<<: {b: c}", "=", "=")
	f.Fuzz(func(t *testing.T, text, variable, set string) {
		s := Source{
			Files:    []string{"a.yaml"},
			ReadFile: files(map[string]string{"a.yaml": text}),
			Environ:  []string{"X=y", envPrefix + variable},
		}
		if o, err := ParseSet(set); err == nil {
			s.Overrides = append(s.Overrides, o)
		}
		r := Read(s)
		for _, m := range r.Mistakes {
			if m.Problem == "" || strings.Contains(m.Excerpt(), "\x1b") {
				t.Errorf("says %q at\n%q", m, m.Excerpt())
			}
		}
		if r.Config == nil {
			return
		}
		shown := string(YAML(r.Settings(), true))
		again := Read(Source{Files: []string{"b.yaml"}, Environ: s.Environ[:1], ReadFile: files(map[string]string{"b.yaml": shown, "a.yaml": text})})
		if again.Err() != nil && !strings.Contains(shown, "${") {
			t.Errorf("shows what it does not take: %v\n%s", again.Err(), shown)
		}
	})
}
