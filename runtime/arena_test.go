package runtime

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// pages is n pages of guest memory, in bytes.
func pages(n int) uint64 { return uint64(n) * wasmPageBytes }

// newTestArena returns an arena of which nothing must be left when the test ends.
func newTestArena(t testing.TB, budgetBytes uint64) *arena {
	t.Helper()
	a := newArena(int64(budgetBytes))
	t.Cleanup(func() {
		a.close()
		s := a.stats()
		if s.CommittedBytes != 0 || s.IdleBytes != 0 || s.ReservedBytes != 0 || s.Memories != 0 || a.regions.Load() != 0 {
			t.Errorf("after the last memory is freed and the arena closed there are left: %+v", s)
		}
	})
	return a
}

func takeMemory(t testing.TB, a *arena, minBytes, maxBytes uint64) *guestMemory {
	t.Helper()
	g, err := a.take(minBytes, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Free)
	return g
}

// grow has g hold n bytes, which it must.
func grow(t testing.TB, g *guestMemory, n uint64) []byte {
	t.Helper()
	p := g.Reallocate(n)
	if p == nil || uint64(len(p)) != n || uint64(cap(p)) != n {
		t.Fatalf("a memory asked for %d bytes holds %d with room for %d", n, len(p), cap(p))
	}
	return p
}

func dirty(p []byte) int {
	for at := 0; at < len(p); at += len(zeros) {
		if chunk := p[at:min(at+len(zeros), len(p))]; !bytes.Equal(chunk, zeros[:len(chunk)]) {
			for i, b := range chunk {
				if b != 0 {
					return at + i
				}
			}
		}
	}
	return -1
}

var zeros [wasmPageBytes]byte

func TestMemoryIsWithinItsLimits(t *testing.T) {
	t.Run("it holds what it was taken with, and grows to its maximum and no further", func(t *testing.T) {
		a := newTestArena(t, pages(100))
		g := takeMemory(t, a, pages(2), pages(5))
		grow(t, g, pages(2))
		grow(t, g, pages(5))
		if g.Reallocate(pages(6)) != nil {
			t.Error("it grew beyond the module's maximum, which its region's size allows")
		}
		if s := a.stats(); s.RefusedGrows != 0 {
			t.Errorf("the module's own limit counts as %d refusals of the budget", s.RefusedGrows)
		}
	})
	t.Run("what it held stays when it grows", func(t *testing.T) {
		g := takeMemory(t, newTestArena(t, pages(100)), pages(1), pages(50))
		grow(t, g, pages(1))[wasmPageBytes-1] = 7
		for n := 2; n <= 50; n++ {
			if p := grow(t, g, pages(n)); p[wasmPageBytes-1] != 7 || dirty(p[wasmPageBytes:]) >= 0 {
				t.Fatalf("%d pages do not begin with the page that there was, and go on with zeros", n)
			}
		}
	})
	t.Run("it can be empty", func(t *testing.T) {
		g := takeMemory(t, newTestArena(t, pages(1)), 0, 0)
		if p := g.Reallocate(0); p == nil || len(p) != 0 {
			t.Errorf("no bytes are %v", p)
		}
	})
	t.Run("sizes that no module can have are refused", func(t *testing.T) {
		a := newTestArena(t, pages(1))
		for _, bad := range [][2]uint64{{pages(2), pages(1)}, {0, 1<<32 + wasmPageBytes}, {0, math.MaxUint64}} {
			if g, err := a.take(bad[0], bad[1]); err == nil {
				t.Errorf("a memory of %d to %d bytes was taken", bad[0], bad[1])
				g.Free()
			}
		}
	})
	t.Run("a freed memory has nothing left, and can be freed again", func(t *testing.T) {
		a := newTestArena(t, pages(4))
		g := takeMemory(t, a, pages(1), pages(1))
		g.Free()
		next := takeMemory(t, a, pages(1), pages(1))
		grow(t, next, pages(1))[0] = 1
		g.Free()
		if g.Reallocate(pages(1)) != nil {
			t.Error("it still hands out memory")
		}
		if next.Reallocate(pages(1))[0] != 1 {
			t.Error("the second Free reached its next owner")
		}
	})
	t.Run("a class holds its sizes", func(t *testing.T) {
		for bytes, want := range map[uint64]int{0: 0, pages(1): 0, pages(2): 1, pages(3): 2, pages(4): 2, pages(5): 3,
			pages(8192): 13, pages(8193): 14, 1 << 32: regionClasses - 1} {
			if got := classOf(bytes); got != want || uint64(minRegionBytes)<<got < bytes {
				t.Errorf("%d bytes are of class %d, want %d", bytes, got, want)
			}
		}
	})
}

