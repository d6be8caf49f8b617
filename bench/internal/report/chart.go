package report

import (
	"fmt"

	"weir/bench/internal/chart"
	"weir/bench/load"
)

// EchoChart draws the CPU time per echo, a panel for each echo workload.
func (r *Results) EchoChart() chart.Chart {
	c := chart.Chart{
		Title:    "Server CPU per echo",
		Subtitle: "Shorter is better. weir runs a WebAssembly handler, the others run native Go.",
		Unit:     "µs",
		Footer: []string{
			fmt.Sprintf("Medians of up to %s; the thin lines reach from minimum to maximum.", count(r.Rounds, "interleaved round")),
			"raw: a plain TCP echo on one epoll loop, no WebSocket: the floor (dashed). Load and server share the machine over loopback.",
			fmt.Sprintf("%s, %s, Linux %s, %s, commit %s, %s", r.Machine.CPU, count(r.Machine.CPUs, "CPU"), r.Machine.Kernel, r.Machine.Go, r.Commit, r.Date.UTC().Format("2006-01-02")),
		},
	}
	for _, w := range r.Workloads {
		servers := r.ranked(w)
		if w.Kind != load.KindEcho || len(servers) == 0 {
			continue
		}
		p := chart.Panel{Title: Title(w)[len("Echo: "):]}
		for _, s := range servers {
			sum := r.Summary(w.String(), s.Name, Headline(w.Kind))
			bar := chart.Bar{Label: s.Name, Value: sum.Median, Min: sum.Min, Max: sum.Max}
			switch {
			case s.Floor:
				bar.Tone, p.Line = chart.Faint, sum.Median
			case s.Name == Subject:
				bar.Tone = chart.Strong
			}
			p.Bars = append(p.Bars, bar)
		}
		c.Panels = append(c.Panels, p)
	}
	return c
}
