package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"weir/internal/admin"
)

// group is a command that only holds others.
func group(use, short, long string, inside ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    long + adminFlagsHelp,
		GroupID: "operate",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknown("command", args[0], commandNames(cmd), "see `"+cmd.CommandPath()+" --help`")
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(inside...)
	return cmd
}

func newModule(env *Env) *cobra.Command {
	return group("module", "look at the modules of a running server, and change them",
		`Lists the handlers of a server that runs, loads new versions of them with every socket
open, and takes versions back.`,
		newModuleList(env), newModuleInspect(env), newModuleDeploy(env), newModuleCanary(env),
		newModulePromote(env),
		newModuleChange(env, "rollback", "end a canary, or take a generation back that is on probation"),
		newModuleChange(env, "pause", "hold a module's events back; new connections are answered 503"),
		newModuleChange(env, "resume", "end a pause"),
	)
}

func modulePath(name string, more ...string) string {
	path := "/v1/modules/" + url.PathEscape(name)
	for _, m := range more {
		path += "/" + m
	}
	return path
}

func newModuleList(env *Env) *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "list the modules and what serves of each",
		Long:    "Lists the modules with the generation that serves, and what is unusual about them." + adminFlagsHelp,
		Example: "  weir module list\n  weir module list -o ndjson --admin unix:/run/weir/admin.sock",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				var all admin.Modules
				if err := c.get(ctx, "list the modules", "/v1/modules", nil, &all); err != nil {
					return err
				}
				return show(env, f.output, all, all.Modules, func(t *table) {
					t.head = []string{"MODULE", "GENERATION", "DIGEST", "CONNECTIONS", "STATE", "ROUTES"}
					for _, m := range all.Modules {
						t.add(m.Name, m.Generation, short(m.Digest), m.Connections, moduleState(m), routesOf(m))
					}
				})
			})
		},
	}
	f.register(cmd, "text, json or ndjson")
	return cmd
}

// short is as much of a digest as people compare.
func short(digest string) string { return digest[:min(len(digest), 12)] }

// routesOf are the paths that lead to a module; a scope is said when it is not the
// usual one.
func routesOf(m admin.Module) string {
	var all []string
	for _, r := range m.Routes {
		path := r.Path
		if r.Scope != "" && r.Scope != "pool" {
			path += " (" + r.Scope + ")"
		}
		all = append(all, path)
	}
	return strings.Join(all, ", ")
}

// moduleState says what is unusual about a module; "serving" when nothing is.
func moduleState(m admin.Module) cell {
	var all []string
	if m.Paused {
		all = append(all, "paused")
	}
	if m.Breaker != "" && m.Breaker != "closed" {
		all = append(all, "breaker "+strings.ReplaceAll(m.Breaker, "_", " "))
	}
	troubled := len(all) > 0
	if m.Canary != nil {
		all = append(all, fmt.Sprintf("canary %d at %d %%", m.Canary.Generation, m.Canary.Share))
	}
	if len(all) == 0 {
		all = []string{"serving"}
	}
	return cell{strings.Join(all, ", "), troubled}
}

func newModuleInspect(env *Env) *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:     "inspect NAME",
		Short:   "say all about one module, and its generations",
		Long:    "Says what a module is, who may reach it, and what became of its generations, the latest first." + adminFlagsHelp,
		Example: "  weir module inspect chat",
		Args:    exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				var m admin.Module
				r := request{what: "inspect " + args[0], path: modulePath(args[0]), module: args[0]}
				if err := c.call(ctx, r, &m); err != nil {
					return err
				}
				return f.showModule(env, m)
			})
		},
	}
	f.register(cmd, "text, json or ndjson")
	cmd.ValidArgsFunction = f.completing(env, moduleNames)
	return cmd
}

// showModule prints one module with everything.
func (f *adminFlags) showModule(env *Env, m admin.Module) error {
	err := show(env, f.output, m, []admin.Module{m}, func(t *table) {
		t.add("module", m.Name)
		t.add("file", m.Path)
		if m.Source == "api" {
			t.add("source", "an upload that the file does not hold")
		}
		t.add("generation", m.Generation)
		t.add("digest", m.Digest)
		t.add("state", moduleState(m))
		t.add("connections", m.Connections)
		t.add("routes", routesOf(m))
		t.add("capabilities", strings.Join(m.Capabilities, ", "))
		t.add("traps", m.Traps)
		if r := m.LastRefusal; r != nil {
			t.add("last refusal", alarm(printable(fmt.Sprintf("%s, of %s by %s: %s", moment(r.Time), short(r.Digest), r.Source, r.Detail))))
		}
	})
	if err != nil || f.output != "text" || len(m.Generations) == 0 {
		return err
	}
	fmt.Fprintln(env.Stdout)
	t := table{colour: colours(env, env.StdoutTerminal)}
	t.head = []string{"GENERATION", "DIGEST", "FATE", "LOADED", "SHARE", "BUSY", "CELLS", "EVENTS", "TRAPS", "WHY"}
	for _, g := range m.Generations {
		share := ""
		if g.Share > 0 {
			share = fmt.Sprintf("%d %%", g.Share)
		}
		why := cell{printable(g.Why), g.Why != ""}
		t.add(g.Number, short(g.Digest), strings.ReplaceAll(g.Fate, "_", " "), moment(g.LoadedAt), share, g.Busy, g.Cells, g.Events, g.Traps, why)
	}
	return t.write(env.Stdout)
}

