package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheGeneratedFilesAreCurrent(t *testing.T) {
	var out bytes.Buffer
	if err := run(true, &out); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestWritingAndChecking(t *testing.T) {
	root := t.TempDir()
	files := []file{{"a/new.go", []byte("1\n2\n3\n4\n")}, {"same.go", []byte("same\n")}}
	if err := os.WriteFile(filepath.Join(root, "same.go"), []byte("same\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	step := func(what string, err error, want string) {
		t.Helper()
		if out.String() != want {
			t.Errorf("%s: %v and\n%s\nwant\n%s", what, err, &out, want)
		}
		out.Reset()
	}

	err := checkFiles(root, files, &out)
	step("a missing file is named", err, "a/new.go is missing\n")
	if err == nil || !strings.Contains(err.Error(), "1 of 2 files have drifted") {
		t.Errorf("error %v does not count", err)
	}
	err = writeFiles(root, files, &out)
	step("only what differs is written", err, "wrote a/new.go\n")
	err = checkFiles(root, files, &out)
	step("after that nothing has drifted", err, "")
	if err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(root, "a/new.go"), []byte("1\n2\nx\n4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err = checkFiles(root, files, &out)
	step("a change is shown", err, "a/new.go differs from guest-sdk/abi.toml\n  from line 3:\n  - x\n  + 3\n")
	if err == nil {
		t.Error("the change was taken")
	}
}

func TestALongDifferenceIsCut(t *testing.T) {
	got := summarize("head\n", "head\n"+strings.Repeat("line\n", 20))
	if lines := strings.Count(got, "\n"); lines != maxShown+2 || !strings.Contains(got, "+ … 8 more lines") {
		t.Errorf("got %d lines:\n%s", lines, got)
	}
}

const goodTable = `
version = 1
minor = 0
import_module = "weir_1"
[[statuses]]
name = "ok"
value = 0
text = "ok"
doc = "Fine."
[[capabilities]]
name = "topics"
bit = 0
default = true
doc = "Topics."
`

func TestEveryMistakeIsReported(t *testing.T) {
	for _, tc := range []struct {
		name, more string
		want       []string
	}{
		{"a good table", ``, nil},
		{"an unknown key", "[[kinds]]\nname = \"text\"\nvalue = 1\ncolour = \"red\"\ndoc = \"Text.\"\n", []string{"unknown keys", "colour"}},
		{"a syntax error", "[[kinds\n", []string{"expected"}},
		{"two mistakes", "[[statuses]]\nname = \"ok\"\nvalue = 0\ntext = \"ok\"\ndoc = \"no sentence\"\n",
			[]string{"statuses ok is there twice", "same number 0", "not a sentence"}},
		{"a bad function", `[[functions]]
name = "fly"
since = 3
capability = "wings"
params = [{ name = "height", type = "f64", doc = "" }]
result = "void"
errors = ["gravity"]
doc = "Flies."
`, []string{"since 3", `no capability is called "wings"`, `unknown type "f64"`, `unknown result type "void"`, `no status is called "gravity"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parse([]byte(goodTable + tc.more))
			if tc.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			for _, want := range tc.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v does not say %q", err, want)
				}
			}
		})
	}
}

func TestAPageNeedsEachSectionOnce(t *testing.T) {
	sections := []string{"exports", "events", "statuses", "kinds", "attributes", "capabilities", "types", "functions", "reference"}
	var page string
	for _, s := range sections {
		page += "Above " + s + "\n<!-- gen:" + s + " -->\nSTALE\n<!-- /gen -->\nafter\n"
	}
	tab, err := parse([]byte(goodTable))
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := renderPage(tab, []byte(page))
	if err != nil {
		t.Fatal(err)
	}
	if text := string(rendered); strings.Contains(text, "STALE") || strings.Count(text, "Above ") != len(sections) || strings.Count(text, "after\n") != len(sections) {
		t.Errorf("the page became\n%s", text)
	}
	if again, err := renderPage(tab, rendered); err != nil || string(again) != string(rendered) {
		t.Errorf("rendering twice changes the page (%v)", err)
	}
	for name, bad := range map[string]string{
		"a section is missing":     strings.Replace(page, "gen:kinds", "gone:kinds", 1),
		"a section is unknown":     page + "<!-- gen:weather -->\n<!-- /gen -->\n",
		"a section does not end":   strings.TrimSuffix(page, "<!-- /gen -->\nafter\n"),
		"a section is there twice": page + "<!-- gen:kinds -->\n<!-- /gen -->\n",
	} {
		if _, err := renderPage(tab, []byte(bad)); err == nil {
			t.Errorf("%s, and nobody minds", name)
		}
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string][2]string{
		"conn_send":    {"ConnSend", "connSend"},
		"upgrade_uri":  {"UpgradeURI", "upgradeURI"},
		"abi_has":      {"ABIHas", "abiHas"},
		"time_unix_ms": {"TimeUnixMs", "timeUnixMs"},
		"log":          {"Log", "log"},
		"param:":       {"Param", "param"},
	} {
		if got := exported(name); got != want[0] {
			t.Errorf("%s is exported as %s, want %s", name, got, want[0])
		}
		if got := strings.TrimSuffix(local(name), ":"); got != want[1] {
			t.Errorf("%s is called %s, want %s", name, got, want[1])
		}
	}
}
