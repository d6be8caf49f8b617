// Package wasm reads, bounds and rewrites WebAssembly modules, before an engine sees a byte of them.
//
// An engine trusts the sizes that a module declares: a file of a few dozen bytes can make it allocate without end, and
// a file of some kilobytes can keep its compiler busy for minutes. Compiled code cannot be interrupted from outside
// either. So a stranger's module passes through here first:
//
//   - [Read] parses the whole binary and checks every count, size, index and nesting against [Limits]. What it allocates
//     is proportional to the length of the file, never to a number in it. It reports all that is wrong as [Problem]s.
//   - [Module.Meter] writes the module anew, so that it spends fuel at the entry of functions and the head of loops,
//     and counts how deep it recurses. The host decides what happens when either is used up.
//
// # Format
//
// The format is WebAssembly 2.0 (https://www.w3.org/TR/wasm-core-2/): SIMD, bulk memory, reference types, multi-value,
// sign extension and saturating conversions. Threads, 64-bit and multiple memories, garbage collection, tail calls,
// exceptions and extended constant expressions are refused by name. So are imports of anything but functions: a module
// owns its memory, its tables and its globals.
//
// The types of operands are not checked, that is the engine's work. What is checked is that every index points at
// something that the module itself has. Therefore code that was read without a problem cannot name what Meter adds.
//
// # Rules
//
// Read never panics and never lets a damaged file take more than near-linear time. The package does no I/O, keeps no
// global state and starts no goroutine. A Module is immutable: any goroutine may use it. It refers to the bytes that it
// was read from, which must not change.
package wasm
