package sim

import "time"

// pipe is one direction of a connection: segments on their way, in order.
type pipe struct {
	w      *World
	flight []segment
	lastAt int64 // arrival of the last segment
	// arrive takes a segment at the other end.
	arrive func(segment)
	calm   bool // no faults on this pipe
}

// segment is what arrives at once: bytes, or an end.
type segment struct {
	data []byte
	end  ending
}

type ending uint8

const (
	endNone ending = iota
	endFIN
	endRST
)

const (
	// maxDelay is the longest delay of a segment.
	maxDelay = 40 * time.Millisecond
	// byteWise is up to how many bytes may come one by one.
	byteWise = 48
)

// send puts bytes on their way; they are the pipe's from now on.
func (p *pipe) send(data []byte) {
	w := p.w
	if p.calm || !w.faults.Has(Split) {
		p.put(segment{data: data})
		return
	}
	each := len(data)
	if len(data) <= byteWise && w.rng.IntN(8) == 0 {
		each = 1
	}
	for len(data) > 0 {
		n := each
		if each > 1 && len(data) > 1 && w.rng.IntN(2) == 0 {
			n = 1 + w.rng.IntN(min(len(data), 1<<(1+w.rng.IntN(12))))
		}
		n = min(n, len(data))
		p.put(segment{data: data[:n:n]})
		data = data[n:]
	}
}

// put plans the arrival of one segment, behind all others.
func (p *pipe) put(s segment) {
	w := p.w
	at := w.clock.ns
	if !p.calm && w.faults.Has(Delay) {
		at += w.rng.Int64N(int64(maxDelay))
	}
	p.lastAt = max(p.lastAt, at)
	p.flight = append(p.flight, s)
	w.agenda.push(happening{at: p.lastAt, pipe: p})
}

// first takes the segment whose time has come.
func (p *pipe) first() segment {
	s := p.flight[0]
	p.flight[0] = segment{}
	if p.flight = p.flight[1:]; len(p.flight) == 0 {
		p.flight = nil
	}
	return s
}

// drop loses the bytes that are on their way. Their arrivals stay planned, and
// bring nothing.
func (p *pipe) drop() {
	for i := range p.flight {
		p.flight[i] = segment{}
	}
}
