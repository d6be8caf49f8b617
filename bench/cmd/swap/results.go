package main

import (
	"fmt"
	"strings"
	"time"
)

// The bars.
const (
	barSlowdown = 3.0
	barFirst    = 10 * time.Millisecond
)

// results are what swap.md tells.
type results struct {
	Command, Commit string
	Date            time.Time
	CPU, Go         string
	CPUs, Procs     int
	Conns, Rate     int
	Tally           tally
	Swaps           []swapResult
}

// broken is an error when a promise did not hold.
func (r *results) broken() error {
	t := &r.Tally
	if t.Sent == t.Heard && t.Wrong == 0 && t.Back == 0 && t.LostConns == 0 {
		return nil
	}
	return fmt.Errorf("%d messages sent and %d answered, %d of them wrongly; %d steps back; %d connections lost (%s)",
		t.Sent, t.Heard, t.Wrong, t.Back, t.LostConns, t.Why)
}

// slowdown is how much longer messages took in the second of the swap, at the 99th percentile.
func (s swapResult) slowdown() float64 {
	return float64(s.During) / float64(max(s.Before, 1))
}

func (r *results) markdown() string {
	var b strings.Builder
	b.WriteString("# Swapping code under load\n\nWritten by `make bench-swap`; not edited by hand.\n\n")
	fmt.Fprintf(&b, "- command: `%s`\n- commit: %s\n- date: %s\n", r.Command, r.Commit, r.Date.UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, "- machine: %s (%d CPUs, shared by server and clients), %s, GOMAXPROCS %d for the server\n\n", r.CPU, r.CPUs, r.Go, r.Procs)
	fmt.Fprintf(&b, "%d connections send %d messages a second in all, in turn, whatever the answers do. The handler answers with the number of its generation.\n"+
		"Its file is replaced %d times meanwhile, and `weir serve` notices that by itself.\n\n", r.Conns, r.Rate, len(r.Swaps))
	t := &r.Tally
	b.WriteString("| promise | |\n|---|---|\n")
	fmt.Fprintf(&b, "| messages sent, answered | %d, %d |\n| lost, doubled or out of order | %d |\n| steps to an older generation | %d |\n| connections lost | %d |\n\n",
		t.Sent, t.Heard, t.Wrong, t.Back, t.LostConns)
	b.WriteString("The second of a swap begins when the new module begins to load. *First* is from the decision, when it is loaded and may take over, to the first\n" +
		"answer that a client has of it; *last* is to the last one of the old generation.\n\n")
	b.WriteString("| generation | load | first | last | p99 in the second before | p99 in the second of the swap | ratio |\n|---|---|---|---|---|---|---|\n")
	worst, latest := 0.0, time.Duration(0)
	for _, s := range r.Swaps {
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s | %.2f |\n", s.Generation, millis(s.Load), millis(s.First), millis(s.Last), millis(s.Before), millis(s.During), s.slowdown())
		worst, latest = max(worst, s.slowdown()), max(latest, s.First)
	}
	fmt.Fprintf(&b, "\n| bar | measured (worst) | |\n|---|---|---|\n| p99 in the second of the swap ≤ %.0f × the second before | %.2f | %s |\n| first message on the new generation ≤ %s | %s | %s |\n",
		barSlowdown, worst, verdict(worst <= barSlowdown), millis(barFirst), millis(latest), verdict(latest <= barFirst))
	return b.String()
}

func verdict(reached bool) string {
	if reached {
		return "reached"
	}
	return "missed"
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }
