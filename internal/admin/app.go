package admin

import (
	"maps"
	"slices"

	"weir/host"
)

// appPrefix begins the names of what modules have declared, and of nothing of
// ours.
const appPrefix = "weir_app_"

// appMetrics are rows for the metrics that modules have declared, by name.
// Modules that declare one of the same name and type share a row, which the first
// of them by name describes. Only a counter's name ends with _total
// (host.ValidateMetrics), so that no counter has the name of a gauge.
func appMetrics(r *reading) []metric {
	type series struct {
		module string
		value  float64
	}
	rows := map[string]*metric{}
	values := map[string][]series{}
	for _, module := range slices.Sorted(maps.Keys(r.host.Modules)) {
		for _, declared := range r.host.Modules[module].Metrics {
			name, kind := appPrefix+declared.Name, gauge
			if declared.Type == host.MetricCounter {
				name, kind = name+"_total", counter
			}
			values[name] = append(values[name], series{module, float64(declared.Value)})
			if row := rows[name]; row == nil {
				rows[name] = &metric{name: name, kind: kind, labels: []string{labelModule}, help: declared.Help}
			} else if row.help == "" {
				row.help = declared.Help
			}
		}
	}
	all := make([]metric, 0, len(rows))
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		row := *rows[name]
		if row.help == "" {
			row.help = "As the module counts it."
		}
		row.read = func(_ *reading, set setValue) {
			for _, s := range values[name] {
				set(s.value, s.module)
			}
		}
		all = append(all, row)
	}
	return all
}
