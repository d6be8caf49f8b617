package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The README's programs are the examples, so that what it shows is what is
// tested.
func TestTheReadmeShowsTheExamples(t *testing.T) {
	readme := readFile(t, "README.md")
	for language, example := range map[string]string{
		"go": "examples/echo-go/echo.go",
		"c":  "examples/echo-c/echo.c",
	} {
		_, after, found := strings.Cut(readme, "\n```"+language+"\n")
		shown, _, closed := strings.Cut(after, "\n```\n")
		if !found || !closed {
			t.Errorf("the README shows nothing in %s", language)
		} else if want := strings.TrimSpace(readFile(t, example)); shown != want {
			t.Errorf("the README shows\n%s\nbut %s is\n%s", shown, example, want)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"docs/*.md", "docs/*/*.md", "guest-sdk/*.md", "guest-sdk/*/*.md", "examples/*.md", "examples/*/*.md"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, more...)
	}
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(readFile(t, page), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
