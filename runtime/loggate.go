package runtime

import (
	"sync"
	"time"
)

// logGate bounds the log lines of one module over all its instances: a bucket that holds a second's worth. Any
// goroutine.
type logGate struct {
	now       func() int64 // ns
	lineNanos int64        // what a line costs

	mu      sync.Mutex // below
	full    int64      // when the bucket will be full again, on the clock of now
	dropped int        // lines dropped and not told yet
}

func (g *logGate) init(linesPerSecond int, now func() int64) {
	g.now, g.lineNanos = now, int64(time.Second)/int64(linesPerSecond)
}

// pass reports whether one more line may be written; else it is dropped.
func (g *logGate) pass() bool {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.takeLocked(now) || g.dropLocked()
}

func (g *logGate) takeLocked(now int64) bool {
	full := max(g.full, now) + g.lineNanos
	if full-now > int64(time.Second) {
		return false
	}
	g.full = full
	return true
}

func (g *logGate) dropLocked() bool {
	g.dropped++
	return false
}

// drop counts a line that was dropped for another reason.
func (g *logGate) drop() {
	g.mu.Lock()
	g.dropLocked()
	g.mu.Unlock()
}

// missed returns how many lines were dropped since it was told last, if there is room for a line that tells it; else 0.
func (g *logGate) missed() int {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.dropped
	if n == 0 || !g.takeLocked(now) {
		return 0
	}
	g.dropped = 0
	return n
}
