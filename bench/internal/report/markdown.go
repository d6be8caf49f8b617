package report

import (
	"fmt"
	"strings"
	"time"

	"weir/bench/internal/stats"
	"weir/bench/load"
)

// Title says in words what a workload does.
func Title(w load.Workload) string {
	switch w.Kind {
	case load.KindEcho, load.KindDeflate:
		s := "Echo"
		if w.Kind == load.KindDeflate {
			s = "Echo of compressed JSON"
		}
		s += fmt.Sprintf(": %s × %s", count(w.Conns, "connection"), size(w.PayloadBytes))
		if w.Depth > 1 {
			s += fmt.Sprintf(", %d in flight on each", w.Depth)
		}
		return s
	case load.KindPublish:
		s := fmt.Sprintf("Publish: %s to %s", size(w.PayloadBytes), count(w.Conns, "member"))
		if w.Depth > 1 {
			s += fmt.Sprintf(", %d in flight", w.Depth)
		}
		return s
	case load.KindIdle:
		return fmt.Sprintf("Idle: %s", count(w.Conns, "connection"))
	case load.KindConnect:
		if w.Depth > 1 {
			return fmt.Sprintf("Connect: %d at a time", w.Depth)
		}
		return "Connect: one at a time"
	}
	return w.String()
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func size(n int) string {
	if n >= 1024 && n%1024 == 0 {
		return fmt.Sprintf("%d KiB", n/1024)
	}
	return fmt.Sprintf("%d B", n)
}

// Markdown is the whole report.
func (r *Results) Markdown() string {
	var b strings.Builder
	b.WriteString("# Benchmark results\n\n")
	b.WriteString("Written by `make bench`; not edited by hand. What is measured, how, and what not to conclude: [bench/README.md](../../bench/README.md).\n\n")
	fmt.Fprintf(&b, "- command: `%s`\n- commit: %s\n- date: %s\n", r.Command, r.Commit, r.Date.UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, "- machine: %s (%s), Linux %s, %s, GOMAXPROCS %d for every server\n", r.Machine.CPU, count(r.Machine.CPUs, "CPU"), r.Machine.Kernel, r.Machine.Go, r.Machine.GOMAXPROCS)
	fmt.Fprintf(&b, "- rounds: up to %d, servers interleaved and their order rotated; each measurement in a fresh process, %v of warm-up, then %v\n", r.Rounds, r.Warmup, r.Measure)
	others := stats.Of(collect(r.Samples, func(s Sample) float64 { return s.Others }))
	fmt.Fprintf(&b, "- other processes took %.0f %% of the machine while measuring (median; %.0f–%.0f %%)\n\n", 100*others.Median, 100*others.Min, 100*others.Max)
	b.WriteString("CPU is the server's own time, user and system, by its process CPU clock. Medians of the rounds, minimum–maximum in brackets. " +
		"\"weir ÷ it\" is the ratio of the medians, in brackets the spread of the ratios within each round; below 1 weir is better. " +
		"On loopback the kernel's softirq work for the other end of a socket, and for others who happen to be served then, is charged to whoever runs: it is noise, in every row alike.\n\n")
	r.bars(&b)
	for _, w := range r.Workloads {
		r.table(&b, w)
	}
	r.failures(&b)
	b.WriteString("## Servers\n\n| server | what it is |\n|---|---|\n")
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "| %s | %s |\n", s.Name, s.About)
	}
	return b.String()
}

func collect(samples []Sample, m Metric) []float64 {
	v := make([]float64, len(samples))
	for i, s := range samples {
		v[i] = m(s)
	}
	return v
}

