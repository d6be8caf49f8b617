package sign

import (
	"encoding/binary"
	"errors"
)

const (
	preamble      = "\x00asm\x01\x00\x00\x00" // WebAssembly core specification, §5.5.16
	customSection = 0                         // §5.5.3
)

var errNotModule = errors.New("sign: this is not a WebAssembly module in binary format")

// section is one section of a module; its slices point into the file.
type section struct {
	id   byte
	raw  []byte // all of it, with id and size
	body []byte // of a custom section: what follows its name
	name string // of a custom section
}

// split takes a module apart.
func split(file []byte) ([]section, error) {
	if len(file) < len(preamble) || string(file[:len(preamble)]) != preamble {
		return nil, errNotModule
	}
	var all []section
	for rest := file[len(preamble):]; len(rest) > 0; {
		content, end, ok := sized(rest[1:])
		if !ok {
			return nil, errNotModule
		}
		s := section{id: rest[0], raw: rest[:1+end], body: content}
		if s.id == customSection {
			name, n, ok := sized(content)
			if !ok {
				return nil, errNotModule
			}
			s.name, s.body = string(name), content[n:]
		}
		all = append(all, s)
		rest = rest[1+end:]
	}
	return all, nil
}

// sized reads a length and as many bytes; end is where they end in p.
func sized(p []byte) (content []byte, end int, ok bool) {
	size, n := number(p)
	if n == 0 || uint64(size) > uint64(len(p)-n) {
		return nil, 0, false
	}
	end = n + int(size)
	return p[n:end], end, true
}

// number reads a u32 in LEB128 (§5.2.2); n is its length, 0 when it is none.
func number(p []byte) (v uint32, n int) {
	wide, n := binary.Uvarint(p[:min(len(p), 5)])
	if n <= 0 || wide > 1<<32-1 {
		return 0, 0
	}
	return uint32(wide), n
}

// appendCustom appends a custom section.
func appendCustom(p []byte, name string, body []byte) []byte {
	return appendSized(append(p, customSection), append(appendSized(nil, []byte(name)), body...))
}

// appendSized appends a length and what is so long.
func appendSized(p, content []byte) []byte {
	return append(binary.AppendUvarint(p, uint64(len(content))), content...)
}

// reader takes bytes from the front of rest, until one read fails; all after it do.
type reader struct {
	rest   []byte
	failed bool
}

// done reports that everything was read and nothing is left.
func (r *reader) done() bool { return !r.failed && len(r.rest) == 0 }

// count reads how many there are of something that takes a byte at least; 0 when
// there cannot be so many.
func (r *reader) count() int {
	v, n := number(r.rest)
	if n == 0 || uint64(v) > uint64(len(r.rest)-n) {
		r.failed = true
		return 0
	}
	r.rest = r.rest[n:]
	return int(v)
}

// sized reads a length and as many bytes.
func (r *reader) sized() []byte { return r.take(r.count()) }

func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}
