package config

import (
	"reflect"
	"slices"
	"testing"
)

// parse loads one file.
func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Load(Source{Files: []string{"weir.yaml"}, ReadFile: files(map[string]string{"weir.yaml": text})})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMerge(t *testing.T) {
	const base = "modules: {a: {path: a.wasm}, b: {path: b.wasm}}\nroutes: [{path: /a, module: a}, {path: /b, module: b}]\n"
	for _, tc := range []struct {
		name, running, asked string
		changes              []Change
		merged               string // what is in effect then; empty: asked
	}{
		{"nothing has changed", base, base, nil, ""},
		{"a default that is written out is no change", base, base + "log: {level: info}\nwebsocket: {ping_interval: 25s}\n", nil, ""},
		{"hot keys and those of new connections are taken", base, base + "websocket: {ping_interval: 7s}\nserver: {max_headers: 9, inbound_budget: 1MiB}\n", []Change{
			{"server.max_headers", ClassConnections}, {"server.inbound_budget", ClassHot}, {"websocket.ping_interval", ClassHot},
		}, ""},
		{"what needs a restart is kept", base + "pool: {workers: 3}\n", base + "pool: {workers: 4}\nserver: {listen: [':9']}\nlog: {format: json, level: debug}\n", []Change{
			{"server.listen", ClassRestart}, {"log.level", ClassHot}, {"log.format", ClassRestart}, {"pool.workers", ClassRestart},
		}, base + "pool: {workers: 3}\nlog: {level: debug}\n"},
		{"a module's settings bring about a generation", base,
			"modules: {a: {path: a.wasm, limits: {fuel: 5}, config: {x: 1}}, b: {path: b2.wasm, cells: 9}}\nroutes: [{path: /a, module: a}, {path: /b, module: b}]\n", []Change{
				{"modules.a.config", ClassGeneration}, {"modules.a.limits.fuel", ClassGeneration},
				{"modules.b.path", ClassGeneration}, {"modules.b.cells", ClassRestart},
			}, "modules: {a: {path: a.wasm, limits: {fuel: 5}, config: {x: 1}}, b: {path: b2.wasm}}\nroutes: [{path: /a, module: a}, {path: /b, module: b}]\n"},
		{"a module's metrics bring one about, those that come and go too",
			"modules: {a: {path: a.wasm, metrics: {left: {}, stays: {}, orders: {type: gauge}}}}\n",
			"modules: {a: {path: a.wasm, metrics: {came: {help: x}, stays: {}, orders: {}}}}\n", []Change{
				{"modules.a.metrics.came", ClassGeneration}, {"modules.a.metrics.left", ClassGeneration}, {"modules.a.metrics.orders.type", ClassGeneration},
			}, ""},
		{"the first metric brings one about", "modules: {a: {path: a.wasm}}\n", "modules: {a: {path: a.wasm, metrics: {came: {}}}}\n", []Change{
			{"modules.a.metrics.came", ClassGeneration},
		}, ""},
		{"routes to the same modules are taken", base, base[:len(base)-2] + ", {path: /c, module: a, protocols: [x]}]\n", []Change{
			{"routes", ClassConnections},
		}, ""},
		{"a new module waits for a restart, and so do the routes to it", base,
			"modules: {a: {path: a.wasm}, b: {path: b.wasm}, c: {path: c.wasm}}\nroutes: [{path: /c, module: c}]\ndrain: {spread: 1s}\n", []Change{
				{"drain.spread", ClassHot}, {"routes", ClassRestart}, {"modules.c", ClassRestart},
			}, base + "drain: {spread: 1s}\n"},
		{"a module that goes stays until a restart", base, "modules: {a: {path: a.wasm}}\nroutes: [{path: /a, module: a}]\n", []Change{
			{"routes", ClassConnections}, {"modules.b", ClassRestart},
		}, "modules: {a: {path: a.wasm}, b: {path: b.wasm}}\nroutes: [{path: /a, module: a}]\n"},
		{"a module cannot lose the scope pool", base,
			"modules: {a: {path: a.wasm}, b: {path: b.wasm}}\nroutes: [{path: /a, module: a, scope: singleton}, {path: /b, module: b}]\n", []Change{
				{"routes", ClassRestart},
			}, base},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.merged == "" {
				tc.merged = tc.asked
			}
			running, asked := parse(t, tc.running), parse(t, tc.asked)
			merged, changes := Merge(running, asked)
			if !slices.Equal(changes, tc.changes) {
				t.Errorf("changes:\n got %v\nwant %v", changes, tc.changes)
			}
			if want := parse(t, tc.merged).WithDefaults(); !reflect.DeepEqual(merged.WithDefaults(), want) {
				t.Errorf("merged:\n got %s\nwant %s", dump("", reflect.ValueOf(merged.WithDefaults())), dump("", reflect.ValueOf(want)))
			}
			if !reflect.DeepEqual(running, parse(t, tc.running)) || !reflect.DeepEqual(asked, parse(t, tc.asked)) {
				t.Error("an argument was changed")
			}
			if _, again := Merge(merged, asked); !slices.Equal(InClass(again, ClassRestart), InClass(tc.changes, ClassRestart)) || len(again) != len(InClass(again, ClassRestart)) {
				t.Errorf("asked for again, there is left %v", again)
			}
		})
	}
}

func TestEveryKeyHasAClass(t *testing.T) {
	known := []Class{ClassHot, ClassConnections, ClassGeneration, ClassRestart}
	counts := map[Class]int{}
	for _, f := range schema() {
		counts[f.class]++
		if !slices.Contains(known, f.class) {
			t.Errorf("%s: there is no class %q", f.path, f.class)
		}
	}
	for _, c := range known {
		if counts[c] == 0 {
			t.Errorf("no key has the class %q", c)
		}
	}
}
