package wasm

// region is code that is paid for at one place: a function without its loops, or a loop without those within it.
type region struct {
	cost   int  // in eighths of fuel
	outer  int  // the region around it
	backs  int  // branches to the loop's head
	atHead bool // the loop is paid for at its head: each round. Otherwise where it branches back: each but the first.

	// labels are those of the longest br_table of a loop that jumps about in its own body: an interpreter, or a function
	// as Go compiles it. A round is a part of the body, and paying for all of it would make fuel mean something else in
	// each language.
	labels int
}

// share is the part of its body that a round of a loop is taken for: 1 in so many. An interpreter with a label for each
// of 255 instructions does one of them a round. How long a guest goes unchecked grows with it, so it is bounded.
func (r region) share() int {
	if r.labels < minShare {
		return 1
	}
	return min(max(minShare, r.labels/4), maxShare)
}

const (
	minShare = 8 // of a loop with a br_table of as many labels
	maxShare = 64
)

// maxBacks bounds how often the code that pays for a loop is repeated where it branches back.
const maxBacks = 4

// fuel is what a region costs.
func (r region) fuel() int64 { return int64(1 + r.cost/costPerFuel) }

// openBlock is a block that is open while code is rewritten.
type openBlock struct {
	region int // that its code belongs to
	loop   bool
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
	charge := min(r.stack.charge[i], r.stackLimit+1) // more would be too much, too
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
		if loop, ok := r.paysBack(&in); ok {
			w.back(&in, loop)
		} else if in.op.hasLength() && !constantLength(&in, &before) {
			w.op(opCall, r.helper(&in))
		} else {
			w.code = appendInstruction(w.code, &in)
		}
		switch in.op {
		case opLoop:
			if r.regions[next].atHead {
				w.spend(r.regions[next].fuel())
			}
			r.frames = append(r.frames, openBlock{region: next, loop: true})
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
	r.regions = append(r.regions[:0], region{atHead: true})
	var in, before instruction
	for r.frames = append(r.frames[:0], openBlock{}); len(r.frames) > 0; before = in {
		r.mustNext(&in)
		current := r.frames[len(r.frames)-1].region
		r.regions[current].cost += r.stack.cost(&in, &before)
		switch in.op {
		case opLoop:
			params, _ := r.m.blockArity(in.block)
			r.frames = append(r.frames, openBlock{region: len(r.regions), loop: true})
			r.regions = append(r.regions, region{outer: current, atHead: params > 0})
		case opBlock, opIf:
			r.frames = append(r.frames, openBlock{region: current})
		case opBr, opBrIf:
			if target := r.target(in.x); target.loop {
				r.regions[target.region].backs++
			}
		case opBrTable:
			r.regions[current].labels = max(r.regions[current].labels, len(in.labels))
			for _, label := range in.labels {
				if target := r.target(label); target.loop {
					r.regions[target.region].atHead = true
				}
			}
		case opEnd:
			r.frames = r.frames[:len(r.frames)-1]
		}
	}
	for i := len(r.regions) - 1; i > 0; i-- {
		loop := &r.regions[i]
		loop.cost /= loop.share()
		if loop.atHead = loop.atHead || loop.backs > maxBacks; !loop.atHead {
			r.regions[loop.outer].cost += loop.cost // the first round
		}
	}
}

// target returns the block that a label means.
func (r *rewriter) target(label uint32) openBlock { return r.frames[len(r.frames)-1-int(label)] }

// paysBack reports whether the instruction branches to the head of a loop that is paid for there, and which.
func (r *rewriter) paysBack(in *instruction) (loop region, ok bool) {
	if in.op != opBr && in.op != opBrIf {
		return region{}, false
	}
	target := r.target(in.x)
	return r.regions[target.region], target.loop && !r.regions[target.region].atHead
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

// check calls refill if the fuel is negative. The usual case comes first, since the register allocator of wazero goes on
// after a branch with the registers as the first arm left them: behind the call everything would be reloaded, always.
func (w *codeWriter) check() {
	w.op(opGlobalGet, w.r.fuel)
	w.i64(0)
	w.op(opI64GeS)
	w.block(opIf, blockType{})
	w.op(opElse)
	w.i32(RefillFuel)
	w.op(opGlobalGet, w.r.fuel)
	w.op(opCall, w.r.refill)
	w.op(opGlobalSet, w.r.fuel)
	w.op(opEnd)
}

// back branches to the head of a loop and pays for the round that begins.
func (w *codeWriter) back(in *instruction, loop region) {
	if in.op == opBr {
		w.spend(loop.fuel())
		w.op(opBr, in.x)
		return
	}
	w.block(opIf, blockType{})
	w.spend(loop.fuel())
	w.op(opBr, in.x+1)
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
