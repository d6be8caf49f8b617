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

const closesPrefix = "closes."

func metricNames() []string {
	names := make([]string, len(metrics))
	for i, m := range metrics {
		names[i] = m.name
	}
	return names
}

func knownMetric(name string) bool {
	return strings.HasPrefix(name, closesPrefix) || slices.Contains(metricNames(), name)
}

// metric is the figure of a known name.
func metric(s host.Stats, name string) int {
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
