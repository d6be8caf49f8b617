//go:build wasip1

// Command kernels is what BenchmarkMetered measures as a guest that is written in Go.
package main

import (
	"crypto/sha256"
	"encoding/json"
)

func main() {}

var buf [1 << 16]byte

//go:wasmexport sha256
func hash(bytes uint32) uint32 {
	var sum byte
	for i := uint32(0); i < bytes; i += uint32(len(buf)) {
		h := sha256.Sum256(buf[:min(bytes-i, uint32(len(buf)))])
		sum += h[0]
	}
	return uint32(sum)
}

//go:wasmexport mandelbrot
func mandelbrot(size uint32) uint32 {
	var sum uint32
	for y := range size {
		for x := range size {
			cr, ci := 2*float64(x)/float64(size)-1.5, 2*float64(y)/float64(size)-1
			var zr, zi float64
			i := uint32(0)
			for ; i < 50; i++ {
				r2, i2 := zr*zr, zi*zi
				if r2+i2 > 4 {
					break
				}
				zi = 2*zr*zi + ci
				zr = r2 - i2 + cr
			}
			sum += i
		}
	}
	return sum
}

const text = `{"type":"message","id":123456,"from":{"name":"somebody","roles":["admin","user","guest"]},` +
	`"text":"the quick brown fox jumps over the lazy dog, and \"again\"","tags":[1,22,333,4444,55555],` +
	`"nested":[[[[1,2],[3,4]],[[5,6],[7,8]]],{"a":true,"b":false,"c":null}], "end" : 0 }`

//go:wasmexport json
func decode(times uint32) uint32 {
	for range times {
		var v map[string]any
		if err := json.Unmarshal([]byte(text), &v); err != nil || len(v) != 7 {
			return 0
		}
	}
	return times
}

//go:wasmexport fib
func fib(n uint32) uint32 {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

//go:wasmexport echo
func echo(n uint32) uint32 {
	copy(buf[4096:], buf[:n])
	return n
}
