package wasm

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// Read parses a module in the binary format (§5) and checks it against limits. If nothing is wrong it returns the
// module, which refers to file: nobody may change those bytes any more. Otherwise it returns no module and what is
// wrong, in the order of the file, as far as the damage lets it see; at most 32 problems and one that counts the rest.
//
// It allocates at most 64 bytes for each byte of the file, plus 64 KiB.
func Read(file []byte, limits Limits) (*Module, []Problem) {
	r := &reader{file: file, m: &Module{limits: limits, start: -1}}
	if len(file) > limits.FileBytes {
		r.problem("", 0, "has %d bytes, at most %d are allowed", len(file), limits.FileBytes)
		return nil, r.done(noName)
	}
	r.module()
	if problems := r.done(r.m.FunctionName); len(problems) > 0 {
		return nil, problems
	}
	return r.m, nil
}

func noName(int) string { return "" }

// Sections, by their number in the file (§5.5.2).
const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
	sections // how many there are
)

var sectionNames = [sections]string{
	"custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code", "data",
	"data count",
}

// sectionOrder is where a section may stand: the data count comes before the code.
var sectionOrder = [sections]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 10}

// reader parses one file. Within a section it stops at the first damage (broken); sections after it are still read,
// but nothing is said about indices into the damaged one.
type reader struct {
	problems
	m    *Module
	file []byte

	section string // being read
	pos     int    // next byte
	end     int    // of the section
	broken  bool   // the section cannot be read on

	seen          [sections]bool
	damaged       [sections]bool
	importDamaged bool
	dataCount     uint32
	code          codeChecker
}

// problem reports what is wrong at a place outside of function bodies.
func (r *reader) problem(section string, at int, format string, args ...any) {
	r.add(section, at, -1, format, args...)
}

// report says what is wrong at a place in the section. The section can be read on.
func (r *reader) report(at int, format string, args ...any) {
	r.problem(r.section, at, format, args...)
}

// damage says what is wrong and gives the section up. Only the first damage of a section counts.
func (r *reader) damage(at int, format string, args ...any) {
	if !r.broken {
		r.report(at, format, args...)
		r.broken = true
	}
}

func (r *reader) module() {
	if !bytes.HasPrefix(r.file, []byte("\x00asm")) {
		r.problem("", 0, "is not a WebAssembly module: it does not start with \\0asm")
		return
	}
	if !bytes.HasPrefix(r.file[4:], []byte{1, 0, 0, 0}) {
		r.problem("", 4, "is not version 1 of the binary format")
		return
	}
	last, lastID := 0, 0
	for at := 8; at < len(r.file); {
		id := r.file[at]
		size, n := readU32(r.file[at+1:])
		start := at + 1 + n
		switch {
		case n == 0:
			r.problem("", at+1, "the size of a section is cut off or does not fit 32 bits")
			return
		case uint64(size) > uint64(len(r.file)-start):
			r.problem("", at, "a section of %d bytes reaches beyond the end of the file", size)
			return
		case id == 13:
			r.problem("", at, "has a tag section (exception handling: not supported)")
			return
		case id >= sections:
			r.problem("", at, "has an unknown section, number %d", id)
			return
		}
		r.section, r.pos, r.end, r.broken = sectionNames[id], start, start+int(size), false
		at = r.end
		if id == sectionCustom {
			r.customSection()
			continue
		}
		if sectionOrder[id] <= last {
			r.problem("", start, "the %s section comes after the %s section, it must be before it and there may be one only",
				sectionNames[id], sectionNames[lastID])
			r.damaged[id] = true
			continue
		}
		last, lastID = sectionOrder[id], int(id)
		r.seen[id] = true
		r.readSection(int(id))
		if !r.broken && r.pos != r.end {
			r.damage(r.pos, "%d bytes are left over at its end", r.end-r.pos)
		}
		r.damaged[id] = r.damaged[id] || r.broken
	}
	r.whole()
}

func (r *reader) readSection(id int) {
	switch id {
	case sectionType:
		r.typeSection()
	case sectionImport:
		r.importSection()
	case sectionFunction:
		r.functionSection()
	case sectionTable:
		r.tableSection()
	case sectionMemory:
		r.memorySection()
	case sectionGlobal:
		r.globalSection()
	case sectionExport:
		r.exportSection()
	case sectionStart:
		r.startSection()
	case sectionElement:
		r.elementSection()
	case sectionDataCount:
		r.dataCount = r.u32()
	case sectionCode:
		r.codeSection()
	case sectionData:
		r.dataSection()
	}
}

