package wasm

import (
	"cmp"
	"slices"
)

// maxGap is the longest run of zeros that is written out to make two data segments one. An engine evaluates an
// expression and starts a copy for each segment of each new instance, which takes as long as some kilobytes of copying.
const maxGap = 4 << 10

// maxZeros bounds the zeros that are written out in all, for each byte of data: a file of some kilobytes must not grow
// to hundreds of megabytes.
const maxZeros = 4

// mergeData returns data segments that initialise memory as those of m do, in fewer pieces. A linker that writes only what
// is not zero makes tens of thousands of them. Segments that code can name, that overlap, or that lie where only
// instantiation will know, stay as they are.
func mergeData(m *Module) []data {
	if m.hasDataCount || len(m.data) < 2 { // without a count, code cannot name segments (§5.5.16)
		return m.data
	}
	type placed struct {
		at    uint64
		bytes []byte
	}
	list := make([]placed, len(m.data))
	zeros := uint64(1 << 20) // that may still be written out
	for i, s := range m.data {
		if s.mode != active || s.offset.op != opI32Const || len(s.bytes) == 0 {
			return m.data
		}
		list[i] = placed{uint64(uint32(s.offset.signed())), s.bytes}
		zeros += maxZeros * uint64(len(s.bytes))
	}
	slices.SortFunc(list, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
	end := func(p placed) uint64 { return p.at + uint64(len(p.bytes)) }
	for i, p := range list[1:] {
		if end(list[i]) > p.at {
			return m.data
		}
	}

	var merged []data
	for i := 0; i < len(list); {
		n := i + 1
		for n < len(list) {
			gap := list[n].at - end(list[n-1])
			if gap >= maxGap || gap > zeros {
				break
			}
			zeros -= gap
			n++
		}
		bytes := list[i].bytes
		if n > i+1 {
			bytes = make([]byte, end(list[n-1])-list[i].at)
			for _, p := range list[i:n] {
				copy(bytes[p.at-list[i].at:], p.bytes)
			}
		}
		offset := constant{op: opI32Const, imm: appendSigned(nil, int64(int32(list[i].at)))}
		merged = append(merged, data{mode: active, offset: offset, bytes: bytes})
		i = n
	}
	return merged
}

// signed returns the number of a constant of type i32 or i64.
func (c constant) signed() int64 {
	var v int64
	var shift uint
	for _, b := range c.imm {
		v |= int64(b&0x7f) << shift
		shift += 7
		if b&0x80 == 0 && b&0x40 != 0 && shift < 64 {
			v |= -1 << shift
		}
	}
	return v
}
