package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/bench/internal/stats"
	"weir/bench/load"
)

// The bars.
const (
	barGoodput = 0.9
	barBack    = 5 * time.Second
)

// results are what overload.md tells.
type results struct {
	Command, Commit    string
	Date               time.Time
	CPU, Go            string
	CPUs, Procs, Conns int
	Over, QueueTimeout time.Duration
	Kinds              []kind
	Rounds             map[string][]round // by name of the kind
}

// round is one measurement. Rates are messages a second.
type round struct {
	Peak, Offered, Answered, Goodput float64
	Closed                           uint64        // connections that the server closed or did not accept during the overload
	P99Before, P99Over               time.Duration // of a slice: the worst before, the median of the overload
	Back                             time.Duration // from the end of the overload; never when it was not seen
	PeakCPU, OverCPU                 float64       // CPUs that the server had at the peak and in the overload
	Others                           float64       // share of the machine that others used at the peak or in the overload, whichever is more, 0 to 1
}

// never is later than everything.
const never = 24 * time.Hour

// calm is how many slices in a row must be as before.
const calm = 4

// judge fills in what the slices before, during and after an overload of that length say.
func (r *round) judge(before, during, after []load.Slice, length time.Duration) {
	var offered, answered, good uint64
	var p99s []float64
	for i := range during {
		s := &during[i]
		offered, answered, good, r.Closed = offered+s.Offered, answered+s.Answered, good+s.InTime, r.Closed+s.Closed
		if s.Answered > 0 {
			p99s = append(p99s, float64(s.Latency.Quantile(.99)))
		}
	}
	r.Offered, r.Answered, r.Goodput = float64(offered)/length.Seconds(), float64(answered)/length.Seconds(), float64(good)/length.Seconds()
	r.P99Over = time.Duration(stats.Of(p99s).Median)
	withheld := uint64(0)
	for i := range before {
		r.P99Before = max(r.P99Before, before[i].Latency.Quantile(.99))
		withheld = max(withheld, before[i].Withheld)
	}
	r.Back = never
	row := 0
	for i := range after {
		s := &after[i]
		if s.Answered == 0 || s.Withheld > withheld || s.Latency.Quantile(.99) > r.P99Before {
			row = 0
			continue
		}
		if row++; row == calm {
			r.Back = time.Duration(i+1-calm) * slice
			return
		}
	}
}

func (r *results) markdown() string {
	var b strings.Builder
	b.WriteString("# Twice as much as it can do\n\nWritten by `make bench-overload`; not edited by hand.\n\n")
	fmt.Fprintf(&b, "- command: `%s`\n- commit: %s\n- date: %s\n", r.Command, r.Commit, r.Date.UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, "- machine: %s (%d CPUs, shared by server and load), %s, GOMAXPROCS %d for the server\n\n", r.CPU, r.CPUs, r.Go, r.Procs)
	queue := "its default"
	if r.QueueTimeout > 0 {
		queue = r.QueueTimeout.String()
	}
	fmt.Fprintf(&b, "The *peak* is what the server answers when each connection sends its next message when it has the answer to the last. Then messages are\n"+
		"offered on %d connections whatever the answers do: at half the peak, for %v at twice the peak, and at half the peak again. *Goodput* is answers\n"+
		"within %v from when the message fell due, and a message that a client gives up is lost. `handler.queue_timeout` is %s. A client whose connection is\n"+
		"closed comes again after %v, give or take half of it. All is *back* from the first of %d slices of %v in a row in which p99 is no longer than in the worst\n"+
		"slice before the overload, and no more messages are given up than then.\n", r.Conns, r.Over, deadline, queue, stayAway, calm, slice)
	for _, k := range r.Kinds {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", k.name, strings.ToUpper(k.text[:1])+k.text[1:])
		b.WriteString("| round | peak/s | offered/s | answered/s | goodput/s | of the peak | connections closed | p99 in overload | p99 before (worst slice) | back after | CPU at the peak, in overload | others used |\n" +
			"|---|---|---|---|---|---|---|---|---|---|---|---|\n")
		for i, one := range r.Rounds[k.name] {
			fmt.Fprintf(&b, "| %d | %.0f | %.0f | %.0f | %.0f | %.0f %% | %d | %s | %s | %s | %.2f, %.2f | %.0f %% |\n", i+1, one.Peak, one.Offered, one.Answered, one.Goodput,
				100*one.share(), one.Closed, millis(one.P99Over), millis(one.P99Before), seconds(one.Back), one.PeakCPU, one.OverCPU, 100*one.Others)
		}
	}
	b.WriteString("\n## Bars\n\n| load | bar | median (worst to best) | |\n|---|---|---|---|\n")
	for _, k := range r.Kinds {
		var shares, perCPU, backs []float64
		for _, one := range r.Rounds[k.name] {
			shares, perCPU, backs = append(shares, 100*one.share()), append(perCPU, 100*one.shareOfCPU()), append(backs, float64(one.Back))
		}
		verdict := func(reached bool) string {
			if crowded(r.Rounds[k.name]) {
				return "not judged: others used the machine"
			}
			return verdict(reached)
		}
		share, cpu, back := stats.Of(shares), stats.Of(perCPU), stats.Of(backs)
		fmt.Fprintf(&b, "| %s | goodput ≥ %.0f %% of the peak | %.0f %% (%.0f to %.0f) | %s |\n", k.name, 100*barGoodput, share.Median, share.Min, share.Max, verdict(share.Median >= 100*barGoodput))
		fmt.Fprintf(&b, "| | the same for each second of CPU that the server had | %.0f %% (%.0f to %.0f) | %s |\n", cpu.Median, cpu.Min, cpu.Max, verdict(cpu.Median >= 100*barGoodput))
		fmt.Fprintf(&b, "| | back within %v | %s (%s to %s) | %s |\n", barBack,
			seconds(time.Duration(back.Median)), seconds(time.Duration(back.Max)), seconds(time.Duration(back.Min)), verdict(time.Duration(back.Median) <= barBack))
	}
	b.WriteString("\nThe load is one thread that sends, receives and compares every byte, so on two CPUs nothing is left for anybody else. *Others used* is\n" +
		"the share of the machine that neither the server nor the load took: it is missing to one of the two, and above 10 % nothing is judged.\n" +
		"The figures tell as much of it then as of the server. Then the goodput for a second of CPU still tells whether work is wasted, but not whether the server idles. Loopback charges a part of the server's receiving to the load, and the other way round. What a pushing client sends piles up in\n" +
		"the sockets' buffers, which the system sizes; the server reads no more of it than it can handle.\n")
	return b.String()
}

// share is the goodput as a share of the peak.
func (r round) share() float64 { return r.Goodput / max(r.Peak, 1) }

// shareOfCPU is the same of answers for a second of the server's CPU time.
func (r round) shareOfCPU() float64 {
	return r.Goodput / max(r.OverCPU, 1e-9) / max(r.Peak/max(r.PeakCPU, 1e-9), 1e-9)
}

// mostOthers is the share of the machine that others may use before nothing is judged.
const mostOthers = 0.1

func crowded(rounds []round) bool {
	return slices.ContainsFunc(rounds, func(r round) bool { return r.Others > mostOthers })
}

func verdict(reached bool) string {
	if reached {
		return "reached"
	}
	return "missed"
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

func seconds(d time.Duration) string {
	if d > time.Hour {
		return "not seen"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
