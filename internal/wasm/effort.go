package wasm

import "math"

// effort adds up what a function costs to compile, in units of about 100 ns or 100 bytes. The weights are measured with
// the engine that weir uses (wazero 1.12), whose compiler is far from linear in the length of the code:
//
//   - it searches each variable in the blocks before the one that reads it, and keeps what it found in each of them;
//   - it carries what is live into a loop to each block in it, once for each loop around the block;
//   - it walks up the tree of dominators from each block;
//   - in each block it copies which addresses were checked before;
//   - after each call it loads every mutable global anew.
type effort struct {
	linear   int
	blocks   int // basic blocks
	depths   int // for each block: one, and the number of loops around it
	accesses int // memory accesses that may be checked when a block ends
	used     []bool
	locals   int  // distinct ones that are used
	loops    int  // around the current instruction
	dead     bool // the current instruction cannot be reached
}

const (
	unitsPerFunction     = 50
	unitsPerIndirectCall = 250
	unitsPerCall         = 8
	unitsPerLabel        = 50 // of br_table
	unitsPerReload       = 4  // of a global, after a call
)

// reset makes e ready for a function. Its locals and the module's globals are declared in each function.
func (e *effort) reset(locals, globals int) {
	*e = effort{used: cleared(e.used, locals), linear: unitsPerFunction + 2*locals + globals/8}
}

// cleared returns n zeros, in the memory of s if they fit there.
func cleared[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// block notes that n basic blocks begin.
func (e *effort) block(n int) {
	e.blocks += n
	e.depths += n * (1 + e.loops)
	e.linear += n * e.accesses
}

// total returns the sum.
func (e *effort) total() int {
	return e.linear + 2*e.depths*(e.locals+2) + e.blocks*e.blocks/8
}

// note counts an instruction. frames are the blocks around it.
func (e *effort) note(in *instruction, frames []frame, mutableGlobals int) {
	top := &frames[len(frames)-1]
	switch in.op {
	case opElse:
		e.arrive(top)
		e.accesses, e.dead = top.start, top.dead
		return
	case opEnd:
		e.end(top)
		return
	}
	if e.dead {
		return // it is not compiled
	}
	e.linear++
	switch in.op {
	case opCall:
		e.linear += unitsPerCall + unitsPerReload*mutableGlobals
	case opCallIndirect:
		e.linear += unitsPerIndirectCall + unitsPerReload*mutableGlobals
	case opBlock:
		e.block(1)
	case opLoop:
		e.block(4)
		e.loops++
	case opIf:
		e.block(3)
	case opBr:
		e.branch(in.x, frames)
		e.dead = true
	case opBrIf:
		e.branch(in.x, frames)
		e.block(1)
	case opBrTable:
		for _, label := range in.labels {
			e.linear += unitsPerLabel
			e.branch(label, frames)
		}
		e.dead = true
	case opReturn, opUnreachable:
		e.dead = true
	case opMemoryFill, opTableFill:
		e.block(3)
	case opLocalGet, opLocalSet, opLocalTee:
		if int(in.x) < len(e.used) && !e.used[in.x] {
			e.used[in.x] = true
			e.locals++
		}
	default:
		if imm := opcodes[in.op].imm; imm == immAccess || imm == immAccessLane {
			e.accesses++
		}
	}
}

// branch notes a branch to a label.
func (e *effort) branch(label uint32, frames []frame) {
	if int(label) >= len(frames) {
		return
	}
	target := &frames[len(frames)-1-int(label)]
	e.linear += target.arity
	if target.op != opLoop {
		e.arrive(target)
	}
}

// arrive notes that the end of a block is reached from here.
func (e *effort) arrive(f *frame) {
	if !e.dead {
		f.least = min(f.least, e.accesses)
	}
}

// end notes the end of a block. What was checked on each way to it stays checked.
func (e *effort) end(f *frame) {
	if f.dead {
		return
	}
	if f.op == opLoop {
		e.loops--
	}
	if f.op == opIf { // without else
		f.least = min(f.least, f.start)
	}
	e.arrive(f)
	e.dead = f.least == math.MaxInt
	if !e.dead {
		e.accesses = f.least
	}
}
