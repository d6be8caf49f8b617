package cli

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// language is one that handlers are written in, as the commands know it: new
// writes a project in it, build compiles it, doctor says whether that works here.
// To add one: an entry in languages, a file lang_NAME.go that plans its builds,
// and what guestsdk.Languages asks for.
type language struct {
	name  string   // of --lang, of guestsdk and of folders
	title string   // for sentences
	marks []string // what a folder of it holds, for sentences: "go.mod", "*.go"

	// manifest is the file that settles what a folder is in, whatever else it holds,
	// such as Cargo.toml; empty when the language has none.
	manifest string
	// sources are the files that are in the language, of a folder without any
	// manifest; nil when such a folder is never of it.
	sources func(entries []fs.DirEntry) []string
	// single are the endings of files that make a module by themselves, such as
	// ".ts"; empty when a folder is the smallest thing that can be built.
	single []string
	// plan says how t is made of p.
	plan func(ctx context.Context, env *Env, t *buildTask, p sourceTree) error
	// debug are flags that come before the user's in dev, so that the stacks of
	// traps have names; nil when nothing is better for that.
	debug []string
	// resident starts a compiler that stays, which dev asks again and again; nil
	// when the language has none.
	resident func(env *Env) residentCompiler

	tests string // the shell command that runs a project's own tests; empty: there are none
	tools []tool // what doctor looks for
}

// sourceTree is what is to be built.
type sourceTree struct {
	folder  string
	entries []fs.DirEntry // of folder
	file    string        // the one file of it that makes the module; empty: the folder does
	flags   []string      // further ones for the compiler
}

// languages are in the order in which people are told of them.
func languages() []*language {
	return []*language{languageGo, languageC, languageRust, languageAssemblyScript, languageTS}
}

func languageNamed(name string) *language {
	i := slices.IndexFunc(languages(), func(l *language) bool { return l.name == name })
	if i < 0 {
		return nil
	}
	return languages()[i]
}

// languageOf finds out what language a project is in.
func languageOf(p sourceTree) (*language, error) {
	if p.file != "" {
		return languageOfFile(p)
	}
	marks := func(l *language) []string {
		if l.manifest != "" && has(p.entries, l.manifest) {
			return []string{l.manifest}
		}
		return nil
	}
	found := languagesMarked(marks)
	if len(found) == 0 {
		marks = func(l *language) []string {
			if l.sources == nil {
				return nil
			}
			return l.sources(p.entries)
		}
		found = languagesMarked(marks)
	}
	switch len(found) {
	case 0:
		var all []string
		for _, l := range languages() {
			all = append(all, l.marks...)
		}
		return nil, usage("%s: there is nothing to build: no %s; `weir new` starts a handler", p.folder, strings.Join(all, ", no "))
	case 1:
		return found[0], nil
	}
	var each []string
	for _, l := range found {
		each = append(each, fmt.Sprintf("%s (%s)", l.title, shortList(marks(l), 2)))
	}
	return nil, usage("%s: is this %s? Give each a folder of its own, name the one file to build, or say in weir.yaml how a module is built (modules.NAME.build)",
		p.folder, strings.Join(each, " or "))
}

// languagesMarked are those of which marks finds something.
func languagesMarked(marks func(*language) []string) []*language {
	return slices.DeleteFunc(languages(), func(l *language) bool { return len(marks(l)) == 0 })
}

// languageOfFile finds out what language the one file of a project is in.
func languageOfFile(p sourceTree) (*language, error) {
	var endings []string
	for _, l := range languages() {
		if slices.Contains(l.single, filepath.Ext(p.file)) {
			return l, nil
		}
		endings = append(endings, l.single...)
	}
	return nil, usage("%s: a file by itself can be one of %s; for other languages name the folder",
		filepath.Join(p.folder, p.file), "*"+strings.Join(endings, ", *"))
}

// findProgram is the first of the programs that the PATH has.
func findProgram(env *Env, programs []string) (name, path string, err error) {
	for _, name = range programs {
		if path, err = env.LookPath(name); err == nil {
			return name, path, nil
		}
	}
	return "", "", fmt.Errorf("there is no %s in the PATH", programs[0])
}

// missing is the error of a build that lacks a tool.
func (t *buildTask) missing(what error, cure string) error {
	return &buildError{Module: t.module, err: fmt.Errorf("%w; %s", what, cure)}
}
