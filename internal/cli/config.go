package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weir/host"
	"weir/internal/config"
)

// schemaFile is what Template tells editors to look at.
const schemaFile = "weir.schema.json"

const configLong = `Looks at a configuration: that of ` + defaultFile + ` when --config names no other, overridden by
WEIR_* variables and by --set, as a server has it. Every key: docs/config.md.`

func newConfig(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "write, check and explain a configuration",
		Long:    configLong,
		GroupID: "run",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknown("command", args[0], commandNames(cmd), "see `weir config --help`")
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigInit(env), newConfigShow(env), newConfigCheck(env), newConfigExplain(env), newConfigSchema(env), newConfigReload(env))
	return cmd
}

const configInitLong = `Writes FILE, ` + defaultFile + ` when none is given, with every key, what it is for and its default; and
beside it ` + schemaFile + `, with which editors complete and check it. Modules (.wasm) in the
folder of FILE are served. Files that exist are left as they are, and the exit code is 2.`

func newConfigInit(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "init [FILE]",
		Short: "write a configuration to begin with",
		Long:  configInitLong,
		Args:  atMost(1),
		RunE: func(_ *cobra.Command, args []string) error {
			file := defaultFile
			if len(args) == 1 {
				file = args[0]
			}
			return initConfig(env, file)
		},
	}
}

func initConfig(env *Env, file string) error {
	schema := filepath.Join(filepath.Dir(file), schemaFile)
	for _, name := range []string{file, schema} {
		if _, err := env.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
			return usage("%s exists already; remove it, or name another file", name)
		}
	}
	entries, err := env.ReadDir(filepath.Dir(file))
	if err != nil {
		return err
	}
	var modules []config.TemplateModule
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".wasm" && !e.IsDir() {
			modules = append(modules, config.TemplateModule{Name: nameOf(e.Name()), Path: e.Name()})
		}
	}
	for _, f := range []struct {
		name string
		text []byte
	}{
		{file, config.Template(modules)},
		{schema, config.JSONSchema()},
	} {
		if err := env.WriteFile(f.name, f.text, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(env.Stdout, f.name)
	}
	return nil
}

// configuration is what a command of config looks at.
type configuration struct {
	flags serveFlags
	env   *Env
}

// read reads it; the error is one of usage, not of the configuration.
func (c *configuration) read() (*config.Reading, error) {
	source, err := c.flags.source(c.env, nil)
	if err != nil {
		return nil, err
	}
	return config.Read(source), nil
}

const configShowLong = `Prints the configuration in effect, defaults filled in. With --origin every value tells where
it comes from: a place in a file, a variable, a flag, or the default. Secrets are not
shown: a text that refers to a file or a variable stands as it was written.

With --running, it is the configuration that a running server has in effect, as its admin
API tells it.`

func newConfigShow(env *Env) *cobra.Command {
	c := configuration{env: env}
	var origin, running bool
	var output string
	var admin adminFlags
	cmd := &cobra.Command{
		Use:     "show [KEY]",
		Short:   "print the configuration in effect",
		Long:    configShowLong + adminFlagsHelp,
		Example: "  weir config show --origin\n  weir config show websocket -o json\n  weir config show --running",
		Args:    atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case running && !slices.Contains([]string{"yaml", "text", "json", "ndjson"}, output):
				return usage("-o %s: write yaml, json or ndjson", output)
			case !running && output != "yaml" && output != "json":
				return usage("-o %s: write yaml or json", output)
			case running && origin:
				return usage("a server does not tell where its values come from: give either --running or --origin")
			case running:
				admin.source = c.flags
				return showRunning(cmd.Context(), env, &admin, strings.Join(args, ""), output)
			case admin.address != "" || admin.tokenFile != "":
				return usage("--admin and --token-file are for --running")
			}
			r, err := c.read()
			if err != nil {
				return err
			}
			if err := r.Err(); err != nil {
				return &exitError{exitUsage, err}
			}
			settings := r.Settings()
			if len(args) == 1 {
				found, ok := r.Find(args[0])
				if !ok {
					if _, err := config.Explain(args[0]); err != nil {
						return usage("%s: %w", args[0], err)
					}
					return usage("%s has no value here", args[0])
				}
				settings = []config.Setting{found}
			}
			switch {
			case output == "yaml":
				_, err := env.Stdout.Write(config.YAML(settings, origin))
				return err
			case origin:
				return showOrigins(env.Stdout, settings)
			case len(args) == 1:
				return showJSON(env.Stdout, jsonOf(settings[0]))
			}
			return showJSON(env.Stdout, jsonOf(config.Setting{Inside: settings}))
		},
	}
	c.flags.registerSource(cmd.Flags())
	admin.registerAddress(cmd.Flags())
	cmd.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	cmd.Flags().BoolVar(&running, "running", false, "of a server that runs, instead of the files here")
	cmd.Flags().StringVarP(&output, "output", "o", "yaml", "`FORM` of the output: yaml or json; with --running also ndjson, which is JSON in one line")
	cmd.ValidArgsFunction = completeKeys
	return cmd
}

