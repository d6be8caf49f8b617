package host

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"weir/netpoll"
	"weir/runtime"
)

// withMetrics serves the guest of testdata/metrics.c, with some metrics declared.
func withMetrics(s *setup) {
	m := &s.modules[0]
	m.Wasm = mustRead("testdata/metrics.wasm")
	m.Capabilities |= runtime.CapabilityMetrics
	m.Metrics = map[string]Metric{
		"orders": {Help: "Orders taken."}, "players": {Type: MetricGauge}, "starts": {Type: MetricCounter},
	}
}

// metrics are the module's, as text.
func (l *lab) metrics() string {
	var all []string
	for _, m := range l.srv.Stats().Modules["puppet"].Metrics {
		all = append(all, fmt.Sprintf("%s=%d", m.Name, m.Value))
	}
	return strings.Join(all, " ")
}

func (l *lab) wantMetrics(when, want string) {
	l.t.Helper()
	if got := l.metrics(); got != want {
		l.t.Errorf("%s the metrics are %s, want %s", when, got, want)
	}
}

func TestAHandlerAddsToWhatIsDeclared(t *testing.T) {
	l := newLab(t, withoutPings, withMetrics)
	l.wantMetrics("at first", "orders=0 players=0 starts=1")
	c := l.connect("/")
	for _, tc := range []struct{ say, want string }{
		{"orders 2;players 5;players -7;orders 0", "0 0 0 0"},
		{"orders -1;rumours 1; 1;" + strings.Repeat("x", 200) + " 1;orders 1", "-6 -7 -7 -7 0"},
	} {
		if got := c.ask(tc.say); got != tc.want {
			t.Errorf("%q is answered with %q, want %q", clip(tc.say, 40), got, tc.want)
		}
	}
	l.wantMetrics("then", "orders=3 players=-2 starts=1")
	for _, end := range []string{"fail", "trap"} {
		bad := l.connect("/")
		bad.say("orders 10;players 10;" + end)
		l.settle()
		bad.wantEnd(codeInternal)
		l.wantMetrics("after an event that ended with "+end, "orders=3 players=-2 starts=1")
	}
	infos := l.srv.Stats().Modules["puppet"].Metrics
	if infos[0].Help != "Orders taken." || infos[0].Type != MetricCounter || infos[1].Type != MetricGauge {
		t.Errorf("they are %+v", infos)
	}
	l.close()
}

func TestAnEventAddsOnlySoOften(t *testing.T) {
	l := newLab(t, withoutPings, withMetrics, func(s *setup) { s.opts.Handler.MaxEffects = 3 })
	c := l.connect("/")
	if got := c.ask("orders 1;orders 1"); got != "0 0" {
		t.Errorf("two additions and the reply that an event may have: %q", got)
	}
	c.say("orders 1;orders 1;orders 1;orders 1") // no room for the reply either
	l.settle()
	c.want()
	l.wantMetrics("then", "orders=5 players=0 starts=1")
	l.close()
}

func TestMetricsNeedTheirCapability(t *testing.T) {
	l := newLab(t, withoutPings, withMetrics, func(s *setup) {
		s.modules[0].Capabilities = 0
		s.modules[0].Ungranted = ungrantedDeny
	})
	if got := l.connect("/").ask("orders 1"); got != "-5" {
		t.Errorf("without the capability it is answered with %q, want denied", got)
	}
	l.wantMetrics("then", "orders=0 players=0 starts=0")
	l.close()
}

