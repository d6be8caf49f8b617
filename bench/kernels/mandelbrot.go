package kernels

import (
	"encoding/binary"
	"fmt"
)

const (
	gridWidth  = 64
	gridHeight = 64
	gridLimit  = 200
	gridBytes  = 3 * 4
)

// mandelbrotInput is width, height and limit, each a little-endian 32-bit number.
func mandelbrotInput() []byte {
	var p []byte
	for _, n := range []uint32{gridWidth, gridHeight, gridLimit} {
		p = binary.LittleEndian.AppendUint32(p, n)
	}
	return p
}

// FNV-1a, 64 bits (RFC 9923), taken over whole counts instead of bytes.
const (
	fnvOffset = 0xcbf29ce484222325
	fnvPrime  = 0x100000001b3
)

// mandelbrot returns a hash of how many steps each point takes to escape. Each round is of a grid a little to the
// right of the last one's.
func mandelbrot(input []byte, rounds uint32) ([]byte, error) {
	if len(input) != gridBytes {
		return nil, fmt.Errorf("kernels: mandelbrot: an input of %d bytes, want %d", len(input), gridBytes)
	}
	width, height := binary.LittleEndian.Uint32(input), binary.LittleEndian.Uint32(input[4:])
	limit := binary.LittleEndian.Uint32(input[8:])
	sum := uint64(fnvOffset)
	for round := range rounds {
		left := -2.25 + float64(round)/1024
		for y := range height {
			for x := range width {
				cr := left + 3*float64(x)/float64(width)
				ci := -1.5 + 3*float64(y)/float64(height)
				sum = (sum ^ uint64(escape(cr, ci, limit))) * fnvPrime
			}
		}
	}
	return binary.LittleEndian.AppendUint64(nil, sum), nil
}

// escape counts the steps until the point is known to leave. The conversions forbid fused operations (Go
// specification, "Floating-point operators"), which WebAssembly does not have: every machine gets the same bits.
func escape(cr, ci float64, limit uint32) uint32 {
	var zr, zi float64
	for n := range limit {
		rr, ii := float64(zr*zr), float64(zi*zi)
		if rr+ii > 4 {
			return n
		}
		zi = float64(2*zr*zi) + ci
		zr = rr - ii + cr
	}
	return limit
}
