package load

import (
	"testing"
	"time"
)

func TestQuantilesAreWithinTheBucketWidth(t *testing.T) {
	var h Hist
	for i := 1; i <= 100_000; i++ {
		h.Record(time.Duration(i) * time.Microsecond)
	}
	for _, q := range []float64{0.001, 0.25, 0.5, 0.9, 0.99, 1} {
		want := float64(100_000*time.Microsecond) * q
		got := float64(h.Quantile(q))
		if got < want*0.999 || got > want*1.017 {
			t.Errorf("quantile %v is %v, want %v", q, time.Duration(got), time.Duration(want))
		}
	}
	if h.Count() != 100_000 || h.Max() != 100*time.Millisecond {
		t.Errorf("count %d, max %v", h.Count(), h.Max())
	}
}

func TestBucketsJoinWithoutGapsOrOverlap(t *testing.T) {
	last := -1
	for v := uint64(0); v < 1<<16; v++ {
		b := bucket(v)
		if b != last && b != last+1 {
			t.Fatalf("%d is in bucket %d, the one before in %d", v, b, last)
		}
		if v > bucketTop(b) || b > 0 && v <= bucketTop(b-1) {
			t.Fatalf("%d is in bucket %d, which ends at %d", v, b, bucketTop(b))
		}
		last = b
	}
	if b := bucket(1<<63 - 1); b >= len(Hist{}.counts) {
		t.Errorf("the longest duration is in bucket %d of %d", b, len(Hist{}.counts))
	}
}

func TestAnEmptyHistHasNoQuantile(t *testing.T) {
	var h Hist
	if h.Quantile(0.5) != 0 {
		t.Error("want 0")
	}
	h.Record(-time.Second)
	if h.Count() != 1 || h.Quantile(1) != 0 {
		t.Error("a negative duration does not count as 0")
	}
}

func TestRecordAllocs(t *testing.T) {
	h := new(Hist)
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
