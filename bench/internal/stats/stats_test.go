package stats

import (
	"math"
	"testing"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []float64
		want Summary
	}{
		{"no values give the zero summary", nil, Summary{}},
		{"one value is its own median", []float64{3}, Summary{1, 3, 3, 3}},
		{"an odd number has one in the middle", []float64{9, 1, 5}, Summary{3, 5, 1, 9}},
		{"an even number takes the mean of two", []float64{4, 1, 2, 9}, Summary{4, 3, 1, 9}},
		{"one disturbed round does not move the median", []float64{5, 5, 500, 5, 5}, Summary{5, 5, 5, 500}},
		{"what is not a number is left out", []float64{math.NaN(), 2}, Summary{1, 2, 2, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Of(c.in); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestOfLeavesItsInputAlone(t *testing.T) {
	in := []float64{3, 1, 2}
	Of(in)
	if in[0] != 3 || in[1] != 1 {
		t.Errorf("sorted the caller's slice: %v", in)
	}
}

func TestRatio(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b map[int]float64
		want Summary
	}{
		{"without values there is no ratio", map[int]float64{1: 2}, nil, Summary{}},
		{"nothing is compared with zero", map[int]float64{1: 2}, map[int]float64{1: 0}, Summary{}},
		{"rounds are compared in pairs", map[int]float64{1: 10, 2: 30, 3: 20}, map[int]float64{1: 20, 2: 40, 3: 20}, Summary{3, 1, 0.5, 1}},
		{"a round that one lacks does not count for the spread", map[int]float64{1: 10, 2: 30}, map[int]float64{1: 10}, Summary{1, 2, 1, 1}},
		{"without a common round the spread is the ratio", map[int]float64{1: 10}, map[int]float64{2: 5}, Summary{0, 2, 2, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Ratio(c.a, c.b); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
