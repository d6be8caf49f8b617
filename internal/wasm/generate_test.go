package wasm

import "slices"

// generator makes a valid module that ends: from the same bytes always the same one. When they are used up it takes
// zeros, with which everything is as simple as possible.
//
// Each loop counts down in a local of its own, and calls take from a budget, so every program is short.
type generator struct {
	source []byte
	code   []byte
	locals []ValueType // of the function being made; parameters first
	params int
	typ    FuncType
	labels []label // innermost last
	loops  int     // around the current code
	left   int     // nodes that may still be made
}

// label is what a branch may target: the values that it takes along.
type label struct {
	results []ValueType
	loop    bool
}

// What the module has.
const (
	genFunctions = 5
	genMemory    = 1 // pages, of at most 3
	genTable     = 8
	genBudget    = 0 // global i32: calls that are left
	genGlobal32  = 1
	genGlobal64  = 2
)

var genTypes = []FuncType{
	{Params: []ValueType{I32, I32}, Results: []ValueType{I32}},
	{Params: []ValueType{I64}, Results: []ValueType{I64}},
	{},
	{Params: []ValueType{I32}, Results: []ValueType{I32, I64}},
	{Params: []ValueType{F64, I32}, Results: []ValueType{F64}},
	{Results: []ValueType{I32, I64}}, // of blocks
	{Params: []ValueType{I32}, Results: []ValueType{I32}},
}

// function i has type i: the table of types begins with theirs.

func generate(source []byte) []byte {
	g := &generator{source: source, left: 600}
	var bodies [][]byte
	for i := range genFunctions {
		bodies = append(bodies, g.function(genTypes[i]))
	}
	var types [][]byte
	for _, t := range genTypes {
		types = append(types, appendTypes(appendTypes([]byte{0x60}, t.Params), t.Results))
	}
	start := []byte{}
	if g.pick(4) == 1 {
		start = sec(sectionStart, u(2))
	}
	return file(
		sec(sectionType, vec(types...)),
		sec(sectionFunction, vec(u(0), u(1), u(2), u(3), u(4))),
		sec(sectionTable, vec(cat(in(0x70, 1), u(genTable), u(3*genTable)))),
		sec(sectionMemory, vec(cat(in(1), u(genMemory), u(3)))),
		sec(sectionGlobal, vec(
			in(i32, 1, 0x41, 12, 0x0b), in(i32, 1, 0x41, 7, 0x0b), in(i64, 1, 0x42, 9, 0x0b), in(byte(FuncRef), 0, 0xd2, 1, 0x0b))),
		sec(sectionExport, vec(
			cat(str("f0"), in(0, 0)), cat(str("f1"), in(0, 1)), cat(str("f3"), in(0, 3)), cat(str("f4"), in(0, 4)),
			cat(str("memory"), in(2, 0)),
			cat(str("budget"), in(3, 0)), cat(str("g32"), in(3, 1)), cat(str("g64"), in(3, 2)))),
		start,
		sec(sectionElement, vec(
			cat(in(0, 0x41, 1, 0x0b), vec(u(0), u(1), u(2), u(3), u(4))),
			cat(in(5, byte(FuncRef)), vec(in(0xd2, 2, 0x0b), in(0xd0, 0x70, 0x0b), in(0xd2, 0, 0x0b))),
			cat(in(3, 0), vec(u(1))))),
		sec(sectionDataCount, u(2)),
		sec(sectionCode, vec(bodies...)),
		sec(sectionData, vec(cat(in(0, 0x41, 16, 0x0b), str("some bytes to begin with")), cat(in(1), str("passive bytes")))))
}

// pick returns a number below n.
func (g *generator) pick(n int) int {
	if len(g.source) == 0 {
		return 0
	}
	b := g.source[0]
	g.source = g.source[1:]
	return int(b) % n
}

func (g *generator) emit(b ...byte) { g.code = append(g.code, b...) }

func (g *generator) index(o byte, i int) { g.code = appendU32(append(g.code, o), uint32(i)) }

func (g *generator) function(t FuncType) []byte {
	g.typ, g.params, g.code = t, len(t.Params), nil
	g.locals = append(slices.Clone(t.Params), I32, I64, F64, I32)
	g.labels = []label{{results: t.Results}}
	for range 1 + g.pick(6) {
		g.statement(3)
	}
	g.values(t.Results, 3)
	g.emit(0x0b)
	var groups [][]byte
	for _, l := range g.locals[g.params:] {
		groups = append(groups, []byte{1, byte(l)})
	}
	return sized(cat(vec(groups...), g.code))
}

