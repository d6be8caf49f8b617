package admin

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"weir/host"
)

// ask makes one request and returns the answer's status and body.
func ask(t *testing.T, l *Listener, method, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+l.Addr().String()+path, nil)
	check(t, err)
	response, err := client.Do(request)
	check(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check(t, err)
	return response.StatusCode, string(text)
}

func TestReadyFromListenUntilDrain(t *testing.T) {
	l := listen(t)
	expect := func(when string, wantStatus int, wantBody string) {
		t.Helper()
		if status, body := ask(t, l, "GET", "/readyz"); status != wantStatus || body != wantBody+"\n" {
			t.Errorf("%s: /readyz is %d %q, want %d %q", when, status, body, wantStatus, wantBody)
		}
		if status, _ := ask(t, l, "GET", "/healthz"); status != 200 {
			t.Errorf("%s: /healthz is %d, want 200 as long as the process lives", when, status)
		}
	}
	expect("before the modules are loaded", 503, "starting")
	s := subject(t)
	l.Watch(s)
	expect("while it serves", 200, "ready")
	check(t, s.Server.Drain(t.Context()))
	expect("once it drains", 503, "draining")
}

func TestWithoutATokenOnlyThreePagesAreThere(t *testing.T) {
	l := listen(t)
	l.Watch(subject(t))
	for _, tc := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/metrics", 200},
		{"HEAD", "/metrics", 200},
		{"HEAD", "/readyz", 200},
		{"GET", "/", 404},
		{"GET", "/metrics/", 404},
		{"GET", "/v1/modules", 401},
		{"GET", "/debug/pprof/", 401},
		{"POST", "/metrics", 404},
		{"DELETE", "/healthz", 404},
		{"OPTIONS", "/readyz", 404},
	} {
		if status, _ := ask(t, l, tc.method, tc.path); status != tc.want {
			t.Errorf("%s %s is %d, want %d", tc.method, tc.path, status, tc.want)
		}
	}
}

func TestBeforeTheServerThereAreFiguresOfTheProcess(t *testing.T) {
	status, body := ask(t, listen(t), "GET", "/metrics")
	if status != 200 || !strings.Contains(body, "go_goroutines") || strings.Contains(body, "weir_") {
		t.Errorf("%d, and it says\n%s", status, body)
	}
}

func TestAnEchoIsCounted(t *testing.T) {
	l := listen(t)
	s := subject(t)
	l.Watch(s)
	const messages = 3
	for range messages {
		echo(t, s, "hello")
	}
	_, body := ask(t, l, "GET", "/metrics")
	for series, want := range map[string]float64{
		`weir_connections{route="/echo"}`:                                      messages,
		`weir_connections_opened_total`:                                        messages,
		`weir_messages_received_total`:                                         messages,
		`weir_messages_sent_total`:                                             messages,
		`weir_handler_duration_seconds_count{module="echo",generation="1"}`:    messages,
		`weir_module_traps_total{module="echo",generation="1",reason="trap"}`:  0,
		`weir_module_breaker_state{module="echo",generation="1",state="open"}`: 0,
		`weir_handshakes_rejected_total{reason="origin"}`:                      0,
		`weir_guest_memory_budget_bytes`:                                       float64(s.Engine.Memory().BudgetBytes),
	} {
		line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(body)
		if line == nil {
			t.Errorf("%s is missing", series)
		} else if got, err := strconv.ParseFloat(line[1], 64); err != nil || got != want {
			t.Errorf("%s is %s, want %g", series, line[1], want)
		}
	}
	digest := s.Server.Stats().Modules["echo"].Digest
	if !strings.Contains(body, `weir_module_info{module="echo",generation="1",digest="`+digest+`"} 1`) {
		t.Error("nothing says which generation runs")
	}
}

func TestACanaryIsCountedBesideTheGenerationThatServes(t *testing.T) {
	l := listen(t)
	s := subject(t)
	l.Watch(s)
	wasm, err := os.ReadFile("../../examples/echo-c/echo.wasm")
	check(t, err)
	_, err = s.Server.Reload(t.Context(), host.Module{Name: "echo", Wasm: wasm, Rollout: host.RolloutOptions{Canary: 50}})
	check(t, err)
	_, body := ask(t, l, "GET", "/metrics")
	for _, want := range []string{
		`weir_module_traps_total{module="echo",generation="1",reason="trap"} 0`,
		`weir_module_traps_total{module="echo",generation="2",reason="trap"} 0`,
		`weir_handler_duration_seconds_count{module="echo",generation="2"} 0`,
		`weir_module_reloads_total{module="echo",result="loaded"} 1`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
	check(t, s.Server.Rollback("echo"))
	if _, body := ask(t, l, "GET", "/metrics"); strings.Contains(body, `generation="2"`) {
		t.Error("the canary is still told of after it has gone")
	}
}
