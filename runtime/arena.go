package runtime

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental"
)

// errGuestBudget means that the guests of an engine may have no more memory.
var errGuestBudget = errors.New("the memory budget of guests is spent")

const (
	// minRegionBytes is the smallest region; each class holds regions twice as large as the one before.
	minRegionBytes = wasmPageBytes
	// maxRegionBytes is what 32-bit addresses reach (WebAssembly Core §2.5.5).
	maxRegionBytes = 1 << 32
	regionClasses  = 17

	// keptBytes of a memory are cleared when it is freed, and stay with the region for the next guest; what lies behind
	// goes back to the system. Clearing costs 1 µs per 64 KiB, having the system do it 1.2 µs per 4 KiB that the next
	// guest touches. This much holds a freshly started Go guest.
	keptBytes = 4 << 20

	// maxIdlePerClass bounds the regions that wait for a guest, and so the address space that nobody uses.
	maxIdlePerClass = 64

	// idleShare of the budget is the most that idle regions keep.
	idleShare = 8
)

// arena hands out the linear memories of all guests of one engine, from one budget. Any goroutine may use it.
//
// A memory is a region of address space as long as the module's maximum, of which only what the guest has is
// accessible: it never moves, growing copies nothing, and a guest that asks for too much is refused where Go's heap
// would end the process. Regions of freed memories wait for the next guest, which reads zeros everywhere.
//
// The budget bounds the accessible bytes of all regions, whether touched or not, the idle ones included; these are
// given up when the budget, or the system, is short.
type arena struct {
	budget     int64 // bytes
	maxRegions int64 // idle ones included
	kept       int64 // bytes of an idle region, at most

	committed atomic.Int64 // accessible bytes of all regions, at most budget
	reserved  atomic.Int64 // address space of all regions
	idle      atomic.Int64 // accessible bytes of idle regions, at most budget/idleShare
	regions   atomic.Int64 // at most maxRegions
	memories  atomic.Int64 // taken and not freed

	created, recycled           atomic.Uint64
	refusedStarts, refusedGrows atomic.Uint64

	closed  atomic.Bool // set before close locks the classes, read under their locks
	classes [regionClasses]regionClass
}

// regionClass keeps the idle regions of one size.
type regionClass struct {
	mu   sync.Mutex
	idle []region // at most maxIdlePerClass, all zeros; the one used last comes last and is taken first
}

// newArena returns an arena that commits at most budgetBytes. 0 means DefaultGuestBudgetBytes.
func newArena(budgetBytes int64) *arena {
	if budgetBytes == 0 {
		budgetBytes = DefaultGuestBudgetBytes()
	}
	return &arena{budget: budgetBytes, maxRegions: regionLimit(os.DirFS("/")), kept: keptBytes}
}

// close gives up the idle regions. A memory that is still taken stays good; its region goes back to the system when it
// is freed.
func (a *arena) close() {
	a.closed.Store(true)
	for a.evict() {
	}
}

// take returns a memory of minBytes that can grow to maxBytes, for one instance. Both are multiples of 64 KiB, as the
// module's own limits are. The error, for want of budget (errGuestBudget) or of the system's memory, says which.
func (a *arena) take(minBytes, maxBytes uint64) (*guestMemory, error) {
	if minBytes > maxBytes || maxBytes > maxRegionBytes {
		return nil, fmt.Errorf("guest memory of %d to %d bytes: not within [0, %d]", minBytes, maxBytes, int64(maxRegionBytes))
	}
	class := classOf(maxBytes)
	r, err := a.takeRegion(class)
	if err == nil {
		if err = a.extend(&r, int64(minBytes)); err != nil {
			a.giveRegion(class, r)
		}
	}
	if err != nil {
		a.refusedStarts.Add(1)
		return nil, fmt.Errorf("guest memory of %d bytes: %w", minBytes, err)
	}
	a.memories.Add(1)
	return &guestMemory{arena: a, region: r, class: class, maxBytes: maxBytes}, nil
}

// classOf returns the class whose regions hold n bytes.
func classOf(n uint64) int {
	if n <= minRegionBytes {
		return 0
	}
	return bits.Len64((n - 1) / minRegionBytes)
}

// takeRegion returns a region of a class, all zeros, of which some may be accessible.
func (a *arena) takeRegion(class int) (region, error) {
	c := &a.classes[class]
	c.mu.Lock()
	r, ok := a.popLocked(c)
	c.mu.Unlock()
	if ok {
		a.recycled.Add(1)
		return r, nil
	}
	r, err := a.newRegion(int64(minRegionBytes) << class)
	for err != nil && a.evict() {
		r, err = a.newRegion(int64(minRegionBytes) << class)
	}
	return r, err
}

func (a *arena) newRegion(size int64) (region, error) {
	if a.regions.Add(1) > a.maxRegions {
		a.regions.Add(-1)
		return region{}, fmt.Errorf("%d memories are as many as the system's limit of mappings allows", a.maxRegions)
	}
	r, err := reserve(size)
	if err != nil {
		a.regions.Add(-1)
		return region{}, fmt.Errorf("reserve %d bytes of address space: %w", size, err)
	}
	a.created.Add(1)
	a.reserved.Add(size)
	return r, nil
}

func (a *arena) popLocked(c *regionClass) (region, bool) {
	last := len(c.idle) - 1
	if last < 0 {
		return region{}, false
	}
	r := c.idle[last]
	c.idle[last] = region{}
	c.idle = c.idle[:last]
	a.idle.Add(-r.open)
	return r, true
}