// jsonOf is a setting as encoding/json takes it.
func jsonOf(s config.Setting) any {
	switch {
	case s.Value != nil:
		return s.Value
	case s.List:
		list := make([]any, len(s.Inside))
		for i, item := range s.Inside {
			list[i] = jsonOf(item)
		}
		return list
	}
	m := make(map[string]any, len(s.Inside))
	for _, below := range s.Inside {
		m[below.Name] = jsonOf(below)
	}
	return m
}

// originOfValue is what `weir config show --origin -o json` prints of a value; the
// keys stay as they are.
type originOfValue struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Origin string `json:"origin"` // "default", "file:line:column", a variable or a flag
}

func showOrigins(w io.Writer, settings []config.Setting) error {
	all := []originOfValue{}
	var collect func([]config.Setting)
	collect = func(settings []config.Setting) {
		for _, s := range settings {
			if s.Value != nil {
				all = append(all, originOfValue{s.Key, s.Value, s.Source()})
			}
			collect(s.Inside)
		}
	}
	collect(settings)
	return showJSON(w, all)
}

func showJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

const configCheckLong = `Says whether a server would accept the configuration, and every mistake in it when not. No
module is loaded, and nothing is bound. Exit codes: 0 it is right, 2 it is not.`

// checkedMistake is what `weir config check -o json` prints of a mistake; the keys
// stay as they are.
type checkedMistake struct {
	Source  string `json:"source,omitempty"` // a file, a variable or a flag
	Line    int    `json:"line,omitempty"`   // from 1
	Column  int    `json:"column,omitempty"` // in characters, from 1
	Key     string `json:"key,omitempty"`
	Problem string `json:"problem"`
}

func newConfigCheck(env *Env) *cobra.Command {
	c := configuration{env: env}
	var output string
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "find every mistake in a configuration",
		Long:  configCheckLong,
		Args:  atMost(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usage("-o %s: write text or json", output)
			}
			c.flags.files = append(c.flags.files, args...)
			r, err := c.read()
			if err != nil {
				return err
			}
			if output == "json" {
				mistakes := []checkedMistake{}
				for _, m := range r.Mistakes {
					mistakes = append(mistakes, checkedMistake{m.Origin.Name, m.Origin.Line, m.Origin.Column, m.Key, m.Problem})
				}
				if err := showJSON(env.Stdout, mistakes); err != nil {
					return err
				}
			}
			if err := r.Err(); err != nil {
				return &exitError{exitUsage, err}
			}
			if len(r.Config.Routes) == 0 {
				return usage("the configuration has no routes: there is nothing to serve; `weir config init` writes a file to begin with")
			}
			fmt.Fprintf(env.Stderr, "the configuration is right: %s\n", strings.Join(r.Files, ", "))
			return nil
		},
	}
	c.flags.registerSource(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`FORM` of the output: text or json")
	return cmd
}

const configExplainLong = `Says what a key is for, its type and default, the variable that sets it, when a server that
runs takes a new value, and the value in effect. NAME stands for any module, [] for any
route: "modules.NAME.path". Of a section it lists the keys; without KEY those of the top.

"weir config explain route PATH" tells which route leads there.`

// explained is what `weir config explain -o json` prints; the keys stay as they are.
type explained struct {
	Key      string   `json:"key"`
	Doc      string   `json:"doc"`
	Type     string   `json:"type"`
	OneOf    []string `json:"one_of,omitempty"`
	Default  string   `json:"default,omitempty"`
	Required bool     `json:"required,omitempty"`
	Variable string   `json:"variable,omitempty"`
	Reload   string   `json:"reload"` // hot, connections, generation or restart
	Value    any      `json:"value,omitempty"`
	Origin   string   `json:"origin,omitempty"`
	Keys     []string `json:"keys,omitempty"`
}

func newConfigExplain(env *Env) *cobra.Command {
	c := configuration{env: env}
	var output string
	cmd := &cobra.Command{
		Use:     "explain [KEY | route PATH]",
		Short:   "say what a key is for, and its value",
		Long:    configExplainLong,
		Example: "  weir config explain websocket.max_message_size\n  weir config explain modules.NAME.limits\n  weir config explain route /chat/42",
		Args:    atMost(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usage("-o %s: write text or json", output)
			}
			if len(args) == 2 {
				if args[0] != "route" {
					return usage("unexpected argument %q; see `%s --help`", args[1], cmd.CommandPath())
				}
				return c.explainRoute(args[1], output)
			}
			key := ""
			if len(args) == 1 {
				key = args[0]
			}
			return c.explain(key, output)
		},
	}
	c.flags.registerSource(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`FORM` of the output: text or json")
	cmd.ValidArgsFunction = completeKeys
	return cmd
}

