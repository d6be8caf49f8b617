package netpoll

import "sync/atomic"

// Stats is what a Poller has done, and what it holds now. The fields are read
// one after another while the shards go on, so they agree only roughly.
type Stats struct {
	// Shards is the number of shards, Registered the sockets and listeners
	// that were started and not yet closed.
	Shards     int
	Registered int64
	// Events counts the calls of Ready, Stale the events that were dropped
	// because their socket had been closed before they could be delivered.
	Events, Stale uint64
	// Busy is the number of shards that are inside a call of Ready.
	Busy int
	// PerShard has the same for each shard.
	PerShard []ShardStats
}

// ShardStats are the numbers of one shard.
type ShardStats struct {
	Registered    int64
	Events, Stale uint64
	// InReady tells that the shard is inside a call of Ready. A shard for
	// which two looks find InReady with the same Events was held up by one
	// handler all the time between them: that handler blocked.
	InReady bool
}

// counters are what a shard counts. Nobody takes the time for it: a handler
// that blocks shows by Events that stand still.
type counters struct {
	_ [64]byte // the shard's goroutine alone writes the next line
	// entered and left count the two ends of Ready.
	entered, left atomic.Uint64
	stale         atomic.Uint64
	_             [64]byte // everybody writes the next one
	registered    atomic.Int64
	_             [64]byte
}

// deliver calls h.Ready and counts it. The shard's goroutine calls it.
func (c *counters) deliver(h Handler, ev Event) {
	c.entered.Add(1)
	h.Ready(ev)
	c.left.Add(1)
}

func (c *counters) read() ShardStats {
	// left first: the other way round a call that ends in between would make
	// left the larger one.
	left := c.left.Load()
	entered := c.entered.Load()
	return ShardStats{
		Registered: c.registered.Load(),
		Events:     entered,
		Stale:      c.stale.Load(),
		InReady:    entered > left,
	}
}

// sum adds one shard's numbers to s.
func (s *Stats) sum(sh ShardStats) {
	s.Shards++
	s.Registered += sh.Registered
	s.Events += sh.Events
	s.Stale += sh.Stale
	if sh.InReady {
		s.Busy++
	}
	s.PerShard = append(s.PerShard, sh)
}