// moment is a time for people, to the second and in their zone.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

const moduleDeployLong = `Uploads FILE.wasm as the new version of a module that the server has. It is checked,
compiled, started and, where the configuration says so, tested before it takes over with
every socket open; one that is refused leaves the generation that serves.

With --canary, it serves that share of the connections until "weir module promote" or
"weir module rollback". With --if-generation, nothing happens when another generation
serves. Without --persist, the server serves the file of its configuration again after a
restart, or when that file changes; with it, the upload becomes that file.`

func newModuleDeploy(env *Env) *cobra.Command {
	var f adminFlags
	var canary int
	var ifGeneration uint64
	var persist bool
	cmd := &cobra.Command{
		Use:     "deploy NAME FILE.wasm",
		Short:   "load a new version of a module",
		Long:    moduleDeployLong + adminFlagsHelp,
		Example: "  weir module deploy chat chat.wasm\n  weir module deploy chat chat.wasm --canary 10\n  weir module deploy chat chat.wasm --if-generation 3 --persist",
		Args:    exactly("NAME", "FILE.wasm"),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if cmd.Flags().Changed("canary") {
				if canary < 1 || canary > 99 {
					return usage("--canary %d: give a percentage from 1 to 99", canary)
				}
				query.Set("canary", strconv.Itoa(canary))
			}
			switch {
			case persist && query.Has("canary"):
				return usage("a canary may yet be taken back: give --persist to `weir module promote`")
			case persist:
				query.Set("persist", "true")
			}
			header := http.Header{}
			if cmd.Flags().Changed("if-generation") {
				header.Set("If-Match", fmt.Sprintf(`"%d"`, ifGeneration))
			}
			return f.ask(cmd.Context(), env, forms, func(ctx context.Context, c *adminClient) error {
				return f.deploy(ctx, env, c, args[0], args[1], query, header)
			})
		},
	}
	cmd.Flags().IntVar(&canary, "canary", 0, "`PERCENT` of the connections that it gets for now, 1 to 99")
	cmd.Flags().Uint64Var(&ifGeneration, "if-generation", 0, "deploy only if `GENERATION` is the one that serves")
	cmd.Flags().BoolVar(&persist, "persist", false, "make it the file of the server's configuration, too")
	f.register(cmd, "text, json or ndjson")
	names := f.completing(env, moduleNames)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return []string{"wasm"}, cobra.ShellCompDirectiveFilterFileExt
		}
		return names(cmd, args, word)
	}
	return cmd
}

func (f *adminFlags) deploy(ctx context.Context, env *Env, c *adminClient, name, file string, query url.Values, header http.Header) error {
	wasm, err := env.ReadFile(file)
	if err != nil {
		return usage("%w; `weir build` makes one", err)
	}
	upload := &countingReader{Reader: bytes.NewReader(wasm)}
	what := "deploy " + name
	told := waiting(env, time.After(waitingAfter), func() string {
		if upload.done() {
			return fmt.Sprintf("the server has %s and prepares it", filepath.Base(file))
		}
		return fmt.Sprintf("uploading %s, %s", filepath.Base(file), sizeText(len(wasm)))
	})
	var done admin.Deployed
	err = c.callLong(ctx, request{
		what: what, method: http.MethodPut, path: modulePath(name), query: query, header: header,
		body: upload, length: int64(len(wasm)), module: name,
	}, &done)
	told()
	if err != nil {
		return err
	}
	if err := show(env, f.output, done, []admin.Deployed{done}, func(t *table) {
		text := fmt.Sprintf("%s: generation %d (%s) serves", name, done.Generation, short(done.Digest))
		if done.Canary {
			text = fmt.Sprintf("%s: generation %d (%s) is a canary", name, done.Generation, short(done.Digest))
		}
		t.add(fmt.Sprintf("%s · load %s · swap %s", text, millisecondsText(done.LoadMS), millisecondsText(done.SwapMS)))
	}); err != nil {
		return err
	}
	switch {
	case done.PersistError != "":
		return fmt.Errorf("%s: it serves, but the server's file could not be replaced: %s; a restart serves the old one", what, printable(done.PersistError))
	case done.Canary:
		fmt.Fprintf(env.Stderr, "weir: `weir module promote %[1]s` gives it all, `weir module rollback %[1]s` ends it\n", name)
	case !done.Persisted && f.output == "text":
		fmt.Fprintln(env.Stderr, "weir: it is not in the server's file: a restart serves that one again; --persist writes it")
	}
	return nil
}

