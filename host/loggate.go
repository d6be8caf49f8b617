package host

import (
	"sync/atomic"
	"time"
)

// logGate lets ten log lines a second pass: nobody who can make the server log
// may fill its disk. The counters have what is left out. Any goroutine.
type logGate struct{ full atomic.Int64 } // Mono ns at which what has passed is paid for

const (
	logGateLine  = int64(100 * time.Millisecond)
	logGateBurst = int64(time.Second)
)

func (g *logGate) pass(nowMono int64) bool {
	for {
		old := g.full.Load()
		full := max(old, nowMono) + logGateLine
		if full-nowMono > logGateBurst {
			return false
		}
		if g.full.CompareAndSwap(old, full) {
			return true
		}
	}
}
