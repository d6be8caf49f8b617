// Package stats sums up the few numbers that a benchmark repeats: medians,
// because one disturbed round must not move the result, and the whole spread,
// because it must not be hidden either. Pure functions; any goroutine.
package stats

import (
	"math"
	"slices"
)

// Summary describes the values of one quantity over the rounds.
type Summary struct {
	N      int     `json:"n"` // values; 0 means that there were none
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Of sums up values, which it leaves alone. NaNs are left out.
func Of(values []float64) Summary {
	v := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(v) == 0 {
		return Summary{}
	}
	slices.Sort(v)
	mid := len(v) / 2
	median := v[mid]
	if len(v)%2 == 0 {
		median = (v[mid-1] + v[mid]) / 2
	}
	return Summary{N: len(v), Median: median, Min: v[0], Max: v[len(v)-1]}
}

// Ratio compares a with b. Its median is the ratio of the medians. Min and Max
// are over the rounds in which both were measured, each compared with the other
// of the same round, so that what disturbed both alike cancels out; with no
// such round they equal the median. N is the number of those rounds. A median of
// 0 in b, or no value in either, gives the zero Summary.
func Ratio(a, b map[int]float64) Summary {
	ma, mb := Of(values(a)), Of(values(b))
	if ma.N == 0 || mb.N == 0 || mb.Median == 0 {
		return Summary{}
	}
	r := Summary{Median: ma.Median / mb.Median}
	r.Min, r.Max = math.Inf(1), math.Inf(-1)
	for round, x := range a {
		if y, ok := b[round]; ok && y != 0 {
			r.N++
			r.Min, r.Max = min(r.Min, x/y), max(r.Max, x/y)
		}
	}
	if r.N == 0 {
		r.Min, r.Max = r.Median, r.Median
	}
	return r
}

func values(m map[int]float64) []float64 {
	v := make([]float64, 0, len(m))
	for _, x := range m {
		v = append(v, x)
	}
	return v
}
