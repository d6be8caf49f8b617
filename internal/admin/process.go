package admin

import (
	goruntime "runtime"
	gometrics "runtime/metrics"
	"time"
)

// processStats are figures of this process. What the system does not tell is 0.
type processStats struct {
	started                  time.Time
	cpu                      time.Duration // user and system
	residentBytes            uint64
	openFiles, maxFiles      uint64
	goroutines               int
	heapBytes, mappedGoBytes uint64
	collections              uint64
}

// started is when the process began, as near as it knows.
var started = time.Now()

func readProcess() processStats {
	samples := []gometrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	gometrics.Read(samples)
	p := processStats{
		started: started, goroutines: goruntime.NumGoroutine(),
		heapBytes: samples[0].Value.Uint64(), mappedGoBytes: samples[1].Value.Uint64(), collections: samples[2].Value.Uint64(),
	}
	p.askSystem()
	return p
}

// processMetrics are called as in the client libraries of Prometheus, so that
// dashboards of others show them.
var processMetrics = []metric{
	{
		name: "process_cpu_seconds_total", kind: counter,
		help: "Processor time that the process has used, in its own code and in the system's.",
		read: known(func(p *processStats) float64 { return p.cpu.Seconds() }),
	},
	{
		name: "process_resident_memory_bytes", kind: gauge,
		help: "Memory of the process that is in RAM.",
		read: known(func(p *processStats) float64 { return float64(p.residentBytes) }),
	},
	{
		name: "process_open_fds", kind: gauge,
		help: "Files that are open, sockets included.",
		read: known(func(p *processStats) float64 { return float64(p.openFiles) }),
	},
	{
		name: "process_max_fds", kind: gauge,
		help: "Files that may be open.",
		read: known(func(p *processStats) float64 { return float64(p.maxFiles) }),
	},
	{
		name: "process_start_time_seconds", kind: gauge,
		help: "When the process began, in seconds since 1970.",
		read: known(func(p *processStats) float64 { return float64(p.started.UnixMilli()) / 1e3 }),
	},
	{
		name: "go_goroutines", kind: gauge,
		help: "Goroutines that there are.",
		read: number(func(r *reading) int { return r.process.goroutines }),
	},
	{
		name: "go_memstats_heap_alloc_bytes", kind: gauge,
		help: "Memory of Go's heap that is in use, or was until the next collection.",
		read: number(func(r *reading) uint64 { return r.process.heapBytes }),
	},
	{
		name: "go_memstats_sys_bytes", kind: gauge,
		help: "Memory that Go has mapped. That of guests comes on top.",
		read: number(func(r *reading) uint64 { return r.process.mappedGoBytes }),
	},
	{
		name: "go_gc_cycles_total", kind: counter,
		help: "Collections of garbage that were completed.",
		read: number(func(r *reading) uint64 { return r.process.collections }),
	},
}

// known is the reading of a figure that only some systems tell.
func known(of func(*processStats) float64) func(*reading, setValue) {
	return func(r *reading, set setValue) {
		if v := of(&r.process); v != 0 {
			set(v)
		}
	}
}
