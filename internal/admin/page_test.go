package admin

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What is told of a metric is told once, in the table: the page, the dashboard
// and the alert rules are made from it. -update writes them.
func TestGenerated(t *testing.T) {
	golden(t, "../../docs/metrics.md", page())
	golden(t, "../../deploy/grafana/weir.json", dashboard(t))
	golden(t, "../../deploy/prometheus/weir.rules.yml", rules())
	golden(t, "openapi.json", openAPIDocument(t))
}

const pageHead = `# Metrics

<!-- Made from the table of metrics by: make docs -->

` + "```yaml" + `
admin: {listen: "127.0.0.1:9100"}
` + "```" + `

makes a server answer, on that address only and without a token,

- ` + "`/metrics`" + ` for Prometheus, in its text format;
- ` + "`/healthz`" + `, 200 as long as the process lives;
- ` + "`/readyz`" + `, 200 while new connections are welcome, and 503 before the modules are loaded and once the server drains.

` + "```yaml" + `
scrape_configs: # prometheus.yml
  - job_name: weir
    static_configs: [{targets: ["127.0.0.1:9100"]}]
rule_files: [weir.rules.yml]
` + "```" + `

The rules are [deploy/prometheus/weir.rules.yml](../deploy/prometheus/weir.rules.yml); a dashboard for Grafana is
[deploy/grafana/weir.json](../deploy/grafana/weir.json). Who does the work counts it, in fields of its own, and a scrape
adds them up. Handlers are timed only where ` + "`admin.listen`" + ` is set.

Figures with the label ` + "`generation`" + ` begin at 0 with each generation of the module, so that two versions can be compared.
Nothing that a peer sends becomes a label. A system that does not tell a figure of the process (` + "`process_*`" + `) leaves it out.

## The table

| metric | type | unit | labels | what it counts |
|---|---|---|---|---|
`

const pageApp = `
## What modules count

A module can count what only it knows of. Its configuration declares what,

` + "```yaml" + `
modules:
  shop:
    path: shop.wasm
    capabilities: [metrics]
    metrics:
      orders: {help: Orders taken.}
      carts: {type: gauge, help: Carts that are not paid for.}
` + "```" + `

and its handlers add to it: ` + "`metric_add`" + ` of the [ABI](../guest-sdk/ABI.md#metric_add), which every SDK has. What an event adds
takes hold with its other effects, or not at all when the handler fails. The series are ` + "`weir_app_orders_total{module=\"shop\"}`" + `
and ` + "`weir_app_carts{module=\"shop\"}`" + `: no metric of the server's own begins with ` + "`weir_app_`" + `. A counter takes no negative number
and never falls; the values outlive the module's generations, and begin at 0 when the server is started. A module may
declare 64; a name that Prometheus's conventions rule out is a mistake in the configuration.

Modules that declare a metric of the same name and type share it, each with its own label.
`

const pageAlerts = `
## Alerts

| alert | severity | when it has held for | what it says | what to do |
|---|---|---|---|---|
`

func page() string {
	var b strings.Builder
	b.WriteString(pageHead)
	for _, m := range slices.Concat(metrics, processMetrics) {
		labels := make([]string, len(m.labels))
		for i, l := range m.labels {
			labels[i] = "`" + l + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.name, m.kind, m.unit(), strings.Join(labels, " "), m.help)
	}
	b.WriteString(pageApp)
	b.WriteString(pageAlerts)
	for _, a := range alerts {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", a.name, a.severity, a.wait, a.summary, a.advice)
	}
	return b.String()
}

// unit is what the name says.
func (m metric) unit() string {
	name := strings.TrimSuffix(m.name, "_total")
	for _, unit := range []string{"seconds", "bytes"} {
		if strings.HasSuffix(name, "_"+unit) {
			return unit
		}
	}
	return ""
}