func (r *Results) bars(b *strings.Builder) {
	b.WriteString("## Bars\n\n| workload | weir must take | weir takes | ratio | |\n|---|---|---|---|---|\n")
	for _, bar := range Bars {
		v := r.Judge(bar)
		w, err := load.ParseWorkload(bar.Workload)
		if err != nil {
			continue
		}
		takes, ratio, verdict := "–", "–", "not measured"
		if v.Subject.N > 0 {
			takes = r.headline(w, v.Subject)
		}
		if v.Measured {
			ratio = ratioText(v.Ratio)
			if v.Reference != "" {
				ratio += " of " + v.Reference
			} else {
				ratio += " of the limit"
			}
			verdict = "**not reached**"
			if v.Reached {
				verdict = "reached"
			}
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", bar.Workload, bar.Text(), takes, ratio, verdict)
	}
	b.WriteString("\nAllocations per message and per handshake are held by tests, not here.\n\n")
}

// headline shows the quantity that w is about.
func (r *Results) headline(w load.Workload, s stats.Summary) string {
	if w.Kind == load.KindIdle {
		return fmt.Sprintf("%.0f B [%.0f–%.0f]", s.Median, s.Min, s.Max)
	}
	return cpuText(s) + " µs"
}

func cpuText(s stats.Summary) string {
	return fmt.Sprintf("%s [%s–%s]", micros(s.Median), micros(s.Min), micros(s.Max))
}

func micros(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func ratioText(s stats.Summary) string {
	if s.Median == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f [%.2f–%.2f]", s.Median, s.Min, s.Max)
}

// table writes the table of one workload.
func (r *Results) table(b *strings.Builder, w load.Workload) {
	servers := r.ranked(w)
	if len(servers) == 0 {
		return
	}
	name := w.String()
	fmt.Fprintf(b, "## %s\n\n`%s`\n\n", Title(w), name)
	median := func(server string, m Metric) float64 { return r.Summary(name, server, m).Median }
	ratio := func(server string) string {
		if server == Subject {
			return "1"
		}
		return ratioText(r.Ratio(name, server, Headline(w.Kind)))
	}
	row := func(s Server, cells ...string) {
		label := s.Name
		if s.Name == Subject {
			label = "**weir**"
		}
		rounds := r.Summary(name, s.Name, Headline(w.Kind)).N
		fmt.Fprintf(b, "| %s | %s | %d |\n", label, strings.Join(cells, " | "), rounds)
	}
	switch w.Kind {
	case load.KindIdle:
		b.WriteString("| server | connections | RSS growth each | weir ÷ it | after one echo each, B | CPU per handshake, µs | rounds |\n|---|---|---|---|---|---|---|\n")
		for _, s := range servers {
			touched := r.Summary(name, s.Name, func(x Sample) float64 { return x.Touched })
			row(s, fmt.Sprintf("%.0f", median(s.Name, func(x Sample) float64 { return float64(x.Conns) })),
				r.headline(w, r.Summary(name, s.Name, Headline(w.Kind))), ratio(s.Name),
				fmt.Sprintf("%.0f", touched.Median),
				micros(median(s.Name, func(x Sample) float64 { return x.CPU })))
		}
	case load.KindConnect:
		b.WriteString("| server | CPU from accept to open, µs | weir ÷ it | with the close, µs | user | opens/s | p50 ms | p99 ms | rounds |\n|---|---|---|---|---|---|---|---|---|\n")
		for _, s := range servers {
			row(s, cpuText(r.Summary(name, s.Name, Headline(w.Kind))), ratio(s.Name),
				micros(median(s.Name, func(x Sample) float64 { return x.Cycle })),
				fmt.Sprintf("%.0f %%", 100*median(s.Name, func(x Sample) float64 { return x.User })),
				fmt.Sprintf("%.0f", median(s.Name, func(x Sample) float64 { return x.PerSec })),
				fmt.Sprintf("%.2f", median(s.Name, func(x Sample) float64 { return x.P50 })),
				fmt.Sprintf("%.2f", median(s.Name, func(x Sample) float64 { return x.P99 })))
		}
	default:
		each := "message"
		if w.Kind == load.KindPublish {
			each = "delivery"
		}
		fmt.Fprintf(b, "| server | CPU per %s, µs | weir ÷ it | user | switches per %s | per s | p50 ms | p99 ms | RSS MB | rounds |\n|---|---|---|---|---|---|---|---|---|---|\n", each, each)
		for _, s := range servers {
			row(s, cpuText(r.Summary(name, s.Name, Headline(w.Kind))), ratio(s.Name),
				fmt.Sprintf("%.0f %%", 100*median(s.Name, func(x Sample) float64 { return x.User })),
				fmt.Sprintf("%.3f", median(s.Name, func(x Sample) float64 { return x.Switches })),
				fmt.Sprintf("%.0f", median(s.Name, func(x Sample) float64 { return x.PerSec })),
				fmt.Sprintf("%.2f", median(s.Name, func(x Sample) float64 { return x.P50 })),
				fmt.Sprintf("%.2f", median(s.Name, func(x Sample) float64 { return x.P99 })),
				fmt.Sprintf("%.1f", median(s.Name, func(x Sample) float64 { return float64(x.RSS) })/1e6))
		}
	}
	b.WriteString("\n")
}

func (r *Results) failures(b *strings.Builder) {
	if len(r.Failures) == 0 {
		return
	}
	b.WriteString("## Failures\n\n| server | workload | round | what |\n|---|---|---|---|\n")
	for _, f := range r.Failures {
		fmt.Fprintf(b, "| %s | `%s` | %d | %s |\n", f.Server, f.Workload, f.Round, strings.NewReplacer("|", "\\|", "\n", " ").Replace(f.Error))
	}
	b.WriteString("\n")
}
