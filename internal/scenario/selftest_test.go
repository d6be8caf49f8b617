package scenario

import (
	"context"
	"io/fs"
	"strings"
	"testing"

	"weir/host"
	"weir/runtime"
)

const selfTest = `module: candidate.wasm
module_config: {}
scenarios:
  - name: it echoes
    steps:
      - open: [ann]
      - send: {ann: {text: echo hello}}
      - expect: {ann: {text: WANT}}
`

const selfTestConfig = `config: weir.yaml
scenarios:
  - name: it echoes
    steps:
      - open: {ann: /here}
      - send: {ann: {text: echo hello}}
      - expect: {ann: {text: hello}}
`

func TestASelfTestIsPlayedAgainstTheCandidate(t *testing.T) {
	candidate := host.Module{Name: "chat", Wasm: puppetWasm, Capabilities: runtime.CapabilityDefault}
	for name, tc := range map[string]struct {
		file, config string
		wrong        string // in the error; empty: there is none
	}{
		"a module that passes":       {file: strings.ReplaceAll(selfTest, "WANT", "hello")},
		"a module that does not":     {file: strings.ReplaceAll(selfTest, "WANT", "goodbye"), wrong: "self.yaml:8: it echoes: expected"},
		"a file that is wrong":       {file: "scenarios: 5\n", wrong: "self.yaml:1"},
		"a configuration with it":    {file: selfTestConfig, config: "modules: {chat: {path: old.wasm}}\nroutes: [{path: /here, module: chat}]\n"},
		"a configuration without it": {file: selfTestConfig, config: "modules: {other: {path: old.wasm}}\nroutes: [{path: /here, module: other}]\n", wrong: `no module "chat"`},
	} {
		t.Run(name, func(t *testing.T) {
			read := func(path string) ([]byte, error) {
				switch path {
				case "self.yaml":
					return []byte(tc.file), nil
				case "weir.yaml":
					return []byte(tc.config), nil
				}
				return nil, fs.ErrNotExist
			}
			err := SelfTest(context.Background(), "self.yaml", read, candidate, EngineOptions{})
			switch {
			case tc.wrong == "" && err != nil:
				t.Error(err)
			case tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)):
				t.Errorf("%v, want %q in it", err, tc.wrong)
			}
		})
	}
}
