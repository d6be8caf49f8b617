package cli

import (
	"math"
	"runtime/debug"
	"sync"

	"weir/runtime"
)

// boundHeap lets Go's garbage collector work harder when the heap nears what the
// process may use: without a bound, garbage that is not collected yet would have the
// system kill a process whose budgets are kept. Guest memory, guests bytes at most,
// is not in the heap; a tenth is for stacks, code and what the system itself takes.
// A GOMEMLIMIT of the operator's stays. Only the first call of a process counts.
func boundHeap(guests int64) { heapOnce.Do(func() { setHeapLimit(guests) }) }

var heapOnce sync.Once

const leastHeapBytes = 64 << 20 // with less the collector would do nothing else

func setHeapLimit(guests int64) {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	memory := runtime.MemoryLimit()
	debug.SetMemoryLimit(max(memory-memory/10-guests, leastHeapBytes))
}