func TestMemoriesShareABudget(t *testing.T) {
	t.Run("what does not fit is refused until another is freed", func(t *testing.T) {
		a := newTestArena(t, pages(10))
		big := takeMemory(t, a, pages(8), pages(8))
		small := takeMemory(t, a, pages(1), pages(20))
		if small.Reallocate(pages(3)) != nil {
			t.Error("a memory grew beyond the budget")
		}
		grow(t, small, pages(2))
		if _, err := a.take(pages(1), pages(1)); !errors.Is(err, errGuestBudget) {
			t.Errorf("a memory beyond the budget: %v", err)
		} else if want := "guest memory of 65536 bytes"; !strings.Contains(err.Error(), want) {
			t.Errorf("the error %q does not say %q", err, want)
		}
		if s := a.stats(); s.RefusedGrows != 1 || s.RefusedStarts != 1 || s.CommittedBytes != s.BudgetBytes || s.Memories != 2 {
			t.Errorf("a full budget is reported as %+v", s)
		}
		big.Free()
		grow(t, small, pages(10))
	})
	t.Run("idle memory makes way", func(t *testing.T) {
		a := newTestArena(t, pages(64))
		for _, n := range []int{1, 2, 5} {
			g := takeMemory(t, a, pages(n), pages(n))
			g.Free()
		}
		if a.stats().IdleBytes == 0 {
			t.Fatal("nothing is idle")
		}
		grow(t, takeMemory(t, a, 0, pages(64)), pages(64))
	})
	t.Run("idle memory is a small part of it", func(t *testing.T) {
		a := newTestArena(t, pages(80))
		var taken []*guestMemory
		for range 80 {
			taken = append(taken, takeMemory(t, a, pages(1), pages(1)))
		}
		for _, g := range taken {
			g.Free()
		}
		if s := a.stats(); s.IdleBytes > s.BudgetBytes/idleShare || s.CommittedBytes != s.IdleBytes {
			t.Errorf("after many were freed: %+v", s)
		}
	})
	t.Run("a closed arena keeps nothing of what is freed later", func(t *testing.T) {
		a := newTestArena(t, pages(80))
		g := takeMemory(t, a, pages(1), pages(1))
		a.close()
		grow(t, g, pages(1))[0] = 1
		g.Free()
		if s := a.stats(); s.ReservedBytes != 0 {
			t.Errorf("left: %+v", s)
		}
	})
	t.Run("there are no more regions than the system has mappings for", func(t *testing.T) {
		a := newTestArena(t, pages(80))
		a.maxRegions = 2
		first := takeMemory(t, a, 0, pages(1))
		takeMemory(t, a, 0, pages(1))
		if _, err := a.take(0, pages(1)); err == nil || !strings.Contains(err.Error(), "mappings") {
			t.Errorf("the third of two: %v", err)
		}
		first.Free()
		takeMemory(t, a, 0, pages(100)) // of another class, for which the idle one makes way
	})
}

