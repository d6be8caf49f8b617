package cli

import (
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryCommandHasAManual(t *testing.T) {
	manuals := func() map[string]string {
		t.Helper()
		pages := map[string]string{}
		code, _, stderr := command(t, Env{
			MkdirAll: func(string, fs.FileMode) error { return nil },
			WriteFile: func(name string, page []byte, _ fs.FileMode) error {
				pages[filepath.ToSlash(name)] = string(page)
				return nil
			},
		}, "man", "--dir", "man1")
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		return pages
	}
	pages := manuals()
	root := newRoot(&Env{})
	for _, cmd := range root.Commands() {
		if page := "man1/weir-" + cmd.Name() + ".1"; cmd.IsAvailableCommand() != (pages[page] != "") {
			t.Errorf("%s: there is a page: %v", cmd.Name(), pages[page] != "")
		}
	}
	for page, part := range map[string]string{
		"weir.1":              "weir-serve(1)",
		"weir-serve.1":        "SIGHUP reads all files again",
		"weir-config-check.1": "Exit codes: 0 it is right, 2 it is not",
	} {
		if !strings.Contains(strings.ReplaceAll(pages["man1/"+page], `\`, ""), part) {
			t.Errorf("%s does not say %q", page, part)
		}
	}
	if !maps.Equal(pages, manuals()) {
		t.Error("the same program writes other pages the second time")
	}
}

func TestManualsNeedAFolder(t *testing.T) {
	if code, _, stderr := command(t, Env{}, "man"); code != exitUsage || !strings.Contains(stderr, "--dir is missing") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestShellsCanComplete(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, script, stderr := command(t, Env{}, "completion", shell)
		if code != 0 || !strings.Contains(script, "weir") || stderr != "" {
			t.Errorf("%s: exit code %d, %d bytes, %q", shell, code, len(script), stderr)
		}
	}
	// What the scripts ask for.
	if _, said, _ := command(t, Env{}, "__complete", "ser"); !strings.HasPrefix(said, "serve\t") {
		t.Errorf("ser is completed with %q", said)
	}
}
