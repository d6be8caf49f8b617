package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weir/host"
	"weir/internal/config"
	"weir/runtime"
)

// defaultFile is read when --config names none and no module is given.
const defaultFile = "weir.yaml"

type serveFlags struct {
	files  []string
	listen []string
	static string
	set    []string
	log    logFlags
}

const serveLong = `Serves the handlers and files of a configuration, ` + defaultFile + ` when --config names no other.

With a MODULE.wasm, every path goes to that module, every capability that needs no
configuration is granted, and ` + defaultFile + ` is not read.

A module whose file changes is swapped with every socket open, when the new file is
whole; one that is refused leaves the old generation serving. A configuration that
changes is taken the same way: what can change in a server that runs does, what needs a
restart is named, and one with a mistake changes nothing. A certificate (server.tls) whose
files change is shown to new connections. SIGHUP reads all files again.

SIGTERM and SIGINT (Ctrl-C) stop accepting, let handlers finish and close every
connection in order; a second one ends at once. Exit codes: 0 drained, 1 failed or
stopped at once, 2 the configuration or a module is wrong, 69 an address cannot be
bound, 70 the event loop has failed.`

func newServe(env *Env) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:     "serve [MODULE.wasm]",
		Short:   "serve handlers and files",
		Long:    serveLong,
		Example: "  weir serve\n  weir serve --config weir.yaml --set log.level=debug\n  weir serve --listen 127.0.0.1:9000 examples/echo-c/echo.wasm",
		GroupID: "run",
		Args:    atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			site, err := f.site(env, args)
			if err != nil {
				return err
			}
			newFollower(env, site, func() (reading, error) { return f.configuration(env, args) })
			return run(cmd.Context(), env, site)
		},
	}
	flags := cmd.Flags()
	f.registerSource(flags)
	flags.StringArrayVarP(&f.listen, "listen", "l", nil, "`ADDRESS` to bind, host:port or unix:/path, or systemd:NAME for a socket that was passed; may be repeated")
	flags.StringVar(&f.static, "static", "", "`FOLDER` whose files answer what is not a WebSocket")
	f.log.register(flags)
	return cmd
}

// registerSource adds the flags that every command with a configuration has.
func (f *serveFlags) registerSource(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.files, "config", "c", nil, "configuration `FILE`; may be repeated, a later one overrides")
	flags.StringArrayVar(&f.set, "set", nil, "one configuration value, `KEY=VALUE`; may be repeated")
}

// configFiles are the files that the configuration is read from.
func (f *serveFlags) configFiles(env *Env, args []string) []string {
	if len(f.files) == 0 && len(args) == 0 {
		if _, err := env.ReadFile(defaultFile); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return []string{defaultFile}
		}
	}
	return f.files
}

// site gathers what to serve from flags, files and environment.
func (f *serveFlags) site(env *Env, args []string) (*site, error) {
	r, err := f.configuration(env, args)
	if err != nil {
		return nil, err
	}
	modules, err := readModules(env, r.config)
	if err != nil {
		return nil, err
	}
	return &site{config: *r.config, modules: modules, files: r.files, secrets: r.secrets}, nil
}

// source is where the configuration comes from: flags, files and environment.
func (f *serveFlags) source(env *Env, args []string) (config.Source, error) {
	source := config.Source{Files: f.configFiles(env, args), ReadFile: env.ReadFile, Environ: env.Environ, Overrides: f.log.overrides()}
	if len(f.listen) > 0 {
		source.Overrides = append(source.Overrides, config.Override{Flag: "--listen", Key: "server.listen", Value: strings.Join(f.listen, ",")})
	}
	for _, argument := range f.set {
		o, err := config.ParseSet(argument)
		if err != nil {
			return config.Source{}, &exitError{exitUsage, err}
		}
		source.Overrides = append(source.Overrides, o)
	}
	return source, nil
}

// reading is a configuration and what is known of it.
type reading struct {
	config  *config.Config // nil: it is wrong
	files   []string       // that it depends on, which are known even then
	secrets config.Secrets
}

// configuration is that of flags, files and environment.
func (f *serveFlags) configuration(env *Env, args []string) (reading, error) {
	source, err := f.source(env, args)
	if err != nil {
		return reading{}, err
	}
	r := config.Read(source)
	if err := r.Err(); err != nil {
		return reading{files: r.Files}, &exitError{exitUsage, err}
	}
	c, err := f.complete(r.Config, source, args)
	return reading{c, r.Files, r.Secrets()}, err
}

// complete adds what the command line itself serves.
func (f *serveFlags) complete(c *config.Config, source config.Source, args []string) (*config.Config, error) {
	if len(args) > 0 {
		if len(c.Routes) > 0 || len(c.Modules) > 0 {
			return nil, usage("%s names modules or routes of its own; give either them or a MODULE.wasm", strings.Join(source.Files, ", "))
		}
		name := nameOf(args[0])
		c.Modules = map[string]config.Module{name: {Path: args[0], Capabilities: runtime.CapabilityDefault.Names()}}
		c.Routes = []host.Route{{Path: "/{path...}", Module: name}}
	}
	if f.static != "" {
		c.Routes = append(c.Routes, host.Route{Path: "/", Static: f.static})
	}
	if len(c.Routes) == 0 {
		return nil, usage("there is nothing to serve; give a MODULE.wasm, a --static folder, or a configuration with routes (%s)", defaultFile)
	}
	return c, nil
}

// readModules reads every module's file.
func readModules(env *Env, c *config.Config) ([]host.Module, error) {
	var modules []host.Module
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.Modules)) {
		m := c.Modules[name]
		wasm, err := readModuleFile(env, m.Path)
		if err != nil {
			errs = append(errs, fmt.Errorf("module %s: %w", name, err))
			continue
		}
		module, err := m.Trusted(name, wasm)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		modules = append(modules, module)
	}
	if len(errs) > 0 {
		return nil, &exitError{exitUsage, errors.Join(errs...)}
	}
	return modules, nil
}

// readModuleFile reads a module's file: only a regular one, so that nothing waits
// for a pipe, or reads a device that never ends.
func readModuleFile(env *Env, path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is not a regular file")}
	}
	return env.ReadFile(path)
}

var notInNames = regexp.MustCompile(`[^a-z0-9._-]+`)

// nameOf makes a module's name from its file's.
func nameOf(file string) string {
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(file)), ".wasm")
	name = strings.TrimLeft(notInNames.ReplaceAllString(name, "-"), "._-")
	if name == "" {
		return "module"
	}
	return name[:min(len(name), 64)]
}

// warnUnused tells of modules that no route names.
func warnUnused(logger *slog.Logger, s *site) {
	for _, m := range s.modules {
		if !slices.ContainsFunc(s.config.Routes, func(r host.Route) bool { return r.Module == m.Name }) {
			logger.Warn("no route leads to the module", "module", m.Name)
		}
	}
}
