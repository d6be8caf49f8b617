package runtime

// ModuleStats is a snapshot of one module. What instances count reaches it when they are given back or discarded.
type ModuleStats struct {
	Name       string
	Generation uint64
	Digest     string

	Users        int64 // Retain minus Release
	MaxInstances int
	Instances    int    // that exist, or are being made
	Idle         int    // of these, waiting for work
	Waiting      int    // waiters in the queue
	Late         uint64 // waiters refused because they waited too long
	MemoryBytes  int64  // linear memory of the instances

	Created      uint64          // instances ever begun
	Discarded    uint64          // instances thrown away
	Calls        uint64          // events delivered
	Refused      uint64          // of these, answered with non-zero
	Traps        [Reasons]uint64 // instances that stopped, in an event or elsewhere, by Reason
	LogLines     uint64          // lines that guests logged
	LogsDropped  uint64          // lines dropped because a call, or the module, logged too much
	Tapes        uint64          // tapes kept of instances that stopped
	TapesDropped uint64          // tapes not kept, because others were being written
}

// counters belong to an instance, so to the goroutine that holds it.
type counters struct {
	calls, refused, logLines, logsDropped uint64
}

func (c *counters) addTo(t *counters) {
	t.calls += c.calls
	t.refused += c.refused
	t.logLines += c.logLines
	t.logsDropped += c.logsDropped
	*c = counters{}
}
