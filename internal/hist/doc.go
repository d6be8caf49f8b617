// Package hist counts durations in fixed buckets, so that a percentile of any
// number of them costs no memory for each.
//
// It never allocates and never blocks. A Histogram belongs to one goroutine at
// a time: who shares one brings a lock, who measures in many places keeps one in
// each and merges them.
package hist
