package admin

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/host"
)

func TestTheTableIsInOrder(t *testing.T) {
	seen := map[string]bool{}
	name := regexp.MustCompile(`^(weir|process|go)_[a-z][a-z_]*[a-z]$`)
	for _, m := range slices.Concat(metrics, processMetrics) {
		bad := func(what string) { t.Errorf("%s %s", m.name, what) }
		if !name.MatchString(m.name) {
			bad("is not a name")
		}
		if seen[m.name] {
			bad("is there twice")
		}
		seen[m.name] = true
		if strings.HasSuffix(m.name, "_total") != (m.kind == counter) {
			bad("must end with _total if it is a counter, and only then")
		}
		if !strings.HasSuffix(m.help, ".") {
			bad("is not described by a sentence")
		}
		if (m.times != nil) != (m.kind == histogram) || (m.read != nil) == (m.times != nil) {
			bad("cannot be read")
		}
		if slices.Contains(m.labels, labelGeneration) && !slices.Contains(m.labels, labelModule) {
			bad("tells a generation but not of which module")
		}
	}
}

// A mistake here would show as a scrape that lacks the metric.
func TestEveryReadingHasAValueForEveryLabel(t *testing.T) {
	s := subject(t)
	ws := echo(t, s, "x")
	check(t, ws.Close())
	r := s.read()
	r.host.Closes["none"] = 1
	r.host.TLS = &host.TLSStats{Refused: map[string]uint64{"gone": 1}}
	r.host.TLS.Certificates.NotAfter = time.Unix(1, 0)
	for path := range r.host.Routes {
		r.host.Routes[path].Closed["1000"] = 1
	}
	for _, m := range metrics {
		series := map[string]bool{}
		saw := func(labels []string) {
			if len(labels) != len(m.labels) {
				t.Errorf("%s has %d labels and is given %q", m.name, len(m.labels), labels)
			}
			key := strings.Join(labels, "\x00")
			if series[key] {
				t.Errorf("%s is given %q twice", m.name, labels)
			}
			series[key] = true
		}
		if m.kind == histogram {
			m.times(r, func(_ host.Times, labels ...string) { saw(labels) })
		} else {
			m.read(r, func(_ float64, labels ...string) { saw(labels) })
		}
		if len(series) == 0 {
			t.Errorf("%s gives nothing", m.name)
		}
	}
}

func TestTextIsEscaped(t *testing.T) {
	table := []metric{{
		name: "weir_test", kind: gauge, labels: []string{"a", "b"}, help: "A \\ and\na line.",
		read: func(_ *reading, set setValue) {
			set(2.5, "z", "")
			set(1e9, "q\"\\\n", "é")
		},
	}, {
		name: "weir_without_series", kind: counter, help: "Nothing.", read: func(*reading, setValue) {},
	}}
	const want = `# HELP weir_test A \\ and\na line.
# TYPE weir_test gauge
weir_test{a="q\"\\\n",b="é"} 1e+09
weir_test{a="z",b=""} 2.5
`
	if got := string(expose(nil, table, nil)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAHistogramAddsUp(t *testing.T) {
	var times host.Times
	times.Buckets[0], times.Buckets[1], times.Buckets[len(host.TimeBounds)] = 3, 2, 1
	times.Sum = 2500 * time.Millisecond
	table := []metric{{
		name: "weir_test_seconds", kind: histogram, labels: []string{"module"}, help: "Tests.",
		times: func(_ *reading, set setTimes) { set(times, "chat") },
	}}
	got := string(expose(nil, table, nil))
	for _, want := range []string{
		"weir_test_seconds_bucket{module=\"chat\",le=\"5e-06\"} 3\n",
		"weir_test_seconds_bucket{module=\"chat\",le=\"1e-05\"} 5\n",
		"weir_test_seconds_bucket{module=\"chat\",le=\"1\"} 5\n",
		"weir_test_seconds_bucket{module=\"chat\",le=\"+Inf\"} 6\n",
		"weir_test_seconds_sum{module=\"chat\"} 2.5\n",
		"weir_test_seconds_count{module=\"chat\"} 6\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing from\n%s", want, got)
		}
	}
}
