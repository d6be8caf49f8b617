//go:build (linux || darwin) && (amd64 || arm64 || loong64 || mips64 || mips64le || ppc64 || ppc64le || riscv64 || s390x) && !guestheap

package runtime

import "syscall"

// region is a reservation of address space. Nothing but its first bytes is accessible, so a wild write behind the
// memory of a guest, by code that was compiled wrongly, ends the process instead of reaching another guest.
//
// A reservation needs no memory and does not count as committed for the system, not even where it grants no more than
// it has (vm.overcommit_memory 2); what is made accessible does then. Addresses bound them: at 512 MiB each, 2^47 bytes
// hold 262,144. So does the number of mappings (regionLimit). Where the system refuses, as beyond RLIMIT_AS, reserve or
// extend answers an error.
type region struct {
	mem  []byte // the whole of it
	open int64  // bytes from the start that are accessible: a multiple of wasmPageBytes, so of the system's pages
}

// reserve returns a region of size bytes, a multiple of 64 KiB, none of which is accessible.
func reserve(size int64) (region, error) {
	mem, err := syscall.Mmap(-1, 0, int(size), syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	return region{mem: mem}, err
}

func (r *region) size() int64 { return int64(len(r.mem)) }

// plan returns how many bytes extend had best make accessible for n.
func (r *region) plan(n int64) int64 { return n }

// extend makes the first n bytes accessible, which are more than before; the new ones are zeros.
func (r *region) extend(n int64) error {
	if err := syscall.Mprotect(r.mem[r.open:n], syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		return err
	}
	r.open = n
	return nil
}

// bytes returns the first n bytes, which are accessible, and no way to more.
func (r *region) bytes(n int64) []byte { return r.mem[:n:n] }

// wipe makes all bytes zeros and at most kept of them accessible. It reports false if the region must not be used again.
func (r *region) wipe(kept int64) bool {
	if behind := r.mem[min(kept, r.open):r.open]; len(behind) > 0 {
		if !discard(behind) || syscall.Mprotect(behind, syscall.PROT_NONE) != nil {
			return false
		}
		r.open = kept
	}
	clear(r.mem[:r.open])
	return true
}

// release gives the region back to the system, which can fail only when there are too many mappings.
func (r *region) release() error { return syscall.Munmap(r.mem) }
