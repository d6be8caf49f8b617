package hist

import (
	"math"
	"math/bits"
	"time"
)

// The buckets are those of HdrHistogram: an octave (a power of two) is cut into
// equal parts, so that the error is relative and the index takes a few
// instructions.
const (
	partBits = 7 // 128 parts an octave: a bucket is at most 1/128 of its values wide
	parts    = 1 << partBits
	maxBits  = 42 // the last bucket takes all from 2^42 ns, 73 minutes
	buckets  = (maxBits-partBits+1)*parts + 1
)

// Histogram counts durations. The zero value is empty and ready. It takes 36
// KiB, so keep few and share them.
type Histogram struct {
	counts   [buckets]uint64
	n        uint64
	sum      float64 // nanoseconds; a uint64 is full after 584 years of them, and merging adds up many
	min, max time.Duration
}

// Record counts d. A negative one counts as 0. 0 allocs (TestRecordAllocs).
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(uint64(d))]++
	if h.n == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.n++
	h.sum += float64(d)
}

// Merge adds what o has counted. o stays as it is and may be h itself.
func (h *Histogram) Merge(o *Histogram) {
	if o.n == 0 {
		return
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	if h.n == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.n += o.n
	h.sum += o.sum
}

// Reset empties h.
func (h *Histogram) Reset() { *h = Histogram{} }

// Count is how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.n }

// Min is the shortest, exactly; 0 when there are none.
func (h *Histogram) Min() time.Duration { return h.min }

// Max is the longest, exactly; 0 when there are none.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean is the average; 0 when there are none.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.n))
}

// Quantile is the duration that the share q of all is not longer than: 0.99
// gives the 99th percentile, q of 0 or less the shortest, of 1 or more the
// longest. It is never below the true value and at most 1/128 above it, up to 73
// minutes; beyond, it is Max. Without any durations it is 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	switch {
	case h.n == 0:
		return 0
	case q <= 0:
		return h.min
	case q >= 1:
		return h.max
	}
	rank := uint64(math.Ceil(q * float64(h.n))) // counts from 1
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return max(h.min, min(h.max, highest(i)))
		}
	}
	return h.max
}

func bucketOf(ns uint64) int {
	if ns < parts {
		return int(ns)
	}
	octave := bits.Len64(ns) - partBits // from 1
	if octave > maxBits-partBits {
		return buckets - 1
	}
	return octave*parts + int(ns>>(octave-1)) - parts
}

// highest is the longest duration of bucket i.
func highest(i int) time.Duration {
	switch {
	case i < parts:
		return time.Duration(i)
	case i == buckets-1:
		return math.MaxInt64
	}
	octave, part := i/parts, i%parts
	return time.Duration((uint64(parts+part)+1)<<(octave-1) - 1)
}
