package admin

import (
	"weir/host"
	"weir/netpoll"
	"weir/pool"
	"weir/runtime"
)

// Subject is a running server and what it stands on. None of it is nil, but for
// the Operator of a server without one: what needs it is then not available.
type Subject struct {
	Server *host.Server
	Poller *netpoll.Poller
	Pool   *pool.Pool
	Engine *runtime.Engine

	Operator Operator
}

// reading is a subject, and the process, at about one moment.
type reading struct {
	host    host.Stats
	poller  netpoll.Stats
	pool    pool.Stats
	memory  runtime.MemoryStats
	process processStats
}

func (s *Subject) read() *reading {
	return &reading{host: s.Server.Stats(), poller: s.Poller.Stats(), pool: s.Pool.Stats(), memory: s.Engine.Memory(), process: readProcess()}
}
