package wasm

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// realFrames compiles bin and returns what each defined function checks the stack for.
func realFrames(t testing.TB, bin []byte) []int {
	ctx := context.Background()
	dir := t.TempDir()
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil { t.Fatal(err) }
	defer cache.Close(ctx)
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2).WithCompilationCache(cache))
	defer rt.Close(ctx)
	if _, err := rt.CompileModule(ctx, bin); err != nil { t.Fatal(err) }
	var file string
	filepath.Walk(dir, func(p string, i os.FileInfo, _ error) error { if !i.IsDir() { file = p }; return nil })
	b, _ := os.ReadFile(file)
	b = b[6:]
	b = b[1+int(b[0]):]
	n := int(binary.LittleEndian.Uint32(b))
	b = b[4:]
	offs := make([]int, n)
	for i := range offs { offs[i] = int(binary.LittleEndian.Uint64(b[8*i:])) }
	code := b[8*n+8:]
	frames := make([]int, n)
	for i, o := range offs {
		c := code[o:]
		if c[0] != 0x55 || c[1] != 0x48 || c[2] != 0x89 || c[3] != 0xe5 { t.Fatalf("prologue %x", c[:16]) }
		switch {
		case c[4] == 0x48 && c[5] == 0x81 && c[6] == 0xec:
			frames[i] = int(int32(binary.LittleEndian.Uint32(c[7:])))
		case c[4] == 0x48 && c[5] == 0x83 && c[6] == 0xec:
			frames[i] = int(int8(c[7]))
		default:
			frames[i] = -1
		}
	}
	return frames
}

func TestFrameProbe(t *testing.T) {
	var files []string
	for _, p := range []string{"../../host/testdata/*.wasm", "../cli/demo/*.wasm", "testdata/kernels/*.wasm", "/tmp/guests/*.wasm"} {
		fs, _ := filepath.Glob(p)
		files = append(files, fs...)
	}
	for _, f := range files {
		bin, _ := os.ReadFile(f)
		m, ps := Read(bin, DefaultLimits())
		if ps != nil { t.Fatal(ps) }
		out, _ := m.Meter(MeterOptions{StackBytes: 1 << 29})
		fr := realFrames(t, out)
		p := newStackPlan(m)
		d := decoder{most: 1 << 30}
		for i := range m.bodies {
			var in instruction
			d.code, d.pos = m.bodies[i].code, 0
			calls, sets, instrs, blocks := 0, 0, 0, 0
			seen := map[uint32]bool{}
			for d.pos < len(d.code) {
				if err := d.next(&in); err != nil { t.Fatal(err) }
				instrs++
				switch in.op {
				case opCall, opCallIndirect: calls++
				case opLocalSet, opLocalTee: sets++; seen[in.x] = true
				case opBlock, opLoop, opIf: blocks++
				}
			}
			locals := len(m.FunctionType(len(m.imports)+i).Params)
			for _, g := range m.bodies[i].locals { locals += int(g.n) }
			fmt.Printf("F %s %d real %d est %d locals %d calls %d sets %d instrs %d blocks %d rec %v\n", filepath.Base(f), i, fr[i], p.calls[i].frame, locals, calls, sets, instrs, blocks, p.charge[i] > 0)
		}
	}
}