func (g *generator) values(types []ValueType, depth int) {
	for _, t := range types {
		g.value(t, depth)
	}
}

// local returns a local of that type which is not a loop's.
func (g *generator) local(t ValueType) int {
	var of []int
	for i, l := range g.locals[:g.params+4] {
		if l == t {
			of = append(of, i)
		}
	}
	return of[g.pick(len(of))]
}

func (g *generator) constant(t ValueType) {
	switch t {
	case I32:
		numbers := []int64{0, 1, -1, 5, 100, 65_535, 65_536, 70_000, 1 << 30, -1 << 31}
		g.code = appendSigned(append(g.code, 0x41), numbers[g.pick(len(numbers))])
	case I64:
		g.code = appendSigned(append(g.code, 0x42), int64(g.pick(256))<<(8*g.pick(7)))
	case F64:
		g.emit(0x44, 0, 0, 0, 0, 0, 0, byte(g.pick(256)), byte(g.pick(128)))
	}
}

// value makes code that pushes one value.
func (g *generator) value(t ValueType, depth int) {
	g.left--
	if depth <= 0 || g.left < 0 {
		if g.pick(2) == 0 {
			g.constant(t)
		} else {
			g.index(0x20, g.local(t))
		}
		return
	}
	switch g.pick(8) {
	case 0:
		g.constant(t)
	case 1:
		g.index(0x20, g.local(t))
	case 2: // if
		g.value(I32, depth-1)
		g.open(0x04, t)
		g.value(t, depth-1)
		g.emit(0x05)
		g.value(t, depth-1)
		g.close()
	case 3: // block, left early
		g.open(0x02, t)
		g.statement(depth - 1)
		g.value(t, depth-1)
		if g.pick(2) == 0 {
			g.value(I32, depth-1)
			g.index(0x0d, 0)
		}
		g.close()
	case 4:
		g.value(t, depth-1)
		g.value(t, depth-1)
		g.value(I32, depth-1)
		g.emit(0x1b)
	case 5:
		g.value(t, depth-1)
		g.index(0x22, g.local(t))
	default:
		switch t {
		case I32:
			g.value32(depth)
		case I64:
			g.value64(depth)
		default:
			g.valueFloat(depth)
		}
	}
}

func (g *generator) value32(depth int) {
	switch g.pick(13) {
	case 0, 1:
		g.value(I32, depth-1)
		g.value(I32, depth-1)
		g.emit([]byte{0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x70, 0x71, 0x74, 0x48, 0x4d}[g.pick(10)])
	case 2:
		g.address(depth)
		g.index([]byte{0x28, 0x2d, 0x2e}[g.pick(3)], 0)
		g.code = appendU32(g.code, uint32(g.pick(5)))
	case 3:
		g.emit(0x3f, 0)
	case 4:
		g.value(I32, depth-1)
		if g.pick(2) == 0 {
			g.emit(0x41, byte(g.pick(3)), 0x71) // few pages
		}
		g.emit(0x40, 0)
	case 5:
		g.call(0, I32, depth)
	case 6:
		g.call(3, I32, depth)
	case 7:
		g.index(0x23, genBudget+g.pick(2))
	case 8:
		g.value(I64, depth-1)
		g.emit(0xa7)
	case 9:
		g.value(F64, depth-1)
		if g.pick(3) == 0 {
			g.emit(0xaa) // traps if out of range
		} else {
			g.emit(0xfc, 2)
		}
	case 10:
		g.value(I32, depth-1)
		if g.pick(3) > 0 {
			g.emit(0x41, genTable-1, 0x71)
		}
		g.emit(0x25, 0, 0xd1)
	case 11:
		g.emit(0xd0, 0x70)
		g.value(I32, depth-1)
		g.emit(0xfc, 15, 0) // table.grow
	default:
		g.value(I32, depth-1)
		g.emit(0x45)
	}
}

