package cli

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"weir/host"
	"weir/internal/config"
	"weir/runtime"
)

// unbuiltModule refuses every connection with 503. It serves in place of a
// module that does not build or load yet.
//
//go:embed dev/unbuilt.wasm
var unbuiltModule []byte

// devAddress is bound when nothing else is asked for.
const devAddress = "127.0.0.1:8080"

// playgroundPath is where the playground always is.
const playgroundPath = "/_weir/"

// readProject reads DIR/weir.yaml, or makes up what it would say about a folder
// with one handler.
func (d *development) readProject() (*config.Config, error) {
	source := config.Source{ReadFile: d.env.ReadFile, Environ: d.env.Environ, Overrides: d.flags.log.overrides()}
	if len(d.flags.listen) > 0 {
		source.Overrides = append(source.Overrides,
			config.Override{Flag: "--listen", Key: "server.listen", Value: strings.Join(d.flags.listen, ",")})
	}
	file := filepath.Join(d.folder, defaultFile)
	if _, err := d.env.ReadFile(file); !errors.Is(err, fs.ErrNotExist) {
		source.Files = []string{file}
	}
	c, err := loadConfig(source)
	if err != nil {
		return nil, err
	}
	if len(source.Files) == 0 {
		tasks, err := buildTasks(d.env, d.folder, buildOptions{})
		if err != nil {
			return nil, err
		}
		t := tasks[0] // without a configuration there is one
		c.Modules = map[string]config.Module{t.module: {Path: t.target, Capabilities: runtime.CapabilityDefault.Names()}}
		c.Routes = []host.Route{{Path: "/{path...}", Module: t.module}}
	}
	if len(c.Modules) == 0 {
		return nil, usage("%s names no module; `weir new` starts a handler", file)
	}
	return c, nil
}

// readModule reads a module's file.
func (d *development) readModule(name string) (host.Module, error) {
	m := d.project.Modules[name]
	wasm, err := readModuleFile(d.env, m.Path)
	if err != nil {
		return host.Module{}, fmt.Errorf("module %s: %w", name, err)
	}
	if m.Record == "" {
		m.Record = runtime.RecordOnTrap
	}
	m.Rollout = host.RolloutOptions{TrapRate: -1} // what was saved takes over from all, and stays, however it traps
	return m.Host(name, wasm)
}

// unbuilt is what serves until m loads.
func unbuilt(m host.Module) host.Module {
	m.Wasm, m.Config = unbuiltModule, nil
	return m
}

// listenAddresses are those of the configuration, or devAddress. One that is
// taken gives way to the next free port, unless the user has named it for this
// very run.
func (d *development) listenAddresses(c *config.Config) []string {
	isVariable := func(v string) bool {
		value, ok := strings.CutPrefix(v, "WEIR_SERVER_LISTEN=")
		return ok && value != ""
	}
	if len(d.flags.listen) > 0 || slices.ContainsFunc(d.env.Environ, isVariable) {
		return c.Server.Listen
	}
	asked := c.Server.Listen
	if len(asked) == 0 {
		asked = []string{devAddress}
	}
	var all []string
	for _, address := range asked {
		free := nextFree(address)
		if free != address {
			d.logger.Warn(address + " is taken; listening on " + free)
		}
		all = append(all, free)
	}
	return all
}

// maxPortsTried bounds the search for a free port; after it, any will do.
const maxPortsTried = 20

// nextFree is address, or the same with the next port that is free.
func nextFree(address string) string {
	name, text, err := net.SplitHostPort(address)
	port, numberErr := strconv.Atoi(text)
	if err != nil || numberErr != nil {
		return address // binding it will say what is wrong
	}
	for next := port; next < min(port+maxPortsTried, 1<<16); next++ {
		candidate := net.JoinHostPort(name, strconv.Itoa(next))
		l, err := net.Listen("tcp", candidate)
		if err == nil {
			l.Close()
			return candidate
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return address
		}
	}
	return net.JoinHostPort(name, "0")
}

// web takes the static route that would hide the playground out of the
// configuration, and returns what answers plain requests: the playground, and
// the files of that route. rooted says that the playground is at "/" too.
func (d *development) web(c *host.Options) (_ http.Handler, rooted bool) {
	mux := http.NewServeMux()
	mux.Handle(playgroundPath, http.StripPrefix(strings.TrimSuffix(playgroundPath, "/"), d.page))
	var root http.Handler = d.page
	rooted = true
	var routes []host.Route
	for _, r := range c.Routes {
		if r.Path == "/" && r.Static != "" && rooted {
			root, rooted = http.FileServer(http.Dir(r.Static)), false
			if r.Static = ""; r.Module == "" {
				continue
			}
		}
		routes = append(routes, r)
	}
	c.Routes = routes
	mux.Handle("/", root)
	return mux, rooted
}

// openWebSockets is how many WebSockets are open; pages and their event streams
// do not count.
func openWebSockets(s host.Stats) int {
	pages := int(s.HTTP) - int(s.Closes["http"])
	return max(0, s.Open-s.Handshakes-pages)
}

func digestOf(wasm []byte) string {
	sum := sha256.Sum256(wasm)
	return hex.EncodeToString(sum[:])
}

// served is a module as it is in service.
type served struct {
	module     host.Module
	generation uint64 // 0: nothing of the user's own is
}

// load makes the next generation of a module.
func (s *served) load(ctx context.Context, server *host.Server, m host.Module) (host.Reloaded, error) {
	done, err := server.Reload(ctx, m)
	if err != nil {
		return done, err
	}
	s.module, s.generation = m, done.Generation
	return done, nil
}