// whole checks what concerns several sections.
func (r *reader) whole() {
	m := r.m
	m.hasDataCount = r.seen[sectionDataCount]
	if defined := len(m.functions) - len(m.imports); defined > 0 && !r.seen[sectionCode] {
		r.problem("", len(r.file), "declares %d functions and has no code", defined)
	}
	if r.trust(sectionData, sectionDataCount) && m.hasDataCount && int(r.dataCount) != len(m.data) {
		r.problem("", len(r.file), "has %d data segments, its data count section says %d", len(m.data), r.dataCount)
	}
}

// trust reports whether nothing was damaged in those sections, so that indices into them can be judged.
func (r *reader) trust(ids ...int) bool {
	for _, id := range ids {
		if r.damaged[id] {
			return false
		}
	}
	return true
}

// within reports whether index i points at one of n things. If it does not, that is a problem, unless a damaged section
// makes n unreliable.
func (r *reader) within(at int, what string, i uint32, n int, ids ...int) bool {
	if uint64(i) < uint64(n) {
		return true
	}
	if r.trust(ids...) {
		r.report(at, "there is no %s %d, the module has %d", what, i, n)
	}
	return false
}

func (r *reader) byte() byte {
	if r.broken || r.pos >= r.end {
		r.damage(r.pos, "is cut off")
		return 0
	}
	r.pos++
	return r.file[r.pos-1]
}

func (r *reader) u32() uint32 {
	if r.broken {
		return 0
	}
	v, n := readU32(r.file[r.pos:r.end])
	if n == 0 {
		r.damage(r.pos, "a number is cut off or does not fit 32 bits")
	}
	r.pos += n
	return v
}

// take returns the next n bytes.
func (r *reader) take(n uint32) []byte {
	if r.broken || uint64(n) > uint64(r.end-r.pos) {
		r.damage(r.pos, "%d bytes reach beyond its end", n)
		return nil
	}
	r.pos += int(n)
	return r.file[r.pos-int(n) : r.pos]
}

// count reads how many things follow, each of them at least size bytes long. Too many of them end the section. So it is
// safe to allocate for them.
func (r *reader) count(what string, most, size int) int {
	at := r.pos
	n := r.u32()
	if uint64(n) > uint64(max(most, 0)) {
		r.damage(at, "has %d %s, at most %d are allowed", n, what, max(most, 0))
	}
	if !r.broken && int(n) > (r.end-r.pos)/size {
		r.damage(at, "has %d %s, but only %d bytes for them", n, what, r.end-r.pos)
	}
	if r.broken {
		return 0
	}
	return int(n)
}

func (r *reader) name() string {
	at := r.pos
	b := r.take(r.u32())
	switch {
	case r.broken:
	case len(b) > r.m.limits.NameBytes:
		r.damage(at, "a name has %d bytes, at most %d are allowed", len(b), r.m.limits.NameBytes)
	case !utf8.Valid(b):
		r.damage(at, "a name is not UTF-8")
	}
	if r.broken {
		return ""
	}
	return string(b)
}

func (r *reader) valueType() ValueType {
	at := r.pos
	t := ValueType(r.byte())
	if !r.broken && !t.valid() {
		r.damage(at, "unknown value type 0x%02x", byte(t))
	}
	return t
}

func (r *reader) refType() ValueType {
	at := r.pos
	t := ValueType(r.byte())
	if !r.broken && !t.isRef() {
		r.damage(at, "type 0x%02x, want funcref or externref", byte(t))
	}
	return t
}

func (r *reader) typeSection() {
	n := r.count("types", r.m.limits.Types, 3)
	r.m.types = make([]FuncType, 0, n)
	for i := 0; i < n && !r.broken; i++ {
		at := r.pos
		if form := r.byte(); !r.broken && form != 0x60 {
			r.damage(at, "type %d is not a function type but 0x%02x (garbage collection: not supported)", i, form)
		}
		t := FuncType{Params: r.valueTypes("parameters", r.m.limits.Params)}
		t.Results = r.valueTypes("results", r.m.limits.Results)
		if !r.broken {
			r.m.types = append(r.m.types, t)
		}
	}
}

