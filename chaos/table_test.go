package chaos

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// row is a line of the table that the suite prints in the end.
type row struct {
	h               *hostile
	outcome         string
	stop            time.Duration // until the server had decided: it ended or listened, or the connection was told
	echoes, control samples       // empty at load
	peakKiB         int           // at load
}

var table struct {
	mu   sync.Mutex
	rows []row
}

func note(r row) {
	table.mu.Lock()
	defer table.mu.Unlock()
	table.rows = append(table.rows, r)
}

// TestTable prints what the other tests have measured, in Markdown, and writes docs/faults.md if it is asked to. It runs
// last, being in the last file.
func TestTable(t *testing.T) {
	writeFaults(t)
	table.mu.Lock()
	defer table.mu.Unlock()
	if len(table.rows) == 0 {
		t.Skip("no module was tried")
	}
	var b strings.Builder
	b.WriteString("\n| module | rows | outcome | ms until then | peak MiB |\n|---|---|---|---|---|\n")
	for _, r := range table.rows {
		if r.h.atLoad() {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %d |\n", r.h.name, strings.Join(r.h.rows, " "), r.outcome, ms(r.stop), r.peakKiB>>10)
		}
	}
	b.WriteString("\n| module | rows | outcome | ms until then, worst | canary p50 | p99 | worst | control p99 |\n|---|---|---|---|---|---|---|---|\n")
	var all samples
	for _, r := range table.rows {
		if !r.h.atLoad() {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", r.h.name, strings.Join(r.h.rows, " "), r.outcome, ms(r.stop),
				ms(r.echoes.quantile(.5)), ms(r.echoes.quantile(.99)), ms(r.echoes.quantile(1)), ms(r.control.quantile(.99)))
			all = slices.Concat(all, r.echoes)
		}
	}
	fmt.Fprintf(&b, "\nThe canary over all: %d echoes, p50 %s ms, p99 %s ms, p99.9 %s ms, worst %s ms.\n",
		len(all), ms(all.quantile(.5)), ms(all.quantile(.99)), ms(all.quantile(.999)), ms(all.quantile(1)))
	t.Log(b.String())
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }
