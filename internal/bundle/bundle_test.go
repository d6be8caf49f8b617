package bundle

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sdk() fs.FS { return os.DirFS("../../guest-sdk/js") }

// write makes a folder with these files and returns the path of the handler in it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		file := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "handler.ts")
}

const plain = "export default { message(conn: any, data: string | Uint8Array) { conn.send(data); } };\n"

func TestAHandlerIsOneScript(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  string // part of the script
	}{
		{"one file", map[string]string{"handler.ts": plain}, "conn.send(data)"},
		{"another file", map[string]string{"handler.ts": `import { twice } from "./lib/twice"; export default { timer() { twice("x"); } };`,
			"lib/twice.ts": "export const twice = (s: string): string => s.repeat(2);"}, ".repeat(2)"},
		{"a package", map[string]string{"handler.ts": `import pad from "pad"; export default { timer() { pad(1); } };`,
			"node_modules/pad/package.json": `{"main": "lib.js"}`, "node_modules/pad/lib.js": `module.exports = function (n) { return "0".padStart(n); };`}, ".padStart("},
		{"types that do not fit", map[string]string{"handler.ts": "const n: number = \"seven\"; export default { timer() { console.log(n); } };"}, `"seven"`},
		{"text of another script", map[string]string{"handler.ts": `export default { timer() { console.log("é"); } };`}, `\xE9`},
		{"an SDK of the project's own", map[string]string{"handler.ts": `import { publish } from "weir"; export default { timer() { publish("a", "b"); } };`,
			"node_modules/weir/package.json": `{"main": "other.js"}`, "node_modules/weir/other.js": "throw 1;"}, "topicPublish("},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Handler(write(t, tc.files), sdk(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if code := string(s.Code); !strings.HasPrefix(code, "(()=>{") || !strings.Contains(code, tc.want) {
				t.Errorf("the script is\n%s\nwant %q in it", code, tc.want)
			}
			if i := slices.IndexFunc(s.Code, func(b byte) bool { return b >= 0x80 }); i >= 0 {
				t.Errorf("at %d it is not ASCII", i)
			}
			if len(s.Warnings) > 0 {
				t.Errorf("warnings: %q", s.Warnings)
			}
		})
	}
}

func TestMistakesAreNamedWithTheirPlace(t *testing.T) {
	for _, tc := range []struct {
		name, source string
		want         []string
	}{
		{"a mistake of syntax", "export default {\n  message(conn {},\n};", []string{"handler.ts:2:", "Expected"}},
		{"no default export", "export const handler = {};", []string{`handler.ts`, `"default"`}},
		{"a file that is not there", `import "./gone"; export default {};`, []string{`handler.ts:1:7:`, `Could not resolve "./gone"`}},
		{"a part of Node", `import fs from "node:fs"; export default { timer() { fs.x(); } };`, []string{"node:fs is a part of Node"}},
		{"the testing package", `import { Server } from "weir/testing"; export default { timer() { Server.x(); } };`, []string{"is for tests under Node"}},
		{"a name that the SDK lacks", `import { broadcast } from "weir"; export default { timer() { broadcast(); } };`, []string{"handler.ts:1:", `"broadcast"`}},
		{"await at the top", "await null; export default {};", []string{"handler.ts:1:0", "await"}},
		{"a style sheet", `import "./a.css"; export default {};`, []string{"scripts only"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Handler(write(t, map[string]string{"handler.ts": tc.source, "a.css": "a {}"}), sdk(), nil)
			if err == nil {
				t.Fatal("it is bundled")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is\n%v\nwant %q in it", err, want)
				}
			}
		})
	}
}

