package host

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Metric declares a metric that a module's handlers may add to.
type Metric struct {
	// Type is "counter", which only grows, or "gauge", which may also fall. Empty
	// means "counter".
	Type string `koanf:"type" oneof:"counter,gauge"`
	// Help says what one unit of it is, for people who see it in a dashboard; at
	// most 256 bytes. Empty means that the name says it.
	Help string `koanf:"help"`
}

// Values of Metric.Type.
const (
	MetricCounter = "counter"
	MetricGauge   = "gauge"
)

const (
	maxMetrics         = 64 // a module
	maxMetricNameBytes = 64
	maxMetricHelpBytes = 256
)

var metricName = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// ValidateMetrics reports every mistake in the metrics of one module, by name,
// each with the name or its key. What promtool would find fault with is one.
func ValidateMetrics(metrics map[string]Metric) error {
	var errs []error
	if len(metrics) > maxMetrics {
		errs = append(errs, fmt.Errorf("%d metrics are declared; %d are allowed", len(metrics), maxMetrics))
	}
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		if err := checkMetricName(name); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		m := metrics[name]
		if m.Type != "" && m.Type != MetricCounter && m.Type != MetricGauge {
			errs = append(errs, fmt.Errorf("%s.type: %q is neither %q nor %q", name, m.Type, MetricCounter, MetricGauge))
		}
		if len(m.Help) > maxMetricHelpBytes {
			errs = append(errs, fmt.Errorf("%s.help: %d bytes are more than %d", name, len(m.Help), maxMetricHelpBytes))
		}
	}
	return errors.Join(errs...)
}

// Words that Prometheus wants in no name
// (https://prometheus.io/docs/practices/naming/), and what it wants instead.
var (
	metricTypeWords = []string{"counter", "gauge", "histogram", "summary", "untyped"}
	metricEndings   = []string{"total", "sum", "count", "bucket"}
	unitWords       = map[string]string{
		"s": "seconds", "ms": "seconds", "us": "seconds", "ns": "seconds", "sec": "seconds", "m": "", "h": "seconds", "d": "seconds",
		"b": "bytes", "kb": "bytes", "mb": "bytes", "gb": "bytes", "tb": "bytes", "pb": "bytes",
		"minutes": "seconds", "hours": "seconds", "days": "seconds", "weeks": "seconds",
		"kelvins": "kelvin", "fahrenheit": "celsius", "rankine": "celsius", "inches": "meters", "yards": "meters", "miles": "meters",
		"bits": "bytes", "calories": "joules", "pounds": "grams", "ounces": "grams",
	}
	unitPrefix = regexp.MustCompile(`^(?:pico|nano|micro|milli|centi|deci|deca|hecto|kilo|kibi|mega|mibi|giga|gibi|tera|tebi|peta|pebi)(.+)$`)
	baseUnits  = []string{"amperes", "bytes", "celsius", "grams", "joules", "kelvin", "meters", "metres", "moles", "seconds", "volts"}
)

func checkMetricName(name string) error {
	if len(name) > maxMetricNameBytes || !metricName.MatchString(name) {
		return fmt.Errorf("a metric's name is words of a-z and 0-9 with _ between, the first begins with a letter, and %d bytes at most", maxMetricNameBytes)
	}
	words := strings.Split(name, "_")
	for _, word := range words {
		if slices.Contains(metricTypeWords, word) {
			return fmt.Errorf("a metric's name does not say its type (%q)", word)
		}
		unit, known := unitWords[word]
		if prefixed := unitPrefix.FindStringSubmatch(word); prefixed != nil && !known {
			if unit, known = unitWords[prefixed[1]]; !known && slices.Contains(baseUnits, prefixed[1]) {
				unit, known = prefixed[1], true
			}
		}
		switch {
		case known && unit != "":
			return fmt.Errorf("%q is no base unit; count in %s", word, unit)
		case known:
			return fmt.Errorf("%q is a unit that is cut short; write it out", word)
		}
	}
	if last := words[len(words)-1]; slices.Contains(metricEndings, last) {
		return fmt.Errorf("leave out \"_%s\": a counter gets its _total by itself, and the others are for histograms", last)
	}
	return nil
}

// MetricValue is a metric that a module has declared, and what its handlers have
// added to it.
type MetricValue struct {
	Name  string
	Type  string // MetricCounter or MetricGauge
	Help  string
	Value int64 // of a counter never negative; it stays at the limits of its type
}

// guestMetric is a metric of a module, across its generations.
type guestMetric struct {
	gauge bool
	value atomic.Int64
}

// mayAdd reports whether delta can be added.
func (m *guestMetric) mayAdd(delta int64) bool { return m.gauge || delta >= 0 }

// add adds delta. A sum that would overflow stays at the limit, so that a counter
// never falls. Any goroutine.
func (m *guestMetric) add(delta int64) {
	for {
		old := m.value.Load()
		sum := old + delta
		switch {
		case delta > 0 && sum < old:
			sum = math.MaxInt64
		case delta < 0 && sum > old:
			sum = math.MinInt64
		}
		if m.value.CompareAndSwap(old, sum) {
			return
		}
	}
}

// declaredMetric is a metric as one generation declares it.
type declaredMetric struct {
	*guestMetric
	help string
}

// guestMetrics are those of a module: they outlive its generations, so that
// counters go on where they were. One whose type changes begins anew.
type guestMetrics struct {
	mu       sync.Mutex // below
	counters map[string]*guestMetric
	gauges   map[string]*guestMetric
}

// declare finds or makes the metrics that a generation declares.
func (gm *guestMetrics) declare(metrics map[string]Metric) map[string]declaredMetric {
	if len(metrics) == 0 {
		return nil
	}
	gm.mu.Lock()
	defer gm.mu.Unlock()
	if gm.counters == nil {
		gm.counters, gm.gauges = make(map[string]*guestMetric), make(map[string]*guestMetric)
	}
	declared := make(map[string]declaredMetric, len(metrics))
	for name, m := range metrics {
		known := gm.counters
		if m.Type == MetricGauge {
			known = gm.gauges
		}
		if known[name] == nil {
			known[name] = &guestMetric{gauge: m.Type == MetricGauge}
		}
		declared[name] = declaredMetric{known[name], m.Help}
	}
	return declared
}

// metrics are those that the current generation has declared, and a canary, by
// name. Where both declare one of a name, the current one decides what it is.
func (r *ruling) metrics() []MetricValue {
	var all []MetricValue
	add := func(gen *generation) {
		for name, m := range gen.metrics {
			if slices.ContainsFunc(all, func(v MetricValue) bool { return v.Name == name }) {
				continue
			}
			v := MetricValue{Name: name, Type: MetricCounter, Help: m.help, Value: m.value.Load()}
			if m.gauge {
				v.Type = MetricGauge
			}
			all = append(all, v)
		}
	}
	add(r.stable)
	if r.canary != nil {
		add(r.canary)
	}
	slices.SortFunc(all, func(a, b MetricValue) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
