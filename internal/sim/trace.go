package sim

import (
	"encoding/binary"
	"fmt"
	"time"
)

// trace is the record of a run: a hash over everything that can be observed,
// and the last few entries in plain.
type trace struct {
	hash  uint64
	count uint64
	last  [64]entry
}

// entry is one thing that happened.
type entry struct {
	at   int64
	who  int    // number of the connection; -1 none
	what string // constant text
	n    int    // bytes, bits or a number
}

// note adds an entry.
func (t *trace) note(at int64, who int, what string, n int) {
	t.last[t.count%uint64(len(t.last))] = entry{at, who, what, n}
	t.count++
	t.mix(uint64(at))
	t.mix(uint64(who)<<32 ^ uint64(n))
	t.mix(uint64(len(what))<<8 ^ uint64(what[0]))
}

// bytes adds what was read, written or received.
func (t *trace) bytes(p []byte) {
	for ; len(p) >= 8; p = p[8:] {
		t.mix(binary.LittleEndian.Uint64(p))
	}
	for _, b := range p {
		t.mix(uint64(b))
	}
}

// mix is one step of a multiplicative hash. It is to tell runs apart, not to
// withstand anybody.
func (t *trace) mix(x uint64) {
	h := (t.hash ^ x) * 0x9E3779B97F4A7C15
	t.hash = h ^ h>>29
}

// tail lists the last n entries, oldest first.
func (t *trace) tail(n int, start int64) []string {
	n = int(min(uint64(n), t.count, uint64(len(t.last))))
	lines := make([]string, 0, n)
	for i := t.count - uint64(n); i < t.count; i++ {
		e := &t.last[i%uint64(len(t.last))]
		who := "server"
		if e.who >= 0 {
			who = fmt.Sprintf("#%d", e.who)
		}
		lines = append(lines, fmt.Sprintf("%12v %-6s %s %d", time.Duration(e.at-start), who, e.what, e.n))
	}
	return lines
}
