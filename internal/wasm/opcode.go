package wasm

import "fmt"

// op is an instruction: a byte, or a prefix (0xfc or 0xfd) and a number below 256 (§5.4).
type op uint16

const (
	misc   op = 0x100 // plus the number behind the prefix 0xfc
	vector op = 0x200 // plus the number behind the prefix 0xfd
)

const (
	opUnreachable  op = 0x00
	opNop          op = 0x01
	opBlock        op = 0x02
	opLoop         op = 0x03
	opIf           op = 0x04
	opElse         op = 0x05
	opEnd          op = 0x0b
	opBr           op = 0x0c
	opBrIf         op = 0x0d
	opBrTable      op = 0x0e
	opReturn       op = 0x0f
	opCall         op = 0x10
	opCallIndirect op = 0x11
	opDrop         op = 0x1a
	opSelect       op = 0x1b
	opSelectTyped  op = 0x1c
	opLocalGet     op = 0x20
	opLocalSet     op = 0x21
	opLocalTee     op = 0x22
	opGlobalGet    op = 0x23
	opGlobalSet    op = 0x24
	opTableGet     op = 0x25
	opTableSet     op = 0x26
	opMemorySize   op = 0x3f
	opMemoryGrow   op = 0x40
	opI32Const     op = 0x41
	opI64Const     op = 0x42
	opF32Const     op = 0x43
	opF64Const     op = 0x44
	opI32Eqz       op = 0x45
	opI32Ne        op = 0x47
	opI32LtU       op = 0x49
	opI32GtU       op = 0x4b
	opI32LeU       op = 0x4d
	opI64LtS       op = 0x53
	opI64GtU       op = 0x56
	opI64GeS       op = 0x59
	opI32Add       op = 0x6a
	opI32Sub       op = 0x6b
	opI32Shl       op = 0x74
	opI32ShrU      op = 0x76
	opI64Add       op = 0x7c
	opI64Sub       op = 0x7d
	opI64Shl       op = 0x86
	opI64ExtendU   op = 0xad // i64.extend_i32_u
	opRefNull      op = 0xd0
	opRefIsNull    op = 0xd1
	opRefFunc      op = 0xd2
	opMemoryInit      = misc + 8
	opDataDrop        = misc + 9
	opMemoryCopy      = misc + 10
	opMemoryFill      = misc + 11
	opTableInit       = misc + 12
	opElemDrop        = misc + 13
	opTableCopy       = misc + 14
	opTableGrow       = misc + 15
	opTableSize       = misc + 16
	opTableFill       = misc + 17
	opV128Const       = vector + 12
)

// immediate is what follows an opcode in the code.
type immediate uint8

const (
	unknownOp     immediate = iota // no such instruction
	immNone                        //
	immBlock                       // block type
	immLabel                       // label
	immLabels                      // labels of br_table
	immFunction                    // function
	immIndirect                    // type, table
	immLocal                       // local
	immGlobal                      // global
	immTable                       // table
	immTables                      // table, table
	immMemory                      // 0: the memory
	immMemories                    // 0, 0
	immAccess                      // alignment, offset
	immI32                         // signed number
	immI64                         // signed number
	immF32                         // 4 bytes
	immF64                         // 8 bytes
	immRefType                     // reference type
	immTypes                       // vector of one value type
	immData                        // data segment
	immDataMem                     // data segment, 0
	immElem                        // element segment
	immElemTable                   // element segment, table
	immV128                        // 16 bytes
	immShuffle                     // 16 lane numbers
	immLane                        // lane number
	immAccessLane                  // alignment, offset, lane number
)

// opcode describes an instruction.
type opcode struct {
	imm   immediate
	align uint8 // largest exponent that immAccess may state
	lanes uint8 // lane numbers are below
	cost  uint8 // what executing it takes, in eighths of fuel
}

