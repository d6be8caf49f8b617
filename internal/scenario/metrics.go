package scenario

import (
	"slices"
	"strings"

	"weir/host"
)

// metrics are the figures of a server that assert knows, by the names that
// people use for them.
var metrics = []struct {
	name string
	of   func(host.Stats) int
}{
	{"open", func(s host.Stats) int { return s.Open }},
	{"accepted", func(s host.Stats) int { return int(s.Accepted) }},
	{"shed", func(s host.Stats) int { return int(s.Shed) }},
	{"upgraded", func(s host.Stats) int { return int(s.Upgraded) }},
	{"rejected", func(s host.Stats) int { return int(s.Rejected) }},
	{"messages_received", func(s host.Stats) int { return int(s.MessagesReceived) }},
	{"frames_sent", func(s host.Stats) int { return int(s.FramesSent) }},
	{"frames_refused", func(s host.Stats) int { return int(s.FramesRefused) }},
	{"bytes_received", func(s host.Stats) int { return int(s.BytesReceived) }},
	{"pings", func(s host.Stats) int { return int(s.Pings) }},
	{"handler_failures", func(s host.Stats) int { return int(s.HandlerFailures) }},
	{"unavailable", func(s host.Stats) int { return int(s.Unavailable) }},
	{"broken", func(s host.Stats) int { return int(s.Broken) }},
	{"inbound_bytes", func(s host.Stats) int { return int(s.InboundBytes) }},
	{"outbound_bytes", func(s host.Stats) int { return int(s.OutboundBytes) }},
}

// Prefixes of what has names of its own: causes, and what modules declare.
const (
	closesPrefix = "closes."
	appPrefix    = "app."
)

func metricNames() []string {
	names := make([]string, len(metrics))
	for i, m := range metrics {
		names[i] = m.name
	}
	return names
}

// knownMetric reports whether there is a figure of that name, given the modules
// that are served.
func knownMetric(name string, modules []host.Module) bool {
	if own, ok := strings.CutPrefix(name, appPrefix); ok {
		return slices.ContainsFunc(modules, func(m host.Module) bool { _, declared := m.Metrics[own]; return declared })
	}
	return strings.HasPrefix(name, closesPrefix) || slices.Contains(metricNames(), name)
}

// metric is the figure of a known name. What modules declare is added up, unless
// one of them is named.
func metric(s host.Stats, module, name string) int {
	if own, ok := strings.CutPrefix(name, appPrefix); ok {
		sum := 0
		for served, m := range s.Modules {
			for _, v := range m.Metrics {
				if v.Name == own && (module == "" || module == served) {
					sum += int(v.Value)
				}
			}
		}
		return sum
	}
	if cause, ok := strings.CutPrefix(name, closesPrefix); ok {
		return int(s.Closes[cause])
	}
	for _, m := range metrics {
		if m.name == name {
			return m.of(s)
		}
	}
	return 0
}
