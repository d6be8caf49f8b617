package cli

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

var languageC = &language{
	name: "c", title: "C", marks: []string{"*.c"},
	sources: sourcesOfC,
	single:  []string{".c"},
	plan:    planC,
	tests:   "make test",
	tools: []tool{
		{programs: clangs(), version: []string{"--version"}, cure: cures{debian: "apt install clang lld", darwin: "brew install llvm lld", any: "https://releases.llvm.org, 14 or later"}},
		{programs: wasmLinkers(), version: []string{"--version"}, cure: cures{debian: "apt install lld", darwin: "brew install lld", any: "wasm-ld is part of LLVM's lld"}},
	},
}

// numbered are a program's names with the versions of LLVM that Debian adds,
// the one that weir is tested with first.
func numbered(program string) []string {
	names := []string{program + "-14", program}
	for version := 22; version > 14; version-- {
		names = append(names, fmt.Sprintf("%s-%d", program, version))
	}
	return names
}

func clangs() []string      { return numbered("clang") }
func wasmLinkers() []string { return numbered("wasm-ld") }

// sourcesOfC are the C files that make the module: tests are for the machine.
func sourcesOfC(entries []fs.DirEntry) []string {
	return slices.DeleteFunc(withEnding(entries, ".c"), func(name string) bool { return strings.HasSuffix(name, "_test.c") })
}

func planC(_ context.Context, env *Env, t *buildTask, p sourceTree) error {
	name, path, err := findProgram(env, clangs())
	if err != nil {
		return t.missing(err, "install clang 14 or later with wasm-ld (Debian, Ubuntu: apt install clang lld; macOS: brew install llvm lld)")
	}
	t.program, t.path = name, path
	sources, flags := sourcesOfC(p.entries), p.flags
	if p.file != "" {
		sources = []string{p.file}
	}
	if has(p.entries, "sdk") {
		flags = append([]string{"-I", "sdk"}, flags...)
	}
	t.args = func(out string) []string {
		return slices.Concat([]string{"--target=wasm32", "-std=c11", "-O2", "-nostdlib", "-fno-ident", "-Wall", "-Wextra",
			"-Wl,--no-entry", "-Wl,-z,stack-size=65536", "-Wl,--stack-first", "-Wl,--strip-debug", "-Wl,--compress-relocations"},
			flags, []string{"-o", out}, sources)
	}
	return nil
}
