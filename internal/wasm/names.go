package wasm

import "unicode/utf8"

// customSection reads the name section (appendix, "Custom Sections"): of it the names of functions, for stack traces.
// Other custom sections are skipped. What is malformed is forgotten and not a problem, except the section's own name.
func (r *reader) customSection() {
	at := r.pos
	b := r.take(r.u32())
	if r.broken {
		return
	}
	if !utf8.Valid(b) {
		r.damage(at, "its name is not UTF-8")
		return
	}
	if string(b) == "name" && r.m.names == nil {
		r.m.names = functionNames(r.file[r.pos:r.end], r.m.limits)
	}
}

const subsectionFunctions = 1

// functionNames returns the names in a name section, or nil if it has none or is malformed.
func functionNames(b []byte, limits Limits) map[uint32]string {
	for len(b) > 0 {
		id := b[0]
		size, n := readU32(b[1:])
		if n == 0 || uint64(size) > uint64(len(b)-1-n) {
			return nil
		}
		content := b[1+n : 1+n+int(size)]
		b = b[1+n+int(size):]
		if id == subsectionFunctions {
			return nameMap(content, limits)
		}
	}
	return nil
}

func nameMap(b []byte, limits Limits) map[uint32]string {
	count, n := readU32(b)
	if n == 0 || uint64(count) > uint64(limits.Functions) || uint64(count) > uint64(len(b)-n)/2 {
		return nil
	}
	b = b[n:]
	names := make(map[uint32]string, count)
	next := uint64(0) // indices ascend
	for range count {
		i, n := readU32(b)
		if n == 0 || uint64(i) < next {
			return nil
		}
		b = b[n:]
		size, n := readU32(b)
		if n == 0 || uint64(size) > uint64(len(b)-n) {
			return nil
		}
		name := b[n : n+int(size)]
		b = b[n+int(size):]
		if !utf8.Valid(name) {
			return nil
		}
		next = uint64(i) + 1
		names[i] = cut(string(name), limits.NameBytes)
	}
	return names
}

// cut shortens s to at most n bytes, at the border of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
