package wasm

// hasLength reports whether the instruction takes the longer, the greater its topmost operand is.
func (o op) hasLength() bool {
	switch o {
	case opMemoryGrow, opMemoryInit, opMemoryCopy, opMemoryFill, opTableInit, opTableCopy, opTableGrow, opTableFill:
		return true
	default:
		return false
	}
}

// constantLength reports whether the instruction's length is a small constant, which the instruction right before
// pushed. Nothing can jump between the two.
func constantLength(in, before *instruction) bool {
	return in.op != opMemoryGrow && before.op == opI32Const && before.num >= 0 && before.num <= maxConstantLength
}

// helperKey identifies a function that stands for an instruction.
type helperKey struct {
	op   op
	x, y uint32
}

// pieceBytes is how much memory is filled or copied between two checks of the fuel.
const pieceBytes = 1 << 20

// helper returns the function that pays for an instruction by its length, and executes it.
func (r *rewriter) helper(in *instruction) uint32 {
	key := helperKey{in.op, in.x, in.y}
	switch in.op {
	case opMemoryGrow, opMemoryCopy, opMemoryFill: // x and y mean nothing
		key = helperKey{op: in.op}
	case opMemoryInit, opTableGrow, opTableFill:
		key.y = 0
	}
	if f, ok := r.helpers[key]; ok {
		return f
	}
	w := &codeWriter{r: r}
	var typ FuncType
	var locals []localGroup
	three := []ValueType{I32, I32, I32}
	switch in.op {
	case opMemoryFill:
		typ.Params = three
		w.fill()
	case opMemoryCopy:
		typ.Params = three
		w.copy()
	case opMemoryGrow:
		typ = FuncType{Params: []ValueType{I32}, Results: []ValueType{I32}}
		locals = []localGroup{{1, I32}}
		w.grow()
	case opMemoryInit:
		typ.Params = three
		w.direct(in, 3, uint32(len(r.m.data[in.x].bytes)), bytesPerFuel)
	case opTableInit, opTableCopy:
		typ.Params = three
		w.direct(in, 3, uint32(r.m.limits.TableEntries), entriesPerFuel)
	case opTableFill:
		typ.Params = []ValueType{I32, r.m.tables[in.x].typ, I32}
		w.direct(in, 3, uint32(r.m.limits.TableEntries), entriesPerFuel)
	case opTableGrow:
		typ = FuncType{Params: []ValueType{r.m.tables[in.x].typ, I32}, Results: []ValueType{I32}}
		w.direct(in, 2, uint32(r.m.limits.TableEntries), entriesPerFuel)
	}
	w.op(opEnd)
	return r.addHelper(key, body{locals: locals, code: w.code}, typ)
}

func (r *rewriter) addHelper(key helperKey, b body, typ FuncType) uint32 {
	if r.helpers == nil {
		r.helpers = map[helperKey]uint32{}
	}
	f := r.addFunction(helperNames[key.op], b, typ)
	r.helpers[key] = f
	return f
}

// addFunction appends a function of the meter's own, which stack traces show under that name.
func (r *rewriter) addFunction(name string, b body, typ FuncType) uint32 {
	f := uint32(len(r.out.functions))
	r.out.functions = append(r.out.functions, r.addType(typ))
	r.out.names[f] = MeterModule + "." + name
	r.helperBodies = append(r.helperBodies, b)
	return f
}

// helperNames are what stack traces show.
var helperNames = map[op]string{
	opMemoryGrow: "memory.grow", opMemoryInit: "memory.init", opMemoryCopy: "memory.copy", opMemoryFill: "memory.fill",
	opTableInit: "table.init", opTableCopy: "table.copy", opTableGrow: "table.grow", opTableFill: "table.fill",
}

// charge pays for the length in a local: one fuel for each 1<<shift.
func (w *codeWriter) charge(local uint32, shift int32) {
	w.op(opGlobalGet, w.r.fuel)
	w.op(opLocalGet, local)
	w.i32(shift)
	w.ops(opI32ShrU, opI64ExtendU, opI64Sub)
	w.op(opGlobalSet, w.r.fuel)
	w.check()
}

// direct pays for an instruction and executes it. Its operands are params parameters, the last of them the length,
// which makes the instruction trap, or fail at once, if it is above most.
func (w *codeWriter) direct(in *instruction, params, most uint32, per int64) {
	length := params - 1
	w.op(opLocalGet, length)
	w.i32(int32(most))
	w.op(opI32LeU)
	w.block(opIf, blockType{})
	w.charge(length, log2(per))
	w.op(opEnd)
	for i := range params {
		w.op(opLocalGet, i)
	}
	w.code = appendInstruction(w.code, in)
}

