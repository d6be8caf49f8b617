package admin

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// alert is a rule of deploy/prometheus/weir.rules.yml.
type alert struct {
	name     string
	expr     string
	wait     string // how long expr must hold
	severity string // "critical" wakes somebody, "warning" waits for the morning
	summary  string // may use $labels and $value as Prometheus does
	advice   string // what to look at first
}

var alerts = []alert{
	{
		"WeirDown", `up{job="weir"} == 0`, "1m", "critical",
		"{{ $labels.instance }} cannot be scraped", "See whether the process runs, and what its last log lines say.",
	},
	{
		"WeirBreakerOpen", `max by (instance, module) (weir_module_breaker_state{state="open"}) == 1`, "1m", "critical",
		"module {{ $labels.module }} traps all the time and rests", "Find \"handler failed\" of that module in the log; return to the generation before.",
	},
	{
		"WeirModuleTraps", `sum by (instance, module, generation, reason) (rate(weir_module_traps_total[5m])) > 0.1`, "5m", "warning",
		"module {{ $labels.module }}, generation {{ $labels.generation }}, ends by {{ $labels.reason }} {{ $value | humanize }} times a second", "Record a tape (record: on_trap) and play it with weir replay.",
	},
	{
		"WeirReloadRefused", `increase(weir_module_reloads_total{result="refused"}[10m]) > 0`, "0m", "warning",
		"a new version of module {{ $labels.module }} was refused; the old one serves", "The log says why, as weir serve does.",
	},
	{
		"WeirGenerationsDiffer", `count by (module) (count by (module, digest) (weir_module_info)) > 1`, "30m", "warning",
		"servers run {{ $value }} versions of module {{ $labels.module }}", "A rollout has stopped half way: compare weir_module_info of the instances.",
	},
	{
		"WeirHandlersSlow", `histogram_quantile(0.99, sum by (instance, module, le) (rate(weir_handler_duration_seconds_bucket[5m]))) > 0.025`, "10m", "warning",
		"one event in a hundred takes module {{ $labels.module }} more than {{ $value | humanizeDuration }}", "Handlers are cut off at limits.timeout, 50ms by default.",
	},
	{
		"WeirHandlersWait", `rate(weir_module_queue_refused_total[5m]) > 0`, "5m", "warning",
		"connections wait in vain for an instance of module {{ $labels.module }}", "Make the handler quicker, or raise modules.NAME.instances.",
	},
	{
		"WeirRefusesConnections", `sum by (instance, reason) (rate(weir_handshakes_rejected_total{reason=~"overloaded|max_connections|max_handshakes|handler_unavailable"}[5m])) > 1`, "5m", "critical",
		"{{ $value | humanize }} connections a second are refused: {{ $labels.reason }}", "The server is full, or its handlers do not keep up: add one, or raise the limit of that name.",
	},
	{
		"WeirCannotAccept", `rate(weir_accept_errors_total[5m]) > 0`, "5m", "critical",
		"{{ $labels.instance }} cannot accept connections", "The process is mostly out of file descriptors: see LimitNOFILE.",
	},
	{
		"WeirCertificateExpires", `weir_tls_certificate_not_after_timestamp_seconds - time() < 7 * 86400`, "1h", "critical",
		"the certificate of {{ $labels.instance }} ends within a week", "Whoever renews server.tls.cert has not; the server takes new files by itself.",
	},
	{
		"WeirSlowConsumers", `rate(weir_slow_consumers_total[5m]) > 1`, "10m", "warning",
		"{{ $value | humanize }} connections a second are closed because they read too slowly", "Send less, or raise websocket.outbound_queue_size.",
	},
	{
		"WeirGuestMemoryShort", `weir_guest_memory_committed_bytes / weir_guest_memory_budget_bytes > 0.9`, "10m", "warning",
		"handlers have {{ $value | humanizePercentage }} of the memory that they may have", "Lower memory_size or instances of a module, or raise runtime.guest_budget_bytes.",
	},
	{
		"WeirDescriptorsShort", `process_open_fds{job="weir"} / process_max_fds{job="weir"} > 0.9`, "5m", "warning",
		"{{ $labels.instance }} has opened {{ $value | humanizePercentage }} of the files that it may", "Raise LimitNOFILE.",
	},
}

// rules is the file of alert rules.
func rules() string {
	var b strings.Builder
	b.WriteString("# Made from the table of metrics by: make docs\n# The job of the scrape configuration is called weir.\ngroups:\n  - name: weir\n    rules:\n")
	for _, a := range alerts {
		fmt.Fprintf(&b, "      - alert: %s\n        expr: %s\n        for: %s\n", a.name, quoteYAML(a.expr), a.wait)
		fmt.Fprintf(&b, "        labels:\n          severity: %s\n", a.severity)
		fmt.Fprintf(&b, "        annotations:\n          summary: %s\n          description: %s\n", quoteYAML(a.summary), quoteYAML(a.advice))
	}
	return b.String()
}

// quoteYAML is s as a single-quoted scalar.
func quoteYAML(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

var (
	metricName = regexp.MustCompile(`\b(?:weir|process|go)_[a-z_]+\b|\bup\b`)
	ofHist     = regexp.MustCompile(`_(?:bucket|sum|count)$`)
)

// unknownMetrics lists what an expression names and nobody gives.
func unknownMetrics(expr string) (unknown []string) {
	given := map[string]bool{"up": true} // which Prometheus adds
	for _, m := range slices.Concat(metrics, processMetrics) {
		given[m.name] = true
	}
	for _, name := range metricName.FindAllString(expr, -1) {
		if !given[name] && !given[ofHist.ReplaceAllString(name, "")] {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

func TestAlertsNameMetricsThatThereAre(t *testing.T) {
	for _, a := range alerts {
		if unknown := unknownMetrics(a.expr); len(unknown) > 0 {
			t.Errorf("%s names %q", a.name, unknown)
		}
	}
	if unknown := unknownMetrics("rate(weir_nothing_total[5m])"); len(unknown) != 1 {
		t.Error("a metric that nobody gives is not found")
	}
}
