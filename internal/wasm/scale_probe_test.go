package wasm

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

func TestScaleProbe(t *testing.T) {
	rep := func(n int, b ...[]byte) []byte { return slices.Repeat(cat(b...), n) }
	locals := func(n int) []byte { return vec(cat(u(n), []byte{i32})) }
	get := func(i int) []byte { return cat(in(0x20), u(i)) }
	each := func(n int, f func(i int) []byte) []byte {
		var b []byte
		for i := range n {
			b = append(b, f(i)...)
		}
		return b
	}
	end, drop := in(0x0b), in(0x1a)
	nest := func(n int, open, inner []byte) []byte { return cat(rep(n, open), inner, rep(n, in(0x0b))) }
	try := func(name string, f []byte) {
		runtime.GC()
		var a, b runtime.MemStats
		runtime.ReadMemStats(&a)
		s := time.Now()
		err := compile(f)
		runtime.ReadMemStats(&b)
		fmt.Printf("%-40s %9v  %5d MiB total  %v\n", name, time.Since(s).Round(time.Millisecond), (b.TotalAlloc-a.TotalAlloc)>>20, err)
	}
	for _, n := range []int{1000, 2000, 4000, 8000} {
		try(fmt.Sprint("fills ", n), oneFunction(vec(), rep(n, in(0x41, 0, 0x41, 0, 0x41, 5, 0xfc, 11, 0))))
	}
	for _, n := range []int{5000, 10000, 20000} {
		try(fmt.Sprint("brif32 ", n), file(
			sec(sectionType, vec(fn(nil, nil), fn(nil, bytes.Repeat([]byte{i64}, 32)))), sec(sectionFunction, vec(u(0))),
			sec(sectionCode, vec(code(vec(), in(0x02, 1), rep(32, in(0x42, 0)), rep(n, in(0x41, 0, 0x0d, 0)), end, rep(32, drop))))))
	}
	for _, n := range []int{5000, 10000, 20000, 40000} {
		try(fmt.Sprint("brif0 ", n), oneFunction(vec(), in(0x02, 0x40), rep(n, in(0x41, 0, 0x0d, 0)), end))
	}
	for _, n := range []int{5000, 10000, 20000, 40000} {
		try(fmt.Sprint("ifs 1 local ", n), oneFunction(locals(1), rep(n, get(0), in(0x04, 0x40), end)))
	}
	for _, n := range []int{2000, 4000} {
		for _, l := range []int{250, 500} {
			try(fmt.Sprint("ifs read later ", n, l), oneFunction(locals(l), rep(n, get(0), in(0x04, 0x40), end), each(l, func(i int) []byte { return cat(get(i), drop) })))
			try(fmt.Sprint("ifs set, read later ", n, l), oneFunction(locals(l), each(n, func(i int) []byte { return cat(get(0), in(0x04, 0x40), get((i+1)%l), in(0x21), u(i%l), end) }), each(l, func(i int) []byte { return cat(get(i), drop) })))
			try(fmt.Sprint("loop ifs set ", n, l), oneFunction(locals(l), in(0x03, 0x40), each(n, func(i int) []byte { return cat(get(0), in(0x04, 0x40), get((i+1)%l), in(0x21), u(i%l), end) }), get(0), in(0x0d, 0), end))
		}
	}
	for _, n := range []int{10000, 20000, 40000} {
		try(fmt.Sprint("br_table ", n), oneFunction(vec(), in(0x02, 0x40), in(0x41, 0, 0x0e), u(n), rep(n, in(0)), in(0), end))
	}
	for _, n := range []int{5000, 10000, 20000} {
		try(fmt.Sprint("indirect ", n), file(
			sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, vec(u(0))), sec(sectionTable, vec(cat(in(0x70, 0), u(10)))),
			sec(sectionCode, vec(code(vec(), rep(n, in(0x41, 0, 0x11, 0, 0)))))))
	}
	for _, n := range []int{1000, 2000} {
		for _, g := range []int{100, 200} {
			try(fmt.Sprint("calls, globals ", n, g), file(
				sec(sectionType, vec(fn(nil, nil))), sec(sectionFunction, vec(u(0))),
				sec(sectionGlobal, u(g), rep(g, in(i32, 1, 0x41, 0, 0x0b))),
				sec(sectionCode, vec(code(vec(), rep(n, in(0x10, 0)))))))
		}
	}
	for _, n := range []int{250, 500, 1000} {
		try(fmt.Sprint("nested loops ", n), oneFunction(locals(1), rep(4, nest(n, in(0x03, 0x40), cat(get(0), in(0x0d, 0))))))
		try(fmt.Sprint("nested loops, 10 locals", n), oneFunction(locals(10), nest(n, cat(in(0x03, 0x40)), each(10, func(i int) []byte { return cat(get(i), in(0x41, 1, 0x6a, 0x21), u(i), get(i), in(0x0d, 5)) }))))
	}
	for _, n := range []int{1000, 2000, 4000} {
		try(fmt.Sprint("loads and branches ", n), oneFunction(locals(1), in(0x02, 0x40), rep(n, get(0), in(0x28, 2, 0, 0x22, 0, 0x0d, 0)), end))
	}
	for _, n := range []int{5000, 10000, 20000} {
		try(fmt.Sprint("seq loops ", n), oneFunction(locals(2), rep(n, in(0x03, 0x40), get(0), in(0x0d, 0), end)))
	}
}
