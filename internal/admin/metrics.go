package admin

import (
	"iter"
	"strconv"

	"weir/host"
	"weir/runtime"
)

// metric is a row of the table. Exactly one of read and times is set: it gives
// each series its value, with values for all of labels.
type metric struct {
	name   string
	kind   kind
	labels []string
	help   string // what one unit of it is

	read  func(r *reading, set setValue)
	times func(r *reading, set setTimes)
}

type (
	setValue func(value float64, labels ...string)
	setTimes func(t host.Times, labels ...string)
)

// kind is what Prometheus calls the type of a metric.
type kind string

const (
	counter   kind = "counter"
	gauge     kind = "gauge"
	histogram kind = "histogram"
)

// Labels that several metrics have. A module's figures begin at 0 with each of
// its generations, and say which that is.
const (
	labelModule     = "module"
	labelGeneration = "generation"
	labelRoute      = "route"
	labelReason     = "reason"
)

var ofGeneration = []string{labelModule, labelGeneration}

// metrics is the table: every metric of ours, in the order of the page. Units
// are the base ones, and every label has few values that no peer can choose.
var metrics = []metric{
	{
		name: "weir_connections", kind: gauge, labels: []string{labelRoute},
		help: "WebSockets that are open.",
		read: func(r *reading, set setValue) {
			for path, route := range r.host.Routes {
				set(float64(route.Open), path)
			}
		},
	},
	{
		name: "weir_connections_opened_total", kind: counter,
		help: "Connections that became WebSockets.",
		read: number(func(r *reading) uint64 { return r.host.Upgraded }),
	},
	{
		name: "weir_connections_closed_total", kind: counter, labels: []string{labelRoute, "code"},
		help: "WebSockets that were closed, by close code (RFC 6455, section 7.4.1); 1006 is an end without a Close frame, and 3xxx and 4xxx stand for all codes of those thousands.",
		read: func(r *reading, set setValue) {
			for path, route := range r.host.Routes {
				for code, n := range route.Closed {
					set(float64(n), path, code)
				}
			}
		},
	},
	{
		name: "weir_connections_ended_total", kind: counter, labels: []string{"cause"},
		help: "Connections of any kind that ended, by who or what ended them.",
		read: func(r *reading, set setValue) {
			for cause, n := range r.host.Closes {
				set(float64(n), cause)
			}
		},
	},
	{
		name: "weir_connections_accepted_total", kind: counter,
		help: "Connections that were accepted and admitted, whatever they asked for.",
		read: number(func(r *reading) uint64 { return r.host.Accepted }),
	},
	{
		name: "weir_accept_errors_total", kind: counter,
		help: "Times the system refused to hand over a connection, for want of descriptors most of all.",
		read: number(func(r *reading) uint64 { return r.host.AcceptErrors }),
	},
	{
		name: "weir_handshakes", kind: gauge,
		help: "Connections whose request has not come completely or is not answered.",
		read: number(func(r *reading) int { return r.host.Handshakes }),
	},
	{
		name: "weir_handshakes_rejected_total", kind: counter, labels: []string{labelReason},
		help: "Requests that were refused, and connections that were turned away before one.",
		read: func(r *reading, set setValue) {
			for reason, n := range r.host.Rejections {
				set(float64(n), reason)
			}
		},
	},
	{
		name: "weir_http_connections_total", kind: counter,
		help: "Connections whose request was no upgrade: files, pages, and what is not found.",
		read: number(func(r *reading) uint64 { return r.host.HTTP }),
	},
	{
		name: "weir_tls_handshakes_total", kind: counter, labels: []string{"session"},
		help: "TLS handshakes that were completed: with a new session (new), or by taking up a former one (resumed).",
		read: ofTLS(func(st *host.TLSStats, set setValue) {
			set(float64(st.Handshakes-st.Resumed), "new")
			set(float64(st.Resumed), "resumed")
		}),
	},
	{
		name: "weir_tls_handshakes_failed_total", kind: counter, labels: []string{labelReason},
		help: "TLS handshakes that came to nothing: the client spoke plainly (not_tls), hung up (gone) or took too long (unfinished), an alert of its came (alert), or one side lacked what the other wants.",
		read: ofTLS(func(st *host.TLSStats, set setValue) {
			for reason, n := range st.Refused {
				set(float64(n), reason)
			}
		}),
	},
	{
		name: "weir_tls_certificate_not_after_timestamp_seconds", kind: gauge,
		help: "When the certificate of server.tls.cert ends, in seconds since 1970.",
		read: ofTLS(func(st *host.TLSStats, set setValue) {
			if !st.Certificates.NotAfter.IsZero() {
				set(float64(st.Certificates.NotAfter.Unix()))
			}
		}),
	},
	{
		name: "weir_tls_certificate_reloads_total", kind: counter, labels: []string{"result"},
		help: "Times that other certificate files were taken (loaded), and that they could not be used, so that the old ones stayed (refused).",
		read: ofTLS(func(st *host.TLSStats, set setValue) {
			set(float64(st.Certificates.Loaded), "loaded")
			set(float64(st.Certificates.Refused), "refused")
		}),
	},
	{
		name: "weir_messages_received_total", kind: counter,
		help: "Whole messages that came from peers.",
		read: number(func(r *reading) uint64 { return r.host.MessagesReceived }),
	},
	{
		name: "weir_messages_sent_total", kind: counter,
		help: "Messages that handlers sent or published, one for each receiver, and that were written or queued.",
		read: number(func(r *reading) uint64 { return r.host.FramesSent }),
	},
	{
		name: "weir_messages_dropped_total", kind: counter, labels: []string{labelReason},
		help: "Messages for connections that were closing (closing), publishes that a topic's policy dropped for slow readers (slow_reader), and events that an open breaker kept from their module (breaker).",
		read: func(r *reading, set setValue) {
			set(float64(r.host.FramesRefused), "closing")
			set(float64(r.host.Broken), "breaker")
			lost := uint64(0)
			for _, m := range r.host.Modules {
				lost += m.Lost
			}
			set(float64(lost), "slow_reader")
		},
	},
	{
		name: "weir_gaps_total", kind: counter, labels: []string{labelModule},
		help: "Gap notices queued for slow readers of topics that drop messages; each tells of one or more.",
		read: func(r *reading, set setValue) {
			for name, m := range r.host.Modules {
				set(float64(m.Gaps), name)
			}
		},
	},
	{
		name: "weir_received_bytes_total", kind: counter,
		help: "Bytes that were read from WebSockets and their handshakes.",
		read: number(func(r *reading) uint64 { return r.host.BytesReceived }),
	},
	{
		name: "weir_pings_sent_total", kind: counter,
		help: "Pings sent to silent peers.",
		read: number(func(r *reading) uint64 { return r.host.Pings }),
	},
	{
		name: "weir_inbound_waits_total", kind: counter,
		help: "Times the server stopped reading a connection for a while because it had sent more than websocket.inbound_rate or inbound_bytes allow.",
		read: number(func(r *reading) uint64 { return r.host.InboundWaits }),
	},
	{
		name: "weir_inbound_bytes", kind: gauge,
		help: "Memory held for messages that have not come completely.",
		read: number(func(r *reading) int64 { return r.host.InboundBytes }),
	},
	{
		name: "weir_outbound_bytes", kind: gauge,
		help: "Bytes that wait for peers to read.",
		read: number(func(r *reading) int64 { return r.host.OutboundBytes }),
	},
	{
		name: "weir_deflate_bytes_total", kind: counter, labels: []string{"direction", "form"},
		help: "Bytes of messages that travelled compressed: those received and sent, as they went over the wire, and plain.",
		read: func(r *reading, set setValue) {
			set(float64(r.host.Deflate.ReceivedWire), "received", "wire")
			set(float64(r.host.Deflate.ReceivedPlain), "received", "plain")
			set(float64(r.host.Deflate.SentWire), "sent", "wire")
			set(float64(r.host.Deflate.SentPlain), "sent", "plain")
		},
	},
	{
		name: "weir_deflate_engines", kind: gauge, labels: []string{"kind"},
		help: "Compressors that there are, of some 1 MB each, and inflaters, of some 40 KB.",
		read: func(r *reading, set setValue) {
			set(float64(r.host.Deflate.Deflaters), "deflate")
			set(float64(r.host.Deflate.Inflaters), "inflate")
		},
	},
	{
		name: "weir_deflate_takeover_bytes", kind: gauge,
		help: "What connections with context takeover may remember of earlier messages.",
		read: number(func(r *reading) int64 { return r.host.Deflate.TakeoverBytes }),
	},
	{
		name: "weir_slow_consumers_total", kind: counter,
		help: "Connections that were closed because their peer read too slowly.",
		read: number(func(r *reading) uint64 { return r.host.Closes["slow_consumer"] }),
	},
	{
		name: "weir_tails", kind: gauge,
		help: "Tails that are open: operators who watch events as they happen.",
		read: number(func(r *reading) int { return r.host.Tails }),
	},
	{
		name: "weir_tail_events_dropped_total", kind: counter,
		help: "Events that tails have dropped because too many waited for whoever watches.",
		read: number(func(r *reading) uint64 { return r.host.TailDropped }),
	},

	{
		name: "weir_handler_duration_seconds", kind: histogram, labels: ofGeneration,
		help: "How long events took in the handler, those that failed included.",
		times: func(r *reading, set setTimes) {
			for name, m := range r.generations() {
				set(m.Times, name, generation(m))
			}
		},
	},
	{
		name: "weir_handler_events_total", kind: counter, labels: ofGeneration,
		help: "Events that handlers were given. Those of an instance that is busy are counted when its turn is over.",
		read: ofModules(func(m host.ModuleStats) uint64 { return m.Calls }),
	},
	{
		name: "weir_handler_errors_total", kind: counter, labels: ofGeneration,
		help: "Events that handlers answered with an error, which undoes their effects.",
		read: ofModules(func(m host.ModuleStats) uint64 { return m.Refused }),
	},
	{
		name: "weir_module_info", kind: gauge, labels: []string{labelModule, labelGeneration, "digest"},
		help: "1 for the generation of each module that serves, and for a canary, with the SHA-256 of its file.",
		read: func(r *reading, set setValue) {
			for name, m := range r.generations() {
				set(1, name, generation(m), m.Digest)
			}
		},
	},
	{
		name: "weir_module_traps_total", kind: counter, labels: []string{labelModule, labelGeneration, labelReason},
		help: "Instances that stopped, by reason: a trap, a limit, or a breach of the ABI.",
		read: func(r *reading, set setValue) {
			for name, m := range r.generations() {
				for reason, n := range m.Traps {
					set(float64(n), name, generation(m), runtime.Reason(reason).String())
				}
			}
		},
	},
	{
		name: "weir_module_reloads_total", kind: counter, labels: []string{labelModule, "result"},
		help: "Changes of a module's generation, by how they ended.",
		read: func(r *reading, set setValue) {
			for name, m := range r.host.Modules {
				for result, n := range m.Reloads {
					set(float64(n), name, result)
				}
			}
		},
	},
	{
		name: "weir_module_instances", kind: gauge, labels: []string{labelModule, labelGeneration, "state"},
		help: "Instances that exist: idle ones, and busy ones.",
		read: func(r *reading, set setValue) {
			for name, m := range r.generations() {
				set(float64(m.Idle), name, generation(m), "idle")
				set(float64(m.Instances-m.Idle), name, generation(m), "busy")
			}
		},
	},
	{
		name: "weir_module_instances_limit", kind: gauge, labels: ofGeneration,
		help: "Instances that there may be.",
		read: ofModules(func(m host.ModuleStats) int { return m.MaxInstances }),
	},
	{
		name: "weir_module_instances_created_total", kind: counter, labels: ofGeneration,
		help: "Instances that were begun.",
		read: ofModules(func(m host.ModuleStats) uint64 { return m.Created }),
	},
	{
		name: "weir_module_queue_length", kind: gauge, labels: ofGeneration,
		help: "Connections that wait for an instance.",
		read: ofModules(func(m host.ModuleStats) int { return m.Waiting }),
	},
	{
		name: "weir_module_queue_refused_total", kind: counter, labels: ofGeneration,
		help: "Connections that waited for an instance for too long.",
		read: ofModules(func(m host.ModuleStats) uint64 { return m.Late }),
	},
	{
		name: "weir_module_memory_bytes", kind: gauge, labels: ofGeneration,
		help: "Linear memory of the instances.",
		read: ofModules(func(m host.ModuleStats) int64 { return m.MemoryBytes }),
	},
	{
		name: "weir_module_inline", kind: gauge, labels: ofGeneration,
		help: "1 while the handler is quick enough for the goroutines that read messages, 0 while it is left to workers.",
		read: func(r *reading, set setValue) {
			for name, m := range r.generations() {
				set(truth(m.Inline), name, generation(m))
			}
		},
	},
	{
		name: "weir_module_breaker_state", kind: gauge, labels: []string{labelModule, labelGeneration, "state"},
		help: "1 for the state that the module's breaker is in, 0 for the others.",
		read: func(r *reading, set setValue) {
			for name, m := range r.generations() {
				for _, state := range []string{"closed", "half_open", "open"} {
					set(truth(m.Breaker == state), name, generation(m), state)
				}
			}
		},
	},
	{
		name: "weir_module_breaker_opened_total", kind: counter, labels: ofGeneration,
		help: "Times the breaker opened because of too many traps.",
		read: ofModules(func(m host.ModuleStats) uint64 { return m.Opened }),
	},
	{
		name: "weir_module_log_lines_total", kind: counter, labels: ofGeneration,
		help: "Lines that handlers logged.",
		read: ofModules(func(m host.ModuleStats) uint64 { return m.LogLines }),
	},
	{
		name: "weir_module_log_lines_dropped_total", kind: counter, labels: ofGeneration,
		help: "Lines of handlers that were dropped because there were too many.",
		read: ofModules(func(m host.ModuleStats) uint64 { return m.LogsDropped }),
	},

	{
		name: "weir_guest_memory_budget_bytes", kind: gauge,
		help: "Memory that all instances together may have.",
		read: number(func(r *reading) int64 { return r.memory.BudgetBytes }),
	},
	{
		name: "weir_guest_memory_committed_bytes", kind: gauge,
		help: "Memory that they have, what is kept for the next ones included.",
		read: number(func(r *reading) int64 { return r.memory.CommittedBytes }),
	},
	{
		name: "weir_guest_memory_refused_total", kind: counter, labels: []string{"request"},
		help: "Requests for memory that the budget did not allow: of an instance's start, or to grow one.",
		read: func(r *reading, set setValue) {
			set(float64(r.memory.RefusedStarts), "start")
			set(float64(r.memory.RefusedGrows), "grow")
		},
	},

	{
		name: "weir_pool_workers", kind: gauge, labels: []string{"state"},
		help: "Workers that were started: idle ones, and busy ones.",
		read: func(r *reading, set setValue) {
			set(float64(r.pool.Workers-r.pool.Busy), "idle")
			set(float64(r.pool.Busy), "busy")
		},
	},
	{
		name: "weir_pool_workers_limit", kind: gauge,
		help: "Workers that there may be.",
		read: number(func(r *reading) int { return r.pool.MaxWorkers }),
	},
	{
		name: "weir_pool_queue_length", kind: gauge,
		help: "Tasks that wait for a worker.",
		read: number(func(r *reading) int { return r.pool.Queued }),
	},
	{
		name: "weir_pool_turns_total", kind: counter,
		help: "Turns of tasks that workers ended.",
		read: number(func(r *reading) uint64 { return r.pool.Done }),
	},
	{
		name: "weir_pool_wakes_total", kind: counter,
		help: "Workers that were woken for a task.",
		read: number(func(r *reading) uint64 { return r.pool.Wakes }),
	},
	{
		name: "weir_pool_overloads_total", kind: counter,
		help: "Times the queue grew beyond the mark at which connections are turned away.",
		read: number(func(r *reading) uint64 { return r.pool.Overloads }),
	},

	{
		name: "weir_poller_sockets", kind: gauge,
		help: "Sockets and listeners that are waited for.",
		read: number(func(r *reading) int64 { return r.poller.Registered }),
	},
	{
		name: "weir_poller_shards", kind: gauge, labels: []string{"state"},
		help: "Goroutines that wait for sockets: those that wait, and those that handle an event.",
		read: func(r *reading, set setValue) {
			set(float64(r.poller.Shards-r.poller.Busy), "idle")
			set(float64(r.poller.Busy), "busy")
		},
	},
	{
		name: "weir_poller_events_total", kind: counter,
		help: "Events of sockets that were delivered.",
		read: number(func(r *reading) uint64 { return r.poller.Events }),
	},
	{
		name: "weir_poller_stale_events_total", kind: counter,
		help: "Events of sockets that were closed meanwhile.",
		read: number(func(r *reading) uint64 { return r.poller.Stale }),
	},
}

// number is the reading of a metric without labels.
func number[N int | int64 | uint64](of func(*reading) N) func(*reading, setValue) {
	return func(r *reading, set setValue) { set(float64(of(r))) }
}

// ofTLS is the reading of a metric that only a server with TLS has.
func ofTLS(read func(*host.TLSStats, setValue)) func(*reading, setValue) {
	return func(r *reading, set setValue) {
		if r.host.TLS != nil {
			read(r.host.TLS, set)
		}
	}
}

// generations are the modules by name, each with its current generation and then
// its canary.
func (r *reading) generations() iter.Seq2[string, host.ModuleStats] {
	return func(yield func(string, host.ModuleStats) bool) {
		for name, m := range r.host.Modules {
			if !yield(name, m) || m.Canary != nil && !yield(name, *m.Canary) {
				return
			}
		}
	}
}

// ofModules is the reading of a metric with the labels ofGeneration.
func ofModules[N int | int64 | uint64](of func(host.ModuleStats) N) func(*reading, setValue) {
	return func(r *reading, set setValue) {
		for name, m := range r.generations() {
			set(float64(of(m)), name, generation(m))
		}
	}
}

func generation(m host.ModuleStats) string { return strconv.FormatUint(m.Generation, 10) }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
