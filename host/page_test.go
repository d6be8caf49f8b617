package host

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAPageHasTheFirstOfWhatIsOffered(t *testing.T) {
	for _, tc := range []struct{ limit, offered, want int }{
		{0, 50, 50}, {0, 100, 100}, {0, 101, 100}, {1, 1, 1}, {1, 2, 1}, {7, 1000, 7}, {7, 0, 0},
		{maxPage, 5000, maxPage}, {maxPage + 1, 5000, maxPage}, {-1, 500, defaultPage},
	} {
		p := newPage(tc.limit, cmp.Compare[int])
		for _, n := range rand.Perm(tc.offered) {
			p.offer(n)
			p.offer(n) // twice is as good as once
		}
		var want []int
		for n := range tc.want {
			want = append(want, n)
		}
		got, more := p.done()
		if !slices.Equal(got, want) || more != (tc.offered > tc.want) {
			t.Errorf("a page of %d out of %d has %d, more is %v", tc.limit, tc.offered, len(got), more)
		}
	}
}