func (g *generator) value64(depth int) {
	switch g.pick(5) {
	case 0:
		g.value(I64, depth-1)
		g.value(I64, depth-1)
		g.emit([]byte{0x7c, 0x7d, 0x7e, 0x7f, 0x82, 0x85, 0x86}[g.pick(7)])
	case 1:
		g.call(1, I64, depth)
	case 2:
		g.index(0x23, genGlobal64)
	case 3:
		g.value(I32, depth-1)
		g.emit(0xad)
	default:
		g.address(depth)
		g.emit(0x29, 3, 0)
	}
}

func (g *generator) valueFloat(depth int) {
	switch g.pick(3) {
	case 0:
		g.value(F64, depth-1)
		g.value(F64, depth-1)
		g.emit([]byte{0xa0, 0xa1, 0xa2, 0xa3}[g.pick(4)])
	case 1:
		g.call(4, F64, depth)
	default:
		g.value(I32, depth-1)
		g.emit(0xb7)
	}
}

// address makes an address that is mostly within the memory.
func (g *generator) address(depth int) {
	g.value(I32, depth-1)
	if g.pick(8) > 0 {
		g.code = append(appendSigned(append(g.code, 0x41), 0xffff), 0x71)
	}
}

// call makes a call of function f, which has a result of type t, directly or through the table, while the budget lasts.
func (g *generator) call(f int, t ValueType, depth int) {
	g.index(0x23, genBudget)
	g.emit(0x45)
	g.open(0x04, t)
	g.constant(t)
	g.emit(0x05)
	g.emit(0x23, genBudget, 0x41, 1, 0x6b, 0x24, genBudget)
	g.values(genTypes[f].Params, depth-1)
	if g.pick(3) == 0 {
		if g.pick(4) == 0 {
			g.value(I32, depth-1) // most likely the wrong one
		} else {
			g.emit(0x41, byte(f+1))
		}
		g.emit(0x11, byte(f), 0)
	} else {
		g.index(0x10, f)
	}
	if f == 3 { // two results
		g.emit(0x1a)
	}
	g.close()
}

func (g *generator) open(o byte, results ...ValueType) {
	g.emit(o)
	switch len(results) {
	case 0:
		g.emit(0x40)
	case 1:
		g.emit(byte(results[0]))
	default:
		g.emit(5)
	}
	g.labels = append(g.labels, label{results: results})
}

func (g *generator) close() {
	g.emit(0x0b)
	g.labels = g.labels[:len(g.labels)-1]
}

// statement makes code that leaves the stack as it is.
func (g *generator) statement(depth int) {
	g.left--
	if depth <= 0 || g.left < 0 {
		g.emit(0x01)
		return
	}
	switch g.pick(20) {
	case 1:
		t := []ValueType{I32, I64, F64}[g.pick(3)]
		g.value(t, depth-1)
		g.index(0x21, g.local(t))
	case 2:
		g.value(I32, depth-1)
		g.index(0x24, genGlobal32)
	case 3:
		g.value(I64, depth-1)
		g.index(0x24, genGlobal64)
	case 4:
		g.address(depth)
		g.value(I32, depth-1)
		g.emit(0x36, 2, byte(g.pick(9)))
	case 5:
		g.value(I32, depth-1)
		g.open(0x04)
		g.statement(depth - 1)
		if g.pick(2) == 0 {
			g.emit(0x05)
			g.statement(depth - 1)
		}
		g.close()
	case 6, 7:
		g.open(0x02)
		g.statement(depth - 1)
		g.statement(depth - 1)
		g.close()
	case 8, 9, 10:
		g.loop(depth)
	case 11, 12:
		g.branch(depth)
	case 13:
		g.branchTable(depth)
	case 14:
		g.value(I32, depth-1)
		g.open(0x04)
		g.values(g.typ.Results, depth-1)
		g.emit(0x0f)
		g.close()
	case 15:
		g.bulk(depth)
	case 16:
		g.tables(depth)
	case 17: // two values out of a block
		g.open(0x02, I32, I64)
		g.values([]ValueType{I32, I64}, depth-1)
		g.value(I32, depth-1)
		g.index(0x0d, 0)
		g.close()
		g.index(0x21, g.local(I64))
		g.index(0x21, g.local(I32))
	case 18:
		if g.pick(8) == 0 {
			g.value(I32, depth-1)
			g.open(0x04)
			g.emit(0x00)
			g.close()
		} else {
			g.call(0, I32, depth)
			g.emit(0x1a)
		}
	case 19: // a loop with a parameter
		g.value(I32, depth-1)
		g.emit(0x03, 6)
		g.labels = append(g.labels, label{results: []ValueType{I32}})
		g.emit(0x41, 3, 0x71)
		g.close()
		g.emit(0x1a)
	default:
		g.emit(0x01)
	}
}

