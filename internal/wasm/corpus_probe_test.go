package wasm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

func TestCorpusProbe(t *testing.T) {
	var files []string
	for _, p := range []string{"../../runtime/testdata/*.wasm", "../../examples/*/*.wasm", "../../host/testdata/*.wasm", "../cli/demo/*.wasm", "testdata/kernels/*.wasm", "/tmp/guests/*.wasm"} {
		fs, _ := filepath.Glob(p)
		files = append(files, fs...)
	}
	ctx := context.Background()
	for _, f := range files {
		bin, _ := os.ReadFile(f)
		s := time.Now()
		m, ps := Read(bin, DefaultLimits())
		rd := time.Since(s)
		if ps != nil {
			t.Log(f, ps)
			continue
		}
		s = time.Now()
		out, err := m.Meter(MeterOptions{})
		mt := time.Since(s)
		if err != nil {
			t.Log(f, err)
			continue
		}
		comp := func(b []byte) time.Duration {
			rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2))
			defer rt.Close(ctx)
			s := time.Now()
			if _, err := rt.CompileModule(ctx, b); err != nil {
				t.Error(f, err)
			}
			return time.Since(s)
		}
		p := newStackPlan(m)
		free, rec := 0, 0
		for i := range p.calls {
			if p.calls[i].free { free++ }
			if p.charge[i] > 0 { rec++ }
		}
		fmt.Printf("%-40s %8d -> %8d  read %v meter %v compile %v -> %v  funcs %d free %d rec %d most %d\n", filepath.Base(f), len(bin), len(out), rd, mt, comp(m.Encode()), comp(out), len(p.calls), free, rec, p.most)
	}
}
