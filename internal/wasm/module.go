package wasm

import "slices"

// ValueType is the type of a value (§5.3.1).
type ValueType byte

// The value types.
const (
	I32       ValueType = 0x7f
	I64       ValueType = 0x7e
	F32       ValueType = 0x7d
	F64       ValueType = 0x7c
	V128      ValueType = 0x7b
	FuncRef   ValueType = 0x70
	ExternRef ValueType = 0x6f
)

// String returns the type as the text format spells it.
func (t ValueType) String() string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	case V128:
		return "v128"
	case FuncRef:
		return "funcref"
	case ExternRef:
		return "externref"
	default:
		return "?"
	}
}

func (t ValueType) valid() bool { return t.String() != "?" }
func (t ValueType) isRef() bool { return t == FuncRef || t == ExternRef }

// FuncType is the type of a function. Nobody may change the slices.
type FuncType struct {
	Params, Results []ValueType
}

// String returns the type in the manner of "(i32, i64) -> (i32)".
func (t FuncType) String() string { return typeList(t.Params) + " -> " + typeList(t.Results) }

func typeList(types []ValueType) string {
	s := "("
	for i, t := range types {
		if i > 0 {
			s += ", "
		}
		s += t.String()
	}
	return s + ")"
}

// Equal reports whether both have the same parameters and results.
func (t FuncType) Equal(u FuncType) bool {
	return slices.Equal(t.Params, u.Params) && slices.Equal(t.Results, u.Results)
}

// Kind is what an import or an export is (§5.5.5, §5.5.10).
type Kind byte

// The kinds.
const (
	KindFunction Kind = 0
	KindTable    Kind = 1
	KindMemory   Kind = 2
	KindGlobal   Kind = 3
)

// String returns the kind in words.
func (k Kind) String() string {
	switch k {
	case KindFunction:
		return "function"
	case KindTable:
		return "table"
	case KindMemory:
		return "memory"
	case KindGlobal:
		return "global"
	default:
		return "?"
	}
}

// Import is what a module wants from its host. Read accepts functions only.
type Import struct {
	Module, Name string
	Type         FuncType
	typeIndex    uint32
}

// Export is what a module offers.
type Export struct {
	Name  string
	Kind  Kind
	Index uint32   // among the things of its kind, imported ones first
	Type  FuncType // of a function, else empty
}

// Span is a range of sizes: of a memory in pages of 64 KiB, of a table in entries.
type Span struct {
	Min    uint32
	Max    uint32 // meaningless without HasMax
	HasMax bool
}

// Module is a module that was read. It is immutable; any goroutine may use it. Its accessors return its own slices,
// which nobody may change.
type Module struct {
	limits Limits // that it was read with

	types        []FuncType
	imports      []Import
	functions    []uint32 // type index of each function, imported ones first
	tables       []table
	memory       *Span // nil if there is none
	globals      []global
	exports      []Export
	start        int // function index, or -1
	elements     []element
	hasDataCount bool
	bodies       []body // one for each defined function
	data         []data
	names        map[uint32]string // of functions, from the name section; nil if there is none
	uses         uses
}

type table struct {
	typ  ValueType
	span Span
}

type global struct {
	typ     ValueType
	mutable bool
	init    constant
}

// constant is a constant expression: one instruction.
type constant struct {
	op  op
	imm []byte // immediate as it is in the file; of an index, see arg
	arg uint32 // function or global index
}

// segmentMode says when a segment is used (§2.5.7, §2.5.8).
type segmentMode byte

const (
	active segmentMode = iota
	passive
	declarative // element segments only
)

type element struct {
	mode    segmentMode
	typ     ValueType
	table   uint32     // if active
	offset  constant   // if active
	entries []constant // ref.func, ref.null or global.get
}

type data struct {
	mode   segmentMode
	offset constant // if active
	bytes  []byte
}

// body is the code of a function.
type body struct {
	locals []localGroup
	code   []byte // instructions, the last of them end
	at     int    // offset of code in the file
}

// localCount returns how many parameters and locals a function of that type has.
func (b *body) localCount(t FuncType) int {
	n := len(t.Params)
	for _, g := range b.locals {
		n += int(g.n)
	}
	return n
}

type localGroup struct {
	n   uint32
	typ ValueType
}

// uses notes which instructions that change a table, a segment or a memory's size the code has.
type uses struct {
	tableMutation bool
	memoryGrow    bool
	segmentDrop   bool
}

// Imports returns the functions that the module imports.
func (m *Module) Imports() []Import { return m.imports }

// Exports returns what the module exports, in its order. Names are unique.
func (m *Module) Exports() []Export { return m.exports }

// Export finds an export by name.
func (m *Module) Export(name string) (e Export, ok bool) {
	i := slices.IndexFunc(m.exports, func(e Export) bool { return e.Name == name })
	if i < 0 {
		return Export{}, false
	}
	return m.exports[i], true
}

// Memory returns the size of the module's memory in pages of 64 KiB, and false if it has none.
func (m *Module) Memory() (Span, bool) {
	if m.memory == nil {
		return Span{}, false
	}
	return *m.memory, true
}

// Functions returns how many functions the module defines. Imported ones are not counted.
func (m *Module) Functions() int { return len(m.bodies) }

// FunctionType returns the type of function i, imported ones first.
func (m *Module) FunctionType(i int) FuncType { return m.types[m.functions[i]] }

// FunctionName returns the name of function i from the name section, or "".
func (m *Module) FunctionName(i int) string { return m.names[uint32(i)] }

// Tables returns how many tables the module has.
func (m *Module) Tables() int { return len(m.tables) }

// Start returns the function that runs when the module is instantiated, and false if there is none.
func (m *Module) Start() (function int, ok bool) { return m.start, m.start >= 0 }

// MutatesTables reports whether code may change a table: table.set, grow, fill, copy or init.
func (m *Module) MutatesTables() bool { return m.uses.tableMutation }

// GrowsMemory reports whether code may grow the memory.
func (m *Module) GrowsMemory() bool { return m.uses.memoryGrow }
