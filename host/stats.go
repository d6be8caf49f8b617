package host

import (
	"sync/atomic"

	"weir/runtime"
)

// turnStats are counters of one turn: written by the goroutine that has it,
// read by Server.Stats, so that counting touches no shared cache line.
type turnStats struct {
	reads, writes     atomic.Uint64
	bytesIn, bytesOut atomic.Uint64
	messagesIn        atomic.Uint64
	framesOut         atomic.Uint64
	refused           atomic.Uint64
	opened, rejected  atomic.Uint64
	http              atomic.Uint64
	pings, resets     atomic.Uint64
	waits             atomic.Uint64
	failures          atomic.Uint64
	unavailable       atomic.Uint64
	broken            atomic.Uint64
	failed            [causes]atomic.Uint64
	_                 [64]byte // the next turn's counters are on another line
}

// Stats is a snapshot of the server's counters. Totals count since New.
type Stats struct {
	Open       int    // connections now, plain HTTP ones included
	Handshakes int    // of these, how many have not finished their request
	Accepted   uint64 // connections admitted
	Shed       uint64 // connections answered 503 at accept
	Upgraded   uint64 // connections that became WebSockets
	Rejected   uint64 // requests refused
	HTTP       uint64 // connections given to net/http

	AcceptErrors uint64 // accept calls that failed

	MessagesReceived uint64 // whole messages
	FramesSent       uint64 // frames handed to a queue or a socket
	FramesRefused    uint64 // frames for connections that were closing
	BytesReceived    uint64 // of the wire, on reads of the event loop
	BytesSent        uint64 // of the wire, replies written by turns
	Reads, Writes    uint64 // successful system calls of turns
	Pings            uint64 // sent
	InboundWaits     uint64 // times a connection was not read because it had sent too much
	HandlerFailures  uint64 // invocations that trapped, ran out of a limit, or returned non-zero
	Unavailable      uint64 // times no instance could be made
	Broken           uint64 // events that an open breaker kept from their module

	InboundBytes  int64 // held in incomplete messages now
	OutboundBytes int64 // waiting for slow readers now

	Tails       int    // open now
	TailDropped uint64 // events that tails have dropped because too many waited

	Deflate DeflateStats

	// Closes counts closed connections by cause, such as "peer_closed" or
	// "slow_consumer".
	Closes map[string]uint64
	// Rejections counts requests and connections refused, by every reason there
	// is, such as "origin" or "max_connections".
	Rejections map[string]uint64
	// Routes holds the figures of each route that leads to a module, by its path
	// as it is written in Options.
	Routes map[string]RouteStats
	// Modules holds each module's figures by name.
	Modules map[string]ModuleStats
	// TLS holds the figures of handshakes and certificates; nil without TLS.
	TLS *TLSStats
}

// DeflateStats are the figures of permessage-deflate.
type DeflateStats struct {
	// ReceivedWire and ReceivedPlain are the bytes of compressed messages that
	// came, before and after they were inflated.
	ReceivedWire, ReceivedPlain uint64
	// SentPlain and SentWire are the bytes of frames that were compressed, before
	// and after, once for each receiver.
	SentPlain, SentWire uint64
	// Deflaters and Inflaters are how many there are now, idle or not. One takes some
	// 1 MB, or 40 KB.
	Deflaters, Inflaters int
	// TakeoverBytes is what connections with context takeover may remember now.
	TakeoverBytes int64
}

// ModuleStats are a module's figures.
type ModuleStats struct {
	runtime.ModuleStats
	Inline   bool   // its handlers run on the poller's goroutine
	SentBack uint64 // how often they were moved back to workers
	Breaker  string // "closed", "open" or "half_open"
	Opened   uint64 // how often the breaker opened
	Gaps     uint64 // notices to slow readers that messages of a topic were dropped
	Lost     uint64 // those messages; a module's, whatever generation published them
	Cells    int    // instances of the scopes connection, key and singleton, or places for one
	// Metrics are those that it has declared, by name; of a canary see its module.
	Metrics []MetricValue
	// Times is how long its handlers took; empty without Deps.TimeHandlers.
	Times Times

	// Reloads counts changes of generations by result: "loaded", "refused",
	// "promoted" or "rolled_back".
	Reloads map[string]uint64
	// Canary holds the figures of the generation that serves a share, without
	// Reloads; nil when there is none.
	Canary *ModuleStats
}

