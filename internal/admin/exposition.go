package admin

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"weir/host"
)

// metricsHandler answers /metrics with the table's metrics of the subject, if
// there is one, those of its modules, and those of the process.
func metricsHandler(subject func() *Subject) http.Handler {
	var mu sync.Mutex // one scrape at a time: many must not take the processors from the connections
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		var text []byte
		if s := subject(); s != nil {
			r := s.read()
			text = expose(nil, slices.Concat(metrics, appMetrics(r), processMetrics), r)
		} else {
			text = expose(nil, processMetrics, &reading{process: readProcess()})
		}
		mu.Unlock()
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(text) // whoever asked may have gone
	})
}

// expose appends the metrics that have series, as Prometheus's text format 0.0.4
// wants them (https://prometheus.io/docs/instrumenting/exposition_formats/).
// Series of one metric are sorted, so that two scrapes can be compared.
//
// Prometheus's own Go client is not used: it needs protobuf, whose initialisation
// opens and reads the whole executable at every start (v1.36.12,
// internal/detrand), in compile jails too, whose process must not have a file
// open by then; and it makes the binary 2.4 MB larger.
func expose(text []byte, table []metric, r *reading) []byte {
	for _, m := range table {
		var series []string
		if m.kind == histogram {
			m.times(r, func(t host.Times, values ...string) { series = append(series, histogramSeries(&m, t, values)) })
		} else {
			m.read(r, func(value float64, values ...string) {
				series = append(series, string(appendSample(nil, m.name, m.labels, values, value)))
			})
		}
		if len(series) == 0 {
			continue
		}
		slices.Sort(series)
		text = append(text, "# HELP "+m.name+" "+escapeHelp.Replace(m.help)+"\n# TYPE "+m.name+" "+string(m.kind)+"\n"...)
		for _, s := range series {
			text = append(text, s...)
		}
	}
	return text
}

// histogramSeries is t as Prometheus counts: each bucket has what is below it.
func histogramSeries(m *metric, t host.Times, values []string) string {
	labels := slices.Concat(m.labels, []string{"le"})
	var text []byte
	var n uint64
	for i, count := range t.Buckets {
		n += count
		bound := "+Inf"
		if i < len(host.TimeBounds) {
			bound = number64(host.TimeBounds[i].Seconds())
		}
		text = appendSample(text, m.name+"_bucket", labels, slices.Concat(values, []string{bound}), float64(n))
	}
	text = appendSample(text, m.name+"_sum", m.labels, values, t.Sum.Seconds())
	return string(appendSample(text, m.name+"_count", m.labels, values, float64(n)))
}

func appendSample(text []byte, name string, labels, values []string, value float64) []byte {
	text = append(text, name...)
	for i, label := range labels {
		if i == 0 {
			text = append(text, '{')
		} else {
			text = append(text, ',')
		}
		text = append(text, label+`="`+escapeLabel.Replace(values[i])+`"`...)
	}
	if len(labels) > 0 {
		text = append(text, '}')
	}
	return append(text, " "+number64(value)+"\n"...)
}

func number64(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

var (
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)
