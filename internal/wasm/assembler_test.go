package wasm

import "slices"

// The functions below put modules together, so that tests need no files.

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

// u encodes an unsigned number.
func u(v int) []byte { return appendU32(nil, uint32(v)) }

// vec encodes a vector.
func vec(items ...[]byte) []byte { return cat(u(len(items)), cat(items...)) }

// rep is a vector of n equal items.
func rep(n int, item []byte) []byte { return cat(u(n), slices.Repeat(item, n)) }

// sized puts the length in front.
func sized(b []byte) []byte { return cat(u(len(b)), b) }

func str(s string) []byte { return sized([]byte(s)) }

// sec is a section.
func sec(id int, content ...[]byte) []byte { return cat([]byte{byte(id)}, sized(cat(content...))) }

// file is a module of those sections.
func file(sections ...[]byte) []byte { return cat([]byte(header), cat(sections...)) }

// fn is the type of a function.
func fn(params, results []byte) []byte { return cat([]byte{0x60}, sized(params), sized(results)) }

// code is the body of a function with the locals declared (encoded vector) and instructions; end is added.
func code(locals []byte, instructions ...[]byte) []byte {
	return sized(cat(locals, cat(instructions...), []byte{0x0b}))
}

// in is an instruction: opcode bytes.
func in(b ...byte) []byte { return b }
