package runtime

import "github.com/tetratelabs/wazero/api"

// This is the only file that touches guest memory.

// view returns n bytes of guest memory at ptr, or false unless all of them lie within it. No bytes are no pointer:
// whatever ptr says then, the answer is empty. The slice is lent until the guest runs again, which may move its memory.
func view(mem api.Memory, ptr, n uint32) ([]byte, bool) {
	if n == 0 {
		return nil, true
	}
	return mem.Read(ptr, n) // compares in 64 bits, and bounds the capacity too
}

// bytes decodes a pointer and a length that a guest passed, and charges for reading or filling them.
func (c *callContext) bytes(ptr, n uint64) ([]byte, bool) {
	p, ok := view(c.mem, uint32(ptr), uint32(n))
	c.meter.moved(len(p))
	return p, ok
}

// answer copies value to the guest's buffer if all of it fits, and returns what the function returns: the length of
// the value, or the status if that is an error.
func answer(buf, value []byte, status Status) Status {
	if status < 0 {
		return status
	}
	if len(value) <= len(buf) {
		copy(buf, value)
	}
	return Status(len(value))
}
