package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
	"github.com/evanw/esbuild/pkg/cli"
)

// Script is a handler with all that it imports.
type Script struct {
	// Code is an immediately invoked function, which hands the handler to the engine. It is ASCII.
	Code []byte
	// Marks say where the parts of Code come from (JSON, see type marks).
	Marks []byte
	// Unused are the host functions that the script cannot call: neither the handler nor what it imports has a word of
	// those by which the SDK offers them.
	Unused []string
	// Warnings are for whoever wrote the handler, each with its place and an end of line.
	Warnings []string
}

// Error is a handler that cannot be bundled.
type Error struct {
	// Messages say what is wrong, each with its place and an end of line.
	Messages []string
}

// Error returns all of the messages.
func (e *Error) Error() string { return strings.TrimSpace(strings.Join(e.Messages, "")) }

// Handler bundles the handler that is the default export of the file entry. sdk is the folder of the JavaScript SDK,
// which imports of "weir" are read from. flags are further ones in the words of esbuild's command line, such as
// --minify or --define:DEBUG=true; they cannot change what the engine needs. What is wrong with the handler is an *Error.
func Handler(entry string, sdk fs.FS, flags []string) (*Script, error) {
	options, err := cli.ParseBuildOptions(flags)
	if err != nil {
		return nil, fmt.Errorf("flags of esbuild: %w", err)
	}
	if len(options.EntryPoints) > 0 {
		return nil, fmt.Errorf("flags of esbuild: %s is a file: the handler is %s", options.EntryPoints[0], entry)
	}
	entry, err = filepath.Abs(entry)
	if err != nil {
		return nil, err
	}
	folder := filepath.Dir(entry)

	options.AbsWorkingDir, options.Outdir = folder, folder
	options.Bundle, options.Write, options.Metafile, options.Splitting = true, false, false, false
	options.LogLevel, options.Color = api.LogLevelSilent, api.ColorNever
	options.Platform, options.Charset = api.PlatformNeutral, api.CharsetASCII
	options.MinifyWhitespace, options.MinifySyntax = true, true
	options.MainFields = []string{"module", "main"}
	options.Conditions = append(options.Conditions, "weir", "module")
	if options.Target == api.DefaultTarget {
		options.Target = engineTarget
	}
	unused, err := unusedFunctions(options, entry)
	if err != nil {
		return nil, err
	}

	options.Stdin = &api.StdinOptions{
		Contents:   fmt.Sprintf("import { serve } from %q;\nimport handler from %q;\nserve(handler);\n", sdkRuntime, "./"+filepath.Base(entry)),
		ResolveDir: folder,
		Sourcefile: sdkSpace + ":start",
	}
	options.Format = api.FormatIIFE
	options.Sourcemap, options.SourcesContent = api.SourceMapExternal, api.SourcesContentExclude
	options.Plugins = append(options.Plugins, fromSDK(sdk))
	result := api.Build(options)
	if len(result.Errors) > 0 {
		return nil, &Error{words(result.Errors, api.ErrorMessage)}
	}
	script := &Script{Unused: unused, Warnings: words(result.Warnings, api.WarningMessage)}
	var sourceMap []byte
	for _, f := range result.OutputFiles {
		switch filepath.Ext(f.Path) {
		case ".js":
			script.Code = f.Contents
		case ".map":
			sourceMap = f.Contents
		default:
			return nil, fmt.Errorf("%s: a handler is scripts only: import what is in this file in another way", filepath.Base(f.Path))
		}
	}
	places, err := marksOf(sourceMap)
	if err != nil {
		return nil, err
	}
	script.Marks, err = json.Marshal(places)
	return script, err
}

// offeredAs are the words by which scripts reach the host functions that they may do without: those that need a
// capability, and those that younger servers alone have. All others are imported by each module.
var offeredAs = map[string][]string{
	"topic_join":    {"join"},
	"topic_leave":   {"leave"},
	"topic_publish": {"publish"},
	"topic_count":   {"count"},
	"timer_set":     {"after", "every", "setTimer"},
	"timer_cancel":  {"cancelTimer"},
	"metric_add":    {"addMetric"},
	"state_save":    {"save"},
	"instance_key":  {"key"},
}

var word = regexp.MustCompile(`[\w$]+`)

