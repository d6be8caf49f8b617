package wasm

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// kernels are the functions of testdata/kernels, and arguments that make them run for a while.
var kernels = []struct {
	name string
	arg  uint64
	reps int // calls of one measurement
	inGo bool
}{
	{"sha256", 1 << 16, 1, true},
	{"json", 100, 1, true},
	{"mandelbrot", 48, 1, true},
	{"fib", 20, 1, true},
	{"echo", 128, 500, true},
	{"bubble", 400, 1, false},
	{"copy", 1 << 17, 1, false},
	{"sum", 64, 1, false},
}

// BenchmarkMetered runs kernels plain and metered by turns. The metric "overhead" compares the medians.
func BenchmarkMetered(b *testing.B) {
	c, err := os.ReadFile("testdata/kernels/kernels.wasm")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("C", func(b *testing.B) {
		plain, err := instantiate(b, wazero.NewRuntimeConfigCompiler(), c, nil)
		if err != nil {
			b.Fatal(err)
		}
		compareKernels(b, plain, engineOf(b, meter(b, c), &host{grant: 100_000}), false)
	})
	b.Run("Go", func(b *testing.B) {
		f := goKernels(b)
		h := &host{t: b, grant: 100_000}
		compareKernels(b, reactor(b, f, nil), reactor(b, meter(b, f), h), true)
	})
}

func compareKernels(b *testing.B, plain, metered api.Module, onlyGo bool) {
	for _, k := range kernels {
		if onlyGo && !k.inGo {
			continue
		}
		b.Run(k.name, func(b *testing.B) {
			ctx := context.Background()
			functions := []api.Function{plain.ExportedFunction(k.name), metered.ExportedFunction(k.name)}
			times := make([][]time.Duration, len(functions))
			stack := make([]uint64, 1)
			for b.Loop() {
				for i, f := range functions {
					start := time.Now()
					for range k.reps {
						stack[0] = k.arg
						if err := f.CallWithStack(ctx, stack); err != nil {
							b.Fatal(err)
						}
					}
					times[i] = append(times[i], time.Since(start))
				}
			}
			for i := range times {
				slices.Sort(times[i])
			}
			median := func(d []time.Duration) float64 { return float64(d[len(d)/2]) }
			b.ReportMetric(median(times[0])/float64(k.reps), "plain-ns")
			b.ReportMetric(median(times[1])/median(times[0]), "overhead")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkLoad reads and meters a guest of some megabytes.
func BenchmarkLoad(b *testing.B) {
	f := goKernels(b)
	m := must(b, f)
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(f)))
		b.ReportAllocs()
		for b.Loop() {
			Read(f, DefaultLimits())
		}
	})
	b.Run("meter", func(b *testing.B) {
		b.SetBytes(int64(len(f)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Meter(MeterOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
