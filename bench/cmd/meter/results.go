package main

import (
	"slices"
	"time"

	"weir/bench/internal/report"
	"weir/bench/internal/stats"
)

// results is everything that one run found out.
type results struct {
	Command   string         `json:"command"`
	Commit    string         `json:"commit"` // of the project; "unknown" outside a repository
	Date      time.Time      `json:"date"`
	Machine   report.Machine `json:"machine"`
	Rounds    int            `json:"rounds"`
	Warmup    time.Duration  `json:"warmup_ns"`
	Measure   time.Duration  `json:"measure_ns"` // of each side in each round
	Subjects  []subject      `json:"subjects"`
	Samples   []sample       `json:"samples"`
	Deadline  time.Duration  `json:"deadline_ns"`
	Overruns  []overrun      `json:"overruns"`
	Instances []instance     `json:"instances"`
	Failures  []failure      `json:"failures"`
}

// failure is a measurement that came to nothing.
type failure struct {
	What  string `json:"what"`
	Error string `json:"error"`
}

// row is a subject over the rounds.
type row struct {
	subject        subject
	plain, metered stats.Summary // µs
	ratio          stats.Summary // metered ÷ plain
}

// rows sums up the subjects that were measured.
func (r *results) rows() []row {
	var all []row
	for _, s := range r.Subjects {
		plain, metered := make(map[int]float64), make(map[int]float64)
		for _, x := range r.Samples {
			if x.Name == s.Name && x.Guest == s.Guest {
				plain[x.Round], metered[x.Round] = x.Plain.CPU, x.Metered.CPU
			}
		}
		if len(plain) == 0 {
			continue
		}
		all = append(all, row{s, summary(plain), summary(metered), stats.Ratio(metered, plain)})
	}
	return all
}

func summary(byRound map[int]float64) stats.Summary {
	var v []float64
	for _, x := range byRound {
		v = append(v, x)
	}
	return stats.Of(v)
}

// verdict is the median and the worst of the ratios of some rows.
type verdict struct {
	ratios stats.Summary
	worst  row
}

// judge sums up the rows that are of computing, or those that are not.
func judge(rows []row, compute bool) (verdict, bool) {
	rows = slices.DeleteFunc(slices.Clone(rows), func(x row) bool { return x.subject.Compute != compute })
	if len(rows) == 0 {
		return verdict{}, false
	}
	var v verdict
	var ratios []float64
	for _, x := range rows {
		ratios = append(ratios, x.ratio.Median)
		if x.ratio.Median > v.worst.ratio.Median {
			v.worst = x
		}
	}
	v.ratios = stats.Of(ratios)
	return v, true
}

// late sums up the overruns of one way in one company, in ms.
func (r *results) late(way, company string) stats.Summary {
	for _, x := range r.Overruns {
		if x.Way == way && x.Company == company {
			return stats.Of(x.Millis)
		}
	}
	return stats.Summary{}
}

// inTime says whether every guest was stopped within the bounds while every CPU was busy, and whether all of that was
// measured.
func (r *results) inTime() (reached, measured bool) {
	reached, measured = true, true
	millis := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	for _, c := range companies {
		if !c.Busy {
			continue
		}
		for _, w := range ways {
			s := r.late(w.Name, c.Name)
			measured = measured && s.N > 0
			reached = reached && s.Median <= millis(overrunMedian) && s.Max <= millis(overrunWorst)
		}
	}
	return reached, measured
}

// others is the share of the machine that bystanders took while the cost was measured.
func (r *results) others() stats.Summary {
	var v []float64
	for _, x := range r.Samples {
		v = append(v, x.Plain.Others, x.Metered.Others)
	}
	return stats.Of(v)
}
