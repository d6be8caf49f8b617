package cli

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
)

var languageAssemblyScript = &language{
	name: "assemblyscript", title: "AssemblyScript", marks: []string{"asconfig.json"},
	manifest: "asconfig.json",
	plan:     planAssemblyScript,
	debug:    []string{"--debug"}, // the names stay
	resident: func(env *Env) residentCompiler { return &residentAsc{env: env} },
	tests:    "npm install && npm test",
	tools: []tool{
		{programs: []string{"node"}, version: []string{"--version"}, cure: nodeCures},
		{programs: []string{"npm"}, version: []string{"--version"}, cure: nodeCures},
	},
}

var nodeCures = cures{any: "https://nodejs.org, 20.11 or later", debian: "apt install nodejs npm (20.11 or later)", darwin: "brew install node"}

// ascPackage is the compiler, in the version that weir is tested with.
const ascPackage = "assemblyscript@0.28.20"

// planAssemblyScript compiles with the compiler of the project, which npm brings
// when it is not there yet.
func planAssemblyScript(_ context.Context, env *Env, t *buildTask, p sourceTree) error {
	name, path, err := findProgram(env, []string{"node"})
	if err != nil {
		return t.missing(err, "install Node 20.11 or later (https://nodejs.org)")
	}
	asc := findAsc(env, p.folder)
	if asc == "" {
		if !has(p.entries, "package.json") {
			return t.missing(errors.New("there is no node_modules/assemblyscript"), "npm install "+ascPackage)
		}
		npm, path, err := findProgram(env, []string{"npm"})
		if err != nil {
			return t.missing(err, "npm install brings the compiler; it comes with Node (https://nodejs.org)")
		}
		t.before = append(t.before, buildCommand{npm, path, []string{"install", "--no-audit", "--no-fund"}})
		asc = ascProgram
	}
	t.program, t.path = name, path
	t.args = func(out string) []string {
		return slices.Concat([]string{asc, "--config", "asconfig.json", "-o", out}, p.flags)
	}
	return nil
}

// ascProgram is the compiler in a folder that has it.
var ascProgram = filepath.Join("node_modules", "assemblyscript", "bin", "asc.js")

// findAsc is the compiler of a folder, or of the next one above that has it, as
// Node finds packages: a path that is relative to the folder. It is empty when
// there is none.
func findAsc(env *Env, folder string) string {
	at, err := filepath.Abs(folder)
	if err != nil {
		return ""
	}
	for asc := ascProgram; ; asc = filepath.Join("..", asc) {
		if entries, err := env.ReadDir(filepath.Dir(filepath.Join(at, ascProgram))); err == nil && has(entries, filepath.Base(asc)) {
			return asc
		}
		above := filepath.Dir(at)
		if above == at {
			return ""
		}
		at = above
	}
}
