package admin

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"weir/host"
)

var routesOfModules = []route{
	{method: "GET", path: "/v1/modules", summary: "list the modules", gives: Modules{}, serve: (*call).modules},
	{method: "GET", path: "/v1/modules/{name}", summary: "look at a module", gives: Module{}, serve: (*call).module},
	{
		method: "PUT", path: "/v1/modules/{name}", summary: "load a version of a module, with every socket open", takes: []byte{}, gives: Deployed{}, ifMatch: true,
		asked: "a version of a module", serve: (*call).deploy, query: []parameter{
			{"canary", "integer", "Serve this share of the connections, or of the keys, in percent, until it is promoted; 0 takes over at once. As configured if it is not given."},
			{"persist", "boolean", "Replace the module's file too, so that a restart does not lose it. Not with a canary."},
		},
	},
	{
		method: "POST", path: "/v1/modules/{name}/canary", summary: "let the canary serve more", takes: CanaryShare{}, gives: Module{},
		asked: "a canary's share", serve: (*call).share,
	},
	{
		method: "POST", path: "/v1/modules/{name}/promote", summary: "let the canary take over", gives: Module{},
		asked: "the canary's promotion", serve: (*call).promote, query: []parameter{
			{"persist", "boolean", "Replace the module's file too, so that a restart does not lose it."},
		},
	},
	{
		method: "POST", path: "/v1/modules/{name}/rollback", summary: "return to the generation before", gives: Module{},
		asked: "a rollback", serve: change((*host.Server).Rollback),
	},
	{
		method: "POST", path: "/v1/modules/{name}/pause", summary: "hold the module's events back", gives: Module{},
		asked: "a pause", serve: change((*host.Server).Pause),
	},
	{
		method: "POST", path: "/v1/modules/{name}/resume", summary: "end a pause", gives: Module{},
		asked: "the end of a pause", serve: change((*host.Server).Resume),
	},
}

func (c *call) modules() error {
	stats, sources := c.s.Server.Stats(), c.sources()
	all := Modules{Modules: []Module{}}
	for _, name := range slices.Sorted(maps.Keys(stats.Modules)) {
		all.Modules = append(all.Modules, c.describeModule(name, stats, sources[name]))
	}
	answer(c.w, 200, all)
	return nil
}

func (c *call) sources() map[string]Source {
	if c.s.Operator == nil {
		return nil
	}
	return c.s.Operator.Sources()
}

// module answers with the module of the path as it is now. Its ETag is what a PUT
// may give as If-Match.
func (c *call) module() error {
	name := c.r.PathValue("name")
	stats := c.s.Server.Stats()
	if _, known := stats.Modules[name]; !known {
		return unknownModule(name)
	}
	m := c.describeModule(name, stats, c.sources()[name])
	latest := m.Generation
	if m.Canary != nil {
		latest = m.Canary.Generation
	}
	c.w.Header().Set("ETag", strconv.Quote(strconv.FormatUint(latest, 10)))
	answer(c.w, 200, m)
	return nil
}

func unknownModule(name string) error {
	return problem(CodeUnknownModule, "there is no module "+quoted(name))
}

// describeModule puts together what is known of a module.
func (c *call) describeModule(name string, stats host.Stats, source Source) Module {
	figures := stats.Modules[name]
	m := Module{
		Name: name, Path: source.Path, Source: "file", Paused: c.s.Server.Paused(name), Breaker: figures.Breaker,
		Routes: source.Routes, Capabilities: source.Capabilities, LastRefusal: source.LastRefusal, Generations: []Generation{},
	}
	if m.Routes == nil {
		m.Routes = []ModuleRoute{}
	}
	if m.Capabilities == nil {
		m.Capabilities = []string{}
	}
	for _, r := range m.Routes {
		m.Connections += stats.Routes[r.Path].Open
	}
	for _, gen := range c.s.Server.Generations(name) {
		m.Generations = append(m.Generations, Generation{
			Number: gen.Number, Digest: gen.Digest, Fate: string(gen.Fate), Why: gen.Why, LoadedAt: time.UnixMilli(gen.LoadedAt).UTC(),
			Share: gen.Share, Cells: gen.Cells, Busy: gen.Busy, Events: gen.Events, Traps: gen.Traps,
		})
		switch gen.Fate {
		case host.FateCurrent:
			m.Generation, m.Digest = gen.Number, gen.Digest
			m.Traps += gen.Traps
			if slices.Contains(source.Uploads, gen.Digest) {
				m.Source = "api"
			}
		case host.FateCanary:
			m.Canary = &Canary{Generation: gen.Number, Share: gen.Share}
			m.Traps += gen.Traps
		}
	}
	return m
}

// change is the serving of what the server does by itself to a module.
func change(f func(*host.Server, string) error) func(*call) error {
	return func(c *call) error {
		if err := f(c.s.Server, c.r.PathValue("name")); err != nil {
			return err
		}
		return c.module()
	}
}

func (c *call) share() error {
	var asked CanaryShare
	if err := c.body(&asked); err != nil {
		return err
	}
	if err := c.s.Server.Canary(c.r.PathValue("name"), asked.Percent); err != nil {
		return err
	}
	return c.module()
}

func (c *call) promote() error {
	persist, err := c.truth("persist")
	if err != nil {
		return err
	}
	var o Operator
	if persist {
		if o, err = c.operator(); err != nil {
			return err
		}
	}
	name := c.r.PathValue("name")
	if err := c.s.Server.Promote(name); err != nil {
		return err
	}
	if persist {
		if err := o.Persist(c.r.Context(), name); err != nil {
			return fmt.Errorf("the canary is promoted, but its file could not be replaced: %w", err)
		}
	}
	return c.module()
}

func (c *call) deploy() error {
	u := Upload{Module: c.r.PathValue("name")}
	if c.s.Server.Generations(u.Module) == nil {
		return unknownModule(u.Module)
	}
	o, err := c.operator()
	if err != nil {
		return err
	}
	if u.Persist, err = c.truth("persist"); err != nil {
		return err
	}
	if c.q.Has("canary") {
		percent, err := c.number("canary", 0, 100, 0)
		if err != nil {
			return err
		}
		u.Canary = &percent
	}
	if u.Persist && u.Canary != nil && *u.Canary > 0 {
		return ErrCanaryFile
	}
	if u.Latest, err = c.ifMatch(); err != nil {
		return err
	}
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Now().Add(uploadTimeout))
	_ = control.SetWriteDeadline(time.Now().Add(uploadTimeout + deployTimeout + writeTimeout))
	if u.Wasm, err = io.ReadAll(c.r.Body); err != nil {
		return bodyProblem(err)
	}
	_ = control.SetReadDeadline(time.Time{}) // nothing more comes; the end of the connection is noticed
	ctx, cancel := context.WithTimeout(c.r.Context(), deployTimeout)
	defer cancel()
	done, err := o.Deploy(ctx, u)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", strconv.Quote(strconv.FormatUint(done.Generation, 10)))
	answer(c.w, 200, done)
	return nil
}

// ifMatch is the generation that the header names; 0 for any.
func (c *call) ifMatch() (uint64, error) {
	text := c.r.Header.Get("If-Match")
	if text == "" || text == "*" {
		return 0, nil
	}
	unquoted, err := strconv.Unquote(text)
	if err != nil {
		unquoted = text
	}
	n, err := strconv.ParseUint(unquoted, 10, 64)
	if err != nil || n == 0 {
		return 0, problem(CodeInvalid, `If-Match is `+quoted(text)+`; give a generation, such as "3"`)
	}
	return n, nil
}
