package wasm

// region is code that is paid for at one place: a function without its loops, or a loop without those within it.
type region struct {
	cost int // in eighths of fuel
}

// fuel is what a region costs.
func (r region) fuel() int64 { return int64(1 + r.cost/costPerFuel) }

// openBlock is a block that is open while code is rewritten.
type openBlock struct {
	region int // that its code belongs to
}

// maxConstantLength bounds the bytes or entries of an instruction that is left as it is because its length is a
// constant. The region pays for it.
const maxConstantLength = 1 << 10

// body rewrites the code of a function.
func (r *rewriter) body(i int) body {
	b := &r.m.bodies[i]
	function := len(r.m.imports) + i
	r.measure(b)
	w := &codeWriter{r: r, code: make([]byte, 0, len(b.code)+len(b.code)/2+64)}

	if !r.stack.calls[i].free {
		w.spend(r.regions[0].fuel())
	}
	charge := r.stack.charge[i]
	if charge > 0 {
		w.enter(charge, r.stackLimit)
		w.block(opBlock, r.resultBlock(function))
	}
	var in, before instruction
	r.d.pos = 0
	next := 1 // region
	for r.frames = append(r.frames[:0], openBlock{}); len(r.frames) > 0; before = in {
		r.mustNext(&in)
		switch in.op {
		case opCall, opRefFunc:
			in.x = r.function(in.x)
		case opReturn:
			if charge > 0 {
				in.op, in.x = opBr, uint32(len(r.frames)-1) // out of the block around the body
			}
		}
		switch {
		case in.op.hasLength() && !constantLength(&in, &before):
			w.op(opCall, r.helper(&in))
		default:
			w.code = appendInstruction(w.code, &in)
		}
		switch in.op {
		case opLoop:
			w.spend(r.regions[next].fuel())
			r.frames = append(r.frames, openBlock{region: next})
			next++
		case opBlock, opIf:
			r.frames = append(r.frames, openBlock{region: r.frames[len(r.frames)-1].region})
		case opEnd:
			r.frames = r.frames[:len(r.frames)-1]
		}
	}
	if charge > 0 {
		w.leave(charge)
		w.op(opEnd)
	}
	return body{locals: b.locals, code: w.code}
}

// measure finds the regions of a body, in the order in which they begin.
func (r *rewriter) measure(b *body) {
	r.d = decoder{code: b.code, most: len(b.code), labels: r.d.labels}
	r.regions = append(r.regions[:0], region{})
	var in, before instruction
	for r.frames = append(r.frames[:0], openBlock{}); len(r.frames) > 0; before = in {
		r.mustNext(&in)
		current := r.frames[len(r.frames)-1].region
		r.regions[current].cost += r.stack.cost(&in, &before)
		switch in.op {
		case opLoop:
			r.frames = append(r.frames, openBlock{region: len(r.regions)})
			r.regions = append(r.regions, region{})
		case opBlock, opIf:
			r.frames = append(r.frames, openBlock{region: current})
		case opEnd:
			r.frames = r.frames[:len(r.frames)-1]
		}
	}
}

// mustNext reads an instruction of code that was read before without a problem.
func (r *rewriter) mustNext(in *instruction) {
	if err := r.d.next(in); err != nil {
		panic("wasm: code changed since it was read: " + err.Error())
	}
}

// resultBlock returns the type of a block that leaves a function's results.
func (r *rewriter) resultBlock(function int) blockType {
	results := r.m.FunctionType(function).Results
	switch len(results) {
	case 0:
		return blockType{form: blockEmpty}
	case 1:
		return blockType{form: blockValue, typ: results[0]}
	}
	t, ok := r.blockTypes[r.m.functions[function]]
	if !ok {
		if r.blockTypes == nil {
			r.blockTypes = map[uint32]uint32{}
		}
		t = r.addType(FuncType{Results: results})
		r.blockTypes[r.m.functions[function]] = t
	}
	return blockType{form: blockFunction, fn: t}
}

// codeWriter appends instructions to a body.
type codeWriter struct {
	r    *rewriter
	code []byte
}

// op appends an instruction without operands or with indices.
func (w *codeWriter) op(o op, indices ...uint32) {
	w.code = append(w.code, byte(o))
	for _, i := range indices {
		w.code = appendU32(w.code, i)
	}
}

func (w *codeWriter) ops(list ...op) {
	for _, o := range list {
		w.op(o)
	}
}

func (w *codeWriter) i32(v int32) { w.code = appendSigned(append(w.code, byte(opI32Const)), int64(v)) }
func (w *codeWriter) i64(v int64) { w.code = appendSigned(append(w.code, byte(opI64Const)), v) }

func (w *codeWriter) block(o op, t blockType) { w.code = appendBlockType(append(w.code, byte(o)), t) }

// spend takes fuel for what comes next.
func (w *codeWriter) spend(fuel int64) {
	w.op(opGlobalGet, w.r.fuel)
	w.i64(fuel)
	w.op(opI64Sub)
	w.op(opGlobalSet, w.r.fuel)
	w.check()
}

// check calls refill if the fuel is negative.
func (w *codeWriter) check() {
	w.op(opGlobalGet, w.r.fuel)
	w.i64(0)
	w.op(opI64LtS)
	w.block(opIf, blockType{})
	w.i32(RefillFuel)
	w.op(opGlobalGet, w.r.fuel)
	w.op(opCall, w.r.refill)
	w.op(opGlobalSet, w.r.fuel)
	w.op(opEnd)
}

// enter takes stack for the call of a function.
func (w *codeWriter) enter(bytes, limit int) {
	w.op(opGlobalGet, w.r.depth)
	w.i32(int32(bytes))
	w.op(opI32Add)
	w.op(opGlobalSet, w.r.depth)
	w.op(opGlobalGet, w.r.depth)
	w.i32(int32(limit))
	w.op(opI32GtU)
	w.block(opIf, blockType{})
	w.i32(RefillStack)
	w.op(opGlobalGet, w.r.depth)
	w.op(opI64ExtendU)
	w.op(opCall, w.r.refill)
	w.op(opUnreachable)
	w.op(opEnd)
}

// leave gives it back.
func (w *codeWriter) leave(bytes int) {
	w.op(opGlobalGet, w.r.depth)
	w.i32(int32(bytes))
	w.op(opI32Sub)
	w.op(opGlobalSet, w.r.depth)
}