func (r *reader) valueTypes(what string, most int) []ValueType {
	n := r.count(what, most, 1)
	types := make([]ValueType, 0, n)
	for i := 0; i < n && !r.broken; i++ {
		types = append(types, r.valueType())
	}
	return types
}

func (r *reader) importSection() {
	n := r.count("imports", r.m.limits.Imports, 4)
	r.m.imports = make([]Import, 0, n)
	for i := 0; i < n && !r.broken; i++ {
		at := r.pos
		in := Import{Module: r.name(), Name: r.name()}
		kind := Kind(r.byte())
		if r.broken {
			return
		}
		if in.Module == MeterModule {
			r.report(at, "imports %q.%q: that module is reserved", in.Module, in.Name)
		}
		if kind != KindFunction {
			r.skipImport(kind)
			if !r.broken {
				r.report(at, "imports the %v %q.%q: only functions can be imported", kind, in.Module, in.Name)
				r.importDamaged = true // the index spaces are not what code thinks
			}
			continue
		}
		in.typeIndex = r.u32()
		if r.broken || !r.within(at, "type", in.typeIndex, len(r.m.types), sectionType) {
			r.importDamaged = true
			continue
		}
		in.Type = r.m.types[in.typeIndex]
		r.m.imports = append(r.m.imports, in)
		r.m.functions = append(r.m.functions, in.typeIndex)
	}
	if r.importDamaged {
		// Something is missing from the lists, so nothing can be said about indices into them.
		for _, id := range []int{sectionFunction, sectionTable, sectionMemory, sectionGlobal} {
			r.damaged[id] = true
		}
	}
}

func (r *reader) skipImport(kind Kind) {
	switch kind {
	case KindTable:
		r.refType()
		r.span(1 << 32)
	case KindMemory:
		r.span(1 << 16)
	case KindGlobal:
		r.valueType()
		r.byte()
	default:
		r.damage(r.pos-1, "unknown kind of import 0x%02x", byte(kind))
	}
}

func (r *reader) functionSection() {
	n := r.count("functions", r.m.limits.Functions-len(r.m.imports), 1)
	r.m.functions = slices.Grow(r.m.functions, n)
	for i := 0; i < n && !r.broken; i++ {
		at := r.pos
		t := r.u32()
		if r.broken || !r.within(at, "type", t, len(r.m.types), sectionType) {
			r.broken = true // what it is, is not known
			return
		}
		r.m.functions = append(r.m.functions, t)
	}
}

// span reads the limits of a table or memory. most bounds the maximum.
func (r *reader) span(most uint64) Span {
	at := r.pos
	var s Span
	switch flag := r.byte(); flag {
	case 0, 1:
		s.Min = r.u32()
		s.HasMax = flag == 1
	case 2, 3:
		r.damage(at, "is shared (threads: not supported)")
	default:
		if flag <= 7 {
			r.damage(at, "has 64-bit addresses (memory64: not supported)")
		} else {
			r.damage(at, "unknown form of limits 0x%02x", flag)
		}
	}
	if s.HasMax {
		s.Max = r.u32()
	}
	switch {
	case r.broken:
	case s.HasMax && s.Max < s.Min:
		r.report(at, "the maximum, %d, is below the minimum, %d", s.Max, s.Min)
	case uint64(s.Min) > most || s.HasMax && uint64(s.Max) > most:
		r.report(at, "a size of %d is beyond what the format allows, %d", max(s.Min, s.Max), most)
	}
	return s
}

func (r *reader) tableSection() {
	n := r.count("tables", r.m.limits.Tables, 3)
	for i := 0; i < n && !r.broken; i++ {
		at := r.pos
		if r.pos < r.end && r.file[r.pos] == 0x40 {
			r.damage(at, "table %d has an initial value (typed function references: not supported)", i)
			return
		}
		t := table{typ: r.refType()}
		t.span = r.span(1<<32 - 1)
		if r.broken {
			return
		}
		if uint64(t.span.Min) > uint64(r.m.limits.TableEntries) {
			r.report(at, "table %d starts with %d entries, at most %d are allowed", i, t.span.Min, r.m.limits.TableEntries)
		}
		r.m.tables = append(r.m.tables, t)
	}
}

