package wasm

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// engines are both of wazero's.
var engines = []struct {
	name   string
	config func() wazero.RuntimeConfig
}{
	{"interpreter", wazero.NewRuntimeConfigInterpreter},
	{"compiler", wazero.NewRuntimeConfigCompiler},
}

// host stands for weir: it refills.
type host struct {
	t      testing.TB
	grant  int64
	fuel   api.MutableGlobal
	calls  int   // of refill for fuel
	spent  int64 // of what was granted before the last refill
	stack  int   // calls of refill for stack
	panics bool  // stop the guest instead of refilling
}

func (h *host) Call(_ context.Context, _ api.Module, s []uint64) {
	switch uint32(s[0]) {
	case RefillFuel:
		h.calls++
		if debt := int64(s[1]); debt >= 0 {
			h.t.Errorf("refill was called with fuel left: %d", debt)
		}
		if h.panics {
			panic(errStopped)
		}
		h.spent += h.grant - int64(s[1])
		s[0] = uint64(h.grant)
	case RefillStack:
		h.stack++
		panic(errDeep)
	default:
		h.t.Errorf("refill was called for reason %d", uint32(s[0]))
	}
}

var (
	errStopped = fmt.Errorf("stopped by the test")
	errDeep    = fmt.Errorf("too deep")
)

// instantiate runs a module, metered or not. h may be nil if it is not.
func instantiate(t testing.TB, config wazero.RuntimeConfig, file []byte, h *host) (api.Module, error) {
	t.Helper()
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, config.WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(1024))
	t.Cleanup(func() { _ = rt.Close(ctx) })
	if h != nil {
		_, err := rt.NewHostModuleBuilder(MeterModule).NewFunctionBuilder().
			WithGoModuleFunction(h, []api.ValueType{api.ValueTypeI32, api.ValueTypeI64}, []api.ValueType{api.ValueTypeI64}).
			Export(MeterRefill).Instantiate(ctx)
		if err != nil {
			t.Fatal(err)
		}
	}
	m, err := rt.InstantiateWithConfig(ctx, file, wazero.NewModuleConfig().WithStartFunctions())
	if err == nil && h != nil {
		h.fuel = m.ExportedGlobal(MeterFuel).(api.MutableGlobal)
	}
	return m, err
}

// firstLine is the kind of a trap, without the stack trace.
func firstLine(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	if i := strings.Index(line, "wasm error"); i > 0 {
		line = line[i:] // before it are function indices, which metering changes
	}
	return line
}

// outcome is what a program did, as far as anyone can see.
type outcome struct {
	steps  []string
	memory []byte
}

// run calls the exported functions of a generated module one after the other until one traps.
func run(t testing.TB, config wazero.RuntimeConfig, file []byte, h *host) outcome {
	m, err := instantiate(t, config, file, h)
	if err != nil {
		return outcome{steps: []string{firstLine(err)}}
	}
	var o outcome
	ctx := context.Background()
	for _, call := range []struct {
		name string
		args []uint64
	}{{"f0", []uint64{3, 70_000}}, {"f1", []uint64{1 << 40}}, {"f3", []uint64{9}}, {"f4", []uint64{math.Float64bits(2.5), 1}}, {"f0", []uint64{0, 1}}} {
		m.ExportedGlobal("budget").(api.MutableGlobal).Set(12)
		if h != nil {
			h.fuel.Set(uint64(h.grant))
		}
		results, err := m.ExportedFunction(call.name).Call(ctx, call.args...)
		if call.name == "f4" && err == nil && math.IsNaN(math.Float64frombits(results[0])) {
			results[0] = 0 // the bits of a NaN are not determined
		}
		o.steps = append(o.steps, fmt.Sprint(call.name, results, firstLine(err),
			m.ExportedGlobal("g32").Get(), m.ExportedGlobal("g64").Get(), m.ExportedGlobal("budget").Get()))
		if err != nil {
			break
		}
		if h != nil {
			if left := int64(h.fuel.Get()); left > h.grant {
				t.Errorf("%s: %d fuel left of %d", call.name, left, h.grant)
			}
		}
	}
	mem := m.ExportedMemory("memory")
	all, _ := mem.Read(0, mem.Size())
	o.memory = bytes.Clone(all)
	return o
}

func differ(t testing.TB, source []byte) {
	plain := generate(source)
	m, problems := Read(plain, DefaultLimits())
	if problems != nil {
		t.Fatalf("generated module: %v", problems)
	}
	metered, err := m.Meter(MeterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if again := m.Encode(); !bytes.Equal(again, must(t, again).Encode()) {
		t.Error("encoding twice gives two results")
	}
	for _, e := range engines {
		want := run(t, e.config(), plain, nil)
		for _, grant := range []int64{1 << 40, 10} {
			h := &host{t: t, grant: grant}
			got := run(t, e.config(), metered, h)
			if h.stack > 0 {
				t.Errorf("%s: called too deep", e.name)
			}
			if fmt.Sprint(got.steps) != fmt.Sprint(want.steps) {
				t.Errorf("%s, %d fuel at once:\n got %q\nwant %q", e.name, grant, got.steps, want.steps)
			}
			if !bytes.Equal(got.memory, want.memory) {
				t.Errorf("%s, %d fuel at once: the memories differ", e.name, grant)
			}
		}
	}
	if t.Failed() {
		t.Logf("module %x", plain)
	}
}

func must(t testing.TB, file []byte) *Module {
	t.Helper()
	m, problems := Read(file, DefaultLimits())
	if problems != nil {
		t.Fatal(problems)
	}
	return m
}

func FuzzMeter(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, source []byte) { differ(t, source) })
}

func TestMeteredProgramsDoTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	programs := 150
	if testing.Short() {
		programs = 20
	}
	for i := range programs {
		b := make([]byte, 100+random.IntN(1500))
		for j := range b {
			b[j] = byte(random.Uint32())
		}
		t.Run(fmt.Sprint("program ", i), func(t *testing.T) {
			differ(t, b)
		})
	}
}
