package wasm

import (
	"errors"
	"fmt"
)

// instruction is one decoded instruction. Which of its fields mean something depends on opcodes[op].imm.
type instruction struct {
	op  op
	at  int    // offset of the opcode in the code
	x   uint32 // first index or number; of a block type see block
	y   uint32 // second
	num int64  // signed constant
	raw []byte // bytes of a constant or of lanes; the value type of select

	block  blockType
	labels []uint32 // of br_table, the default last; valid until the next instruction is read
}

// blockType is the type of a block (§5.4.1).
type blockType struct {
	form blockForm
	typ  ValueType // of the one result
	fn   uint32    // type index
}

type blockForm uint8

const (
	blockEmpty blockForm = iota
	blockValue
	blockFunction
)

// decoder reads instructions. It checks their form, but no index.
type decoder struct {
	code   []byte
	pos    int
	labels []uint32
	most   int // labels of one br_table
}

var (
	errCutOff   = errors.New("ends within an instruction")
	errNumber   = errors.New("a number of an instruction does not fit its range or is cut off")
	errZero     = errors.New("an instruction names another memory than the first (multiple memories are not supported)")
	errOverlong = errors.New("an opcode is written with more bytes than it needs")
)

// next decodes an instruction. The error says what is wrong with it; reading on makes no sense then.
func (d *decoder) next(in *instruction) error {
	if d.pos >= len(d.code) {
		return errCutOff
	}
	in.at = d.pos
	first := d.code[d.pos]
	d.pos++
	in.op = op(first)
	if first >= 0xfc && first <= 0xfd {
		// Engines read this number in different ways when it is longer than it need be.
		n, size := readU32(d.code[d.pos:])
		switch {
		case size == 0:
			return errNumber
		case size > 1 && d.code[d.pos+size-1] == 0:
			return errOverlong
		case n > 0xff && first == 0xfd:
			return fmt.Errorf("unknown instruction 0xfd %#x (relaxed SIMD is not supported)", n)
		case n > 0xff:
			return fmt.Errorf("unknown instruction 0xfc %#x", n)
		}
		d.pos += size
		in.op = misc + op(n)
		if first == 0xfd {
			in.op = vector + op(n)
		}
	}

	info := &opcodes[in.op]
	switch info.imm {
	case immNone:
		return nil
	case immLocal, immLabel, immFunction, immGlobal, immTable, immData, immElem:
		return d.index(&in.x)
	case immAccess, immAccessLane:
		if err := d.index(&in.x); err != nil {
			return err
		}
		if in.x > uint32(info.align) {
			return fmt.Errorf("instruction %v: alignment 2^%d is above the natural one, 2^%d", in.op, in.x, info.align)
		}
		if err := d.index(&in.y); err != nil || info.imm == immAccess {
			return err
		}
		return d.lanes(in, 1)
	case immI32:
		return d.signed(in, 32)
	case immI64:
		return d.signed(in, 64)
	case immF32:
		return d.bytes(in, 4)
	case immF64:
		return d.bytes(in, 8)
	case immV128:
		return d.bytes(in, 16)
	case immShuffle:
		return d.lanes(in, 16)
	case immLane:
		return d.lanes(in, 1)
	case immBlock:
		return d.blockType(in)
	case immLabels:
		return d.branchTable(in)
	case immIndirect, immTables, immElemTable:
		if err := d.index(&in.x); err != nil {
			return err
		}
		return d.index(&in.y)
	case immMemory:
		return d.zero()
	case immMemories:
		if err := d.zero(); err != nil {
			return err
		}
		return d.zero()
	case immDataMem:
		if err := d.index(&in.x); err != nil {
			return err
		}
		return d.zero()
	case immRefType:
		if err := d.bytes(in, 1); err != nil {
			return err
		}
		if !ValueType(in.raw[0]).isRef() {
			return fmt.Errorf("ref.null of type 0x%02x, want funcref or externref", in.raw[0])
		}
		return nil
	case immTypes:
		if err := d.bytes(in, 2); err != nil {
			return err
		}
		if in.raw[0] != 1 || !ValueType(in.raw[1]).valid() {
			return errors.New("select wants exactly one value type")
		}
		return nil
	default:
		if p := proposal(first); p != "" {
			return fmt.Errorf("unknown instruction %v (%s: not supported)", in.op, p)
		}
		return fmt.Errorf("unknown instruction %v", in.op)
	}
}