// opcodes is indexed by op.
var opcodes = func() (t [0x300]opcode) {
	fill := func(first, last op, o opcode) {
		for i := first; i <= last; i++ {
			t[i] = o
		}
	}
	list := func(o opcode, ops ...op) {
		for _, i := range ops {
			t[i] = o
		}
	}

	fill(opUnreachable, opNop, opcode{imm: immNone})
	fill(opBlock, opIf, opcode{imm: immBlock})
	t[opIf].cost = 1
	t[opElse] = opcode{imm: immNone}
	t[opEnd] = opcode{imm: immNone}
	fill(opBr, opBrIf, opcode{imm: immLabel, cost: 1})
	t[opBrTable] = opcode{imm: immLabels, cost: 4}
	t[opReturn] = opcode{imm: immNone, cost: 1}
	t[opCall] = opcode{imm: immFunction, cost: 4}
	t[opCallIndirect] = opcode{imm: immIndirect, cost: 8}
	t[opDrop] = opcode{imm: immNone}
	t[opSelect] = opcode{imm: immNone, cost: 1}
	t[opSelectTyped] = opcode{imm: immTypes, cost: 1}
	fill(opLocalGet, opLocalTee, opcode{imm: immLocal, cost: 1})
	fill(opGlobalGet, opGlobalSet, opcode{imm: immGlobal, cost: 1})
	fill(opTableGet, opTableSet, opcode{imm: immTable, cost: 2})
	for i, align := range []uint8{
		2, 3, 2, 3, 0, 0, 1, 1, 0, 0, 1, 1, 2, 2, // loads
		2, 3, 2, 3, 0, 1, 0, 1, 2, // stores
	} {
		t[0x28+i] = opcode{imm: immAccess, align: align, cost: 1}
	}
	t[opMemorySize] = opcode{imm: immMemory, cost: 1}
	t[opMemoryGrow] = opcode{imm: immMemory, cost: 64}
	t[opI32Const] = opcode{imm: immI32, cost: 1}
	t[opI64Const] = opcode{imm: immI64, cost: 1}
	t[opF32Const] = opcode{imm: immF32, cost: 1}
	t[opF64Const] = opcode{imm: immF64, cost: 1}
	fill(opI32Eqz, 0xc4, opcode{imm: immNone, cost: 1})
	fill(0x6d, 0x70, opcode{imm: immNone, cost: 8}) // i32 division
	fill(0x7f, 0x82, opcode{imm: immNone, cost: 8}) // i64 division
	list(opcode{imm: immNone, cost: 4}, 0x91, 0x95, 0x9f, 0xa3)
	t[opRefNull] = opcode{imm: immRefType, cost: 1}
	t[opRefIsNull] = opcode{imm: immNone, cost: 1}
	t[opRefFunc] = opcode{imm: immFunction, cost: 64} // the engine leaves compiled code for it

	fill(misc+0, misc+7, opcode{imm: immNone, cost: 2})
	t[opMemoryInit] = opcode{imm: immDataMem, cost: 16}
	t[opDataDrop] = opcode{imm: immData, cost: 1}
	t[opMemoryCopy] = opcode{imm: immMemories, cost: 16}
	t[opMemoryFill] = opcode{imm: immMemory, cost: 16}
	t[opTableInit] = opcode{imm: immElemTable, cost: 16}
	t[opElemDrop] = opcode{imm: immElem, cost: 1}
	t[opTableCopy] = opcode{imm: immTables, cost: 16}
	t[opTableGrow] = opcode{imm: immTable, cost: 64}
	t[opTableSize] = opcode{imm: immTable, cost: 1}
	t[opTableFill] = opcode{imm: immTable, cost: 16}

	fill(vector+14, vector+255, opcode{imm: immNone, cost: 2})
	for i, align := range []uint8{4, 3, 3, 3, 3, 3, 3, 0, 1, 2, 3, 4} {
		t[vector+op(i)] = opcode{imm: immAccess, align: align, cost: 2}
	}
	t[opV128Const] = opcode{imm: immV128, cost: 1}
	t[vector+13] = opcode{imm: immShuffle, lanes: 32, cost: 2}
	for i, lanes := range []uint8{16, 16, 16, 8, 8, 8, 4, 4, 2, 2, 4, 4, 2, 2} {
		t[vector+21+op(i)] = opcode{imm: immLane, lanes: lanes, cost: 2}
	}
	for i := range op(8) { // load lane, then store lane, of 1, 2, 4 and 8 bytes
		width := uint8(i % 4)
		t[vector+84+i] = opcode{imm: immAccessLane, align: width, lanes: 16 >> width, cost: 2}
	}
	t[vector+92] = opcode{imm: immAccess, align: 2, cost: 2}
	t[vector+93] = opcode{imm: immAccess, align: 3, cost: 2}
	list(opcode{},
		vector+154, vector+162, vector+165, vector+166, vector+175, vector+176, vector+178, vector+179, vector+180,
		vector+187, vector+194, vector+197, vector+198, vector+207, vector+208, vector+210, vector+211, vector+212,
		vector+226, vector+238)
	return t
}()

// proposal names the extension of WebAssembly that an unknown opcode belongs to, or "".
func proposal(first byte) string {
	switch first {
	case 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f:
		return "exception handling"
	case 0x12, 0x13:
		return "tail calls"
	case 0x14, 0x15, 0xd3, 0xd4, 0xd5, 0xd6:
		return "typed function references"
	case 0xfb:
		return "garbage collection"
	case 0xfe:
		return "threads"
	default:
		return ""
	}
}

// String returns the opcode's bytes in hexadecimal.
func (o op) String() string {
	switch {
	case o >= vector:
		return fmt.Sprintf("0xfd 0x%02x", uint16(o-vector))
	case o >= misc:
		return fmt.Sprintf("0xfc 0x%02x", uint16(o-misc))
	default:
		return fmt.Sprintf("0x%02x", uint16(o))
	}
}
