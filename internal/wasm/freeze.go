package wasm

import (
	"fmt"
	"strconv"
)

// MeterGlobal begins the names under which Meter exports the mutable globals of a module (MeterOptions.ExportGlobals);
// their index follows.
const MeterGlobal = "weir_meter_g"

// MutableGlobals returns the indices of the module's mutable globals, in their order.
func (m *Module) MutableGlobals() []uint32 {
	var list []uint32
	for i, g := range m.globals {
		if g.mutable {
			list = append(list, uint32(i))
		}
	}
	return list
}

// HiddenState says what of an instance's state is in neither its memory nor a mutable global of a number type, so that
// it can be neither read nor restored from outside; empty if nothing is.
func (m *Module) HiddenState() string {
	switch {
	case m.uses.tableMutation:
		return "its code changes a table"
	case m.uses.segmentDrop:
		return "its code drops a segment"
	}
	for i, g := range m.globals {
		if !g.mutable {
			continue
		}
		switch g.typ {
		case I32, I64, F32, F64:
		default:
			return fmt.Sprintf("its mutable global %d is a %s", i, g.typ)
		}
	}
	return ""
}

// exportGlobals appends an export for each mutable global of the module as it was.
func (r *rewriter) exportGlobals() {
	for _, i := range r.m.MutableGlobals() {
		name := MeterGlobal + strconv.FormatUint(uint64(i), 10)
		r.out.exports = append(r.out.exports, Export{Name: name, Kind: KindGlobal, Index: i})
	}
}