func TestMetricsSurviveGenerations(t *testing.T) {
	l := newLab(t, withoutPings, withMetrics, scoped(scopeSingleton))
	c := l.connect("/a")
	reload := func(change func(*Module)) {
		t.Helper()
		set := testSetup()
		withMetrics(set)
		change(&set.modules[0])
		_, err := l.srv.Reload(context.Background(), set.modules[0])
		check(t, err)
		l.settle()
	}
	c.ask("orders 4;players 4")
	l.wantMetrics("of the first generation", "orders=4 players=4 starts=1")
	reload(func(m *Module) { m.Metrics["refunds"] = Metric{} })
	c.ask("orders 1;refunds 2")
	l.wantMetrics("of the second, which hands over,", "orders=5 players=4 refunds=2 starts=2")
	reload(func(m *Module) { delete(m.Metrics, "orders"); m.Metrics["players"] = Metric{Type: MetricCounter} })
	if got := c.ask("orders 1;players 1"); got != "-7 0" {
		t.Errorf("what is not declared any more is answered with %q", got)
	}
	l.wantMetrics("of the third, which declares others,", "players=1 starts=3")
	reload(func(m *Module) { m.Rollout.Canary = 50; m.Metrics["refunds"] = Metric{} })
	l.wantMetrics("with a canary", "orders=5 players=1 refunds=2 starts=3")
	check(t, l.srv.Rollback("puppet"))
	l.wantMetrics("when it was given up", "players=1 starts=3")
	reload(func(*Module) {})
	l.wantMetrics("of one that declares them again", "orders=5 players=4 starts=4")
	l.close()
}

func TestACounterNeverFalls(t *testing.T) {
	l := newLab(t, withoutPings, withMetrics)
	c := l.connect("/")
	c.ask("orders 9223372036854775807;orders 1;orders 9223372036854775807;players -9223372036854775807;players -5")
	l.wantMetrics("beyond what they hold", fmt.Sprintf("orders=%d players=%d starts=1", math.MaxInt64, math.MinInt64))
	l.close()
}

func TestMetricsAreAddedToFromManyGoroutines(t *testing.T) {
	const writers, each = 8, 1000
	var m guestMetric
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				m.add(2)
			}
		})
	}
	wg.Wait()
	if n := m.value.Load(); n != 2*writers*each {
		t.Errorf("the sum is %d, want %d", n, 2*writers*each)
	}
}

func TestMetricAllocs(t *testing.T) {
	l := newLab(t, withMetrics)
	l.quick(true)
	d, c := l.deafClient("/")
	message := []byte(frame(0x81, "orders 1;players -1"))
	if n := allocs(t, func() {
		d.next = message
		c.Ready(netpoll.Readable)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	l.finishDeaf(c)
}

func TestMetricsThatCannotBeDeclared(t *testing.T) {
	many := make(map[string]Metric)
	for i := range maxMetrics + 1 {
		many[fmt.Sprintf("m%d", i)] = Metric{}
	}
	for want, metrics := range map[string]map[string]Metric{
		"": {"orders": {}, "queue_bytes": {Type: MetricGauge}, "wait_seconds": {}, "m2": {}, "a": {Help: strings.Repeat("x", 256)}},
		"65 metrics are declared; 64 are allowed":   many,
		`Orders: a metric's name is`:                {"Orders": {}},
		`: a metric's name is`:                      {"": {}},
		`_orders: a metric's name is`:               {"_orders": {}},
		`a__b: a metric's name is`:                  {"a__b": {}},
		`a:b: a metric's name is`:                   {"a:b": {}},
		`1st: a metric's name is`:                   {"1st": {}},
		`is words of a-z`:                           {strings.Repeat("x", 65): {}},
		`orders_total: leave out "_total"`:          {"orders_total": {}},
		`orders_count: leave out "_count"`:          {"orders_count": {Type: MetricGauge}},
		`wait_ms: "ms" is no base unit; count in s`: {"wait_ms": {}},
		`"kilobytes" is no base unit`:               {"sent_kilobytes": {}},
		`"milliseconds" is no base unit`:            {"milliseconds_lost": {}},
		`"m" is a unit that is cut short`:           {"way_m": {}},
		`does not say its type ("counter")`:         {"order_counter": {}},
		`orders.type: "summary" is neither`:         {"orders": {Type: "summary"}},
		`orders.help: 257 bytes are more than 256`:  {"orders": {Help: strings.Repeat("x", 257)}},
	} {
		switch err := ValidateMetrics(metrics); {
		case want == "" && err != nil:
			t.Errorf("good ones are refused: %v", err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%v is answered with %v, want %q", metrics, err, want)
		}
	}
}
