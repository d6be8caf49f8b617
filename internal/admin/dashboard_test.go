package admin

import (
	"encoding/json"
	"strings"
	"testing"
)

// panel is a graph of the dashboard.
type panel struct {
	title string
	unit  string // as Grafana calls it
	lines []line
}

// line is a query and how its series are called.
type line struct{ expr, legend string }

// rows are the panels by heading. $instance and $module are the dashboard's own
// choices.
var rows = []struct {
	title  string
	panels []panel
}{
	{"Connections", []panel{
		{"Open", "short", []line{{`sum by (route) (weir_connections{instance=~"$instance"})`, "{{route}}"}}},
		{"Opened and rejected", "ops", []line{
			{`sum(rate(weir_connections_opened_total{instance=~"$instance"}[$__rate_interval]))`, "opened"},
			{`sum by (reason) (rate(weir_handshakes_rejected_total{instance=~"$instance"}[$__rate_interval])) > 0`, "rejected: {{reason}}"},
		}},
		{"Closed, by code", "ops", []line{{`sum by (code) (rate(weir_connections_closed_total{instance=~"$instance"}[$__rate_interval]))`, "{{code}}"}}},
		{"Ended, by cause", "ops", []line{{`sum by (cause) (rate(weir_connections_ended_total{instance=~"$instance"}[$__rate_interval]))`, "{{cause}}"}}},
	}},
	{"Messages", []panel{
		{"Messages", "ops", []line{
			{`sum(rate(weir_messages_received_total{instance=~"$instance"}[$__rate_interval]))`, "received"},
			{`sum(rate(weir_messages_sent_total{instance=~"$instance"}[$__rate_interval]))`, "sent"},
			{`sum by (reason) (rate(weir_messages_dropped_total{instance=~"$instance"}[$__rate_interval])) > 0`, "dropped: {{reason}}"},
		}},
		{"Held in memory", "bytes", []line{
			{`sum(weir_inbound_bytes{instance=~"$instance"})`, "of incomplete messages"},
			{`sum(weir_outbound_bytes{instance=~"$instance"})`, "for slow readers"},
		}},
	}},
	{"Handlers", []panel{
		{"Time of an event", "s", []line{
			{`histogram_quantile(0.5, sum by (module, generation, le) (rate(weir_handler_duration_seconds_bucket{instance=~"$instance",module=~"$module"}[$__rate_interval])))`, "{{module}} {{generation}}: half"},
			{`histogram_quantile(0.99, sum by (module, generation, le) (rate(weir_handler_duration_seconds_bucket{instance=~"$instance",module=~"$module"}[$__rate_interval])))`, "{{module}} {{generation}}: 99 %"},
		}},
		{"Generation", "short", []line{{`count by (module, generation, digest) (weir_module_info{instance=~"$instance",module=~"$module"})`, "{{module}} {{generation}} {{digest}}"}}},
		{"Traps and errors", "ops", []line{
			{`sum by (module, generation, reason) (rate(weir_module_traps_total{instance=~"$instance",module=~"$module"}[$__rate_interval])) > 0`, "{{module}} {{generation}}: {{reason}}"},
			{`sum by (module, generation) (rate(weir_handler_errors_total{instance=~"$instance",module=~"$module"}[$__rate_interval])) > 0`, "{{module}} {{generation}}: error"},
		}},
		{"Instances", "short", []line{
			{`sum by (module, state) (weir_module_instances{instance=~"$instance",module=~"$module"})`, "{{module}} {{state}}"},
			{`sum by (module) (weir_module_queue_length{instance=~"$instance",module=~"$module"})`, "{{module}} waited for"},
		}},
		{"Reloads", "short", []line{{`sum by (module, result) (increase(weir_module_reloads_total{instance=~"$instance",module=~"$module"}[$__rate_interval]))`, "{{module}} {{result}}"}}},
		{"Guest memory", "bytes", []line{
			{`sum(weir_guest_memory_committed_bytes{instance=~"$instance"})`, "committed"},
			{`sum(weir_guest_memory_budget_bytes{instance=~"$instance"})`, "budget"},
		}},
	}},
	{"Process", []panel{
		{"Processors", "short", []line{{`rate(process_cpu_seconds_total{instance=~"$instance",job="weir"}[$__rate_interval])`, "{{instance}}"}}},
		{"Resident memory", "bytes", []line{{`process_resident_memory_bytes{instance=~"$instance",job="weir"}`, "{{instance}}"}}},
		{"Workers", "short", []line{
			{`sum by (state) (weir_pool_workers{instance=~"$instance"})`, "{{state}}"},
			{`sum(weir_pool_queue_length{instance=~"$instance"})`, "tasks that wait"},
		}},
		{"Open files", "short", []line{{`process_open_fds{instance=~"$instance",job="weir"}`, "{{instance}}"}}},
	}},
}

type object = map[string]any

// dashboard is deploy/grafana/weir.json, in Grafana's schema 39 (Grafana 11).
func dashboard(t *testing.T) string {
	source := object{"type": "prometheus", "uid": "${source}"}
	const width, height = 12, 8 // of 24 columns
	var panels []object
	y := 0
	for _, row := range rows {
		panels = append(panels, object{"type": "row", "title": row.title, "id": len(panels) + 1, "gridPos": object{"x": 0, "y": y, "w": 24, "h": 1}})
		y++
		for i, p := range row.panels {
			var targets []object
			for j, l := range p.lines {
				targets = append(targets, object{"refId": string(rune('A' + j)), "expr": l.expr, "legendFormat": l.legend, "datasource": source})
			}
			panels = append(panels, object{
				"type": "timeseries", "title": p.title, "id": len(panels) + 1, "datasource": source, "targets": targets,
				"gridPos":     object{"x": i % 2 * width, "y": y + i/2*height, "w": width, "h": height},
				"fieldConfig": object{"defaults": object{"unit": p.unit, "min": 0}, "overrides": []object{}},
			})
		}
		y += (len(row.panels) + 1) / 2 * height
	}
	choice := func(name, query string) object {
		return object{
			"type": "query", "name": name, "datasource": source, "query": query, "refresh": 2, "sort": 1,
			"multi": true, "includeAll": true, "allValue": ".*", "current": object{"text": "All", "value": "$__all"},
		}
	}
	text, err := json.MarshalIndent(object{
		"uid": "weir", "title": "weir", "tags": []string{"weir"}, "schemaVersion": 39, "editable": true, "refresh": "30s",
		"time":   object{"from": "now-1h", "to": "now"},
		"panels": panels,
		"templating": object{"list": []object{
			{"type": "datasource", "name": "source", "label": "Prometheus", "query": "prometheus"},
			choice("instance", "label_values(weir_handshakes, instance)"),
			choice("module", "label_values(weir_module_info, module)"),
		}},
	}, "", "  ")
	check(t, err)
	return string(text) + "\n"
}

func TestTheDashboardNamesMetricsThatThereAre(t *testing.T) {
	text := dashboard(t)
	if unknown := unknownMetrics(text); len(unknown) > 0 {
		t.Errorf("it names %q", unknown)
	}
	for _, m := range []string{"weir_connections", "weir_messages_received_total", "weir_handler_duration_seconds", "weir_module_info"} {
		if !strings.Contains(text, m) {
			t.Errorf("it does not show %s", m)
		}
	}
}