func log2(n int64) (shift int32) {
	for n > 1 {
		n /= 2
		shift++
	}
	return shift
}

// grow executes memory.grow and pays if that succeeds, for the memory that is new.
func (w *codeWriter) grow() {
	const pages, result = 0, 1
	w.op(opLocalGet, pages)
	w.op(opMemoryGrow, 0)
	w.op(opLocalTee, result)
	w.i32(-1)
	w.op(opI32Ne)
	w.block(opIf, blockType{})
	w.op(opGlobalGet, w.r.fuel)
	w.op(opLocalGet, pages)
	w.i32(16 - log2(bytesPerFuel)) // a page has 1<<16 bytes, and there are at most 1<<16 pages
	w.ops(opI32Shl, opI64ExtendU, opI64Sub)
	w.op(opGlobalSet, w.r.fuel)
	w.check()
	w.op(opEnd)
	w.op(opLocalGet, result)
}

// Parameters of the helpers for memory.fill and memory.copy.
const (
	localTo   = 0
	localFrom = 1 // or the value to fill with
	localSize = 2
)

// fill executes memory.fill in pieces.
func (w *codeWriter) fill() {
	w.orTrap(opMemoryFill, localTo)
	w.loop(func() {
		w.piece(opMemoryFill, false)
		w.advance(localTo, opI32Add)
	})
	w.rest(opMemoryFill)
}

// copy executes memory.copy in pieces, beginning at the end that makes overlapping safe.
func (w *codeWriter) copy() {
	w.orTrap(opMemoryCopy, localTo, localFrom)
	w.op(opLocalGet, localFrom)
	w.op(opLocalGet, localTo)
	w.op(opI32LtU)
	w.block(opIf, blockType{})
	w.loop(func() { w.piece(opMemoryCopy, true) })
	w.op(opElse)
	w.loop(func() {
		w.piece(opMemoryCopy, false)
		w.advance(localTo, opI32Add)
		w.advance(localFrom, opI32Add)
	})
	w.op(opEnd)
	w.rest(opMemoryCopy)
}

// orTrap lets the instruction itself trap, before anything is written, if a range is out of bounds.
func (w *codeWriter) orTrap(o op, ranges ...uint32) {
	for _, start := range ranges {
		w.op(opLocalGet, start)
		w.op(opI64ExtendU)
		w.op(opLocalGet, localSize)
		w.ops(opI64ExtendU, opI64Add)
		w.op(opMemorySize, 0)
		w.op(opI64ExtendU)
		w.i64(16)
		w.op(opI64Shl)
		w.op(opI64GtU)
		w.block(opIf, blockType{})
		w.whole(o)
		w.op(opUnreachable)
		w.op(opEnd)
	}
}

// loop repeats do while more than a piece is left.
func (w *codeWriter) loop(do func()) {
	w.block(opBlock, blockType{})
	w.block(opLoop, blockType{})
	w.op(opLocalGet, localSize)
	w.i32(pieceBytes)
	w.op(opI32LeU)
	w.op(opBrIf, 1)
	do()
	w.op(opBr, 0)
	w.op(opEnd)
	w.op(opEnd)
}

// piece pays for one piece and executes it, at the start or at the end of what is left.
func (w *codeWriter) piece(o op, last bool) {
	w.advance(localSize, opI32Sub)
	w.spend(pieceBytes / bytesPerFuel)
	for _, local := range []uint32{localTo, localFrom} {
		w.op(opLocalGet, local)
		if last {
			w.op(opLocalGet, localSize)
			w.op(opI32Add)
		}
	}
	w.i32(pieceBytes)
	w.bulk(o)
}

// rest executes what is left.
func (w *codeWriter) rest(o op) {
	w.charge(localSize, log2(bytesPerFuel))
	w.whole(o)
}

func (w *codeWriter) whole(o op) {
	w.op(opLocalGet, localTo)
	w.op(opLocalGet, localFrom)
	w.op(opLocalGet, localSize)
	w.bulk(o)
}

func (w *codeWriter) bulk(o op) { w.code = appendInstruction(w.code, &instruction{op: o}) }

// advance moves a local by a piece.
func (w *codeWriter) advance(local uint32, by op) {
	w.op(opLocalGet, local)
	w.i32(pieceBytes)
	w.op(by)
	w.op(opLocalSet, local)
}
