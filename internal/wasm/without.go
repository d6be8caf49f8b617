package wasm

import "slices"

// Without returns the module without the imported functions that drop picks. Where it calls them it calls functions of its
// own instead, which do nothing and return answer; those whose result is neither an i32 nor an i64 trap. Functions have
// other indices then, and keep their names.
func (m *Module) Without(drop func(Import) bool, answer int32) *Module {
	w := &without{moved: make([]uint32, len(m.functions))}
	w.out = *m
	w.out.imports, w.out.functions = nil, nil
	var dropped []uint32 // functions
	for i, in := range m.imports {
		if drop(in) {
			dropped = append(dropped, uint32(i))
			continue
		}
		w.keep(m, uint32(i))
		w.out.imports = append(w.out.imports, in)
	}
	for i := len(m.imports); i < len(m.functions); i++ {
		w.keep(m, uint32(i))
	}
	for _, i := range dropped {
		w.keep(m, i)
	}

	w.out.bodies = make([]body, 0, len(m.bodies)+len(dropped))
	d := decoder{most: m.limits.BranchTable}
	for _, b := range m.bodies {
		d.code, d.pos = b.code, 0
		w.out.bodies = append(w.out.bodies, body{locals: b.locals, code: w.code(&d)})
	}
	for _, i := range dropped {
		w.out.bodies = append(w.out.bodies, body{code: answerWith(m.FunctionType(int(i)), answer)})
	}

	w.out.exports = slices.Clone(m.exports)
	for i := range w.out.exports {
		if e := &w.out.exports[i]; e.Kind == KindFunction {
			e.Index = w.moved[e.Index]
		}
	}
	w.out.globals = slices.Clone(m.globals)
	for i := range w.out.globals {
		w.out.globals[i].init = w.constant(m.globals[i].init)
	}
	w.out.elements = slices.Clone(m.elements)
	for i := range w.out.elements {
		entries := slices.Clone(m.elements[i].entries)
		for j := range entries {
			entries[j] = w.constant(entries[j])
		}
		w.out.elements[i].entries = entries
	}
	if m.start >= 0 {
		w.out.start = int(w.moved[m.start])
	}
	w.out.names = make(map[uint32]string, len(m.names))
	for i, name := range m.names {
		if int(i) < len(w.moved) { // a name section may say anything
			w.out.names[w.moved[i]] = name
		}
	}
	return &w.out
}

type without struct {
	out   Module
	moved []uint32 // the new index of each function
}

// keep gives a function the next index.
func (w *without) keep(m *Module, i uint32) {
	w.moved[i] = uint32(len(w.out.functions))
	w.out.functions = append(w.out.functions, m.functions[i])
}

func (w *without) constant(c constant) constant {
	if c.op == opRefFunc {
		c.arg = w.moved[c.arg]
	}
	return c
}

// code rewrites the code of a function.
func (w *without) code(d *decoder) []byte {
	code := make([]byte, 0, len(d.code))
	var in instruction
	for d.pos < len(d.code) {
		if err := d.next(&in); err != nil {
			panic("wasm: code changed since it was read: " + err.Error())
		}
		if in.op == opCall || in.op == opRefFunc {
			in.x = w.moved[in.x]
		}
		code = appendInstruction(code, &in)
	}
	return code
}

// answerWith is the code of a function of type t that returns a number.
func answerWith(t FuncType, answer int32) []byte {
	var code []byte
	for _, result := range t.Results {
		switch result {
		case I32:
			code = appendSigned(append(code, byte(opI32Const)), int64(answer))
		case I64:
			code = appendSigned(append(code, byte(opI64Const)), int64(answer))
		default:
			code = append(code, byte(opUnreachable))
		}
	}
	return append(code, byte(opEnd))
}
