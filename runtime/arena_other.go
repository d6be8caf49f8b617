//go:build !((linux || darwin) && (amd64 || arm64 || loong64 || mips64 || mips64le || ppc64 || ppc64le || riscv64 || s390x)) || guestheap

package runtime

// region is a piece of Go's heap, where no address space can be reserved; the build tag guestheap chooses it anywhere.
// It moves when it grows, and what it leaves behind is the heap's until the next garbage collection, beyond the budget.
type region struct {
	mem   []byte // not nil
	open  int64  // len(mem)
	bound int64  // of open
}

// reserve returns a region that can hold size bytes and holds none.
func reserve(size int64) (region, error) { return region{mem: []byte{}, bound: size}, nil }

func (r *region) size() int64 { return r.bound }

// plan returns how many bytes extend had best make accessible for n: some more, because growing copies.
func (r *region) plan(n int64) int64 {
	if r.open == 0 {
		return n
	}
	return max(n, min(r.bound, (r.open+r.open/2)/wasmPageBytes*wasmPageBytes))
}

// extend makes the first n bytes accessible, which are more than before; the new ones are zeros.
func (r *region) extend(n int64) error {
	mem := make([]byte, n)
	copy(mem, r.mem)
	r.mem, r.open = mem, n
	return nil
}

// bytes returns the first n bytes, which are accessible, and no way to more.
func (r *region) bytes(n int64) []byte { return r.mem[:n:n] }

// wipe makes all bytes zeros and at most kept of them accessible. It reports false if the region must not be used again.
func (r *region) wipe(kept int64) bool {
	if r.open > kept {
		r.mem, r.open = []byte{}, 0
	}
	clear(r.mem)
	return true
}

// release gives the region back to the garbage collector.
func (r *region) release() error { return nil }
