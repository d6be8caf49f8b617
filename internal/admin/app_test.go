package admin

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"weir/host"
	"weir/runtime"
)

func TestWhatModulesCountStandsBesideOurs(t *testing.T) {
	r := &reading{}
	r.host.Modules = map[string]host.ModuleStats{
		"shop": {Metrics: []host.MetricValue{
			{Name: "orders", Type: host.MetricCounter, Help: "Orders\ntaken.", Value: 12},
			{Name: "players", Type: host.MetricGauge, Value: -3},
		}},
		"attic.v2": {Metrics: []host.MetricValue{
			{Name: "orders", Type: host.MetricCounter},
			{Name: "players", Type: host.MetricCounter, Value: 1 << 62},
			{Name: "memory_budget_bytes", Type: host.MetricGauge, Help: "Collides with nothing of ours.", Value: 1},
		}},
		"none": {},
	}
	const want = `# HELP weir_app_memory_budget_bytes Collides with nothing of ours.
# TYPE weir_app_memory_budget_bytes gauge
weir_app_memory_budget_bytes{module="attic.v2"} 1
# HELP weir_app_orders_total Orders\ntaken.
# TYPE weir_app_orders_total counter
weir_app_orders_total{module="attic.v2"} 0
weir_app_orders_total{module="shop"} 12
# HELP weir_app_players As the module counts it.
# TYPE weir_app_players gauge
weir_app_players{module="shop"} -3
# HELP weir_app_players_total As the module counts it.
# TYPE weir_app_players_total counter
weir_app_players_total{module="attic.v2"} 4.611686018427388e+18
`
	if got := string(expose(nil, appMetrics(r), r)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, m := range slices.Concat(metrics, processMetrics) {
		if strings.HasPrefix(m.name, appPrefix) {
			t.Errorf("%s may be a module's", m.name)
		}
	}
}

// A module's own metrics come by a scrape, and Prometheus finds nothing wrong
// with any name that is allowed.
func TestAScrapeBringsWhatHandlersHaveAdded(t *testing.T) {
	wasm, err := os.ReadFile("../../host/testdata/metrics.wasm")
	check(t, err)
	s := subjectOf(t, host.Module{
		Name: "echo", Wasm: wasm, Capabilities: runtime.CapabilityMetrics,
		Metrics: map[string]host.Metric{
			"orders": {Help: "Orders taken, of which \\ some\nwere \"large\"."}, "players": {Type: host.MetricGauge}, "starts": {},
			"queue_bytes": {Type: host.MetricGauge}, "waited_seconds": {}, "sum_of_it": {Type: host.MetricGauge}, "x": {}, "a1_b2": {}, "info": {Type: host.MetricGauge},
		},
	})
	l := listen(t)
	l.Watch(s)
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+s.Server.Addrs()[0].String()+"/echo", nil)
	check(t, err)
	defer ws.Close()
	check(t, ws.SetReadDeadline(time.Now().Add(patience)))
	check(t, ws.WriteMessage(websocket.TextMessage, []byte("orders 3;players -2")))
	if _, got, err := ws.ReadMessage(); err != nil || string(got) != "0 0" {
		t.Fatalf("%q, %v", got, err)
	}
	_, body := ask(t, l, "GET", "/metrics")
	for _, want := range []string{
		`weir_app_orders_total{module="echo"} 3`, `weir_app_players{module="echo"} -2`, `weir_app_starts_total{module="echo"} 1`, `weir_app_queue_bytes{module="echo"} 0`,
	} {
		if !strings.Contains(body, "\n"+want+"\n") {
			t.Errorf("the scrape lacks %s", want)
		}
	}
	promtool(t, body, "check", "metrics")
}
