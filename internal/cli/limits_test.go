package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"weir/internal/config"
)

func TestLimits(t *testing.T) {
	env := ofSite(shownSite)
	code, stdout, stderr := command(t, env, "limits", "--set", "websocket.max_message_size=1MiB")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d, said %s", code, stderr)
	}
	lines := map[string]string{}
	for line := range strings.SplitSeq(stdout, "\n") {
		key, rest, _ := strings.Cut(line, " ")
		lines[key] = strings.TrimSpace(rest)
	}
	for key, want := range map[string]string{
		"server.max_headers":         "HTTP 431                               9 (default: 64)",
		"websocket.max_message_size": "close 1009                             1MiB (default: 64KiB)",
		"modules.chat.limits.fuel":   "trap: close 1011                       100000000",
	} {
		if lines[key] != want {
			t.Errorf("%s: %q, want %q", key, lines[key], want)
		}
	}
	if !strings.Contains(stdout, "\nMemory of the process, at most:\n  256MiB\n      server.inbound_budget") || !strings.Contains(stdout, " × 800 B\n") {
		t.Errorf("it does not say how much memory that can take:\n%s", stdout)
	}

	_, stdout, _ = command(t, env, "limits", "-o", "json")
	var all []limit
	if err := json.Unmarshal([]byte(stdout), &all); err != nil {
		t.Fatal(err)
	}
	if want := (limit{"server.max_headers", "9", "64", "HTTP 431", "weir.yaml:2:3"}); len(all) < 30 || !slices.Contains(all, want) {
		t.Errorf("%d limits, none is %+v", len(all), want)
	}

	if _, stdout, _ := command(t, env, "limits", "--markdown"); stdout != config.LimitsTable() {
		t.Errorf("--markdown prints %q", stdout)
	}
	if code, _, stderr := command(t, ofSite("server: {max_headers: none}"), "limits"); code != exitUsage || !strings.Contains(stderr, "server.max_headers") {
		t.Errorf("a wrong configuration: exit code %d, said %s", code, stderr)
	}
	if code, _, _ := command(t, env, "limits", "-o", "xml"); code != exitUsage {
		t.Errorf("-o xml: exit code %d", code)
	}
}
