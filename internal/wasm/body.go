package wasm

import "math"

// frame is a block that is open while a function's code is walked.
type frame struct {
	op    op  // block, loop, if, else; opCall stands for the function itself
	arity int // values that a branch to it takes along

	// See effort.accesses: at the start, and the least of those of the branches to its end.
	start, least int
	dead         bool // the block itself cannot be reached
}

// codeChecker checks function bodies, one after the other. It keeps its buffers.
type codeChecker struct {
	d      decoder
	frames []frame
	effort effort
	total  int // effort of all functions so far

	mutableGlobals int // of the module
}

// body reads the code of a function: its locals, then instructions. start is where it begins in the file.
func (r *reader) body(function int, code []byte, start int) {
	report := func(at int, format string, args ...any) { r.add(r.section, start+at, function, format, args...) }
	limits := &r.m.limits

	b := body{}
	locals := uint64(len(r.m.FunctionType(function).Params))
	groups, pos := readU32(code)
	if pos == 0 || uint64(groups) > uint64(len(code)-pos)/2 {
		report(0, "the number of its locals is damaged")
		return
	}
	b.locals = make([]localGroup, 0, groups)
	for range groups {
		n, size := readU32(code[pos:])
		if size == 0 || pos+size >= len(code) || !ValueType(code[pos+size]).valid() {
			report(pos, "a declaration of locals is damaged, or of unknown type")
			return
		}
		b.locals = append(b.locals, localGroup{n: n, typ: ValueType(code[pos+size])})
		locals += uint64(n) // at most half a body of 32-bit numbers: no overflow
		pos += size + 1
	}
	if locals > uint64(limits.Locals) {
		report(0, "has %d parameters and locals, at most %d are allowed", locals, limits.Locals)
		return
	}

	b.code, b.at = code[pos:], start+pos
	if r.instructions(function, &b, int(locals)) {
		r.m.bodies = append(r.m.bodies, b)
	} else {
		r.damaged[sectionCode] = true
	}
}

// instructions walks a function's code. It reports false when it had to stop before the end.
func (r *reader) instructions(function int, b *body, locals int) bool {
	c := &r.code
	limits := &r.m.limits
	c.d = decoder{code: b.code, labels: c.d.labels, most: limits.BranchTable}
	c.frames = append(c.frames[:0], frame{op: opCall, arity: len(r.m.FunctionType(function).Results), least: math.MaxInt})
	c.effort.reset(locals, len(r.m.globals))
	var in instruction
	report := func(format string, args ...any) { r.add(r.section, b.at+in.at, function, format, args...) }
	within := func(what string, i uint32, n int, ids ...int) bool {
		if uint64(i) < uint64(n) {
			return true
		}
		if r.trust(ids...) {
			report("there is no %s %d, there are %d", what, i, n)
		}
		return false
	}

	for len(c.frames) > 0 {
		if err := c.d.next(&in); err != nil {
			report("%v", err)
			return false
		}
		if in.op != opEnd && opcodes[in.op].usesMemory() && r.m.memory == nil && r.trust(sectionMemory) {
			report("there is no memory")
		}
		c.effort.note(&in, c.frames, c.mutableGlobals)
		switch opcodes[in.op].imm {
		case immNone:
			switch in.op {
			case opElse:
				top := &c.frames[len(c.frames)-1]
				if top.op != opIf {
					report("else without if")
					return false
				}
				top.op = opElse
			case opEnd:
				c.frames = c.frames[:len(c.frames)-1]
			}
		case immBlock:
			if in.block.form == blockFunction && !within("type", in.block.fn, len(r.m.types), sectionType) {
				return false
			}
			if len(c.frames) > limits.Nesting {
				report("blocks are nested deeper than %d", limits.Nesting)
				return false
			}
			params, results := r.m.blockArity(in.block)
			f := frame{op: in.op, arity: results, start: c.effort.accesses, least: math.MaxInt, dead: c.effort.dead}
			if in.op == opLoop {
				f.arity = params
			}
			c.frames = append(c.frames, f)
		case immLabel:
			within("label", in.x, len(c.frames))
		case immLabels:
			for _, label := range in.labels {
				if !within("label", label, len(c.frames)) {
					break
				}
			}
		case immFunction:
			within("function", in.x, len(r.m.functions), sectionImport, sectionFunction)
		case immIndirect:
			within("type", in.x, len(r.m.types), sectionType)
			if within("table", in.y, len(r.m.tables), sectionTable) && r.m.tables[in.y].typ != FuncRef {
				report("calls through table %d, which holds no functions", in.y)
			}
		case immLocal:
			within("local", in.x, locals, sectionType, sectionFunction)
		case immGlobal:
			if within("global", in.x, len(r.m.globals), sectionGlobal) && in.op == opGlobalSet && !r.m.globals[in.x].mutable {
				report("sets global %d, which is immutable", in.x)
			}
		case immTable:
			within("table", in.x, len(r.m.tables), sectionTable)
		case immTables:
			within("table", in.x, len(r.m.tables), sectionTable)
			within("table", in.y, len(r.m.tables), sectionTable)
		case immData, immDataMem:
			if !r.seen[sectionDataCount] {
				report("uses data segment %d, but the module has no data count section", in.x)
			} else {
				within("data segment", in.x, int(r.dataCount), sectionDataCount)
			}
		case immElem:
			within("element segment", in.x, len(r.m.elements), sectionElement)
		case immElemTable:
			within("element segment", in.x, len(r.m.elements), sectionElement)
			within("table", in.y, len(r.m.tables), sectionTable)
		}
		r.m.uses.note(in.op)
	}
	effort := c.effort.total()
	c.total += effort
	if effort > limits.FunctionEffort {
		in.at = 0
		report("would take too long to compile: effort %d, at most %d is allowed", effort, limits.FunctionEffort)
	}
	if c.d.pos != len(b.code) {
		in.at = c.d.pos
		report("%d bytes are left over behind its end", len(b.code)-c.d.pos)
		return false
	}
	return true
}

// blockArity returns how many values a block takes from the stack and leaves there. A function type must exist.
func (m *Module) blockArity(t blockType) (params, results int) {
	switch t.form {
	case blockFunction:
		return len(m.types[t.fn].Params), len(m.types[t.fn].Results)
	case blockValue:
		return 0, 1
	default:
		return 0, 0
	}
}

func (u *uses) note(o op) {
	switch o {
	case opTableSet, opTableGrow, opTableFill, opTableCopy, opTableInit:
		u.tableMutation = true
	case opDataDrop, opElemDrop:
		u.segmentDrop = true
	case opMemoryGrow:
		u.memoryGrow = true
	}
}

// usesMemory reports whether the instruction is only valid with a memory.
func (o opcode) usesMemory() bool {
	switch o.imm {
	case immAccess, immAccessLane, immMemory, immMemories, immDataMem:
		return true
	default:
		return false
	}
}