// extend makes at least the first n bytes of r accessible.
func (a *arena) extend(r *region, n int64) error {
	if n <= r.open {
		return nil
	}
	want := r.plan(n)
	if !a.charge(want - r.open) {
		if want = n; !a.charge(want - r.open) {
			return fmt.Errorf("%w: %d of %d bytes are in use", errGuestBudget, a.committed.Load(), a.budget)
		}
	}
	open := r.open
	for {
		err := r.extend(want)
		if err == nil {
			return nil
		}
		if !a.evict() {
			a.committed.Add(open - want)
			return fmt.Errorf("make %d bytes accessible: %w", want, err)
		}
	}
}

// charge counts n more bytes against the budget, for which it gives up idle regions, or reports false.
func (a *arena) charge(n int64) bool {
	for {
		used := a.committed.Load()
		switch {
		case n > a.budget-used:
			if !a.evict() {
				return false
			}
		case a.committed.CompareAndSwap(used, used+n):
			return true
		}
	}
}

// giveRegion makes r idle, or gives it up where enough of them are. Its bytes can be anything.
func (a *arena) giveRegion(class int, r region) {
	c := &a.classes[class]
	if !a.wants(c, r) { // looked at first, because cleaning can be the greater part of the work
		a.release(r)
		return
	}
	open := r.open
	clean := r.wipe(a.kept)
	a.committed.Add(r.open - open)
	if !clean || !a.park(c, r) {
		a.release(r)
	}
}

// wants reports whether r would be parked now.
func (a *arena) wants(c *regionClass, r region) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return a.wantsLocked(c) && a.idle.Load()+min(r.open, a.kept) <= a.budget/idleShare
}

func (a *arena) wantsLocked(c *regionClass) bool {
	return !a.closed.Load() && len(c.idle) < maxIdlePerClass
}

// park makes r idle, which is all zeros, or reports false.
func (a *arena) park(c *regionClass, r region) bool {
	if a.idle.Add(r.open) > a.budget/idleShare {
		a.idle.Add(-r.open)
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !a.wantsLocked(c) {
		a.idle.Add(-r.open)
		return false
	}
	c.idle = append(c.idle, r)
	return true
}

// evict gives up one idle region, of the largest there are, or reports false.
func (a *arena) evict() bool {
	for class := regionClasses - 1; class >= 0; class-- {
		c := &a.classes[class]
		c.mu.Lock()
		r, ok := a.popLocked(c)
		c.mu.Unlock()
		if ok {
			a.release(r)
			return true
		}
	}
	return false
}

// release gives r back to the system. A region that it does not want back stays counted.
func (a *arena) release(r region) {
	size, open := r.size(), r.open
	if r.release() != nil {
		return
	}
	a.regions.Add(-1)
	a.reserved.Add(-size)
	a.committed.Add(-open)
}

// guestMemory is the linear memory of one instance. Whoever took it passes it to wazero, in the context with which the
// module is instantiated, and frees it when the instance is closed, or was never made: of an instance that failed to
// start, wazero frees nothing (v1.12.0, Store.instantiate). It belongs to the goroutine that holds the instance.
type guestMemory struct {
	arena    *arena // nil once freed
	region   region
	class    int
	maxBytes uint64
}

var (
	_ experimental.MemoryAllocator = (*guestMemory)(nil)
	_ experimental.LinearMemory    = (*guestMemory)(nil)
)

// Allocate implements experimental.MemoryAllocator: it hands out g itself, which must be as large as the module says.
func (g *guestMemory) Allocate(_, maxBytes uint64) experimental.LinearMemory {
	if maxBytes != g.maxBytes {
		// wazero would trust the bound that it has, so this is not left to chance.
		panic(fmt.Sprintf("runtime: guest memory for at most %d bytes was passed to a module with %d", g.maxBytes, maxBytes))
	}
	return g
}

// Reallocate implements experimental.LinearMemory. nil means that there is no more memory for this guest: its
// memory.grow answers -1. What was returned before stays good until Free where the system has virtual memory;
// elsewhere, until the next Reallocate.
func (g *guestMemory) Reallocate(bytes uint64) []byte {
	if g.arena == nil || bytes > g.maxBytes {
		return nil
	}
	if g.arena.extend(&g.region, int64(bytes)) != nil {
		g.arena.refusedGrows.Add(1)
		return nil
	}
	return g.region.bytes(int64(bytes))
}

// Free implements experimental.LinearMemory. No slice of the memory may be used any more: its bytes will be another
// guest's. A second Free does nothing.
func (g *guestMemory) Free() {
	a := g.arena
	if a == nil {
		return
	}
	r := g.region
	g.arena, g.region = nil, region{}
	a.giveRegion(g.class, r)
	a.memories.Add(-1)
}

// MemoryStats is a snapshot of the memory of an engine's guests, each number taken by itself.
type MemoryStats struct {
	BudgetBytes    int64 // that may be committed
	CommittedBytes int64 // that can be accessed without asking, idle ones included
	IdleBytes      int64 // of these, kept for the next guest
	ReservedBytes  int64 // address space, which costs nothing by itself
	Memories       int64 // of instances that exist

	Created       uint64 // memories ever made from a fresh region
	Recycled      uint64 // and from one that another guest has left
	RefusedStarts uint64 // instances not made for want of memory
	RefusedGrows  uint64 // memory.grow answered with -1 for want of budget, not counting those beyond a module's own limit
}

func (a *arena) stats() MemoryStats {
	return MemoryStats{
		BudgetBytes:    a.budget,
		CommittedBytes: a.committed.Load(),
		IdleBytes:      a.idle.Load(),
		ReservedBytes:  a.reserved.Load(),
		Memories:       a.memories.Load(),
		Created:        a.created.Load(),
		Recycled:       a.recycled.Load(),
		RefusedStarts:  a.refusedStarts.Load(),
		RefusedGrows:   a.refusedGrows.Load(),
	}
}