// unusedFunctions finds the host functions whose words are not in the handler and what it imports, the SDK left out.
func unusedFunctions(options api.BuildOptions, entry string) ([]string, error) {
	options.EntryPoints = []string{entry}
	options.Format = api.FormatESModule
	options.Plugins = []api.Plugin{withoutSDK}
	result := api.Build(options)
	if len(result.Errors) > 0 {
		return nil, &Error{words(result.Errors, api.ErrorMessage)}
	}
	found := map[string]bool{}
	for _, f := range result.OutputFiles {
		for _, w := range word.FindAll(f.Contents, -1) {
			found[string(w)] = true
		}
	}
	var unused []string
	for function, words := range offeredAs {
		if !slices.ContainsFunc(words, func(w string) bool { return found[w] }) {
			unused = append(unused, function)
		}
	}
	slices.Sort(unused)
	return unused, nil
}

// engineTarget is the youngest version of the language that the engine knows whole.
const engineTarget = api.ES2023

// words spells messages out, one of them each with the line of the source.
func words(messages []api.Message, kind api.MessageKind) []string {
	return api.FormatMessages(messages, api.FormatMessagesOptions{Kind: kind})
}

// Modules of the SDK are in a space of their own, where paths are those of the SDK's folder.
const (
	sdkSpace   = "weir"
	sdkRuntime = "weir:runtime" // what the script begins with
)

// sdkModules are the files that modules of the SDK stand for. #host is what the SDK imports, which is another file in
// tests under Node.
var sdkModules = map[string]string{"weir": "index.mjs", sdkRuntime: "runtime.mjs", "#host": "runtime.mjs"}

// withoutSDK leaves the SDK's module where it is imported.
var withoutSDK = api.Plugin{Name: "weir", Setup: func(build api.PluginBuild) {
	build.OnResolve(api.OnResolveOptions{Filter: `^weir$`}, func(api.OnResolveArgs) (api.OnResolveResult, error) {
		return api.OnResolveResult{Path: "weir", External: true}, nil
	})
	refuse(build)
}}

// fromSDK reads the SDK's modules from its folder.
func fromSDK(sdk fs.FS) api.Plugin {
	return api.Plugin{Name: "weir", Setup: func(build api.PluginBuild) {
		build.OnResolve(api.OnResolveOptions{Filter: `^(weir(:runtime)?|#host)$`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			if a.Path == "#host" && a.Namespace != sdkSpace {
				return api.OnResolveResult{}, nil // a handler may have a #host of its own
			}
			return api.OnResolveResult{Path: sdkModules[a.Path], Namespace: sdkSpace}, nil
		})
		build.OnResolve(api.OnResolveOptions{Filter: `^\.`, Namespace: sdkSpace}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			return api.OnResolveResult{Path: path.Join(path.Dir(a.Importer), a.Path), Namespace: sdkSpace}, nil
		})
		build.OnLoad(api.OnLoadOptions{Filter: `.*`, Namespace: sdkSpace}, func(a api.OnLoadArgs) (api.OnLoadResult, error) {
			source, err := fs.ReadFile(sdk, a.Path)
			if err != nil {
				return api.OnLoadResult{}, err
			}
			text := string(source)
			return api.OnLoadResult{Contents: &text, Loader: api.LoaderJS}, nil
		})
		refuse(build)
	}}
}

// refuse turns away modules that a handler cannot have.
func refuse(build api.PluginBuild) {
	build.OnResolve(api.OnResolveOptions{Filter: `^(weir/|node:)`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
		if strings.HasPrefix(a.Path, "node:") {
			return api.OnResolveResult{}, errors.New(a.Path + " is a part of Node, and a handler does not run in Node: the module \"weir\" has timers, randomness and a log")
		}
		return api.OnResolveResult{}, errors.New(a.Path + " is for tests under Node; a handler imports \"weir\" alone")
	})
}

// Transpile takes the types away from one file of TypeScript, for Node to run: what it imports it goes on importing. The
// source map is within. name is the file's name as stacks shall show it. What is wrong with the source is an *Error.
func Transpile(name string, source []byte) ([]byte, error) {
	result := api.Transform(string(source), api.TransformOptions{
		Loader: api.LoaderTS, Format: api.FormatESModule, Target: api.ES2022,
		Sourcefile: name, Sourcemap: api.SourceMapInline, LogLevel: api.LogLevelSilent,
	})
	if len(result.Errors) > 0 {
		return nil, &Error{words(result.Errors, api.ErrorMessage)}
	}
	return result.Code, nil
}
