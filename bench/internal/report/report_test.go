package report

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"weir/bench/load"
)

var update = flag.Bool("update", false, "write the golden files")

// results are those of a run of three rounds in which everything is known.
func results(t *testing.T) *Results {
	t.Helper()
	r := &Results{
		Command: "bench -weir weir", Commit: "abc123", Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Machine: Machine{CPU: "Test CPU", CPUs: 2, Kernel: "6.1", Go: "go1.26", GOMAXPROCS: 2},
		Rounds:  3, Warmup: 500 * time.Millisecond, Measure: 2 * time.Second,
		Servers: []Server{{Name: "weir", About: "the subject"}, {Name: "raw", About: "the floor", Floor: true}, {Name: "gorilla", About: "a peer"}, {Name: "gws", About: "another"}},
	}
	for _, name := range []string{"echo-1000x128", "echo-50x128x16", "publish-1000x128", "idle-15000", "connect-1000"} {
		w, err := load.ParseWorkload(name)
		if err != nil {
			t.Fatal(err)
		}
		r.Workloads = append(r.Workloads, w)
	}
	add := func(workload, server string, values ...float64) {
		for i, v := range values {
			s := Sample{Server: server, Workload: workload, Round: i + 1, Conns: 1000, Messages: 1000, Seconds: 2, PerSec: 500, User: 0.25, Switches: 0.125, P50: 1.5, P99: 9.25, RSS: 10e6, Others: 0.01}
			if workload == "idle-15000" {
				s.Rested, s.Touched, s.CPU = v, v+100, 30
			} else {
				s.CPU, s.Cycle = v, v+10
			}
			r.Samples = append(r.Samples, s)
		}
	}
	add("echo-1000x128", "weir", 10, 11, 12)
	add("echo-1000x128", "raw", 9, 9, 9)
	add("echo-1000x128", "gorilla", 13, 14, 15)
	add("echo-1000x128", "gws", 12, 12, 12)
	add("echo-50x128x16", "weir", 2, 2, 2)
	add("echo-50x128x16", "gorilla", 6, 6, 6)
	add("echo-50x128x16", "gws", 5, 5, 5)
	add("idle-15000", "weir", 700, 810, 750)
	add("idle-15000", "raw", 200, 200)
	add("connect-1000", "weir", 40)
	add("connect-1000", "gorilla", 160)
	r.Failures = []Failure{{Server: "gws", Workload: "idle-15000", Round: 2, Error: "a | b\nc"}}
	return r
}

func TestJudge(t *testing.T) {
	r := results(t)
	for _, c := range []struct {
		name              string
		bar               int
		measured, reached bool
		reference         string
		ratio             float64
	}{
		{"the better of two is the one to beat", 0, true, true, "gws", 11.0 / 12},
		{"the floor", 1, true, true, "raw", 11.0 / 9},
		{"a workload that was not run is not measured", 2, false, false, "", 0},
		{"a bar that is not reached says so", 3, true, false, "gws", 0.4},
		{"without weir nothing is measured", 4, false, false, "", 0},
		{"a limit in bytes", 5, true, true, "", 750.0 / 800},
		{"one round is enough", 6, true, true, "gorilla", 0.25},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := r.Judge(Bars[c.bar])
			if v.Measured != c.measured || v.Reached != c.reached || v.Reference != c.reference && c.measured || v.Ratio.Median != c.ratio {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func TestABarThatLacksOneOfItsPeersIsNotMeasured(t *testing.T) {
	r := results(t)
	r.Samples = r.Samples[:9] // without gws
	if v := r.Judge(Bars[0]); v.Measured {
		t.Errorf("got %+v", v)
	}
}

func TestEveryBarNamesAWorkload(t *testing.T) {
	for _, b := range Bars {
		w, err := load.ParseWorkload(b.Workload)
		if err != nil || w.String() != b.Workload {
			t.Errorf("%q: %v", b.Workload, err)
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; look at it after go test -update\n%s", path, got)
	}
}

func TestMarkdownMatchesItsGoldenFile(t *testing.T) {
	golden(t, "testdata/results.md", results(t).Markdown())
}

func TestEchoChartMatchesItsGoldenFile(t *testing.T) {
	svg := results(t).EchoChart().SVG()
	golden(t, "testdata/echo.svg", svg)
	if strings.Contains(svg, "members") {
		t.Error("the chart shows more than echoes")
	}
}

func TestTitles(t *testing.T) {
	for name, want := range map[string]string{
		"echo-1x1":          "Echo: 1 connection × 1 B",
		"echo-100x4096":     "Echo: 100 connections × 4 KiB",
		"echo-50x128x16":    "Echo: 50 connections × 128 B, 16 in flight on each",
		"publish-10x2048x2": "Publish: 2 KiB to 10 members, 2 in flight",
		"idle-15000":        "Idle: 15000 connections",
		"connect-1000":      "Connect: one at a time",
		"connect-1000x64":   "Connect: 64 at a time",
	} {
		w, err := load.ParseWorkload(name)
		if got := Title(w); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", name, got, err, want)
		}
	}
}
