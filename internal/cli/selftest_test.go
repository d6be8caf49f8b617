package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A new version takes over when the scenario file passes that its configuration
// names, and only then.
func TestASelfTestDecidesWhetherAModuleIsSwapped(t *testing.T) {
	first, second := versions(t)
	for name, tc := range map[string]struct{ want, logs string }{
		"that passes": {"hello", "module reloaded"},
		"that fails":  {"goodbye", "a module is refused; the old generation stays"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			file := filepath.Join(folder, "chat.wasm")
			write(t, file, first)
			write(t, filepath.Join(folder, "weir.yaml"), []byte(`
modules:
  chat: {path: chat.wasm, self_test: self.yaml}
routes:
  - {path: /, module: chat}
`))
			write(t, filepath.Join(folder, "self.yaml"), []byte(`
config: weir.yaml
scenarios:
  - name: it echoes
    steps:
      - open: {ann: /}
      - send: {ann: {text: hello}}
      - expect: {ann: {text: `+tc.want+`}}
`))
			s, _ := serveFile(t, "--config", filepath.Join(folder, "weir.yaml"))
			ws := s.dial("/")
			echo(t, ws, "before")
			write(t, file+".new", second)
			must(t, os.Rename(file+".new", file))
			line := s.stderr.wait(t, tc.logs)
			if failed := tc.want == "goodbye"; strings.Contains(line, "self-test failed") != failed || strings.Contains(line, "it echoes") != failed {
				t.Errorf("it says %q", line)
			}
			echo(t, ws, "after")
			ws.Close()
			s.stop()
		})
	}
}
