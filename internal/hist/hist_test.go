package hist

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAnEmptyOneIsZero(t *testing.T) {
	var h Histogram
	if h.Count() != 0 || h.Min() != 0 || h.Max() != 0 || h.Mean() != 0 || h.Quantile(0.5) != 0 {
		t.Errorf("got %d %v %v %v %v", h.Count(), h.Min(), h.Max(), h.Mean(), h.Quantile(0.5))
	}
}

// Every bucket begins where the one before it ends, and is narrow enough.
func TestTheBucketsTile(t *testing.T) {
	next := uint64(0)
	for i := range buckets {
		if got := bucketOf(next); got != i {
			t.Fatalf("%d ns go to bucket %d, want %d", next, got, i)
		}
		last := uint64(highest(i))
		if got := bucketOf(last); got != i {
			t.Fatalf("the last of bucket %d, %d ns, goes to %d", i, last, got)
		}
		if width := last - next; i < buckets-1 && width > next/parts {
			t.Fatalf("bucket %d holds %d to %d ns", i, next, last)
		}
		next = last + 1
	}
}

func TestQuantilesAreCloseToTheTruth(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, tc := range []struct {
		name string
		draw func() time.Duration
	}{
		{"all the same", func() time.Duration { return 12345 }},
		{"a few nanoseconds", func() time.Duration { return time.Duration(random.IntN(100)) }},
		{"a long tail", func() time.Duration { return time.Duration(1e5 * math.Exp(2*random.NormFloat64())) }},
		{"everything up to an hour", func() time.Duration { return time.Duration(math.Pow(3.6e12, random.Float64())) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var h Histogram
			var all []time.Duration
			for range 10_001 {
				d := tc.draw()
				h.Record(d)
				all = append(all, d)
			}
			slices.Sort(all)
			for _, q := range []float64{-1, 0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1, 2} {
				rank := min(max(int(math.Ceil(q*float64(len(all)))), 1), len(all))
				want, got := all[rank-1], h.Quantile(q)
				if got < want || got > want+want/parts {
					t.Errorf("quantile %v is %v, want %v", q, got, want)
				}
			}
			if h.Min() != all[0] || h.Max() != all[len(all)-1] || h.Count() != uint64(len(all)) {
				t.Errorf("got %d from %v to %v", h.Count(), h.Min(), h.Max())
			}
		})
	}
}

func TestTheEndsOfTheRange(t *testing.T) {
	var h Histogram
	h.Record(-time.Second)
	if h.Min() != 0 || h.Quantile(0.5) != 0 {
		t.Errorf("a negative duration counts as %v", h.Quantile(0.5))
	}
	h.Record(math.MaxInt64)
	h.Record(math.MaxInt64)
	if h.Max() != math.MaxInt64 || h.Quantile(0.9) != math.MaxInt64 || h.Mean() <= 0 {
		t.Errorf("the longest duration is max %v, p90 %v, mean %v", h.Max(), h.Quantile(0.9), h.Mean())
	}
}

func TestMergingIsLikeRecordingAll(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var whole, merged Histogram
	pieces := make([]Histogram, 4) // the last stays empty
	for range 1000 {
		d := time.Duration(random.IntN(1e9))
		whole.Record(d)
		pieces[random.IntN(3)].Record(d)
	}
	for i := range pieces {
		merged.Merge(&pieces[i])
	}
	if merged != whole {
		t.Errorf("got %d from %v to %v, mean %v", merged.Count(), merged.Min(), merged.Max(), merged.Mean())
	}
	merged.Merge(&merged)
	if merged.Count() != 2000 || merged.Quantile(0.5) != whole.Quantile(0.5) {
		t.Errorf("merged with itself it counts %d, median %v", merged.Count(), merged.Quantile(0.5))
	}
	merged.Reset()
	if merged != (Histogram{}) {
		t.Error("a reset leaves something")
	}
}

func TestRecordAllocs(t *testing.T) {
	h, o := new(Histogram), new(Histogram)
	n := testing.AllocsPerRun(100, func() {
		h.Record(12345 * time.Nanosecond)
		h.Merge(o)
		h.Quantile(0.99)
	})
	if n != 0 {
		t.Errorf("recording costs %v allocations, want 0", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	h := new(Histogram)
	b.ReportAllocs()
	for i := time.Duration(0); b.Loop(); i += 977 {
		h.Record(i)
	}
}