// Stats returns a snapshot. Any goroutine.
func (s *Server) Stats() Stats {
	st := Stats{
		Shed:          s.shed.Load(),
		AcceptErrors:  s.acceptErrors.Load(),
		InboundBytes:  s.inbound.Load(),
		OutboundBytes: s.outbound.Load(),
		Deflate:       s.compression.stats(),
		Closes:        make(map[string]uint64),
		Rejections:    make(map[string]uint64),
		Routes:        s.byRoute.stats(s.opts().routes),
		Modules:       make(map[string]ModuleStats),
		TLS:           s.tlsStats(),
	}
	if set := s.tails.set.Load(); set != nil {
		st.Tails = len(set.list)
	}
	st.TailDropped = s.tails.dropped.Load()
	s.admitMu.Lock()
	st.Open, st.Handshakes, st.Accepted = s.open, s.handshakes, s.accepted
	s.admitMu.Unlock()
	for why := range s.closes {
		if n := s.closes[why].Load(); n > 0 {
			st.Closes[cause(why).String()] = n
		}
	}
	for why := range s.rejected {
		if rejection(why) != notRejected {
			st.Rejections[rejection(why).String()] = s.rejected[why].Load()
		}
	}
	s.turns.mu.Lock()
	all := s.turns.all
	s.turns.mu.Unlock()
	for _, t := range all {
		c := &t.stats
		st.Upgraded += c.opened.Load()
		st.Rejected += c.rejected.Load()
		st.HTTP += c.http.Load()
		st.MessagesReceived += c.messagesIn.Load()
		st.FramesSent += c.framesOut.Load()
		st.FramesRefused += c.refused.Load()
		st.BytesReceived += c.bytesIn.Load()
		st.BytesSent += c.bytesOut.Load()
		st.Reads += c.reads.Load()
		st.Writes += c.writes.Load()
		st.Pings += c.pings.Load()
		st.InboundWaits += c.waits.Load()
		st.HandlerFailures += c.failures.Load()
		st.Unavailable += c.unavailable.Load()
		st.Broken += c.broken.Load()
	}
	for name, tn := range s.tenants {
		st.Modules[name] = tn.stats()
	}
	return st
}

// stats are the figures of the current generation, and of a canary, each with the
// instances of its cells.
func (tn *tenant) stats() ModuleStats {
	rule := tn.rule.Load()
	figures := rule.stable.stats()
	figures.Metrics = rule.metrics()
	figures.Gaps, figures.Lost = tn.gaps.Load(), tn.lost.Load()
	if rule.canary != nil {
		canary := rule.canary.stats()
		figures.Canary = &canary
	}
	for _, cl := range tn.everyCell()[1:] {
		own, of := cl.own.Load(), &figures
		if own.generation == rule.canary {
			of = figures.Canary
		}
		stats := own.mod.Stats()
		of.Cells++
		of.Instances += stats.Instances
		of.Idle += stats.Idle
		of.Waiting += stats.Waiting
		of.MemoryBytes += stats.MemoryBytes
	}
	figures.Reloads = make(map[string]uint64)
	tn.changing.Lock()
	defer tn.changing.Unlock()
	for result, n := range tn.results {
		figures.Reloads[reloadLabels[result]] = n
	}
	return figures
}

// stats are the figures of one generation without its cells' instances.
func (gen *generation) stats() ModuleStats {
	figures := ModuleStats{
		ModuleStats: gen.pool.mod.Stats(),
		Inline:      gen.pace.quick.Load(),
		SentBack:    uint64(gen.pace.moves.Load()),
		Times:       gen.times.sum(),
	}
	figures.Breaker, figures.Opened = gen.breaker.state()
	figures.Calls = gen.events()
	return figures
}