func millisecondsText(ms float64) string {
	return durationText(time.Duration(ms * float64(time.Millisecond)))
}

// countingReader knows when all of it has been read.
type countingReader struct {
	*bytes.Reader
	mu   sync.Mutex
	read bool
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF || r.Reader.Len() == 0 {
		r.mu.Lock()
		r.read = true
		r.mu.Unlock()
	}
	return n, err
}

func (r *countingReader) done() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read
}

// waitingAfter is how long a command may take before it says what it waits for.
const waitingAfter = 300 * time.Millisecond

// waiting says on a terminal what a command waits for, from when after fires until
// stop is called, which wipes the line away. what is asked again each second.
func waiting(env *Env, after <-chan time.Time, what func() string) (stop func()) {
	if !env.Terminal {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop, which waits for it
		defer close(ended)
		began := time.Now()
		wipe := ""
		for {
			select {
			case <-end:
				fmt.Fprint(env.Stderr, wipe)
				return
			case <-after:
				wipe = "\r\x1b[K"
				fmt.Fprintf(env.Stderr, "%sweir: %s … %v", wipe, what(), time.Since(began).Round(100*time.Millisecond))
				after = time.After(time.Second)
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

func newModuleCanary(env *Env) *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:     "canary NAME PERCENT",
		Short:   "change the share of a canary",
		Long:    "Changes how many of the connections a canary serves, 1 to 99 percent." + adminFlagsHelp,
		Example: "  weir module canary chat 50",
		Args:    exactly("NAME", "PERCENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			percent, err := strconv.Atoi(strings.TrimSuffix(args[1], "%"))
			if err != nil || percent < 1 || percent > 99 {
				return usage("%q: give a percentage from 1 to 99; `weir module promote` gives a canary all", args[1])
			}
			return f.change(cmd.Context(), env, args[0], "canary", nil, admin.CanaryShare{Percent: percent})
		},
	}
	f.register(cmd, "text, json or ndjson")
	cmd.ValidArgsFunction = f.completing(env, moduleNames)
	return cmd
}

func newModulePromote(env *Env) *cobra.Command {
	var f adminFlags
	var persist bool
	cmd := &cobra.Command{
		Use:     "promote NAME",
		Short:   "give a canary all connections",
		Long:    "Gives a canary all connections; with --persist it becomes the file of the server's\nconfiguration, too. What the module is then is printed." + adminFlagsHelp,
		Example: "  weir module promote chat --persist",
		Args:    exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if persist {
				query.Set("persist", "true")
			}
			return f.change(cmd.Context(), env, args[0], "promote", query, nil)
		},
	}
	cmd.Flags().BoolVar(&persist, "persist", false, "make it the file of the server's configuration, too")
	f.register(cmd, "text, json or ndjson")
	cmd.ValidArgsFunction = f.completing(env, moduleNames)
	return cmd
}

// newModuleChange is a command that changes a module and needs nothing but its name.
func newModuleChange(env *Env, verb, short string) *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Long:    strings.ToUpper(short[:1]) + short[1:] + ". What the module is then is printed." + adminFlagsHelp,
		Example: "  weir module " + verb + " chat",
		Args:    exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.change(cmd.Context(), env, args[0], verb, nil, nil)
		},
	}
	f.register(cmd, "text, json or ndjson")
	cmd.ValidArgsFunction = f.completing(env, moduleNames)
	return cmd
}

// change does something to a module and prints what it is then.
func (f *adminFlags) change(ctx context.Context, env *Env, name, verb string, query url.Values, body any) error {
	return f.ask(ctx, env, forms, func(ctx context.Context, c *adminClient) error {
		var m admin.Module
		r := request{what: verb + " " + name, method: http.MethodPost, path: modulePath(name, verb), query: query, body: body, module: name}
		if err := c.call(ctx, r, &m); err != nil {
			return err
		}
		return show(env, f.output, m, []admin.Module{m}, func(t *table) {
			t.add(fmt.Sprintf("%s: generation %d (%s), %s", m.Name, m.Generation, short(m.Digest), moduleState(m).text))
		})
	})
}