func TestARecycledMemoryReadsAsZeros(t *testing.T) {
	const kept, most = 16, 48
	for _, used := range []int{1, 2, 3, kept - 1, kept, kept + 1, most} {
		a := newTestArena(t, pages(16*most))
		a.kept = int64(pages(kept))
		for range 3 {
			g := takeMemory(t, a, pages(1), pages(most))
			for i, p := 0, grow(t, g, pages(used)); i < len(p); i++ {
				p[i] = byte(i) | 1
			}
			g.Free()
			next := takeMemory(t, a, pages(1), pages(most))
			for _, n := range []int{1, used, most} {
				if at := dirty(grow(t, next, pages(n))); at >= 0 {
					t.Fatalf("after a guest with %d pages the next one with %d reads its byte at %d", used, n, at)
				}
			}
			next.Free()
		}
		if a.stats().Recycled == 0 {
			t.Errorf("no memory of %d pages was recycled", used)
		}
	}
}

// Each goroutine marks its memory with bytes of its own, and must find zeros in what is new and its marks in the rest.
func TestMemoriesNeverShareBytes(t *testing.T) {
	a := newTestArena(t, pages(96))
	a.kept = int64(pages(6)) // what is larger is cleaned in the other way
	rounds := 120
	if testing.Short() {
		rounds = 30
	}
	var wg sync.WaitGroup
	for id := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(id)))
			mark := bytes.Repeat([]byte{byte(id + 1)}, wasmPageBytes)
			for round := range rounds {
				least := rng.IntN(4)
				most := least + rng.IntN(40)
				g, err := a.take(pages(least), pages(most))
				if err != nil {
					if !errors.Is(err, errGuestBudget) {
						t.Error(err)
					}
					continue
				}
				for size, marked := least, 0; size <= most; size += 1 + rng.IntN(12) {
					p := g.Reallocate(pages(size))
					if p == nil {
						break
					}
					if at := dirty(p[marked*wasmPageBytes:]); at >= 0 {
						t.Errorf("goroutine %d, round %d: another's byte at %d+%d", id, round, marked*wasmPageBytes, at)
					}
					for page := range size {
						at := p[page*wasmPageBytes:][:wasmPageBytes]
						if page < marked && !bytes.Equal(at, mark) {
							t.Errorf("goroutine %d, round %d: page %d was written by another", id, round, page)
						}
						copy(at, mark)
					}
					marked = size
					goruntime.Gosched() // with all of it in hand, so that others find the budget spent
				}
				if s := a.committed.Load(); s > a.budget {
					t.Errorf("%d bytes are committed of %d", s, a.budget)
				}
				g.Free()
			}
		})
	}
	wg.Wait()
	s := a.stats()
	if s.CommittedBytes != s.IdleBytes || s.Memories != 0 {
		t.Errorf("left: %+v", s)
	}
	if s.Recycled == 0 || s.RefusedStarts+s.RefusedGrows == 0 {
		t.Errorf("the hammer met no recycling or no refusal: %+v", s)
	}
}

func TestTakeAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	a := newTestArena(t, pages(100))
	// The memory itself. With the first pages from its last user, a fresh instance asks the system for nothing.
	if n := testing.AllocsPerRun(100, func() {
		g, err := a.take(pages(2), pages(16))
		if err != nil {
			t.Fatal(err)
		}
		g.Reallocate(pages(2))
		g.Free()
	}); n != 1 {
		t.Errorf("a recycled memory costs %v allocations, want 1", n)
	}
	if s := a.stats(); s.Created != 1 {
		t.Errorf("%d regions were made for one memory at a time", s.Created)
	}
}

// memoryContext is a context as call contexts are: it answers wazero's question for the allocator while a module is
// instantiated, and costs a comparison in every call afterwards.
type memoryContext struct {
	context.Context
	lend context.Context // nil once the module is instantiated
}

func (c *memoryContext) Value(key any) any {
	if c.lend == nil {
		return nil
	}
	return c.lend.Value(key)
}

// anonymous has a source of random numbers because wazero seeds one for each instance otherwise, which takes as long as
// everything else.
var anonymous = wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(bytes.NewReader(nil))