// loop makes a loop that ends after a few rounds, whatever branches to it.
func (g *generator) loop(depth int) {
	if g.loops == 3 {
		return
	}
	g.loops++
	counter := len(g.locals)
	g.locals = append(g.locals, I32)
	g.emit(0x41, byte(1+g.pick(20)))
	g.index(0x21, counter)
	g.open(0x02)
	g.open(0x03)
	g.labels[len(g.labels)-1].loop = true
	g.index(0x20, counter)
	g.emit(0x45, 0x0d, 1)
	g.index(0x20, counter)
	g.emit(0x41, 1, 0x6b)
	g.index(0x21, counter)
	for range 1 + g.pick(3) {
		g.statement(depth - 1)
	}
	g.emit(0x0c, 0)
	g.close()
	g.close()
	g.loops--
}

func (g *generator) branch(depth int) {
	i := g.pick(len(g.labels))
	target := g.labels[len(g.labels)-1-i]
	g.value(I32, depth-1)
	g.open(0x04)
	if !target.loop {
		g.values(target.results, depth-1)
	}
	if g.pick(2) == 0 {
		g.index(0x0c, i+1)
		if g.pick(2) == 0 {
			g.emit(0x20, 0)
			g.code[len(g.code)-2] = 0x01 // dead code
			g.code[len(g.code)-1] = 0x01
		}
	} else {
		g.value(I32, depth-1)
		g.index(0x0d, i+1)
		if !target.loop {
			for range target.results {
				g.emit(0x1a)
			}
		}
	}
	g.close()
}

func (g *generator) branchTable(depth int) {
	var plain []int // labels that take nothing along
	g.open(0x02)
	g.open(0x02)
	for i := range g.labels {
		if l := g.labels[len(g.labels)-1-i]; l.loop || len(l.results) == 0 {
			plain = append(plain, i)
		}
	}
	g.value(I32, depth-1)
	n := g.pick(4)
	g.index(0x0e, n)
	for range n + 1 {
		g.code = appendU32(g.code, uint32(plain[g.pick(len(plain))]))
	}
	g.close()
	g.statement(depth - 1)
	g.close()
}

// size makes a length: a constant, a small one or anything.
func (g *generator) size(depth int) {
	switch g.pick(4) {
	case 0:
		g.code = appendSigned(append(g.code, 0x41), int64(g.pick(256)*7))
	case 1, 2:
		g.value(I32, depth-1)
		g.code = append(appendSigned(append(g.code, 0x41), 0xfff), 0x71)
	default:
		g.value(I32, depth-1)
	}
}

func (g *generator) bulk(depth int) {
	switch g.pick(4) {
	case 0:
		g.address(depth)
		g.value(I32, depth-1)
		g.size(depth)
		g.emit(0xfc, 11, 0)
	case 1:
		g.address(depth)
		g.address(depth)
		g.size(depth)
		g.emit(0xfc, 10, 0, 0)
	case 2:
		g.address(depth)
		g.emit(0x41, byte(g.pick(14)))
		g.value(I32, depth-1)
		if g.pick(4) > 0 {
			g.emit(0x41, 7, 0x71)
		}
		g.emit(0xfc, 8, 1, 0)
	default:
		g.emit(0xfc, 9, byte(g.pick(2)))
	}
}

func (g *generator) tables(depth int) {
	slot := func() {
		g.value(I32, depth-1)
		if g.pick(6) > 0 {
			g.emit(0x41, 3, 0x71)
		}
	}
	switch g.pick(5) {
	case 0:
		slot()
		g.emit(0xd2, 1, 0x26, 0)
	case 1:
		slot()
		g.emit(0xd2, 1)
		slot()
		g.emit(0xfc, 17, 0)
	case 2:
		slot()
		slot()
		slot()
		g.emit(0xfc, 14, 0, 0)
	case 3:
		slot()
		g.emit(0x41, byte(g.pick(3)))
		slot()
		g.emit(0xfc, 12, 1, 0)
	default:
		g.emit(0xfc, 13, 1)
	}
}
