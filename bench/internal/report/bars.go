package report

import (
	"fmt"
	"strings"

	"weir/bench/internal/stats"
	"weir/bench/load"
)

// Bar is something that weir must reach: its headline median in a workload is at
// most Factor times the lowest of those of the servers Of, or, with no servers,
// at most Limit.
type Bar struct {
	Workload string
	Of       []string
	Factor   float64
	Limit    float64 // bytes per connection
}

// Bars are the ones of the project.
var Bars = []Bar{
	{Workload: "echo-1000x128", Of: []string{"gorilla", "gws"}, Factor: 0.95},
	{Workload: "echo-1000x128", Of: []string{"raw"}, Factor: 1.25},
	{Workload: "echo-100x4096", Of: []string{"gws"}, Factor: 1.0},
	{Workload: "echo-50x128x16", Of: []string{"gorilla", "gws"}, Factor: 0.25},
	{Workload: "publish-1000x128", Of: []string{"gorilla", "gws"}, Factor: 0.9},
	{Workload: "idle-15000", Limit: 800},
	{Workload: "connect-1000", Of: []string{"gorilla"}, Factor: 0.4},
	{Workload: "deflate-100x1024", Of: []string{"gws-deflate"}, Factor: 1.0},
}

// Verdict says whether a bar was reached.
type Verdict struct {
	Bar
	Subject   stats.Summary // what weir took
	Reference string        // the best of Bar.Of; empty for a limit
	Ratio     stats.Summary // to the reference, or of the median to the limit
	Measured  bool          // there is enough to tell
	Reached   bool
}

// Judge holds the results against a bar. A bar that compares with several is
// measured only if all of them were.
func (r *Results) Judge(b Bar) Verdict {
	w, err := load.ParseWorkload(b.Workload)
	if err != nil {
		return Verdict{Bar: b}
	}
	m := Headline(w.Kind)
	v := Verdict{Bar: b, Subject: r.Summary(b.Workload, Subject, m)}
	if v.Subject.N == 0 {
		return v
	}
	if len(b.Of) == 0 {
		s := v.Subject
		v.Ratio = stats.Summary{N: s.N, Median: s.Median / b.Limit, Min: s.Min / b.Limit, Max: s.Max / b.Limit}
		v.Measured, v.Reached = true, s.Median <= b.Limit
		return v
	}
	best := stats.Summary{}
	for _, of := range b.Of {
		s := r.Summary(b.Workload, of, m)
		if s.N == 0 {
			return v
		}
		if v.Reference == "" || s.Median < best.Median {
			best, v.Reference = s, of
		}
	}
	v.Ratio = r.Ratio(b.Workload, v.Reference, m)
	v.Measured = v.Ratio.Median > 0
	v.Reached = v.Measured && v.Ratio.Median <= b.Factor
	return v
}

// Text is the bar in words.
func (b Bar) Text() string {
	switch len(b.Of) {
	case 0:
		return fmt.Sprintf("≤ %.0f B a connection", b.Limit)
	case 1:
		return fmt.Sprintf("≤ %.2f × %s", b.Factor, b.Of[0])
	}
	return fmt.Sprintf("≤ %.2f × the better of %s", b.Factor, strings.Join(b.Of, " and "))
}
