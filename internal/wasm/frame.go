package wasm

// frameSize estimates how much stack compiled code takes for a call of a function.
type frameSize struct {
	calls  int
	values int
}

const (
	helperFrame = 256
	baseFrame   = 96
)

func (f *frameSize) add(m *Module, in *instruction) {
	switch in.op {
	case opCall, opCallIndirect:
		f.calls++
	case opLocalSet, opLocalTee:
		f.values++
	}
}

func (f *frameSize) bytes(m *Module, i int) int {
	locals := len(m.FunctionType(len(m.imports) + i).Params)
	for _, g := range m.bodies[i].locals {
		locals += int(g.n)
	}
	return baseFrame + 8*locals + 8*f.calls
}