func (r *reader) memorySection() {
	n := r.count("memories", 1, 2)
	if n == 0 || r.broken {
		return
	}
	at := r.pos
	s := r.span(1 << 16)
	if r.broken {
		return
	}
	if uint64(s.Min) > uint64(r.m.limits.MemoryPages) {
		r.report(at, "the memory starts with %d pages of 64 KiB, at most %d are allowed", s.Min, r.m.limits.MemoryPages)
	}
	r.m.memory = &s
}

func (r *reader) globalSection() {
	n := r.count("globals", r.m.limits.Globals, 5)
	r.m.globals = make([]global, 0, n)
	for i := 0; i < n && !r.broken; i++ {
		g := global{typ: r.valueType()}
		at := r.pos
		switch mutable := r.byte(); mutable {
		case 0, 1:
			g.mutable = mutable == 1
		default:
			r.damage(at, "global %d: mutability 0x%02x, want 0 or 1", i, mutable)
		}
		g.init = r.constant(g.typ)
		if !r.broken {
			r.m.globals = append(r.m.globals, g)
		}
	}
}

// constant reads a constant expression of type want (§5.4.9, §3.3.10). Globals that it reads must be imported ones,
// and there are none.
func (r *reader) constant(want ValueType) constant {
	if r.broken {
		return constant{}
	}
	at := r.pos
	d := decoder{code: r.file[r.pos:r.end]}
	var in, end instruction
	if err := d.next(&in); err != nil {
		r.damage(at, "constant expression: %v", err)
		return constant{}
	}
	c := constant{op: in.op, arg: in.x, imm: d.code[in.at+1 : d.pos]}
	var typ ValueType
	switch in.op {
	case opI32Const:
		typ = I32
	case opI64Const:
		typ = I64
	case opF32Const:
		typ = F32
	case opF64Const:
		typ = F64
	case opV128Const:
		typ, c.imm = V128, in.raw
	case opRefNull:
		typ = ValueType(in.raw[0])
	case opRefFunc:
		typ = FuncRef
		r.within(at, "function", in.x, len(r.m.functions), sectionImport, sectionFunction)
	case opGlobalGet:
		r.damage(at, "constant expression: reads global %d, it could only read an imported one", in.x)
	default:
		r.damage(at, "constant expression: instruction %v is not constant", in.op)
	}
	if r.broken {
		return c
	}
	if typ != want {
		r.report(at, "constant expression: is of type %v, want %v", typ, want)
	}
	if err := d.next(&end); err != nil || end.op != opEnd {
		r.damage(at+end.at, "constant expression: has more than one instruction (extended constants: not supported)")
	}
	r.pos += d.pos
	return c
}

func (r *reader) exportSection() {
	n := r.count("exports", r.m.limits.Exports, 3)
	r.m.exports = make([]Export, 0, n)
	seen := make(map[string]bool, n)
	for i := 0; i < n && !r.broken; i++ {
		at := r.pos
		e := Export{Name: r.name(), Kind: Kind(r.byte()), Index: r.u32()}
		if r.broken {
			return
		}
		if seen[e.Name] {
			r.report(at, "exports %q twice", e.Name)
		}
		seen[e.Name] = true
		if strings.HasPrefix(e.Name, MeterModule) {
			r.report(at, "exports %q: names that start with %q are reserved", e.Name, MeterModule)
		}
		what := e.Kind.String()
		switch e.Kind {
		case KindFunction:
			if r.within(at, what, e.Index, len(r.m.functions), sectionImport, sectionFunction) {
				e.Type = r.m.types[r.m.functions[e.Index]]
			}
		case KindTable:
			r.within(at, what, e.Index, len(r.m.tables), sectionImport, sectionTable)
		case KindMemory:
			r.within(at, what, e.Index, r.memories(), sectionImport, sectionMemory)
		case KindGlobal:
			r.within(at, what, e.Index, len(r.m.globals), sectionImport, sectionGlobal)
		default:
			r.damage(at, "exports %q: unknown kind 0x%02x", e.Name, byte(e.Kind))
		}
		r.m.exports = append(r.m.exports, e)
	}
}

func (r *reader) memories() int {
	if r.m.memory == nil {
		return 0
	}
	return 1
}

func (r *reader) startSection() {
	at := r.pos
	f := r.u32()
	if r.broken || !r.within(at, "function", f, len(r.m.functions), sectionImport, sectionFunction) {
		return
	}
	if t := r.m.types[r.m.functions[f]]; len(t.Params)+len(t.Results) > 0 {
		r.report(at, "the start function %d has type %v, want () -> ()", f, t)
	}
	r.m.start = int(f)
}

