package guestsdk_test

import (
	"archive/zip"
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	guestsdk "weir/guest-sdk"
)

var update = flag.Bool("update", false, "write sdk_go.zip instead of comparing it")

// goSDK reads what the archive should hold: the module in go/ without its tests.
func goSDK(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	source := os.DirFS("go")
	err := fs.WalkDir(source, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(source, name)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// The files are compared, not the archives: another version of Go may compress
// in another way.
func TestTheGoSDKIsCurrent(t *testing.T) {
	want := goSDK(t)
	if *update {
		writeZip(t, "sdk_go.zip", want)
		return // what is embedded is still the old one
	}
	sdk, err := guestsdk.SDK("go")
	if err != nil {
		t.Fatal(err)
	}
	got := readAll(t, sdk)
	var drifted []string
	for name := range want {
		if got[name] != want[name] {
			drifted = append(drifted, name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			drifted = append(drifted, name+" (gone)")
		}
	}
	if len(drifted) > 0 {
		slices.Sort(drifted)
		t.Errorf("sdk_go.zip is not what guest-sdk/go holds: %s; write it with\n\tgo generate ./guest-sdk", strings.Join(drifted, ", "))
	}
}

// writeZip writes the same bytes for the same files: sorted, without times.
func writeZip(t *testing.T, name string, files map[string]string) {
	t.Helper()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, fsys fs.FS) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(fsys, name)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// handlers are the files that people change first.
var handlers = map[string]string{"go": "handler.go", "c": "handler.c", "rust": "src/lib.rs", "assemblyscript": "handler.ts", "ts": "handler.ts"}

func TestEveryLanguageBringsAWholeProject(t *testing.T) {
	for _, language := range guestsdk.Languages() {
		template, err := guestsdk.Template(language)
		if err != nil {
			t.Fatal(err)
		}
		sdk, err := guestsdk.SDK(language)
		if err != nil {
			t.Fatal(err)
		}
		files := readAll(t, template)
		for _, want := range []string{"README.md.tmpl", ".gitignore.tmpl", "weir.yaml.tmpl", "scenarios/chat.yaml.tmpl", handlers[language] + ".tmpl"} {
			if files[want] == "" {
				t.Errorf("%s: there is no %s", language, want)
			}
		}
		for name := range files {
			if !strings.HasSuffix(name, ".tmpl") {
				t.Errorf("%s: %s does not end in .tmpl", language, name)
			}
			if first, _, _ := strings.Cut(name, "/"); first == "sdk" {
				t.Errorf("%s: %s is in the SDK's place", language, name)
			}
		}
		for name := range readAll(t, sdk) {
			if strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".test.mjs") || path.IsAbs(name) {
				t.Errorf("%s: the SDK holds %s", language, name)
			}
		}
	}
	if _, err := guestsdk.Template("cobol"); err == nil {
		t.Error("there is a template for cobol")
	}
	if _, err := guestsdk.SDK("cobol"); err == nil {
		t.Error("there is an SDK for cobol")
	}
}
