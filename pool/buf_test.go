package pool

import (
	"sync"
	"testing"
)

func TestTake(t *testing.T) {
	for _, tc := range []struct{ n, capacity int }{
		{0, 64}, {1, 64}, {64, 64}, {65, 128}, {128, 128}, {129, 256}, {1000, 1024},
		{64 << 10, 64 << 10}, {64<<10 + 1, 128 << 10}, {MaxPooledBytes, MaxPooledBytes},
		{MaxPooledBytes + 1, MaxPooledBytes + 1}, {1 << 20, 1 << 20},
	} {
		before := BufStats()
		b := Take(tc.n)
		if len(b.B) != tc.n || cap(b.B) != tc.capacity {
			t.Errorf("Take(%d): length %d, capacity %d, want %d", tc.n, len(b.B), cap(b.B), tc.capacity)
		}
		if got := BufStats().Bytes - before.Bytes; got != int64(tc.capacity) {
			t.Errorf("Take(%d): %d bytes out, want %d", tc.n, got, tc.capacity)
		}
		if got, want := BufStats().Count-before.Count, int64(1); tc.n <= MaxPooledBytes && got != want {
			t.Errorf("Take(%d): %d buffers out, want %d", tc.n, got, want)
		}
		b.B = append(b.B[:0], "resliced"...)[4:]
		b.Retain()
		b.Release()
		if string(b.B) != "iced" {
			t.Errorf("Take(%d): B = %q with a reference left", tc.n, b.B)
		}
		b.Release()
		if got := BufStats(); got.Bytes != before.Bytes || got.Count != before.Count {
			t.Errorf("Take(%d): after Release %+v, before %+v", tc.n, got, before)
		}
	}
	b := Take(10)
	defer b.Release()
	if len(b.B) != 10 || cap(b.B) != 64 {
		t.Errorf("a buffer that came back resliced has length %d, capacity %d", len(b.B), cap(b.B))
	}
}

func TestMisuseOfBufPanics(t *testing.T) {
	mustPanic := func(name string, f func()) {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
	// Larger than what is kept, so that nobody else gets the spoiled buffers.
	n := MaxPooledBytes + 1
	mustPanic("a negative length", func() { Take(-1) })
	mustPanic("releasing twice", func() { b := Take(n); b.Release(); b.Release() })
	mustPanic("retaining after release", func() { b := Take(n); b.Release(); b.Retain() })
}

// Buffers that many goroutines share keep their bytes until the last one lets
// go, and all come back.
func TestBufHammer(t *testing.T) {
	before := BufStats()
	sizes := []int{1, 64, 100, 5000, 70_000, MaxPooledBytes + 5}
	queues := make([]chan *Buf, 4)
	for i := range queues {
		queues[i] = make(chan *Buf, 16)
	}
	var readers, writers sync.WaitGroup
	for _, q := range queues {
		readers.Go(func() { // ends when q is closed
			for b := range q {
				want := byte(len(b.B))
				if b.B[0] != want || b.B[len(b.B)-1] != want {
					t.Errorf("a buffer of %d bytes changed under its reader", len(b.B))
				}
				b.Release()
			}
		})
	}
	for w := range 4 {
		writers.Go(func() {
			for i := range 1500 {
				n := sizes[(i+w)%len(sizes)]
				b := Take(n)
				b.B[0], b.B[n-1] = byte(n), byte(n)
				for _, q := range queues {
					b.Retain()
					q <- b
				}
				b.Release()
			}
		})
	}
	writers.Wait()
	for _, q := range queues {
		close(q)
	}
	readers.Wait()
	if after := BufStats(); after.Bytes != before.Bytes || after.Count != before.Count {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestBufAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool drops buffers at random")
	}
	for _, size := range []int{1, 300, 64 << 10} {
		if n := testing.AllocsPerRun(1000, func() {
			b := Take(size)
			b.Retain()
			b.Release()
			b.Release()
		}); n != 0 {
			t.Errorf("taking %d bytes costs %v allocations, want 0", size, n)
		}
	}
}
