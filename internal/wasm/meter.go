package wasm

import (
	"fmt"
	"math"
)

// What a metered module and its host have in common.
const (
	// MeterModule is the module that metered code imports from. Modules that import from it already, or export a name
	// that starts with it, are refused by Read.
	MeterModule = "weir_meter"
	// MeterRefill is the function that it imports: (why i32, amount i64) -> (fuel i64).
	//
	// With [RefillFuel], fuel is used up and amount, which is below 0, is the debt; the guest goes on with the result.
	// With [RefillStack], calls nest too deep, amount is how deep, in bytes; the function must not return.
	// The host may also stop the guest by not returning from the first.
	MeterRefill = "refill"
	// MeterFuel is an exported mutable global of type i64: the fuel that is left. The host sets it before a call. It may
	// be negative after one, by what was done since the last check.
	MeterFuel = "weir_meter_fuel"
)

// Why metered code calls MeterRefill.
const (
	RefillFuel  = 0
	RefillStack = 1
)

// What fuel buys. One fuel is about eight simple instructions, or 64 bytes that one instruction moves.
const (
	costPerFuel    = 8  // costs of instructions are in eighths
	bytesPerFuel   = 64 // of memory
	entriesPerFuel = 8  // of a table
)

const defaultStackBytes = 1 << 20

// MeterOptions say how a module is metered.
type MeterOptions struct {
	// StackBytes bounds how deep calls may nest, by an estimate of what compiled code takes. 0 means 1 MiB.
	StackBytes int
	// ExportGlobals exports every mutable global, as [MeterGlobal] and its index. Then all of an instance's state can be
	// read and set from outside, unless HiddenState says otherwise.
	ExportGlobals bool
	// ImportFuel says what a call of an imported function costs, on top of the instruction: 0 is nothing. nil means that
	// none costs anything.
	ImportFuel func(module, name string) int64
}

// Meter returns the module rewritten so that it cannot run on unchecked. It does the same as before, as long as fuel
// and stack suffice.
//
//   - The entry of each function and the head of each loop pay for the instructions up to the next such place. If that
//     leaves the global [MeterFuel] negative, they call [MeterRefill]. Small functions without loops are paid for by
//     their callers.
//   - Instructions that work on many bytes or entries pay by length, and memory is filled and copied in pieces.
//   - Functions that may recurse count how deep they are. The stack that other functions need is known beforehand.
//   - Tables cannot grow beyond the limit that the module was read with.
//
// After a trap, and after MeterRefill did not return, the count of the depth is wrong: the instance must be discarded.
//
// An error means that the module needs more stack than allowed even without recursing, or has too many functions.
func (m *Module) Meter(o MeterOptions) ([]byte, error) {
	if o.StackBytes == 0 {
		o.StackBytes = defaultStackBytes
	}
	if o.StackBytes < 0 || o.StackBytes > math.MaxInt32/2 {
		return nil, fmt.Errorf("meter: a stack of %d bytes is not within [1, %d]", o.StackBytes, math.MaxInt32/2)
	}
	r := &rewriter{m: m, stack: newStackPlan(m)}
	r.stackLimit = o.StackBytes - r.stack.most
	if r.stackLimit < 0 {
		return nil, fmt.Errorf("meter: calls need up to %d bytes of stack without recursing (function %d %q), %d are allowed",
			r.stack.most, r.stack.deepest, m.FunctionName(r.stack.deepest), o.StackBytes)
	}
	r.declare(o.ImportFuel)
	if o.ExportGlobals {
		r.exportGlobals()
	}
	for i := range m.bodies {
		r.out.bodies[i] = r.body(i)
	}
	r.out.bodies = append(r.out.bodies, r.helperBodies...)
	return r.out.Encode(), nil
}