// elementSection reads element segments in their eight forms (§5.5.12): bit 0 of the form says passive or declarative,
// bit 1 a table index or declarative, bit 2 expressions instead of function indices.
func (r *reader) elementSection() {
	n := r.count("element segments", r.m.limits.Elements, 3)
	r.m.elements = make([]element, 0, n)
	left := r.m.limits.ElementEntries
	for i := 0; i < n && !r.broken; i++ {
		at := r.pos
		form := r.u32()
		if form > 7 {
			r.damage(at, "element segment %d: unknown form %d", i, form)
			return
		}
		e := element{typ: FuncRef, mode: active}
		if form&1 != 0 {
			e.mode = passive
			if form&2 != 0 {
				e.mode = declarative
			}
		} else {
			if form&2 != 0 {
				e.table = r.u32()
			}
			if !r.broken {
				r.within(at, "table", e.table, len(r.m.tables), sectionTable)
			}
			e.offset = r.constant(I32)
		}
		expressions := form&4 != 0
		if form&3 != 0 {
			at := r.pos
			if expressions {
				e.typ = r.refType()
			} else if kind := r.byte(); !r.broken && kind != 0 {
				r.damage(at, "element segment %d: unknown kind %d", i, kind)
			}
		}
		if e.mode == active && int(e.table) < len(r.m.tables) && !r.broken {
			if t := r.m.tables[e.table].typ; t != e.typ {
				r.report(at, "element segment %d holds %v, table %d wants %v", i, e.typ, e.table, t)
			}
		}
		entries := r.count("element entries", left, 1)
		left -= entries
		e.entries = make([]constant, 0, entries)
		for j := 0; j < entries && !r.broken; j++ {
			if expressions {
				e.entries = append(e.entries, r.constant(e.typ))
				continue
			}
			at := r.pos
			c := constant{op: opRefFunc, arg: r.u32()}
			if !r.broken {
				r.within(at, "function", c.arg, len(r.m.functions), sectionImport, sectionFunction)
			}
			e.entries = append(e.entries, c)
		}
		if !r.broken {
			r.m.elements = append(r.m.elements, e)
		}
	}
}

func (r *reader) dataSection() {
	n := r.count("data segments", r.m.limits.DataSegments, 2)
	r.m.data = make([]data, 0, n)
	for i := 0; i < n && !r.broken; i++ {
		at := r.pos
		var s data
		switch form := r.u32(); form {
		case 0, 2:
			var memory uint32
			if form == 2 {
				memory = r.u32()
			}
			if !r.broken {
				r.within(at, "memory", memory, r.memories(), sectionMemory)
			}
			s.offset = r.constant(I32)
		case 1:
			s.mode = passive
		default:
			r.damage(at, "data segment %d: unknown form %d", i, form)
		}
		s.bytes = r.take(r.u32())
		if !r.broken {
			r.m.data = append(r.m.data, s)
		}
	}
}

func (r *reader) codeSection() {
	imported := len(r.m.imports)
	n := r.count("functions", r.m.limits.Functions-imported, 3)
	if !r.trust(sectionImport, sectionFunction) {
		r.broken = true // what its functions are is not known
	}
	if r.broken {
		return
	}
	if declared := len(r.m.functions) - imported; n != declared {
		r.damage(r.pos, "has code for %d functions, %d are declared", n, declared)
	}
	r.m.bodies = make([]body, 0, n)
	r.code.mutableGlobals = 2 // Meter adds them
	for i := range r.m.globals {
		if r.m.globals[i].mutable {
			r.code.mutableGlobals++
		}
	}
	for i := 0; i < n && !r.broken; i++ {
		at := r.pos
		size := r.u32()
		start := r.pos
		code := r.take(size)
		if r.broken {
			return
		}
		if len(code) > r.m.limits.BodyBytes {
			r.add(r.section, at, imported+i, "has %d bytes of code, at most %d are allowed", len(code), r.m.limits.BodyBytes)
			r.damaged[sectionCode] = true
		} else {
			r.body(imported+i, code, start)
		}
	}
	if most := r.m.limits.ModuleEffort; r.code.total > most {
		r.report(r.pos, "would take too long to compile: effort %d, at most %d is allowed", r.code.total, most)
	}
}
