package wasm

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

type kernel struct {
	mod  api.Module
	fuel api.MutableGlobal
}

func load(t testing.TB, ctx context.Context, bin []byte) kernel {
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2))
	t.Cleanup(func() { rt.Close(ctx) })
	_, err := rt.NewHostModuleBuilder(MeterModule).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, s []uint64) {
		if uint32(s[0]) != 0 {
			panic("stack")
		}
		s[0] = 100_000
	}), []api.ValueType{api.ValueTypeI32, api.ValueTypeI64}, []api.ValueType{api.ValueTypeI64}).Export(MeterRefill).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := rt.Instantiate(ctx, bin)
	if err != nil {
		t.Fatal(err)
	}
	k := kernel{mod: mod}
	if g, ok := mod.ExportedGlobal(MeterFuel).(api.MutableGlobal); ok {
		k.fuel = g
	}
	return k
}

func TestProbe(t *testing.T) {
	bin, _ := os.ReadFile("testdata/kernels/kernels.wasm")
	m, ps := Read(bin, DefaultLimits())
	if ps != nil {
		t.Fatal(ps)
	}
	ctx := context.Background()
	ks := []kernel{load(t, ctx, bin)}
	nv := 1
	if s := os.Getenv("VARIANTS"); s != "" {
		nv, _ = strconv.Atoi(s)
	}
	for v := 0; v < nv; v++ {
		out, err := m.Meter(MeterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ks = append(ks, load(t, ctx, out))
	}
	for _, c := range []struct {
		name string
		arg  uint64
	}{{"sha256", 1 << 17}, {"fib", 24}, {"mandelbrot", 64}, {"bubble", 700}, {"copy", 1 << 19}, {"sum", 128}, {"json", 1000}, {"echo", 128}} {
		best := make([]time.Duration, len(ks))
		for i := range best {
			best[i] = time.Hour
		}
		var want uint64
		fs := make([]api.Function, len(ks))
		for i := range ks {
			fs[i] = ks[i].mod.ExportedFunction(c.name)
		}
		for round := 0; round < 60; round++ {
			for i, k := range ks {
				if k.fuel != nil {
					k.fuel.Set(100_000)
				}
				st := []uint64{c.arg}
				reps := 1
				if c.arg < 1000 && c.name == "echo" {
					reps = 1000
				}
				start := time.Now()
				for range reps {
					st[0] = c.arg
					if err := fs[i].CallWithStack(ctx, st); err != nil {
						t.Fatal(err)
					}
				}
				best[i] = min(best[i], time.Since(start))
				if i == 0 {
					want = st[0]
				} else if st[0] != want {
					t.Fatal(c.name, i, st[0], want)
				}
			}
		}
		s := fmt.Sprintf("%-12s %10v", c.name, best[0])
		for _, d := range best[1:] {
			s += fmt.Sprintf("  %.3f", float64(d)/float64(best[0]))
		}
		fmt.Println(s)
	}
}
