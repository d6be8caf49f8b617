package runtime

import (
	"fmt"
	"strings"

	"weir/internal/wasm"
)

// admitted is a module that may be compiled.
type admitted struct {
	code        []byte // what the engine gets to see: stripped, and rewritten if metered
	metered     bool
	memoryPages uint32 // the most that an instance may have
	minBytes    uint64 // memory that an instance starts with
	maxBytes    uint64 // and the most that it can have by its own word and ours
	usesHost    bool   // it imports functions of ABI 1
	usesWASI    bool

	noSnapshot string   // why an instance's state cannot be read; empty if it can, where that was asked for
	globals    []uint32 // mutable ones, exported so that it can
}

// admit decides what wazero gets to see of a file. Every count, size and nesting in it is bounded first, since wazero
// trusts them; then it is held against the ABI; then it is rewritten so that it can be stopped. The error is a
// *LoadError with every reason.
func (e *Engine) admit(file []byte, o ModuleOptions) (*admitted, error) {
	var r reasons
	refuse := func() error { return &LoadError{Module: o.Name, Reasons: r.list} }
	a := &admitted{memoryPages: o.MemoryPages}
	if a.memoryPages == 0 {
		a.memoryPages = defaultMemoryPages
	}
	if e.checkKind(&r, file); len(r.list) > 0 {
		return nil, refuse()
	}
	limits := wasm.DefaultLimits()
	limits.FileBytes = e.options.MaxModuleBytes
	limits.MemoryPages = maxMemoryPages // the module's own bound has a better text, in checkMemory
	m, problems := wasm.Read(file, limits)
	for _, p := range problems {
		r.add("%s", printable(p.String(), maxMessageBytes))
	}
	if m != nil {
		checkABI(&r, m)
		if !o.Deny {
			checkGrants(&r, m, o.Capabilities)
		}
		checkMemory(&r, m, a.memoryPages)
	}
	if len(r.list) > 0 {
		return nil, refuse()
	}
	a.minBytes, a.maxBytes = memoryBytes(m, a.memoryPages)
	for _, f := range m.Imports() {
		a.usesHost = a.usesHost || f.Module == abiImportModule
		a.usesWASI = a.usesWASI || f.Module == wasiModule
	}
	if a.metered = e.options.Metering != meteringOff; !a.metered {
		a.noSnapshot = "metering is off"
		a.code = m.Encode()
		return a, nil
	}
	var err error
	a.noSnapshot = m.HiddenState()
	export := o.records() && a.noSnapshot == ""
	if export {
		a.globals = m.MutableGlobals()
	}
	a.code, err = m.Meter(wasm.MeterOptions{ImportFuel: wasiFuel, StackBytes: o.Limits.WithDefaults().StackBytes, ExportGlobals: export})
	if err != nil {
		r.add("%s", printable(err.Error(), maxMessageBytes))
		return nil, refuse()
	}
	return a, nil
}

// checkKind tells what is no module at all, in the words of who has mixed up two files.
func (e *Engine) checkKind(r *reasons, file []byte) {
	const magic, version, componentLayer = "\x00asm", "\x01\x00\x00\x00", "\x01\x00"
	head := string(file[:min(len(file), len(magic)+len(version))])
	text := strings.TrimSpace(string(file[:min(len(file), 64)]))
	switch {
	case len(file) > e.options.MaxModuleBytes:
		r.add("the file has %d bytes; at most %d are allowed (max_module_bytes)", len(file), e.options.MaxModuleBytes)
	case head == magic+version:
	case strings.HasPrefix(head, magic) && strings.HasSuffix(head, componentLayer):
		r.add("the file is a WebAssembly component; weir runs core modules")
	case strings.HasPrefix(text, "(module"), strings.HasPrefix(text, ";;"), strings.HasPrefix(text, "(;"):
		r.add("the file is WebAssembly text; compile it to a binary first")
	default:
		r.add("the file is not a WebAssembly module")
	}
}

// checkMemory holds the memory that a module starts with against what it may have.
func checkMemory(r *reasons, m *wasm.Module, pages uint32) {
	if memory, ok := m.Memory(); ok && memory.Min > pages {
		r.add("its memory starts with %d pages of 64 KiB; at most %d are allowed (memory_size %s)",
			memory.Min, pages, pagesText(pages))
	}
}

// memoryBytes returns what the engine will ask for when it makes an instance that may have that many pages.
func memoryBytes(m *wasm.Module, pages uint32) (minBytes, maxBytes uint64) {
	memory, _ := m.Memory()
	if memory.HasMax {
		pages = min(pages, memory.Max)
	}
	return uint64(memory.Min) * wasmPageBytes, uint64(pages) * wasmPageBytes
}

func pagesText(pages uint32) string {
	if bytes := uint64(pages) * wasmPageBytes; bytes%(1<<20) == 0 {
		return fmt.Sprintf("%dMiB", bytes>>20)
	}
	return fmt.Sprintf("%dKiB", pages*(wasmPageBytes>>10))
}