func (d *decoder) index(x *uint32) error {
	v, n := readU32(d.code[d.pos:])
	if n == 0 {
		return errNumber
	}
	*x = v
	d.pos += n
	return nil
}

func (d *decoder) signed(in *instruction, bits int) error {
	v, n := readSigned(d.code[d.pos:], bits)
	if n == 0 {
		return errNumber
	}
	in.num = v
	d.pos += n
	return nil
}

func (d *decoder) bytes(in *instruction, n int) error {
	if len(d.code)-d.pos < n {
		return errCutOff
	}
	in.raw = d.code[d.pos : d.pos+n]
	d.pos += n
	return nil
}

func (d *decoder) zero() error {
	if d.pos >= len(d.code) {
		return errCutOff
	}
	if d.code[d.pos] != 0 {
		return errZero
	}
	d.pos++
	return nil
}

func (d *decoder) lanes(in *instruction, n int) error {
	if err := d.bytes(in, n); err != nil {
		return err
	}
	for _, lane := range in.raw {
		if lane >= opcodes[in.op].lanes {
			return fmt.Errorf("instruction %v: lane %d, want one below %d", in.op, lane, opcodes[in.op].lanes)
		}
	}
	return nil
}

func (d *decoder) blockType(in *instruction) error {
	v, n := readSigned(d.code[d.pos:], 33)
	if n == 0 {
		return errNumber
	}
	d.pos += n
	switch {
	case v >= 0:
		in.block = blockType{form: blockFunction, fn: uint32(v)}
	case v == -0x40:
		in.block = blockType{form: blockEmpty}
	case v > -0x40 && ValueType(v&0x7f).valid():
		in.block = blockType{form: blockValue, typ: ValueType(v & 0x7f)}
	default:
		return fmt.Errorf("unknown block type %d", v)
	}
	return nil
}

func (d *decoder) branchTable(in *instruction) error {
	var n uint32
	if err := d.index(&n); err != nil {
		return err
	}
	if uint64(n) > uint64(d.most) {
		return fmt.Errorf("br_table has %d targets, at most %d are allowed", n, d.most)
	}
	d.labels = d.labels[:0]
	for range uint64(n) + 1 {
		var label uint32
		if err := d.index(&label); err != nil {
			return err
		}
		d.labels = append(d.labels, label)
	}
	in.labels = d.labels
	return nil
}

// appendInstruction encodes in, each number in as few bytes as possible.
func appendInstruction(b []byte, in *instruction) []byte {
	switch {
	case in.op >= vector:
		b = appendU32(append(b, 0xfd), uint32(in.op-vector))
	case in.op >= misc:
		b = appendU32(append(b, 0xfc), uint32(in.op-misc))
	default:
		b = append(b, byte(in.op))
	}
	switch opcodes[in.op].imm {
	case immNone:
		return b
	case immLocal, immLabel, immFunction, immGlobal, immTable, immData, immElem:
		return appendU32(b, in.x)
	case immAccess, immIndirect, immTables, immElemTable:
		return appendU32(appendU32(b, in.x), in.y)
	case immAccessLane:
		return append(appendU32(appendU32(b, in.x), in.y), in.raw...)
	case immI32, immI64:
		return appendSigned(b, in.num)
	case immF32, immF64, immV128, immShuffle, immLane, immRefType, immTypes:
		return append(b, in.raw...)
	case immBlock:
		return appendBlockType(b, in.block)
	case immLabels:
		b = appendU32(b, uint32(len(in.labels)-1))
		for _, label := range in.labels {
			b = appendU32(b, label)
		}
		return b
	case immMemory:
		return append(b, 0)
	case immMemories:
		return append(b, 0, 0)
	case immDataMem:
		return append(appendU32(b, in.x), 0)
	default:
		panic("wasm: unknown instruction " + in.op.String()) // decoder.next returns none
	}
}

func appendBlockType(b []byte, t blockType) []byte {
	switch t.form {
	case blockFunction:
		return appendSigned(b, int64(t.fn))
	case blockValue:
		return append(b, byte(t.typ))
	default:
		return append(b, 0x40)
	}
}
