package bundle

import (
	"fmt"
	"slices"

	"weir/internal/wasm"
)

// The functions by which the engine reads its script (guest-sdk/js/engine/script.h).
const (
	exportScriptBytes = "script_bytes"
	exportMarksBytes  = "marks_bytes"
	exportCopy        = "script_copy"
)

// What the module imports host functions from, and what those answer that it does without (guest-sdk/abi.toml).
const (
	importModule = "weir_1"
	statusDenied = -5
)

// Place returns a copy of the engine that carries the script and its marks. It does not import the functions that
// the script cannot call.
func Place(engine []byte, s *Script) ([]byte, error) {
	m, problems := wasm.Read(engine, wasm.DefaultLimits())
	if len(problems) > 0 {
		return nil, fmt.Errorf("the engine: %s", problems[0])
	}
	m = m.Without(func(in wasm.Import) bool { return in.Module == importModule && slices.Contains(s.Unused, in.Name) }, statusDenied)
	module, err := m.Carry(slices.Concat(s.Code, s.Marks), map[string]uint32{
		exportScriptBytes: uint32(len(s.Code)),
		exportMarksBytes:  uint32(len(s.Marks)),
	}, exportCopy)
	if err != nil {
		return nil, fmt.Errorf("the engine: %w", err)
	}
	return module, nil
}
