package wasm

import (
	"errors"
	"fmt"
	"slices"
)

// Carry returns the module with a further data segment that its own code reads: a generic engine becomes the carrier of
// a particular program.
//
// The module says how it wants to read, by functions that it exports: each of numbers names one of type () -> i32 that
// shall return the number, and copier names one of type (i32 to, i32 at, i32 size) -> () that shall copy size bytes of
// the segment from the offset at on to the address to, and trap outside of either. Their bodies are replaced, and their
// exports removed. The module's other parts stay as they are.
func (m *Module) Carry(segment []byte, numbers map[string]uint32, copier string) ([]byte, error) {
	carrier := *m
	carrier.exports, carrier.bodies, carrier.data = nil, slices.Clone(m.bodies), slices.Clone(m.data)
	replace := func(e Export, want FuncType, code []byte) error {
		if e.Kind != KindFunction || !e.Type.Equal(want) || int(e.Index) < len(m.imports) {
			return fmt.Errorf("its export %s is not a function %s of its own", e.Name, want)
		}
		carrier.bodies[int(e.Index)-len(m.imports)] = body{code: code}
		return nil
	}
	left := len(numbers) + 1
	for _, e := range m.exports {
		number, isNumber := numbers[e.Name]
		var err error
		switch {
		case isNumber:
			code := appendSigned([]byte{byte(opI32Const)}, int64(int32(number)))
			err = replace(e, FuncType{Results: []ValueType{I32}}, append(code, byte(opEnd)))
		case e.Name == copier:
			code := []byte{byte(opLocalGet), 0, byte(opLocalGet), 1, byte(opLocalGet), 2}
			code = appendU32(append(code, 0xfc, byte(opMemoryInit-misc)), uint32(len(m.data)))
			code = append(code, 0, byte(opEnd)) // memory 0
			err = replace(e, FuncType{Params: []ValueType{I32, I32, I32}}, code)
		default:
			carrier.exports = append(carrier.exports, e)
			continue
		}
		if err != nil {
			return nil, err
		}
		left--
	}
	if left > 0 {
		return nil, errors.New("it does not export all of the functions that read what it shall carry")
	}
	carrier.data = append(carrier.data, data{mode: passive, bytes: segment})
	carrier.hasDataCount = true // without a count, code cannot name segments (§5.5.16)
	return carrier.Encode(), nil
}