// rewriter makes the metered module. Functions behind the imported ones move by one, since refill joins those; what is
// added otherwise comes last, so nothing else moves.
type rewriter struct {
	m          *Module
	out        Module
	stack      *stackPlan
	stackLimit int

	refill uint32 // function
	fuel   uint32 // global, i64
	depth  uint32 // global, i32: bytes of stack that recursive functions took

	charged      map[uint32]uint32    // by import: the function that pays for it and calls it
	helpers      map[helperKey]uint32 // functions that stand for instructions
	helperBodies []body
	blockTypes   map[uint32]uint32 // by the function's type: the type of a block with its results
	regions      []region
	frames       []openBlock
	d            decoder
}

// declare fills in all of the new module but its code.
func (r *rewriter) declare(importFuel func(module, name string) int64) {
	m, out := r.m, &r.out
	*out = *m
	out.types = m.types[:len(m.types):len(m.types)]
	refillType := r.addType(FuncType{Params: []ValueType{I32, I64}, Results: []ValueType{I64}})

	r.refill = uint32(len(m.imports))
	out.imports = append(m.imports[:r.refill:r.refill],
		Import{Module: MeterModule, Name: MeterRefill, typeIndex: refillType})
	out.functions = make([]uint32, 0, len(m.functions)+8)
	out.functions = append(out.functions, m.functions[:r.refill]...)
	out.functions = append(out.functions, refillType)
	out.functions = append(out.functions, m.functions[r.refill:]...)

	r.fuel, r.depth = uint32(len(m.globals)), uint32(len(m.globals)+1)
	out.names = make(map[uint32]string, len(m.names)+1)
	r.chargeImports(importFuel)
	out.globals = make([]global, len(m.globals), len(m.globals)+2)
	for i, g := range m.globals {
		g.init = r.constant(g.init)
		out.globals[i] = g
	}
	out.globals = append(out.globals,
		global{typ: I64, mutable: true, init: constant{op: opI64Const, imm: []byte{0}}},
		global{typ: I32, mutable: true, init: constant{op: opI32Const, imm: []byte{0}}})

	out.exports = make([]Export, len(m.exports), len(m.exports)+1)
	for i, e := range m.exports {
		if e.Kind == KindFunction {
			e.Index = r.function(e.Index)
		}
		out.exports[i] = e
	}
	out.exports = append(out.exports, Export{Name: MeterFuel, Kind: KindGlobal, Index: r.fuel})
	out.data = mergeData(m)

	if m.start >= 0 {
		out.start = int(r.function(uint32(m.start)))
	}
	out.tables = make([]table, len(m.tables))
	for i, t := range m.tables {
		if most := uint32(m.limits.TableEntries); !t.span.HasMax || t.span.Max > most {
			t.span.HasMax, t.span.Max = true, most
		}
		out.tables[i] = t
	}
	out.elements = make([]element, len(m.elements))
	for i, s := range m.elements {
		entries := make([]constant, len(s.entries))
		for j, c := range s.entries {
			entries[j] = r.constant(c)
		}
		s.entries = entries
		out.elements[i] = s
	}
	for i, name := range m.names {
		if i >= r.refill { // an import is known by what it is imported as
			out.names[r.function(i)] = name
		}
	}
	for _, e := range m.exports { // a stack is easier to read with these than with numbers, which have changed
		if e.Kind == KindFunction && e.Index >= r.refill && m.names[e.Index] == "" {
			out.names[r.function(e.Index)] = e.Name
		}
	}
	out.bodies = make([]body, len(m.bodies))
}

func (r *rewriter) addType(t FuncType) uint32 {
	r.out.types = append(r.out.types, t)
	return uint32(len(r.out.types) - 1)
}

// function returns the new index of a function.
func (r *rewriter) function(i uint32) uint32 {
	if i < r.refill {
		if f, ok := r.charged[i]; ok {
			return f
		}
		return i
	}
	return i + 1
}

func (r *rewriter) constant(c constant) constant {
	if c.op == opRefFunc {
		c.arg = r.function(c.arg)
	}
	return c
}