// startIn instantiates a module in a memory of a.
func startIn(t testing.TB, a *arena, rt wazero.Runtime, compiled wazero.CompiledModule) (
	api.Module, *memoryContext, error) {
	t.Helper()
	background := context.Background()
	memory := compiled.ExportedMemories()["memory"]
	most, _ := memory.Max()
	g, err := a.take(pages(int(memory.Min())), pages(int(most)))
	if err != nil {
		return nil, nil, err
	}
	c := &memoryContext{Context: background, lend: experimental.WithMemoryAllocator(background, g)}
	m, err := rt.InstantiateModule(c, compiled, anonymous)
	c.lend = nil
	if err != nil {
		g.Free()
	}
	return m, c, err
}

// growingGuest is a module with a memory of least to most pages that exports it, and grow(pages) -> pages before. Its
// data lies at dataAt.
func growingGuest(least, most, dataAt uint32) []byte {
	section := func(id byte, body ...[]byte) []byte {
		b := bytes.Join(body, nil)
		return append(binary.AppendUvarint([]byte{id}, uint64(len(b))), b...)
	}
	u32 := func(n uint32) []byte { return binary.AppendUvarint(nil, uint64(n)) }
	i32 := func(n uint32) []byte { // five groups of seven bits; good for LEB128 with a sign while n < 1<<31
		return []byte{byte(n) | 0x80, byte(n>>7) | 0x80, byte(n>>14) | 0x80, byte(n>>21) | 0x80, byte(n >> 28)}
	}
	return bytes.Join([][]byte{
		[]byte("\x00asm\x01\x00\x00\x00"),
		section(1, []byte{1, 0x60, 1, 0x7f, 1, 0x7f}),
		section(3, []byte{1, 0}),
		section(5, []byte{1, 1}, u32(least), u32(most)),
		section(7, []byte{2}, []byte("\x06memory\x02\x00"), []byte("\x04grow\x00\x00")),
		section(10, []byte{1, 6, 0, 0x20, 0, 0x40, 0, 0x0b}), // memory.grow(local 0)
		section(11, []byte{1, 0, 0x41}, i32(dataAt), []byte{0x0b, 4}, []byte("data")),
	}, nil)
}

