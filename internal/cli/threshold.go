package cli

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// threshold is a bound that a benchmark's result must keep, such as p99<20ms.
type threshold struct {
	text   string // as the user wrote it
	metric string
	op     string
	bound  float64 // seconds for a latency; otherwise a number
}

// latencyMetrics are those that --threshold compares with a duration, and the
// share of the replies that is not slower.
var latencyMetrics = map[string]float64{"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1}

// thresholdMetrics lists all, as people are told of them.
var thresholdMetrics = []string{"p50", "p90", "p99", "p999", "max", "errors", "rate"}

// thresholdOps are in an order in which the longer one is found first.
var thresholdOps = []string{"<=", ">=", "<", ">"}

// parseThreshold reads METRIC<BOUND; <=, > and >= do as well.
func parseThreshold(text string) (threshold, error) {
	t := threshold{text: text}
	at := strings.IndexAny(text, "<>")
	if at < 0 {
		return threshold{}, errors.New("write it as METRIC<BOUND, such as p99<20ms, errors<1 or rate>=1000")
	}
	t.metric = strings.TrimSpace(text[:at])
	rest := text[at:]
	for _, op := range thresholdOps {
		if after, ok := strings.CutPrefix(rest, op); ok {
			t.op, rest = op, strings.TrimSpace(after)
			break
		}
	}
	if !slices.Contains(thresholdMetrics, t.metric) {
		return threshold{}, fmt.Errorf("there is no metric %q; there are %s", t.metric, strings.Join(thresholdMetrics, ", "))
	}
	if _, isLatency := latencyMetrics[t.metric]; isLatency {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return threshold{}, fmt.Errorf("%q is not a duration to compare %s with, such as 20ms", rest, t.metric)
		}
		t.bound = d.Seconds()
		return t, nil
	}
	n, err := strconv.ParseFloat(rest, 64)
	if err != nil || n < 0 || math.IsNaN(n) || math.IsInf(n, 0) {
		return threshold{}, fmt.Errorf("%q is not a number to compare %s with", rest, t.metric)
	}
	t.bound = n
	return t, nil
}

// check compares the report with the threshold: whether it holds, and what was
// measured. A latency of no replies at all holds nothing.
func (t threshold) check(r *loadTestReport) (holds bool, got string) {
	var value float64
	switch quantile, isLatency := latencyMetrics[t.metric]; {
	case isLatency && r.latency.Count() == 0:
		return false, "unknown, there was no reply"
	case isLatency:
		d := r.latency.Quantile(quantile)
		value, got = d.Seconds(), durationText(d)
	case t.metric == "errors":
		value, got = float64(r.errors()), strconv.FormatUint(r.errors(), 10)
	default:
		value = r.rate()
		got = fmt.Sprintf("%.1f", value)
	}
	switch t.op {
	case "<":
		return value < t.bound, got
	case "<=":
		return value <= t.bound, got
	case ">":
		return value > t.bound, got
	}
	return value >= t.bound, got
}
