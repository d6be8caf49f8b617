package cli

import (
	"errors"
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
	name  string // of --lang, of guestsdk and of folders
	title string // for sentences
	marks string // how a folder of it is told, for sentences: "go.mod or *.go"

	// has reports whether a folder with these entries is of the language.
	has func(entries []fs.DirEntry) bool
	// single are the endings of files that make a module by themselves, such as
	// ".ts"; empty when a folder is the smallest thing that can be built.
	single []string
	// plan says how t is made of p.
	plan func(env *Env, t *buildTask, p sourceTree) error
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

// languages are in the order in which people are told of them, which is also
// that in which a folder is looked at: one with go.mod is Go, whatever else is
// in it.
func languages() []*language {
	return []*language{languageGo, languageC}
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
	for _, l := range languages() {
		switch {
		case p.file == "":
			if l.has(p.entries) {
				return l, nil
			}
		case slices.Contains(l.single, filepath.Ext(p.file)):
			return l, nil
		}
	}
	var marks, endings []string
	for _, l := range languages() {
		marks = append(marks, l.marks)
		endings = append(endings, l.single...)
	}
	if p.file != "" {
		return nil, usage("%s: a file by itself can be one of %s; for other languages name the folder",
			filepath.Join(p.folder, p.file), "*"+strings.Join(endings, ", *"))
	}
	return nil, usage("%s: there is nothing to build: no %s; `weir new` starts a handler", p.folder, strings.Join(marks, ", no "))
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

// errNoProgram is for a buildTask that no plan has filled in.
var errNoProgram = errors.New("nothing says how to build it")