func TestGuestsLiveInTheArena(t *testing.T) {
	for name, config := range map[string]wazero.RuntimeConfig{
		"compiler":    wazero.NewRuntimeConfig(),
		"interpreter": wazero.NewRuntimeConfigInterpreter(),
	} {
		t.Run(name, func(t *testing.T) {
			background := context.Background()
			rt := wazero.NewRuntimeWithConfig(background, config.WithMemoryLimitPages(100))
			t.Cleanup(func() { _ = rt.Close(background) })
			compile := func(t *testing.T, module []byte) wazero.CompiledModule {
				t.Helper()
				compiled, err := rt.CompileModule(background, module)
				if err != nil {
					t.Fatal(err)
				}
				return compiled
			}
			mustStart := func(t *testing.T, a *arena, compiled wazero.CompiledModule) (m api.Module, grow func(n uint64) int32) {
				t.Helper()
				m, c, err := startIn(t, a, rt, compiled)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = m.Close(background) })
				return m, func(n uint64) int32 {
					got, err := m.ExportedFunction("grow").Call(c, n)
					if err != nil {
						t.Fatal(err)
					}
					return int32(uint32(got[0]))
				}
			}

			t.Run("memory.grow answers -1 beyond the module's limit and beyond the budget", func(t *testing.T) {
				a := newTestArena(t, pages(20))
				compiled := compile(t, growingGuest(2, 10, 0))
				first, growFirst := mustStart(t, a, compiled)
				if was, more := growFirst(8), growFirst(1); was != 2 || more != -1 {
					t.Errorf("growing by 8 from 2 pages answers %d, by one more than the limit %d", was, more)
				}
				_, growSecond := mustStart(t, a, compiled)
				third, growThird := mustStart(t, a, compiled)
				if was, more := growSecond(6), growThird(1); was != 2 || more != -1 {
					t.Errorf("growing by 6 from 2 pages answers %d, beyond the budget %d", was, more)
				}
				_ = first.Close(background)
				if was := growThird(8); was != 2 {
					t.Errorf("growing when another is closed answers %d", was)
				}
				p, _ := third.Memory().Read(0, third.Memory().Size())
				if !bytes.HasPrefix(p, []byte("data")) || dirty(p[4:]) >= 0 {
					t.Error("a guest does not find its data followed by zeros")
				}
			})
			t.Run("an instance beyond the budget is an error", func(t *testing.T) {
				a := newTestArena(t, pages(5))
				compiled := compile(t, growingGuest(3, 10, 0))
				first, _ := mustStart(t, a, compiled)
				if m, _, err := startIn(t, a, rt, compiled); !errors.Is(err, errGuestBudget) {
					t.Errorf("it is %v, %v", m, err)
				}
				_ = first.Close(background)
				mustStart(t, a, compiled)
			})
			t.Run("an instance that fails to start leaves nothing", func(t *testing.T) {
				a := newTestArena(t, pages(5))
				compiled := compile(t, growingGuest(3, 10, 1<<30)) // its data lies outside
				for range 3 {
					if _, _, err := startIn(t, a, rt, compiled); err == nil || errors.Is(err, errGuestBudget) {
						t.Fatalf("starting says %v", err)
					}
				}
				if s := a.stats(); s.Memories != 0 {
					t.Errorf("left: %+v", s)
				}
			})
			t.Run("closing the runtime frees its memories", func(t *testing.T) {
				a := newTestArena(t, pages(5))
				other := wazero.NewRuntimeWithConfig(background, config)
				compiled, err := other.CompileModule(background, growingGuest(1, 1, 0))
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := startIn(t, a, other, compiled); err != nil {
					t.Fatal(err)
				}
				_ = other.Close(background)
				if s := a.stats(); s.Memories != 0 {
					t.Errorf("left: %+v", s)
				}
			})
		})
	}
}

func TestTheBudgetFollowsTheMemoryThatThereIs(t *testing.T) {
	const none = math.MaxInt64
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	meminfo := file("MemTotal:       1000 kB\nMemFree:         500 kB\n")
	for name, c := range map[string]struct {
		root fstest.MapFS
		goes int64
		want int64
	}{
		"the machine's memory, where nothing else bounds it": {
			fstest.MapFS{"proc/meminfo": meminfo}, none, 1000 << 10},
		"GOMEMLIMIT, where it is less": {
			fstest.MapFS{"proc/meminfo": meminfo}, 5000, 5000},
		"a control group of version 2": {
			fstest.MapFS{"proc/meminfo": meminfo, "proc/self/cgroup": file("0::/a/b\n"),
				"sys/fs/cgroup/a/b/memory.max": file("max\n"), "sys/fs/cgroup/a/memory.max": file("7000\n")}, none, 7000},
		"a control group of version 1": {
			fstest.MapFS{"proc/meminfo": meminfo, "proc/self/cgroup": file("5:cpu:/x\n4:hugetlb,memory:/a\n"),
				"sys/fs/cgroup/memory/a/memory.limit_in_bytes": file("6000\n")}, none, 6000},
		"the container's own, where its name means nothing inside": {
			fstest.MapFS{"proc/meminfo": meminfo, "proc/self/cgroup": file("0::/outside/c1\n"),
				"sys/fs/cgroup/memory.max": file("4000")}, none, 4000},
		"not what another controller or a broken file says": {
			fstest.MapFS{"proc/meminfo": meminfo, "proc/self/cgroup": file("x\n::\n0::/../..\n4:cpu:/a\n"),
				"sys/fs/cgroup/memory.max":       file("-1"),
				"sys/fs/cgroup/cpu/a/memory.max": file("1")}, none, 1000 << 10},
		"a guess, where nothing is known": {
			fstest.MapFS{"proc/meminfo": file("MemTotal: many kB\nMemTotal: 99999999999999999999 kB\nMemTotal: 1 MB\n")},
			none, unknownMemoryBytes},
	} {
		t.Run(name, func(t *testing.T) {
			if got := memoryLimit(c.root, c.goes); got != c.want {
				t.Errorf("the limit is %d bytes, want %d", got, c.want)
			}
		})
	}
	if got := newArena(0).stats().BudgetBytes; got < 1<<20 {
		t.Errorf("on this machine guests may have %d bytes", got)
	}
	if got := regionLimit(fstest.MapFS{"proc/sys/vm/max_map_count": file("1000\n")}); got != 375 {
		t.Errorf("with 1000 mappings there may be %d regions, want 375", got)
	}
}

