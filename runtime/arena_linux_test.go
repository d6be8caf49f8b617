//go:build !guestheap

package runtime

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// An address space that is too small for the test's process would end it, so the limit is set in another.
func TestALimitOfAddressSpaceIsAnError(t *testing.T) {
	const inChild = "WEIR_TEST_ADDRESS_SPACE"
	if os.Getenv(inChild) == "" {
		child := exec.Command(os.Args[0], "-test.run=^TestALimitOfAddressSpaceIsAnError$", "-test.v")
		child.Env = append(os.Environ(), inChild+"=1")
		if said, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, said)
		}
		return
	}

	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var usedPages uint64
	if _, err := fmt.Sscan(string(statm), &usedPages); err != nil {
		t.Fatal(err)
	}
	limit := usedPages*uint64(os.Getpagesize()) + 3<<30
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}

	a := newTestArena(t, 1<<30)
	_, err = a.take(pages(1), 4<<30)
	if err == nil || !strings.Contains(err.Error(), "reserve 4294967296 bytes of address space") {
		t.Errorf("a region as large as the limit: %v", err)
	}
	takeMemory(t, a, pages(1), 2<<30).Free()
	takeMemory(t, a, pages(1), 1<<30)
	takeMemory(t, a, pages(1), 1<<30) // for which the idle one makes way
	if s := a.stats(); s.RefusedStarts != 1 || s.ReservedBytes != 2<<30 {
		t.Errorf("two memories of 1 GiB are reported as %+v", s)
	}
}

func TestMemoryStaysWhereItIs(t *testing.T) {
	g := takeMemory(t, newTestArena(t, pages(100)), pages(1), pages(100))
	before := grow(t, g, pages(1))
	after := grow(t, g, pages(100))
	if &before[0] != &after[0] {
		t.Error("growing has moved it")
	}
}

// A guest of which much was touched gives its pages back; one that is small keeps them for the next.
func TestAnIdleRegionKeepsLittle(t *testing.T) {
	a := newTestArena(t, 1<<30)
	g := takeMemory(t, a, 0, 64<<20)
	p := grow(t, g, 64<<20)
	for at := 0; at < len(p); at += 4096 {
		p[at] = 1
	}
	g.Free()
	if s := a.stats(); s.CommittedBytes != keptBytes || s.IdleBytes != keptBytes {
		t.Errorf("after 64 MiB were freed: %+v", s)
	}
}

// BenchmarkManyRegions reports what it costs to have thousands of the largest memories that a module may have.
func BenchmarkManyRegions(b *testing.B) {
	a := newTestArena(b, 4<<30)
	taken := make([]*guestMemory, 0, 10_000)
	for b.Loop() {
		for range cap(taken) {
			g, err := a.take(pages(2), maxMemoryPages*wasmPageBytes)
			if err != nil {
				b.Fatalf("after %d: %v", len(taken), err)
			}
			g.Reallocate(pages(2))[0] = 1
			taken = append(taken, g)
		}
		for _, g := range taken {
			g.Free()
		}
		taken = taken[:0]
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*cap(taken)), "ns/memory")
}
