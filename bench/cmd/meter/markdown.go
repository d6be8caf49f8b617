package main

import (
	"fmt"
	"strings"
	"time"

	"weir/bench/internal/stats"
)

// markdown is the whole report.
func (r *results) markdown() string {
	var b strings.Builder
	b.WriteString("# What metering costs\n\n")
	b.WriteString("Written by `make bench-meter`; not edited by hand. How it measures: [bench/README.md](../../bench/README.md).\n\n")
	fmt.Fprintf(&b, "- command: `%s`\n- commit: %s\n- date: %s\n", r.Command, r.Commit, r.Date.UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, "- machine: %s (%d CPUs), Linux %s, %s, GOMAXPROCS %d for every server\n",
		r.Machine.CPU, r.Machine.CPUs, r.Machine.Kernel, r.Machine.Go, r.Machine.GOMAXPROCS)
	fmt.Fprintf(&b, "- rounds: %d, each with two fresh servers for each row, plain and metered, which take turns every %v; %v for each, after %v of warm-up\n",
		r.Rounds, r.Measure/turns, r.Measure, r.Warmup)
	if o := r.others(); o.N > 0 {
		fmt.Fprintf(&b, "- other processes took %.0f %% of the machine while the cost was measured (median; %.0f–%.0f %%)\n", 100*o.Median, 100*o.Min, 100*o.Max)
	}
	b.WriteString("\n")
	r.cost(&b)
	r.lateness(&b)
	r.replacement(&b)
	r.failures(&b)
	return b.String()
}

// cost writes what metering costs.
func (r *results) cost(b *strings.Builder) {
	rows := r.rows()
	if len(rows) == 0 {
		return
	}
	b.WriteString("## Cost of a message\n\n")
	b.WriteString("CPU time of the server, user and system, by its process CPU clock, for one message: medians of the rounds, minimum–maximum in brackets. " +
		"The ratio is that of the medians, in brackets the spread of the ratios within each round. " +
		"Plain is `runtime.metering: off`. Every answer was compared with the right one.\n\n")
	for _, v := range []struct {
		what    string
		compute bool
	}{{"Computing", true}, {"Passing messages on", false}} {
		if j, ok := judge(rows, v.compute); ok {
			fmt.Fprintf(b, "- %s: median ratio **%.2f**, worst **%.2f** (%s in %s)\n",
				v.what, j.ratios.Median, j.ratios.Max, j.worst.subject.Name, j.worst.subject.Guest)
		}
	}
	b.WriteString("\n| work | guest | plain, µs | metered, µs | ratio | one message |\n|---|---|---|---|---|---|\n")
	for _, x := range rows {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", x.subject.Name, x.subject.Guest,
			spread(x.plain), spread(x.metered), ratioText(x.ratio), x.subject.Work)
	}
	b.WriteString("\n")
}

func spread(s stats.Summary) string {
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
	return fmt.Sprintf("%.3f [%.3f–%.3f]", s.Median, s.Min, s.Max)
}

// lateness writes how late guests are stopped.
func (r *results) lateness(b *strings.Builder) {
	if len(r.Overruns) == 0 {
		return
	}
	b.WriteString("## Stopping at the deadline\n\n")
	fmt.Fprintf(b, "How much later than its deadline of %v a handler that does not return is over, in ms: median, worst in brackets, of %d tries each. "+
		"Measured at the client, from before the message is written until the Close frame (1011) was read, so waiting for a CPU on either side is in it.\n\n",
		r.Deadline, len(r.Overruns[0].Millis))
	reached, measured := r.inTime()
	verdict := "not measured"
	switch {
	case measured && reached:
		verdict = "reached"
	case measured:
		verdict = "**not reached**"
	}
	fmt.Fprintf(b, "Median ≤ %v and worst ≤ %v while every CPU is busy: %s.\n\n| the handler does |", overrunMedian, overrunWorst, verdict)
	for _, c := range companies {
		fmt.Fprintf(b, " %s |", c.Name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(companies)) + "\n")
	for _, w := range ways {
		fmt.Fprintf(b, "| %s |", w.About)
		for _, c := range companies {
			if s := r.late(w.Name, c.Name); s.N > 0 {
				fmt.Fprintf(b, " %.2f [%.2f] |", s.Median, s.Max)
			} else {
				b.WriteString(" – |")
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for _, c := range companies {
		fmt.Fprintf(b, "- %s: %s\n", c.Name, c.About)
	}
	b.WriteString("\n")
}

// replacement writes what a discarded instance costs.
func (r *results) replacement(b *strings.Builder) {
	if len(r.Instances) == 0 {
		return
	}
	b.WriteString("## Replacing a discarded instance\n\n")
	fmt.Fprintf(b, "From the discard until another is ready, in µs: median, minimum–maximum in brackets, of `%s` in `%s`, by its small guests.\n\n| guest | µs |\n|---|---|\n",
		instantiate, strings.TrimPrefix(instantiatePackage, "./"))
	for _, x := range r.Instances {
		fmt.Fprintf(b, "| %s | %s |\n", x.Guest, spread(stats.Of(x.Micros)))
	}
	b.WriteString("\n")
}

func (r *results) failures(b *strings.Builder) {
	if len(r.Failures) == 0 {
		return
	}
	b.WriteString("## Failures\n\n| measurement | what happened |\n|---|---|\n")
	for _, f := range r.Failures {
		fmt.Fprintf(b, "| %s | %s |\n", f.What, strings.NewReplacer("|", "\\|", "\n", " ").Replace(f.Error))
	}
	b.WriteString("\n")
}
