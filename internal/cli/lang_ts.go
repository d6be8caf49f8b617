package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	guestsdk "weir/guest-sdk"
	"weir/internal/bundle"
)

// languageTS is TypeScript, and JavaScript with it: weir bundles both by itself.
var languageTS = &language{
	name: "ts", title: "TypeScript", marks: []string{"*.ts", "*.js"},
	sources: scriptsOf,
	single:  []string{".ts", ".mts", ".js", ".mjs"},
	plan:    planTS,
	tests:   "npm test",
	tools: []tool{
		{part: "the engine for JavaScript", check: checkEngine, cure: cures{any: engineCure}},
	},
}

const engineCure = "make js-engine in weir's source tree, which needs clang 14, lld 14 and wasi-libc"

// errNoEngine is a weir without the engine that runs JavaScript.
var errNoEngine = errors.New("this weir was built without its engine for JavaScript")

// engineJS is the engine for JavaScript: the one within, or that which make
// js-engine has left in the user's cache.
func engineJS(env *Env) ([]byte, error) {
	if engine, ok := guestsdk.Engine(); ok {
		return engine, nil
	}
	return engineInCache(env)
}

func engineInCache(env *Env) ([]byte, error) {
	if env.CacheDir != "" {
		engine, err := env.ReadFile(filepath.Join(env.CacheDir, "weir", "js-engine-"+guestsdk.EngineDigest()+".wasm"))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return engine, err
		}
	}
	return nil, errNoEngine
}

func checkEngine(_ context.Context, env *Env) (version, path string, err error) {
	if _, err := engineJS(env); err != nil {
		return "", "", err
	}
	return guestsdk.EngineDigest(), "", nil
}

// scriptsOf are the files of a folder that may be a handler: not those that
// describe types, test or configure.
func scriptsOf(entries []fs.DirEntry) []string {
	var scripts []string
	for _, e := range entries {
		name := e.Name()
		stem := strings.TrimSuffix(name, filepath.Ext(name))
		if e.IsDir() || !slices.Contains([]string{".ts", ".mts", ".js", ".mjs"}, filepath.Ext(name)) || strings.HasPrefix(name, ".") {
			continue
		}
		if ending := filepath.Ext(stem); slices.Contains([]string{".d", ".test", ".spec", ".config"}, ending) {
			continue
		}
		scripts = append(scripts, name)
	}
	return scripts
}

// handlerScript finds the file that exports the handler: what package.json names
// as main, handler.*, or the only one there is.
func handlerScript(env *Env, p sourceTree) (string, error) {
	if p.file != "" {
		return p.file, nil
	}
	if has(p.entries, "package.json") {
		text, err := env.ReadFile(filepath.Join(p.folder, "package.json"))
		if err != nil {
			return "", err
		}
		var manifest struct{ Main string }
		if err := json.Unmarshal(text, &manifest); err != nil {
			return "", usage("%s: %w", filepath.Join(p.folder, "package.json"), err)
		}
		if manifest.Main != "" {
			return manifest.Main, nil
		}
	}
	scripts := scriptsOf(p.entries)
	for _, name := range scripts {
		if strings.TrimSuffix(name, filepath.Ext(name)) == "handler" {
			return name, nil
		}
	}
	if len(scripts) == 1 {
		return scripts[0], nil
	}
	return "", usage("%s: which of %s is the handler? Call it handler.ts, name it as main in package.json, or build that file", p.folder, strings.Join(scripts, ", "))
}

// planTS bundles the handler and puts it into the engine. Flags are those of
// esbuild.
func planTS(_ context.Context, env *Env, t *buildTask, p sourceTree) error {
	script, err := handlerScript(env, p)
	if err != nil {
		return err
	}
	engine, err := engineJS(env)
	if err != nil {
		return t.missing(err, engineCure)
	}
	sdk, err := guestsdk.SDK("ts")
	if err != nil {
		return err
	}
	entry := filepath.Join(p.folder, script)
	t.shown = t.inFolder("bundle " + strings.Join(append([]string{quoteArgument(script)}, p.flags...), " "))
	t.make = func(_ context.Context, out string) error {
		s, err := bundle.Handler(entry, sdk, p.flags)
		if err != nil {
			return err
		}
		for _, warning := range s.Warnings {
			fmt.Fprint(env.Stderr, warning)
		}
		module, err := bundle.Place(engine, s)
		if err != nil {
			return err
		}
		return env.WriteFile(out, module, 0o644)
	}
	return nil
}

const transpileLong = `Prints a TypeScript file as JavaScript: types are taken away, not checked, and imports stay.
The tests of a handler use it, which run under Node (docs/languages/javascript.md of weir).

Exit codes: 0 printed, 3 the file has mistakes.`

func newTranspile(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "transpile FILE",
		Short:   "print TypeScript as JavaScript",
		Long:    transpileLong,
		Example: "  weir transpile handler.ts",
		Hidden:  true, // it is for the SDK
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			source, err := env.ReadFile(args[0])
			if err != nil {
				return usage("%s: %w", args[0], reasonOf(err))
			}
			script, err := bundle.Transpile(args[0], source)
			if err != nil {
				return &exitError{exitBuild, err}
			}
			_, err = env.Stdout.Write(script)
			return err
		},
	}
}