func TestFlagsAreThoseOfEsbuild(t *testing.T) {
	entry := write(t, map[string]string{"handler.ts": "declare const LIMIT: number; export default { timer() { console.log(LIMIT); } };"})
	s, err := Handler(entry, sdk(), []string{"--define:LIMIT=1234"})
	if err != nil || !strings.Contains(string(s.Code), "console.log(1234)") {
		t.Errorf("with a definition: %v\n%s", err, s.Code)
	}
	if s, err = Handler(entry, sdk(), []string{"--format=esm", "--sourcemap=inline", "--platform=node"}); err != nil || !strings.HasPrefix(string(s.Code), "(()=>{") {
		t.Errorf("flags change what the engine needs: %v", err)
	}
	for _, flag := range []string{"--no-such-flag", "other.ts"} {
		if _, err := Handler(entry, sdk(), []string{flag}); err == nil || !strings.Contains(err.Error(), "flags of esbuild") {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

func TestFunctionsThatNoWordReachesAreUnused(t *testing.T) {
	all := func() []string {
		var names []string
		for function := range offeredAs {
			names = append(names, function)
		}
		return names
	}
	for _, tc := range []struct{ source, used string }{
		{plain, ""},
		{`export default { open(conn) { conn.join("a"); conn["leave"]("b"); } };`, "topic_join topic_leave"},
		{`import { publish, count, addMetric } from "weir"; export default { timer() { publish("a", String(count("a"))); addMetric("m"); } };`,
			"metric_add topic_count topic_publish"},
		{`import * as weir from "weir"; export default { init() { weir.every(1, 2); weir.cancelTimer(1); }, save() { return weir.key(); } };`,
			"instance_key state_save timer_cancel timer_set"},
		{`export default { open(conn) { /* conn.join */ } };`, ""},
	} {
		s, err := Handler(write(t, map[string]string{"handler.ts": tc.source}), sdk(), nil)
		if err != nil {
			t.Fatal(err)
		}
		used := slices.DeleteFunc(all(), func(f string) bool { return slices.Contains(s.Unused, f) })
		slices.Sort(used)
		if got := strings.Join(used, " "); got != tc.used {
			t.Errorf("%s\nuses %q, want %q", tc.source, got, tc.used)
		}
	}
}

func TestMarksNameThePlacesOfTheHandler(t *testing.T) {
	s, err := Handler(write(t, map[string]string{
		"handler.ts":  "import { fail } from \"./lib/fail\";\n\nexport default {\n  timer() {\n    fail();\n  },\n};\n",
		"lib/fail.ts": "// a comment\nexport function fail(): never {\n  throw new Error(\"here\");\n}\n",
	}), sdk(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var m marks
	if err := json.Unmarshal(s.Marks, &m); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.Files, []string{"lib/fail.ts", "handler.ts"}) {
		t.Errorf("files %q", m.Files)
	}
	before, _, _ := strings.Cut(string(s.Code), `throw new Error("here")`)
	line := strings.Count(before, "\n")
	column := len(before) - 1 - strings.LastIndex(before, "\n")
	found := false
	for i := 0; i+5 <= len(m.Marks); i += 5 {
		found = found || slices.Equal(m.Marks[i:i+5], []int{line, column, 0, 2, 2})
	}
	if !found {
		t.Errorf("no mark says that column %d of line %d is line 3, column 3 of lib/fail.ts", column+1, line+1)
	}
}

func TestTranspilingTakesAwayTypes(t *testing.T) {
	code, err := Transpile("a.ts", []byte("import { x } from \"./x.ts\";\nenum Colour { Red }\nexport const n: number = x as number + Colour.Red;\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`from "./x.ts"`, "const n = x", "//# sourceMappingURL=data:"} {
		if !strings.Contains(string(code), want) {
			t.Errorf("no %q in\n%s", want, code)
		}
	}
	if _, err := Transpile("a.ts", []byte("const")); err == nil || !strings.Contains(err.Error(), "a.ts:1:") {
		t.Errorf("a mistake: %v", err)
	}
}

func TestWhatIsNoEngineIsRefused(t *testing.T) {
	for _, engine := range []string{"", "\x00asm\x01\x00\x00\x00"} {
		if _, err := Place([]byte(engine), &Script{}); err == nil || !strings.Contains(err.Error(), "the engine: ") {
			t.Errorf("%q: %v", engine, err)
		}
	}
}

// FuzzMarks reads source maps of strangers: packages bring theirs along.
func FuzzMarks(f *testing.F) {
	f.Add(`{"sources":["a.ts","weir:index.mjs"],"mappings":"AAAA;CCCC,IADF;A"}`)
	f.Add(`{"sources":[],"mappings":"AAAA"}`)
	f.Add(`{"sources":["a"],"mappings":"ggggggggggggggA"}`)
	f.Add(`{"sources":["a"],"mappings":"g"}`)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := marksOf([]byte(text))
		if err != nil {
			return
		}
		for i := 0; i < len(m.Marks); i += 5 {
			if file := m.Marks[i+2]; file < -1 || file >= len(m.Files) {
				t.Fatalf("mark %d names file %d of %d", i/5, file, len(m.Files))
			}
		}
	})
}
