package wasm

import (
	"bytes"
	"testing"
)

func TestDataSegmentsAreMergedWhereThatChangesNothing(t *testing.T) {
	at := func(offset int64, text string) data {
		return data{mode: active, offset: constant{op: opI32Const, imm: appendSigned(nil, offset)}, bytes: []byte(text)}
	}
	far := int64(maxGap + 10)
	for _, tc := range []struct {
		name     string
		m        Module
		segments int
	}{
		{"neighbours, out of order", Module{data: []data{at(8, "c"), at(0, "a"), at(4, "b")}}, 1},
		{"touching", Module{data: []data{at(0, "ab"), at(2, "cd")}}, 1},
		{"far apart", Module{data: []data{at(0, "a"), at(far, "b"), at(far+1, "c")}}, 2},
		{"beyond two gigabytes", Module{data: []data{at(-8, "a"), at(-4, "b"), at(0, "c")}}, 2},
		{"overlapping", Module{data: []data{at(0, "abc"), at(2, "x"), at(9, "y")}}, 3},
		{"an empty one", Module{data: []data{at(0, "a"), at(2, ""), at(3, "b")}}, 3},
		{"a passive one", Module{data: []data{at(0, "a"), {mode: passive, bytes: []byte("p")}}}, 2},
		{"named by code", Module{hasDataCount: true, data: []data{at(0, "a"), at(2, "b")}}, 2},
		{"placed by a global", Module{data: []data{at(0, "a"), {mode: active, offset: constant{op: opGlobalGet}, bytes: []byte("g")}}}, 2},
		{"one alone", Module{data: []data{at(0, "a")}}, 1},
		{"none", Module{}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := mergeData(&tc.m)
			if len(got) != tc.segments {
				t.Fatalf("%d segments, want %d", len(got), tc.segments)
			}
			if before, after := spread(tc.m.data), spread(got); !bytes.Equal(before, after) {
				t.Error("memory begins differently")
			}
		})
	}
}

func TestMergedDataStaysSmall(t *testing.T) {
	var m Module
	for i := range int64(100_000) {
		offset := constant{op: opI32Const, imm: appendSigned(nil, i*(maxGap-1))}
		m.data = append(m.data, data{mode: active, offset: offset, bytes: []byte{1}})
	}
	size := 0
	for _, s := range mergeData(&m) {
		size += len(s.bytes)
	}
	if size > 2<<20 {
		t.Errorf("100,000 bytes far from each other became %d", size)
	}
}

// spread applies segments to the two ends of a memory of four gigabytes.
func spread(segments []data) []byte {
	const half = 1 << 16
	memory := make([]byte, 2*half)
	for _, s := range segments {
		if s.mode != active || s.offset.op != opI32Const {
			continue
		}
		for i, b := range s.bytes {
			memory[(s.offset.signed()+int64(i)+half)%(2*half)] = b
		}
	}
	return memory
}

func TestConstantsAreRead(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, 1<<31 - 1, -1 << 31, 1<<63 - 1, -1 << 63} {
		if got := (constant{imm: appendSigned(nil, v)}).signed(); got != v {
			t.Errorf("%d was read as %d", v, got)
		}
	}
}
