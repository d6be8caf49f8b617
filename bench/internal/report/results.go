package report

import (
	"slices"
	"time"

	"weir/bench/internal/stats"
	"weir/bench/load"
)

// Subject is the server that the tables compare the others with.
const Subject = "weir"

// Results is everything that one run of the harness found out.
type Results struct {
	Command   string          `json:"command"`
	Commit    string          `json:"commit"` // of the project; "unknown" outside a repository
	Date      time.Time       `json:"date"`
	Machine   Machine         `json:"machine"`
	Rounds    int             `json:"rounds"`
	Warmup    time.Duration   `json:"warmup_ns"`
	Measure   time.Duration   `json:"measure_ns"`
	Workloads []load.Workload `json:"workloads"` // in the order of the tables
	Servers   []Server        `json:"servers"`   // in the order they were named
	Samples   []Sample        `json:"samples"`
	Failures  []Failure       `json:"failures"`
}

// Machine is where it ran.
type Machine struct {
	CPU        string `json:"cpu"`
	CPUs       int    `json:"cpus"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	GOMAXPROCS int    `json:"gomaxprocs"` // of every server
}

// Server is one of those compared.
type Server struct {
	Name  string `json:"name"`
	About string `json:"about"`
	Floor bool   `json:"floor"` // speaks no WebSocket
}

// Sample is one measurement of one server.
type Sample struct {
	Server   string `json:"server"`
	Workload string `json:"workload"`
	Round    int    `json:"round"` // from 1
	Conns    int    `json:"conns"`

	Messages uint64  `json:"messages"` // handshakes for idle and connect
	Seconds  float64 `json:"seconds"`

	CPU      float64 `json:"cpu_us"`       // µs per message, by the CPU clock
	SchedCPU float64 `json:"sched_cpu_us"` // the same by schedstat
	User     float64 `json:"user_share"`   // of it in user mode, 0 to 1
	Switches float64 `json:"switches"`     // context switches per message
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	RSS      int64   `json:"rss_bytes"` // at the end
	Others   float64 `json:"others"`    // share of the machine that neither the server nor the load used

	Cycle   float64 `json:"cycle_cpu_us,omitempty"`   // connect: µs per open and close
	Rested  float64 `json:"rested_bytes,omitempty"`   // idle: RSS growth per connection after the handshake
	Touched float64 `json:"touched_bytes,omitempty"`  // idle: and after one echo on each
	PerSec  float64 `json:"messages_per_s,omitempty"` // Messages / Seconds
}

// Failure is a measurement that came to nothing.
type Failure struct {
	Server   string `json:"server"`
	Workload string `json:"workload"`
	Round    int    `json:"round"`
	Error    string `json:"error"`
}

// Metric picks one quantity of a sample.
type Metric func(Sample) float64

// Headline is the quantity that a kind of workload is about: RSS growth per
// connection for idle, else CPU time per message.
func Headline(kind load.Kind) Metric {
	if kind == load.KindIdle {
		return func(s Sample) float64 { return s.Rested }
	}
	return func(s Sample) float64 { return s.CPU }
}

// rounds returns a quantity by round.
func (r *Results) rounds(workload, server string, m Metric) map[int]float64 {
	v := make(map[int]float64)
	for _, s := range r.Samples {
		if s.Workload == workload && s.Server == server {
			v[s.Round] = m(s)
		}
	}
	return v
}

// Summary sums up a quantity over the rounds.
func (r *Results) Summary(workload, server string, m Metric) stats.Summary {
	var v []float64
	for _, x := range r.rounds(workload, server, m) {
		v = append(v, x)
	}
	return stats.Of(v)
}

// Ratio compares the subject with a server.
func (r *Results) Ratio(workload, server string, m Metric) stats.Summary {
	return stats.Ratio(r.rounds(workload, Subject, m), r.rounds(workload, server, m))
}

// ranked returns the servers measured in a workload: floors, then the others,
// the better first.
func (r *Results) ranked(w load.Workload) []Server {
	m := Headline(w.Kind)
	name := w.String()
	list := slices.DeleteFunc(slices.Clone(r.Servers), func(s Server) bool {
		return r.Summary(name, s.Name, m).N == 0
	})
	slices.SortStableFunc(list, func(a, b Server) int {
		switch {
		case a.Floor != b.Floor && a.Floor:
			return -1
		case a.Floor != b.Floor:
			return 1
		}
		x, y := r.Summary(name, a.Name, m).Median, r.Summary(name, b.Name, m).Median
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return list
}
