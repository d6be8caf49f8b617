package pool

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Sizes of the buffers that are kept for reuse: the powers of two from
// 1<<minBufBits to 1<<maxBufBits bytes.
const (
	minBufBits = 6  // 64 B: most frames of a chat with their header
	maxBufBits = 17 // 128 KiB: the default message limit of 64 KiB with room for a header, and its double
	bufClasses = maxBufBits - minBufBits + 1
	largeBuf   = bufClasses // class of a buffer that is larger and left to the garbage collector

	// MaxPooledBytes is the largest buffer that is kept for reuse. Take
	// serves larger ones too, at the price of an allocation each.
	MaxPooledBytes = 1 << maxBufBits
)

// Buf is a byte buffer with a reference count. Whoever holds a reference may
// read B; as long as there is only one reference its holder may also write.
type Buf struct {
	// B is the part in use. The holder of the only reference may reslice it
	// within its capacity. Its bytes are what an earlier user left, not zero.
	// It is nil after the last Release.
	B []byte

	mem   []byte // all of it
	refs  atomic.Int32
	class uint8
	slot  uint8 // which counter of its class it uses
}

// bufSlots spreads the counters of a class, so that cores that take and
// release buffers of one size do not fight over one cache line: a buffer has
// a slot for life, and sync.Pool keeps a buffer mostly on one core.
const bufSlots = 8

var (
	bufPools [bufClasses]sync.Pool
	bufOut   [bufClasses + 1][bufSlots]struct {
		n atomic.Int64 // buffers out; bytes for largeBuf
		_ [56]byte
	}
	bufMade atomic.Uint64 // buffers allocated, and at once the next slot
)

// Take returns a buffer whose B has length n, with one reference that belongs
// to the caller. It panics if n is negative.
//
// Hot path, 0 allocs while the garbage collector leaves the pools alone
// (TestBufAllocs) and n is not above MaxPooledBytes.
func Take(n int) *Buf {
	class := classOf(n)
	var b *Buf
	if class < largeBuf {
		b, _ = bufPools[class].Get().(*Buf)
	}
	if b == nil {
		b = newBuf(class, n)
	}
	b.B = b.mem[:n]
	b.refs.Store(1)
	b.count(1)
	return b
}

// Retain adds a reference. Only who holds one may call it.
func (b *Buf) Retain() {
	if b.refs.Add(1) <= 1 {
		panic("pool: Retain of a released Buf")
	}
}

// Release gives one reference back; with the last one the buffer may be taken
// by somebody else at once, so neither b nor B may be touched any more. It
// panics when there was no reference left. (A second Release after somebody
// else took the buffer cannot be told from his own.)
func (b *Buf) Release() {
	switch n := b.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("pool: Release of a released Buf")
	}
	b.count(-1)
	b.B = nil
	if b.class < largeBuf {
		bufPools[b.class].Put(b)
	}
}

// BufferStats tells what Take has lent.
type BufferStats struct {
	// Bytes is the capacity of all buffers out now, Count their number
	// (those above MaxPooledBytes are in Bytes only).
	Bytes, Count int64
	// Made counts the buffers allocated since the process began.
	Made uint64
}

// BufStats returns what is out at about this moment: while others take and
// release, the sums may be off by the buffers on the move.
func BufStats() BufferStats {
	s := BufferStats{Made: bufMade.Load()}
	for class := range bufOut {
		for slot := range bufOut[class] {
			n := bufOut[class][slot].n.Load()
			if class == largeBuf {
				s.Bytes += n
				continue
			}
			s.Count += n
			s.Bytes += n << (class + minBufBits)
		}
	}
	return s
}

// count enters b into the statistics (sign 1) or takes it out (-1).
func (b *Buf) count(sign int64) {
	if b.class == largeBuf {
		sign *= int64(len(b.mem))
	}
	bufOut[b.class][b.slot].n.Add(sign)
}

// classOf returns the smallest class that holds n bytes.
func classOf(n int) int {
	if n < 0 {
		panic("pool: Take of a negative length")
	}
	if n <= 1<<minBufBits {
		return 0
	}
	return min(bits.Len(uint(n-1))-minBufBits, largeBuf)
}

func newBuf(class, n int) *Buf {
	if class < largeBuf {
		n = 1 << (class + minBufBits)
	}
	return &Buf{
		mem:   make([]byte, n),
		class: uint8(class),
		slot:  uint8(bufMade.Add(1) % bufSlots),
	}
}
