package scenario

import (
	"strings"
	"testing"
)

func TestWhatModulesCountCanBeAsserted(t *testing.T) {
	load := func(metrics string) (*File, error) {
		return Load("s.yaml", readFrom(map[string]string{
			"s.yaml": "config: weir.yaml\nscenarios:\n- name: a\n  steps:\n  - open: [ann]\n  - send: {ann: {text: 'orders 2;orders 3;carts 1;fail'}}\n  - expect: {ann: {close: {code: 1011}}}\n" +
				"  - open: [bob]\n  - send: {bob: {text: 'orders 7;carts 4;carts -1'}}\n  - expect: {bob: {text: 0 0 0}}\n  - assert: {metrics: {" + metrics + "}}\n",
			"weir.yaml":    "modules: {shop: {path: metrics.wasm, capabilities: [metrics], metrics: {orders: , carts: {type: gauge}, starts: }}}\nroutes: [{path: '/{path...}', module: shop}]",
			"metrics.wasm": string(mustRead("../../host/testdata/metrics.wasm")),
		}))
	}
	f, err := load("app.orders: 7, app.carts: 3")
	if err != nil {
		t.Fatal(err)
	}
	if failure := play(t, f, Options{}).Results[0].Failure; failure != nil {
		t.Error(failure)
	}
	if f, err = load("app.orders: 12"); err != nil {
		t.Fatal(err)
	}
	if failure := play(t, f, Options{}).Results[0].Failure; failure == nil || !strings.Contains(failure.String(), "app.orders: 7") {
		t.Errorf("a wrong figure is answered with %v", failure)
	}
	if _, err = load("app.rumours: 0"); err == nil || !strings.Contains(err.Error(), `unknown metric "app.rumours"; no module declares it (modules.NAME.metrics)`) {
		t.Errorf("a metric that no module declares: %v", err)
	}
}
