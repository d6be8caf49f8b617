package wasm

// frameSize estimates how much stack compiled code takes for a call of one function.
//
// A compiler keeps values in registers and spills some of them, each to a place of its own. How many is not known
// beforehand, but they cannot be more than there are: those that instructions define, and those that merge where
// branches meet, one for each local that was set on the way. Measured with wazero 1.12, one in eight is typical.
type frameSize struct {
	values    int // that are defined; vectors count twice
	arguments int // parameters and results of the call that has most
	sets      []localSet
	open      []int   // by open block: where its part of sets begins
	latest    []int32 // by local: its latest place in sets, plus one; 0 if it was not set in any open block
}

// localSet says that a local is set within an open block. It is listed once for the block.
type localSet struct {
	local uint32
	outer int32 // what latest was before
}

const (
	baseFrame          = 112 // return address, frame pointer, saved registers, room for the call of refill
	bytesPerFrameValue = 1
	bytesPerArgument   = 8
	helperFrame        = 256
	valuesPerCall      = 4 // what is loaded anew after a call
)

func (f *frameSize) reset(locals int) {
	*f = frameSize{sets: f.sets[:0], open: append(f.open[:0], 0), latest: cleared(f.latest, locals)}
}

// add counts an instruction.
func (f *frameSize) add(m *Module, in *instruction) {
	switch in.op {
	case opBlock, opLoop, opIf:
		f.open = append(f.open, len(f.sets))
		params, results := m.blockArity(in.block)
		f.values += params + results
	case opEnd:
		f.end()
	case opLocalSet, opLocalTee:
		f.set(in.x)
	case opCall:
		f.call(m.FunctionType(int(in.x)))
	case opCallIndirect:
		f.call(m.types[in.x])
	case opElse, opBr, opBrIf, opBrTable, opReturn, opUnreachable, opNop, opDrop, opLocalGet, opGlobalSet, opTableSet:
	default:
		f.values++
		if in.op >= vector {
			f.values++
		}
	}
}

func (f *frameSize) call(t FuncType) {
	f.values += valuesPerCall + len(t.Results)
	f.arguments = max(f.arguments, len(t.Params)+len(t.Results))
}

func (f *frameSize) set(local uint32) {
	latest := f.latest[local]
	if int(latest) > f.open[len(f.open)-1] {
		return // it is listed for this block
	}
	f.sets = append(f.sets, localSet{local: local, outer: latest})
	f.latest[local] = int32(len(f.sets))
}

// end merges the innermost block into the one around it.
func (f *frameSize) end() {
	begin := f.open[len(f.open)-1]
	f.open = f.open[:len(f.open)-1]
	f.values += len(f.sets) - begin
	if len(f.open) == 0 {
		return
	}
	outer := f.open[len(f.open)-1]
	kept := begin
	for _, s := range f.sets[begin:] {
		f.latest[s.local] = s.outer
		if int(s.outer) > outer {
			continue // the outer block has it
		}
		f.sets[kept] = s
		kept++
		f.latest[s.local] = int32(kept)
	}
	f.sets = f.sets[:kept]
}

// bytes returns the estimate.
func (f *frameSize) bytes(t FuncType) int {
	arguments := max(f.arguments, len(t.Params)+len(t.Results))
	return (baseFrame + bytesPerArgument*arguments + bytesPerFrameValue*f.values + 15) &^ 15
}