func (c *configuration) explain(key, output string) error {
	knob, err := config.Explain(key)
	if err != nil {
		return usage("%s: %w", key, err)
	}
	r, err := c.read()
	if err != nil {
		return err
	}
	e := explained{
		Key: knob.Key, Doc: knob.Doc, Type: knob.Type, OneOf: knob.OneOf, Default: knob.Default, Required: knob.Required,
		Variable: knob.Variable, Reload: string(knob.Reload), Keys: knob.Keys,
	}
	value, known := r.Find(key)
	if known && value.Value != nil {
		e.Value, e.Origin = value.Value, value.Source()
	}
	if output == "json" {
		return showJSON(c.env.Stdout, e)
	}
	w := c.env.Stdout
	fmt.Fprintf(w, "%s\n\n%s\n", cmp.Or(e.Key, "weir.yaml"), indented(e.Doc))
	if len(e.Keys) > 0 {
		fmt.Fprintln(w)
		for _, k := range e.Keys {
			fmt.Fprintf(w, "  %s\n", k)
		}
		return nil
	}
	kind := e.Type
	if e.OneOf != nil {
		kind += ", one of " + strings.Join(e.OneOf, ", ")
	}
	if e.Required {
		kind += ", required"
	}
	inEffect := ""
	switch {
	case len(r.Mistakes) > 0:
		inEffect = "unknown: the configuration has mistakes; see `weir config check`"
	case e.Value != nil:
		inEffect = value.Text() + " (" + e.Origin + ")"
	}
	fmt.Fprintln(w)
	for _, line := range [][2]string{
		{"type", kind},
		{"default", e.Default},
		{"variable", e.Variable},
		{"reload", knob.Reload.String()},
		{"value", inEffect},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "  %-8s  %s\n", line[0], line[1])
		}
	}
	return nil
}

func indented(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// explainedPath is what `weir config explain route PATH -o json` prints; the keys
// stay as they are.
type explainedPath struct {
	WebSocket *explainedRoute `json:"websocket"` // null: refused with 404
	Other     *explainedRoute `json:"other"`     // requests that are no upgrades; null as above
}

type explainedRoute struct {
	Key    string `json:"key"` // such as "routes[0]"
	Path   string `json:"path"`
	Module string `json:"module,omitempty"`
	Static string `json:"static,omitempty"`
	Origin string `json:"origin"`
}

// explainRoute tells where a path leads.
func (c *configuration) explainRoute(path, output string) error {
	r, err := c.read()
	if err != nil {
		return err
	}
	if err := r.Err(); err != nil {
		return &exitError{exitUsage, err}
	}
	find := func(i int) *explainedRoute {
		if i < 0 {
			return nil
		}
		route, key := r.Config.Routes[i], fmt.Sprintf("routes[%d]", i)
		at, _ := r.Find(key + ".path")
		return &explainedRoute{key, route.Path, route.Module, route.Static, at.Source()}
	}
	module, static := host.FindRoutes(r.Config.Routes, path)
	found := explainedPath{find(module), find(static)}
	if output == "json" {
		return showJSON(c.env.Stdout, found)
	}
	tell := func(what string, route *explainedRoute, where func(*explainedRoute) string) {
		if route == nil {
			fmt.Fprintf(c.env.Stdout, "%s nowhere\n", what)
			return
		}
		fmt.Fprintf(c.env.Stdout, "%s %s, by %s %s (%s)\n", what, where(route), route.Key, route.Path, route.Origin)
	}
	tell("WebSocket connections:", found.WebSocket, func(r *explainedRoute) string { return "module " + r.Module })
	tell("other requests:       ", found.Other, func(r *explainedRoute) string { return "files of " + r.Static })
	return nil
}

func newConfigSchema(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "print the JSON Schema of configuration files",
		Long:    "Prints the JSON Schema (draft-07) of configuration files, for editors. A file names it in its\nfirst line: # yaml-language-server: $schema=./" + schemaFile,
		Example: "  weir config schema > " + schemaFile,
		Args:    atMost(0),
		RunE: func(*cobra.Command, []string) error {
			_, err := env.Stdout.Write(config.JSONSchema())
			return err
		},
	}
}

func completeKeys(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return config.Keys(), cobra.ShellCompDirectiveNoFileComp
}
