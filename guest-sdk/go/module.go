package weir

import (
	"time"
	"unsafe"
)

// Publish sends a message to every member of a topic.
func Publish(topic string, m Message) error { return PublishExcept(topic, m, None) }

// PublishExcept sends a message to every member of a topic but one.
func PublishExcept(topic string, m Message, except Conn) error {
	return check("topic_publish", topicPublish(topic, int32(m.Kind), lend(m.Data), uint64(except)))
}

// Count returns how many members a topic has on this node; 0 if the module may not ask.
func Count(topic string) int { return int(max(0, topicCount(topic))) }

// After calls the handler's Timer with None and the given id once, in at least d. Any instance may be called for it.
func After(id int64, d time.Duration) error { return None.After(id, d) }

// Every calls the handler's Timer with None and the given id again and again.
func Every(id int64, d time.Duration) error { return None.Every(id, d) }

// CancelTimer takes a timer of the module back.
func CancelTimer(id int64) error { return None.CancelTimer(id) }

// Key returns what this instance is for: its key under the scope key, the connection's id in decimal under the scope
// connection, nothing under pool and singleton.
func Key() string {
	value, _ := read(instanceKey)
	return string(value)
}

// Now returns the time of day, to the millisecond. It stands still within an event.
func Now() time.Time { return time.UnixMilli(timeUnixMs()) }

// Uptime returns a time that never goes back, for measuring; its zero has no meaning. It stands still within an event.
func Uptime() time.Duration { return time.Duration(timeMonoNs()) }

// Random fills p with random bytes from the instance's own stream.
func Random(p []byte) {
	if len(p) > 0 {
		random(unsafe.Pointer(unsafe.SliceData(p)), uint32(len(p)))
	}
}

// Log writes a line to the server's log, at once: it stays when the handler fails. Package weirlog does the same for
// log/slog. Lines above the server's rate are dropped.
func Log(level Level, text string) { log(int32(level), text) }

// AddMetric adds to a metric that the module's configuration declares.
func AddMetric(name string, delta int64) error { return check("metric_add", metricAdd(name, delta)) }

// Has reports whether the server has the named host function, for modules that can do without it.
func Has(function string) bool { return abiHas(function) == 1 }

// lend gives the host a view of p until the call returns.
func lend(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// scratch receives what the host writes; calls never overlap.
var scratch = make([]byte, 1024)

// read calls a host function that writes a result of unknown length. The result is valid until the next read; the
// status is negative when there is none.
func read(call func(buf unsafe.Pointer, size uint32) int32) (value []byte, status int32) {
	n := call(unsafe.Pointer(unsafe.SliceData(scratch)), uint32(len(scratch)))
	if int(n) > len(scratch) {
		scratch = make([]byte, n)
		n = call(unsafe.Pointer(unsafe.SliceData(scratch)), uint32(n))
	}
	if n < 0 {
		return nil, n
	}
	return scratch[:n], n
}
