package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"weir/bench/internal/report"
	"weir/bench/peers"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait"))
}

func mustPlan(t *testing.T, args ...string) plan {
	t.Helper()
	o, err := parseOptions(args)
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.plan(peers.All())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// order lists the servers of one workload in one round.
func order(steps []step, round int, workload string) []string {
	var names []string
	for _, s := range steps {
		if s.round == round && s.workload.String() == workload {
			names = append(names, s.server.Name)
		}
	}
	return names
}

func TestRoundsInterleaveTheServersAndRotateThem(t *testing.T) {
	steps := mustPlan(t, "-weir", "weir", "-servers", "weir,raw,gws", "-only", "echo-2x3,connect-1", "-rounds", "2").steps()
	var got []string
	for _, s := range steps {
		got = append(got, s.workload.String()+" "+s.server.Name)
	}
	want := []string{
		"echo-2x3 weir", "echo-2x3 raw", "echo-2x3 gws", "connect-1 weir", "connect-1 raw", "connect-1 gws",
		"echo-2x3 raw", "echo-2x3 gws", "echo-2x3 weir", "connect-1 raw", "connect-1 gws", "connect-1 weir",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestServersPlayWhatTheyCan(t *testing.T) {
	steps := mustPlan(t, "-weir", "weir").steps()
	if got := order(steps, 1, "publish-1000x128"); !slices.Equal(got, []string{"weir", "raw-publish", "gorilla", "gws"}) {
		t.Errorf("publish is played by %q", got)
	}
	if got := order(steps, 1, "echo-1000x128"); len(got) != len(peers.All())-1 || slices.Contains(got, "raw-publish") || slices.Contains(got, "gws-deflate") {
		t.Errorf("echo is played by %q", got)
	}
	if got := order(steps, 1, "deflate-100x1024"); !slices.Equal(got, []string{"weir", "gws-deflate"}) {
		t.Errorf("deflate is played by %q", got)
	}
}

func TestOnlyServersInBarsPlayEveryRound(t *testing.T) {
	steps := mustPlan(t, "-weir", "weir", "-rounds", "5", "-other-rounds", "3").steps()
	for _, b := range report.Bars {
		last := order(steps, 5, b.Workload)
		for _, name := range append([]string{"weir"}, b.Of...) {
			if !slices.Contains(last, name) {
				t.Errorf("%s: %s is missing from the last round", b.Workload, name)
			}
		}
		if slices.Contains(last, "coder") {
			t.Errorf("%s: coder plays in round 5", b.Workload)
		}
		if first := order(steps, 1, b.Workload); !slices.Contains(first, "coder") && !strings.HasPrefix(b.Workload, "publish") && !strings.HasPrefix(b.Workload, "deflate") {
			t.Errorf("%s: coder is missing from round 1", b.Workload)
		}
	}
}

func TestQuickLeavesWhatWasSaidAlone(t *testing.T) {
	o, err := parseOptions([]string{"-quick", "-rounds", "4", "-servers", "coder"})
	if err != nil || o.rounds != 4 || o.servers != "coder" {
		t.Errorf("got %+v, %v", o, err)
	}
	if full, _ := parseOptions(nil); o.measure >= full.measure {
		t.Errorf("quick measures %v", o.measure)
	}
}

func TestMistakesAreAllReported(t *testing.T) {
	o, err := parseOptions([]string{"-only", "echo-1,dance-3", "-servers", "gws,nobody"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = o.plan(peers.All())
	for _, want := range []string{"echo-1", "dance-3", "nobody"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	for _, args := range [][]string{{"-rounds", "0"}, {"-time", "-1s"}, {"-procs", "0"}, {"stray"}, {"-unknown"}} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

func TestWeirIsStartedWithTheModuleOfTheWorkload(t *testing.T) {
	o, err := parseOptions([]string{"-weir", "w", "-echo-module", "e.wasm", "-publish-module", "p.wasm", "-weir-args", "--config x.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.plan(peers.All())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.steps() {
		if !s.server.weir {
			continue
		}
		want := "serve --listen a:1 --config x.yaml e.wasm"
		if s.workload.Kind == "publish" {
			want = "serve --listen a:1 --config x.yaml p.wasm"
		}
		if s.workload.Kind == "deflate" {
			want = "serve --listen a:1 --config x.yaml --set websocket.compression=on e.wasm"
		}
		if got := strings.Join(arguments(o, s, "a:1"), " "); got != want {
			t.Errorf("%v: %s", s.workload, got)
		}
	}
}

func TestTheWatchedServerPlaysOnlyWhenItIsNamed(t *testing.T) {
	for _, s := range mustPlan(t, "-weir", "w").steps() {
		if s.server.Name == watched {
			t.Fatal("it plays though nobody has named it")
		}
	}
	o, err := parseOptions([]string{"-weir", "w", "-echo-module", "e.wasm", "-servers", "weir,weir-watched", "-only", "echo-4x32"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.plan(peers.All())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range p.steps()[:2] {
		got = append(got, strings.Join(arguments(o, s, "a:1"), " "))
	}
	want := []string{"serve --listen a:1 e.wasm", "serve --listen a:1 --set admin.listen=127.0.0.1:0 e.wasm"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAWholeRun builds the real peers, measures two of them, and reads what is
// written.
func TestAWholeRun(t *testing.T) {
	out := filepath.Join(t.TempDir(), "docs")
	var text, progress bytes.Buffer
	err := run(t.Context(), []string{
		"-servers", "raw,raw-publish,gws", "-only", "echo-4x32,publish-3x16,idle-20,connect-5x2",
		"-rounds", "2", "-warmup", "10ms", "-time", "50ms", "-settle", "10ms", "-out", out,
	}, &text, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	js, err := os.ReadFile(filepath.Join(out, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r report.Results
	if err := json.Unmarshal(js, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Samples) != 16 || len(r.Failures) != 0 {
		t.Errorf("%d samples, %d failures", len(r.Samples), len(r.Failures))
	}
	for _, s := range r.Samples {
		if s.Messages == 0 || s.CPU <= 0 || s.P99 < s.P50 || s.RSS <= 0 {
			t.Errorf("got %+v", s)
		}
	}
	md, err := os.ReadFile(filepath.Join(out, "results.md"))
	if err != nil || string(md) != text.String() {
		t.Errorf("results.md is not what was printed (%v)", err)
	}
	svg, err := os.ReadFile(filepath.Join(out, "echo.svg"))
	if err != nil || !bytes.HasPrefix(svg, []byte("<svg ")) {
		t.Errorf("echo.svg: %v", err)
	}
}

func TestAServerThatDoesNotStartFailsTheRun(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho out of order >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var text, progress bytes.Buffer
	err := run(t.Context(), []string{"-peer", broken, "-servers", "gws", "-only", "echo-1x1", "-rounds", "1"}, &text, &progress)
	if err == nil || !strings.Contains(err.Error(), "1 of 1") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(text.String(), "out of order") || !strings.Contains(text.String(), "exit status 3") {
		t.Errorf("its last words are missing from\n%s", text.String())
	}
}
