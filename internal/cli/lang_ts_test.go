package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	guestsdk "weir/guest-sdk"
)

// needsEngine skips a test on a machine where nobody has built the engine for JavaScript.
func needsEngine(t *testing.T) {
	t.Helper()
	if _, ok := guestsdk.Engine(); ok {
		return
	}
	if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
		t.Fatal("needs the engine for JavaScript: make tools")
	}
	t.Skip("needs the engine for JavaScript: make tools")
}

const echoTS = "export default { message(conn: { send(data: unknown): void }, data: unknown) { conn.send(data); } };\n"

func TestBuildFindsTheScriptThatIsTheHandler(t *testing.T) {
	needsEngine(t)
	for _, tc := range []struct {
		name  string
		files map[string]string
		made  string
		args  []string
	}{
		{"the only one", map[string]string{"a.ts": echoTS, "a.test.ts": "boom(", "types.d.ts": "", "tool.config.js": "boom("}, "", nil},
		{"handler.ts among others", map[string]string{"handler.ts": echoTS, "lib.ts": "boom("}, "", nil},
		{"what package.json names", map[string]string{"src/chat.ts": echoTS, "handler.ts": "boom(", "package.json": `{"main": "src/chat.ts"}`}, "", nil},
		{"JavaScript", map[string]string{"handler.mjs": "export default { message(conn, data) { conn.send(data); } };\n"}, "", nil},
		{"a file that is named", map[string]string{"echo.ts": echoTS, "other.ts": "boom("}, "echo.wasm", []string{"echo.ts"}},
		{"with flags of esbuild", map[string]string{"handler.ts": "declare const X: unknown;\n" + echoTS}, "", []string{"--", "--define:X=1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := writeFiles(t, tc.files)
			made := filepath.Join(folder, filepath.Base(folder)+".wasm")
			what, flags := folder, tc.args
			if tc.made != "" {
				what, flags, made = filepath.Join(folder, tc.args[0]), nil, filepath.Join(folder, tc.made)
			}
			code, stdout, stderr := command(t, realEnv(), append([]string{"build", what, "-o", made}, flags...)...)
			if code != 0 || !strings.Contains(stderr, "bundle ") {
				t.Fatalf("exit code %d, printed %q and said %s", code, stdout, stderr)
			}
			if wasm, err := os.ReadFile(made); err != nil || !strings.HasPrefix(string(wasm), "\x00asm") || len(wasm) > 1<<20 {
				t.Errorf("it makes %d bytes, %v", len(wasm), err)
			}
		})
	}
}

func TestBuildSaysWhatIsWrongWithAScript(t *testing.T) {
	needsEngine(t)
	for _, tc := range []struct {
		name  string
		files map[string]string
		code  int
		want  string
	}{
		{"a mistake", map[string]string{"handler.ts": "export default {\n  message(conn {},\n};\n"}, exitBuild, "handler.ts:2:"},
		{"too many scripts", map[string]string{"a.ts": echoTS, "b.ts": echoTS}, exitBuild, "which of a.ts, b.ts is the handler?"},
		{"a package.json that is none", map[string]string{"a.ts": echoTS, "package.json": "{"}, exitBuild, "package.json: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := writeFiles(t, tc.files)
			code, stdout, stderr := command(t, realEnv(), "build", folder)
			if code != tc.code || stdout != "" || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit code %d, printed %q and said %s; want %d and %q", code, stdout, stderr, tc.code, tc.want)
			}
		})
	}
}

func TestTranspilePrintsJavaScript(t *testing.T) {
	folder := writeFiles(t, map[string]string{"a.ts": "export const n: number = 7;\n", "bad.ts": "const\n"})
	code, stdout, stderr := command(t, realEnv(), "transpile", filepath.Join(folder, "a.ts"))
	if code != 0 || !strings.HasPrefix(stdout, "const n = 7;\n") || stderr != "" {
		t.Errorf("exit code %d, printed %q and said %q", code, stdout, stderr)
	}
	if code, _, stderr = command(t, realEnv(), "transpile", filepath.Join(folder, "bad.ts")); code != exitBuild || !strings.Contains(stderr, "bad.ts:") {
		t.Errorf("a mistake: exit code %d, said %q", code, stderr)
	}
	if code, _, _ = command(t, realEnv(), "transpile", filepath.Join(folder, "gone.ts")); code != exitUsage {
		t.Errorf("no file: exit code %d", code)
	}
}

func TestTheEngineMayLieInTheCache(t *testing.T) {
	env := realEnv()
	env.CacheDir = t.TempDir()
	if _, err := engineInCache(&env); err == nil {
		t.Error("there is an engine in an empty cache")
	}
	name := filepath.Join(env.CacheDir, "weir", "js-engine-"+guestsdk.EngineDigest()+".wasm")
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("an engine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if engine, err := engineInCache(&env); err != nil || string(engine) != "an engine" {
		t.Errorf("it finds %q, %v", engine, err)
	}
}

// The handler's tests run in Node with nothing installed, and package.json says how.
func TestTheTemplateOfTypeScriptRunsItsTests(t *testing.T) {
	template, err := guestsdk.Template("ts")
	if err != nil {
		t.Fatal(err)
	}
	f, err := template.Open("package.json.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var manifest struct {
		Main         string
		Scripts      map[string]string
		Dependencies map[string]string
	}
	if err := json.NewDecoder(f).Decode(&manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Main != "handler.ts" || manifest.Dependencies != nil || !strings.Contains(manifest.Scripts["test"], "--import ./sdk/testing/register.mjs") {
		t.Errorf("package.json says %+v", manifest)
	}
}