// BenchmarkInstantiateIn compares wazero's own memories with ours: from InstantiateModule to Close.
func BenchmarkInstantiateIn(b *testing.B) {
	background := context.Background()
	for _, name := range []string{"testdata/echo.wasm", "../examples/echo-c/echo.wasm"} {
		file, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		rt := wazero.NewRuntimeWithConfig(background, wazero.NewRuntimeConfig().WithMemoryLimitPages(defaultMemoryPages))
		if err := linkHost(background, rt, ^Capability(0), nil); err != nil {
			b.Fatal(err)
		}
		compiled, err := rt.CompileModule(background, file)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/Go heap", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m, err := rt.InstantiateModule(background, compiled, anonymous)
				if err != nil {
					b.Fatal(err)
				}
				_ = m.Close(background)
			}
		})
		b.Run(name+"/arena", func(b *testing.B) {
			a := newTestArena(b, 1<<30)
			b.ReportAllocs()
			for b.Loop() {
				m, _, err := startIn(b, a, rt, compiled)
				if err != nil {
					b.Fatal(err)
				}
				_ = m.Close(background)
			}
		})
		b.Run(name+"/arena, never recycled", func(b *testing.B) {
			a := newTestArena(b, 1<<30)
			a.close()
			b.ReportAllocs()
			for b.Loop() {
				m, _, err := startIn(b, a, rt, compiled)
				if err != nil {
					b.Fatal(err)
				}
				_ = m.Close(background)
			}
		})
		_ = rt.Close(background)
	}
}

// BenchmarkTakeMemory measures a memory from take to Free whose guest touches a few bytes of each page.
func BenchmarkTakeMemory(b *testing.B) {
	for _, n := range []int{1, 2, 3, 16, 30} {
		for _, how := range []string{"recycled", "fresh"} {
			b.Run(how+"/"+strconv.Itoa(n)+" pages", func(b *testing.B) {
				a := newTestArena(b, 1<<30)
				if how == "fresh" {
					a.close()
				}
				b.ReportAllocs()
				for b.Loop() {
					g, err := a.take(pages(n), pages(defaultMemoryPages))
					if err != nil {
						b.Fatal(err)
					}
					p := g.Reallocate(pages(n))
					for at := 0; at < len(p); at += wasmPageBytes {
						p[at] = 1
					}
					g.Free()
				}
			})
		}
	}
}

// BenchmarkCallOfAnInstance shows what the context's answer costs in every call.
func BenchmarkCallOfAnInstance(b *testing.B) {
	background := context.Background()
	rt := wazero.NewRuntime(background)
	defer func() { _ = rt.Close(background) }()
	compiled, err := rt.CompileModule(background, growingGuest(1, 2, 0))
	if err != nil {
		b.Fatal(err)
	}
	m, c, err := startIn(b, newTestArena(b, 1<<30), rt, compiled)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = m.Close(background) }()
	f := m.ExportedFunction("grow")
	for name, ctx := range map[string]context.Context{
		"the context answers nil": valueless{background},
		"it looks first":          c,
	} {
		b.Run(name, func(b *testing.B) {
			var stack [1]uint64
			for b.Loop() {
				stack[0] = 0
				if err := f.CallWithStack(ctx, stack[:]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type valueless struct{ context.Context }

func (valueless) Value(any) any { return nil }
