package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	guestsdk "weir/guest-sdk"
)

const newLong = `Writes a project: a handler to start from (a chat with rooms), its tests, a scenario,
weir.yaml, and the SDK's source in sdk/, so that it builds without a network.

The folder must be empty or new; a .git in it is fine. Exit codes: 0 written, 1 a file
cannot be written, 2 the name, the language or the folder is wrong.`

func newNew(env *Env) *cobra.Command {
	var language, folder string
	cmd := &cobra.Command{
		Use:     "new NAME --lang " + strings.Join(guestsdk.Languages(), "|"),
		Short:   "start a handler of your own",
		Long:    newLong,
		Example: "  weir new chat --lang go && cd chat && weir build && weir serve\n  weir new chat --lang c --dir handlers/chat",
		GroupID: "start",
		Args:    exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			if folder == "" {
				folder = name
			}
			files, err := projectFiles(name, language)
			if err != nil {
				return err
			}
			if err := writeProject(env, folder, files); err != nil {
				return err
			}
			return nextSteps(env, folder, name, language)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&language, "lang", "", "`LANGUAGE` of the handler: "+strings.Join(guestsdk.Languages(), " or "))
	flags.StringVar(&folder, "dir", "", "`FOLDER` to write to (default NAME)")
	return cmd
}

// exactly refuses more or fewer arguments than these.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usage("%s is missing; see `%s --help`", names[len(args)], cmd.CommandPath())
		}
		return atMost(len(names))(cmd, args)
	}
}

// A project's name becomes a folder, a file, a module of weir and the last
// element of a Go module's path, and stands in YAML without quotes.
var projectName = regexp.MustCompile(`^[a-z][a-z0-9]*([_-][a-z0-9]+)*$`)

// notProjectNames are words of YAML and files of Windows.
var notProjectNames = regexp.MustCompile(`^(true|false|null|yes|no|on|off|y|n|con|prn|aux|nul|com[0-9]|lpt[0-9])$`)

const maxProjectName = 64

// projectFiles renders the template of language: the files of the project by
// their slash-separated paths.
func projectFiles(name, language string) (map[string][]byte, error) {
	var errs []error
	switch {
	case len(name) > maxProjectName || !projectName.MatchString(name):
		errs = append(errs, usage("%q is not a project's name: up to %d of a-z 0-9 with single - or _ between them, a letter first", name, maxProjectName))
	case notProjectNames.MatchString(name):
		errs = append(errs, usage("%q is not a project's name: the word means something else in YAML or to Windows", name))
	}
	languages := guestsdk.Languages()
	switch {
	case language == "":
		errs = append(errs, usage("--lang is missing; there are %s", strings.Join(languages, ", ")))
	case !slices.Contains(languages, language):
		errs = append(errs, unknown("language", language, languages, "--lang takes "+strings.Join(languages, " or ")))
	}
	if len(errs) > 0 {
		return nil, &exitError{exitUsage, errors.Join(errs...)}
	}

	files := map[string][]byte{}
	source, err := guestsdk.Template(language)
	if err != nil {
		return nil, err
	}
	err = eachFile(source, func(path string, text []byte) error {
		t, err := template.New(path).Option("missingkey=error").Parse(string(text))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, struct{ Name string }{name}); err != nil {
			return err
		}
		files[strings.TrimSuffix(path, ".tmpl")] = b.Bytes()
		return nil
	})
	if err != nil {
		return nil, err
	}
	sdk, err := guestsdk.SDK(language)
	if err != nil {
		return nil, err
	}
	err = eachFile(sdk, func(path string, text []byte) error {
		files["sdk/"+path] = text
		return nil
	})
	return files, err
}

// eachFile calls f for every file of fsys.
func eachFile(fsys fs.FS, f func(path string, text []byte) error) error {
	return fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(fsys, path)
		if err != nil {
			return err
		}
		return f(path, text)
	})
}

// writeProject fills an empty folder, and makes it when it is not there.
func writeProject(env *Env, folder string, files map[string][]byte) error {
	entries, err := env.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return usage("--dir %s: %w", folder, reasonOf(err))
	}
	var inTheWay []string
	for _, e := range entries {
		if e.Name() != ".git" {
			inTheWay = append(inTheWay, e.Name())
		}
	}
	if len(inTheWay) > 0 {
		return usage("%s is not empty: %s; give another folder with --dir", folder, shortList(inTheWay, 5))
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(folder, filepath.FromSlash(path))
		if err := env.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := env.WriteFile(file, files[path], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// reasonOf is err without the operation and the path that the caller names.
func reasonOf(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// shortList names the first n of all.
func shortList(all []string, n int) string {
	if len(all) <= n {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:n], ", "), len(all)-n)
}

func nextSteps(env *Env, folder, name, language string) error {
	test := ""
	if l := languageNamed(language); l != nil && l.tests != "" {
		test = "\n  " + l.tests + "   # the handler, without a server"
	}
	enter := "cd " + quoteArgument(folder)
	if filepath.Clean(folder) == "." {
		enter = ""
	}
	text := fmt.Sprintf(`Wrote %s, a chat with rooms; README.md tells what is what. Next:

  %s%s
  weir test     # builds %s.wasm and plays scenarios/ against it
  weir dev      # serves it with a page to try it, and swaps it on every save
`, folder, enter, test, name)
	_, err := fmt.Fprint(env.Stdout, strings.ReplaceAll(text, "\n  \n", "\n"))
	return err
}

// quoteArgument writes one argument as a POSIX shell reads it.
func quoteArgument(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./=:,+@%^", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
