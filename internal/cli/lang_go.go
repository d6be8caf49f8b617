package cli

import (
	"context"
	"io/fs"
	"slices"
)

// wasip1 is what the go command compiles for.
var wasip1 = []string{"GOOS=wasip1", "GOARCH=wasm"}

var languageGo = &language{
	name: "go", title: "Go", marks: []string{"go.mod", "*.go"},
	manifest: "go.mod",
	sources:  func(entries []fs.DirEntry) []string { return withEnding(entries, ".go") },
	plan:     planGo,
	debug:    []string{"-ldflags=-w"}, // the last -ldflags counts
	tests:    "go test ./...",
	tools: []tool{{
		programs: []string{"go"}, version: []string{"version"},
		cure: cures{any: "https://go.dev/dl, 1.24 or later", debian: "apt install golang (1.24 or later)", darwin: "brew install go"},
	}},
}

func planGo(_ context.Context, env *Env, t *buildTask, p sourceTree) error {
	name, path, err := findProgram(env, []string{"go"})
	if err != nil {
		return t.missing(err, "install Go 1.24 or later (https://go.dev/dl)")
	}
	t.program, t.path, t.environ = name, path, wasip1
	t.args = func(out string) []string {
		return slices.Concat([]string{"build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out}, p.flags, []string{"."})
	}
	return nil
}
