package load

import (
	"math/bits"
	"time"
)

// subBits is the precision of Hist: 1<<subBits buckets per power of two, so a
// value is known to 1.6 %.
const subBits = 6

// Hist counts durations in fixed buckets. Record does not allocate. The zero
// value is empty and ready. One goroutine at a time.
type Hist struct {
	counts [(64 - subBits) << subBits]uint32
	n      uint64
	max    time.Duration
}

// Record counts d; a negative d counts as 0.
func (h *Hist) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.n++
	h.max = max(h.max, d)
}

// Count is how many durations were recorded.
func (h *Hist) Count() uint64 { return h.n }

// Max is the longest duration recorded, exactly.
func (h *Hist) Max() time.Duration { return h.max }

// Reset forgets everything.
func (h *Hist) Reset() { *h = Hist{} }

// Quantile returns the duration that a share q of all, 0 to 1, does not exceed,
// to within the bucket's width; 0 when nothing was recorded.
func (h *Hist) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := min(max(uint64(q*float64(h.n)+0.5), 1), h.n)
	var seen uint64
	for i, c := range h.counts {
		if seen += uint64(c); seen >= rank {
			return min(time.Duration(bucketTop(i)), h.max)
		}
	}
	return h.max
}

// bucket maps v to its bucket: linear below 1<<subBits, then 1<<subBits buckets
// for each power of two.
func bucket(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)<<subBits + int(v>>shift) - 1<<subBits
}

// bucketTop is the largest value in bucket i.
func bucketTop(i int) uint64 {
	if i < 1<<subBits {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return (uint64(i&(1<<subBits-1))+1<<subBits+1)<<shift - 1
}
