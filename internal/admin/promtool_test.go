package admin

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// promtool runs the tool that Prometheus brings, and fails with what it says.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	program, err := filepath.Abs("../../bin/promtool")
	check(t, err)
	if _, err := os.Stat(program); err != nil {
		if program, err = exec.LookPath("promtool"); err != nil {
			if os.Getenv("WEIR_REQUIRE_TOOLS") == "1" {
				t.Fatal("needs promtool: make tools")
			}
			t.Skip("needs promtool: make tools")
		}
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "should") {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPrometheusFindsNothingWrongWithTheMetrics(t *testing.T) {
	l := listen(t)
	s := subject(t)
	l.Watch(s)
	check(t, echo(t, s, "x").Close())
	_, body := ask(t, l, "GET", "/metrics")
	promtool(t, body, "check", "metrics")
}

func TestPrometheusFindsNothingWrongWithTheRules(t *testing.T) {
	promtool(t, "", "check", "rules", "../../deploy/prometheus/weir.rules.yml")
}

// Each alert fires when it should, and is silent when all is well.
func TestPrometheusFiresEveryAlert(t *testing.T) {
	const file = "../../deploy/prometheus/weir.rules_test.yml"
	text, err := os.ReadFile(file)
	check(t, err)
	for _, a := range alerts {
		if n := strings.Count(string(text), "alertname: "+a.name+"\n"); n < 2 {
			t.Errorf("%s has %d tests, want one that it fires and one that it does not", a.name, n)
		}
	}
	promtool(t, "", "test", "rules", file)
}
