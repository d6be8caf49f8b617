package wasm

import (
	"maps"
	"slices"
)

// header is how a module of version 1 begins (§5.5.16).
const header = "\x00asm\x01\x00\x00\x00"

// Encode returns the module in the binary format. Of its custom sections it keeps the names of functions.
func (m *Module) Encode() []byte {
	size := 1 << 10
	for i := range m.bodies {
		size += len(m.bodies[i].code) + 16
	}
	for i := range m.data {
		size += len(m.data[i].bytes) + 16
	}
	e := &encoder{out: append(make([]byte, 0, size), header...)}
	e.types(m)
	e.imports(m)
	e.functions(m)
	e.tables(m)
	e.memory(m)
	e.globals(m)
	e.exports(m)
	e.start(m)
	e.elements(m)
	e.dataCount(m)
	e.code(m)
	e.data(m)
	e.names(m)
	return e.out
}

// encoder writes sections one after the other. Each is gathered in section, since its size comes first.
type encoder struct {
	out     []byte
	section []byte
	part    []byte // within the section, for the same reason
}

// flush ends a section.
func (e *encoder) flush(id byte) {
	e.out = appendSized(append(e.out, id), e.section)
	e.section = e.section[:0]
}

// begin starts a section of n things. It reports false if there are none: such a section is left out.
func (e *encoder) begin(n int) bool {
	if n == 0 {
		return false
	}
	e.section = appendU32(e.section[:0], uint32(n))
	return true
}

func appendSized(b, content []byte) []byte {
	return append(appendU32(b, uint32(len(content))), content...)
}

func appendName(b []byte, name string) []byte {
	return append(appendU32(b, uint32(len(name))), name...)
}

func appendTypes(b []byte, types []ValueType) []byte {
	b = appendU32(b, uint32(len(types)))
	for _, t := range types {
		b = append(b, byte(t))
	}
	return b
}

func appendSpan(b []byte, s Span) []byte {
	if !s.HasMax {
		return appendU32(append(b, 0), s.Min)
	}
	return appendU32(appendU32(append(b, 1), s.Min), s.Max)
}

func appendConstant(b []byte, c constant) []byte {
	switch c.op {
	case opRefFunc:
		b = appendU32(append(b, byte(opRefFunc)), c.arg)
	case opV128Const:
		b = append(b, 0xfd, byte(opV128Const-vector))
		b = append(b, c.imm...)
	default:
		b = append(append(b, byte(c.op)), c.imm...)
	}
	return append(b, byte(opEnd))
}

func (e *encoder) types(m *Module) {
	if !e.begin(len(m.types)) {
		return
	}
	for _, t := range m.types {
		e.section = appendTypes(appendTypes(append(e.section, 0x60), t.Params), t.Results)
	}
	e.flush(sectionType)
}

func (e *encoder) imports(m *Module) {
	if !e.begin(len(m.imports)) {
		return
	}
	for _, in := range m.imports {
		e.section = appendName(appendName(e.section, in.Module), in.Name)
		e.section = appendU32(append(e.section, byte(KindFunction)), in.typeIndex)
	}
	e.flush(sectionImport)
}

func (e *encoder) functions(m *Module) {
	if !e.begin(len(m.bodies)) {
		return
	}
	for _, t := range m.functions[len(m.imports):] {
		e.section = appendU32(e.section, t)
	}
	e.flush(sectionFunction)
}

func (e *encoder) tables(m *Module) {
	if !e.begin(len(m.tables)) {
		return
	}
	for _, t := range m.tables {
		e.section = appendSpan(append(e.section, byte(t.typ)), t.span)
	}
	e.flush(sectionTable)
}

func (e *encoder) memory(m *Module) {
	if m.memory == nil {
		return
	}
	e.begin(1)
	e.section = appendSpan(e.section, *m.memory)
	e.flush(sectionMemory)
}

func (e *encoder) globals(m *Module) {
	if !e.begin(len(m.globals)) {
		return
	}
	for _, g := range m.globals {
		mutable := byte(0)
		if g.mutable {
			mutable = 1
		}
		e.section = appendConstant(append(e.section, byte(g.typ), mutable), g.init)
	}
	e.flush(sectionGlobal)
}

func (e *encoder) exports(m *Module) {
	if !e.begin(len(m.exports)) {
		return
	}
	for _, x := range m.exports {
		e.section = appendU32(append(appendName(e.section, x.Name), byte(x.Kind)), x.Index)
	}
	e.flush(sectionExport)
}

func (e *encoder) start(m *Module) {
	if m.start < 0 {
		return
	}
	e.section = appendU32(e.section[:0], uint32(m.start))
	e.flush(sectionStart)
}

// elements writes segments with expressions, which hold any entry.
func (e *encoder) elements(m *Module) {
	if !e.begin(len(m.elements)) {
		return
	}
	for i := range m.elements {
		s := &m.elements[i]
		switch {
		case s.mode == active && s.table == 0 && s.typ == FuncRef:
			e.section = appendConstant(append(e.section, 4), s.offset)
		case s.mode == active:
			e.section = appendConstant(appendU32(append(e.section, 6), s.table), s.offset)
			e.section = append(e.section, byte(s.typ))
		case s.mode == passive:
			e.section = append(e.section, 5, byte(s.typ))
		default:
			e.section = append(e.section, 7, byte(s.typ))
		}
		e.section = appendU32(e.section, uint32(len(s.entries)))
		for _, c := range s.entries {
			e.section = appendConstant(e.section, c)
		}
	}
	e.flush(sectionElement)
}

func (e *encoder) dataCount(m *Module) {
	if !m.hasDataCount {
		return
	}
	e.section = appendU32(e.section[:0], uint32(len(m.data)))
	e.flush(sectionDataCount)
}

func (e *encoder) code(m *Module) {
	if !e.begin(len(m.bodies)) {
		return
	}
	for i := range m.bodies {
		b := &m.bodies[i]
		e.part = appendU32(e.part[:0], uint32(len(b.locals)))
		for _, g := range b.locals {
			e.part = append(appendU32(e.part, g.n), byte(g.typ))
		}
		e.section = appendU32(e.section, uint32(len(e.part)+len(b.code)))
		e.section = append(append(e.section, e.part...), b.code...)
	}
	e.flush(sectionCode)
}

func (e *encoder) data(m *Module) {
	if !e.begin(len(m.data)) {
		return
	}
	for _, s := range m.data {
		if s.mode == passive {
			e.section = append(e.section, 1)
		} else {
			e.section = appendConstant(append(e.section, 0), s.offset)
		}
		e.section = appendSized(e.section, s.bytes)
	}
	e.flush(sectionData)
}

func (e *encoder) names(m *Module) {
	indices := slices.Sorted(maps.Keys(m.names))
	known, _ := slices.BinarySearch(indices, uint32(len(m.functions)))
	if known == 0 {
		return
	}
	e.part = appendU32(e.part[:0], uint32(known))
	for _, i := range indices[:known] {
		e.part = appendName(appendU32(e.part, i), m.names[i])
	}
	e.section = append(appendName(e.section[:0], "name"), subsectionFunctions)
	e.section = appendSized(e.section, e.part)
	e.flush(sectionCustom)
}
