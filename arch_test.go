package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// mayImport is the architecture: each folder with the project folders it may
// see, tests excepted. A folder missing here fails, so a new one is a decision.
var mayImport = map[string][]string{
	"netpoll":               {},
	"pool":                  {},
	"internal/hist":         {},
	"internal/systemd":      {},
	"internal/wasm":         {},
	"internal/sign":         {},
	"internal/certs":        {},
	"internal/certtest":     {},
	"internal/bundle":       {"internal/wasm"},
	"guest-sdk":             {},
	"guest-sdk/gen":         {},
	"guest-sdk/conformance": {},
	"runtime":               {"internal/wasm", "internal/hist"},
	"host":                  {"netpoll", "pool", "runtime", "internal/hist", "internal/certs"},
	"internal/sim":          {"runtime", "host"},
	"internal/config":       {"netpoll", "pool", "runtime", "host", "internal/sign"},
	"internal/scenario":     {"internal/sim", "internal/config", "host", "runtime"},
	"internal/admin":        {"netpoll", "pool", "runtime", "host", "internal/hist"},
	"guest-sdk/weirtest":    {"netpoll", "pool", "internal/scenario", "internal/sim", "internal/config", "host", "runtime"},
	"internal/cli":          {"netpoll", "pool", "runtime", "host", "guest-sdk", "internal/config", "internal/admin", "internal/sim", "internal/hist", "internal/scenario", "internal/bundle", "internal/sign", "internal/systemd"},
	".":                     {"internal/cli"},
}

// testOnly lists the folders that hold test files and nothing else.
var testOnly = []string{"chaos", "test/browser", "test/deploy"}

// thirdParty names the one folder that may import each library, tests
// excepted. A path stands for itself and everything below it.
var thirdParty = map[string]string{
	"github.com/mailru/easygo":         "netpoll",
	"golang.org/x/sys":                 "netpoll",
	"golang.org/x/crypto":              "internal/certs",
	"github.com/tetratelabs/wazero":    "runtime",
	"github.com/gobwas/ws":             "host",
	"github.com/gobwas/httphead":       "host",
	"github.com/klauspost/compress":    "host",
	"github.com/knadh/koanf":           "internal/config",
	"github.com/goccy/go-yaml":         "internal/config",
	"github.com/go-viper/mapstructure": "internal/config",
	"github.com/coder/websocket":       "internal/cli",
	"github.com/fsnotify/fsnotify":     "internal/cli",
	"github.com/spf13/cobra":           "internal/cli",
	"github.com/spf13/pflag":           "internal/cli",
	"github.com/pelletier/go-toml":     "guest-sdk/gen",
	"github.com/evanw/esbuild":         "internal/bundle",
}

// The files are read in this process rather than through `go list`: go test
// caches a pass when only a subprocess saw what has changed.
func TestImportsFollowTheTable(t *testing.T) {
	for _, v := range archViolations(t, os.DirFS(".")) {
		t.Error(v)
	}
}

func TestTheTableIsEnforced(t *testing.T) {
	for _, tc := range []struct {
		name, file, source string
		want               string // part of the one violation; empty = none
	}{
		{"an edge of the table passes", "host/a.go", `import "weir/pool"`, ""},
		{"a folder that the table lacks fails", "util/a.go", ``, "util: not in the table"},
		{"an edge that the table lacks fails", "pool/a.go", `import "weir/netpoll"`, "pool may not import weir/netpoll"},
		{"a test may import anything", "pool/a_test.go", `import ("weir/netpoll"; "github.com/gorilla/websocket")`, ""},
		{"a library in its folder passes", "host/a.go", `import "github.com/gobwas/ws/wsutil"`, ""},
		{"a library elsewhere fails", "pool/a.go", `import "github.com/gobwas/ws"`, "pool may not import github.com/gobwas/ws"},
		{"a library's name is matched by whole elements", "host/a.go", `import "github.com/gobwas/wsx"`, "host may not import github.com/gobwas/wsx"},
		{"a library that nobody owns fails", "host/a.go", `import "example.com/left-pad"`, "host may not import example.com/left-pad"},
		{"a file of another system counts too", "pool/a_plan9.go", `import "weir/host"`, "pool may not import weir/host"},
		{"a module of its own is left alone", "bench/a.go", `import "github.com/gorilla/websocket"`, ""},
		{"a folder below a module of its own is left alone", "bench/load/a.go", `import "example.com/x"`, ""},
		{"test data is left alone", "host/testdata/a.go", `import "example.com/x"`, ""},
		{"a test folder may hold tests", "chaos/a_test.go", `import "weir/host"`, ""},
		{"a test folder may hold nothing else", "chaos/a.go", ``, "chaos/a.go: only test files belong here"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := archViolations(t, fstest.MapFS{
				"go.mod":       {Data: []byte("module weir")},
				"bench/go.mod": {Data: []byte("module weir/bench")},
				tc.file:        {Data: []byte("package p\n" + tc.source)},
			})
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("got %q, want no violation", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("got %q, want one violation with %q", got, tc.want)
			}
		})
	}
}

// archViolations walks the module at root and returns what breaks the table.
func archViolations(t *testing.T, root fs.FS) []string {
	t.Helper()
	var violations []string
	bad := func(format string, args ...any) { violations = append(violations, fmt.Sprintf(format, args...)) }
	unlisted := map[string]bool{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && leftAlone(root, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		dir := path.Dir(name)
		isTest := strings.HasSuffix(name, "_test.go")
		if slices.Contains(testOnly, dir) {
			if !isTest {
				bad("%s: only test files belong here", name)
			}
			return nil
		}
		allowed, listed := mayImport[dir]
		if !listed {
			if !unlisted[dir] {
				bad("%s: not in the table of arch_test.go; a new folder is a decision", dir)
			}
			unlisted[dir] = true
			return nil
		}
		if isTest {
			return nil
		}
		source, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if !importAllowed(dir, imported, allowed) {
				bad("%s: %s may not import %s", name, dir, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return violations
}

// leftAlone says whether dir is none of this module's source: what the go
// command ignores, and modules of their own.
func leftAlone(root fs.FS, dir string) bool {
	base := path.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "node_modules" {
		return true
	}
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	return err == nil
}

func importAllowed(dir, imported string, allowed []string) bool {
	if folder, ok := strings.CutPrefix(imported, "weir/"); ok {
		return slices.Contains(allowed, folder)
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	for library, folder := range thirdParty {
		if imported == library || strings.HasPrefix(imported, library+"/") {
			return dir == folder
		}
	}
	return false
}
