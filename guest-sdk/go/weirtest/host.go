package weirtest

import (
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	weir "weir/guest-sdk/go"
	"weir/guest-sdk/go/internal/native"
)

// host answers the handler's calls. It is a Server of another name, so that these methods are not offered to tests.
// Each effect is done at once, for the same event to see, and noted in undo.
type host struct{ *Server }

var _ native.Host = (*host)(nil)

// open finds a connection that can be sent to.
func (h *host) open(conn uint64) (*Client, int32) {
	c, status := h.reach(conn)
	switch {
	case status != native.StatusOK:
		return nil, status
	case c.closing:
		return nil, native.StatusClosed
	}
	return c, h.effect()
}

// reach finds a connection that the event may do something about.
func (h *host) reach(conn uint64) (*Client, int32) {
	c := h.conns[conn]
	switch {
	case c == nil:
		return nil, native.StatusUnknownConnection
	case h.event == native.EventClose, h.request != nil && h.request.conn == conn:
		return nil, native.StatusDenied
	}
	return c, native.StatusOK
}

// effect counts one effect of the event.
func (h *host) effect() int32 {
	if h.event == native.EventSave || h.event == native.EventRestore {
		return native.StatusDenied
	}
	if h.effects++; h.effects > maxEffects {
		return native.StatusTooMany
	}
	return native.StatusOK
}

func (h *host) onRollback(f func()) { h.undo = append(h.undo, f) }

func (h *host) granted(capability string) bool { return !slices.Contains(h.options.Deny, capability) }

// checkMessage returns what is wrong with a message.
func checkMessage(kind int32, data string) int32 {
	switch {
	case kind != int32(weir.KindText) && kind != int32(weir.KindBinary):
		return native.StatusInvalid
	case kind == int32(weir.KindText) && !utf8.ValidString(data):
		return native.StatusInvalid
	case len(data) > maxMessageBytes:
		return native.StatusTooBig
	}
	return native.StatusOK
}

func (h *host) send(c *Client, kind int32, data string) {
	inbox, queued := c.inbox, c.queuedBytes
	h.onRollback(func() { c.inbox, c.queuedBytes = inbox, queued })
	c.inbox = append(slices.Clip(c.inbox), weir.Message{Kind: weir.Kind(kind), Data: []byte(data)})
	if c.paused {
		c.queuedBytes += len(data)
	}
}

func (h *host) ConnSend(conn uint64, kind int32, data string) int32 {
	if status := checkMessage(kind, data); status != native.StatusOK {
		return status
	}
	c, status := h.open(conn)
	if status != native.StatusOK {
		return status
	}
	if c.full(len(data)) {
		return native.StatusQueueFull
	}
	h.send(c, kind, data)
	return native.StatusOK
}

func (h *host) ConnClose(conn uint64, code int32, reason string) int32 {
	switch {
	case code == 1000, code == 1001, code == 1008, 1011 <= code && code <= 1013, 3000 <= code && code <= 4999:
	default:
		return native.StatusInvalid
	}
	switch {
	case len(reason) > maxReasonBytes:
		return native.StatusTooBig
	case !utf8.ValidString(reason):
		return native.StatusInvalid
	}
	c, status := h.open(conn)
	if status != native.StatusOK {
		return status
	}
	h.onRollback(func() { c.closing = false })
	c.leave(int(code), strings.Clone(reason), true)
	return native.StatusOK
}

func (h *host) ConnAttr(conn uint64, name string, value []byte) int32 {
	c := h.conns[conn]
	if c == nil {
		return native.StatusUnknownConnection
	}
	if strings.HasPrefix(name, "header:") {
		name = strings.ToLower(name)
	}
	attr, ok := c.attrs[name]
	if !ok {
		return native.StatusNotFound
	}
	return fill(value, attr)
}

// fill writes a result if all of it fits.
func fill[T string | []byte](buf []byte, result T) int32 {
	if len(result) <= len(buf) {
		copy(buf, result)
	}
	return int32(len(result))
}

func (h *host) ConnStateGet(conn uint64, state []byte) int32 {
	c := h.conns[conn]
	if c == nil {
		return native.StatusUnknownConnection
	}
	return fill(state, c.state)
}

func (h *host) ConnStateSet(conn uint64, state string) int32 {
	c := h.conns[conn]
	switch {
	case c == nil:
		return native.StatusUnknownConnection
	case len(state) > maxStateBytes:
		return native.StatusTooBig
	}
	before := c.state
	h.onRollback(func() { c.state = before })
	c.state = []byte(state)
	return h.effect()
}

func (h *host) ConnQueued(conn uint64) int64 {
	c := h.conns[conn]
	if c == nil {
		return native.StatusUnknownConnection
	}
	return int64(c.queuedBytes)
}

func validTopic(topic string) bool {
	return topic != "" && len(topic) <= maxTopicBytes && utf8.ValidString(topic)
}

func (h *host) TopicJoin(conn uint64, topic string) int32 {
	if !h.granted("topics") {
		return native.StatusDenied
	}
	if !validTopic(topic) {
		return native.StatusInvalid
	}
	if _, status := h.open(conn); status != native.StatusOK {
		return status
	}
	topic = strings.Clone(topic)
	members := h.topics[topic]
	if members[conn] {
		return native.StatusOK
	}
	joined := 0
	for _, members := range h.topics {
		if members[conn] {
			joined++
		}
	}
	if joined >= maxTopicsPerConn {
		return native.StatusTooMany
	}
	if members == nil {
		members = map[uint64]bool{}
		h.topics[topic] = members
	}
	members[conn] = true
	h.onRollback(func() { delete(members, conn) })
	return native.StatusOK
}

func (h *host) TopicLeave(conn uint64, topic string) int32 {
	if !h.granted("topics") {
		return native.StatusDenied
	}
	if !validTopic(topic) {
		return native.StatusInvalid
	}
	if _, status := h.reach(conn); status != native.StatusOK {
		return status
	}
	members := h.topics[topic]
	if !members[conn] {
		return native.StatusNotFound
	}
	delete(members, conn)
	h.onRollback(func() { members[conn] = true })
	return h.effect()
}

func (h *host) TopicPublish(topic string, kind int32, data string, except uint64) int32 {
	if !h.granted("topics") {
		return native.StatusDenied
	}
	if !validTopic(topic) {
		return native.StatusInvalid
	}
	if status := checkMessage(kind, data); status != native.StatusOK {
		return status
	}
	if status := h.effect(); status != native.StatusOK {
		return status
	}
	for id := range h.topics[topic] {
		c := h.conns[id]
		switch {
		case c == nil || id == except || c.closing:
		case c.full(len(data)):
			h.onRollback(func() { c.closing = false })
			c.leave(weir.CloseTryLater, "reads too slowly", true)
		default:
			h.send(c, kind, data)
		}
	}
	return native.StatusOK
}

func (h *host) TopicCount(topic string) int32 {
	if !h.granted("topics") {
		return native.StatusDenied
	}
	if !validTopic(topic) {
		return native.StatusInvalid
	}
	return int32(len(h.topics[topic]))
}

// timer checks whose timer it is.
func (h *host) timer(conn uint64) (*Client, int32) {
	switch {
	case !h.granted("timers"):
		return nil, native.StatusDenied
	case conn != 0:
		return h.reach(conn)
	case h.event == native.EventClose:
		return nil, native.StatusDenied
	}
	return nil, native.StatusOK
}

func (h *host) TimerSet(conn uint64, id, afterMs, everyMs int64) int32 {
	if afterMs < 0 || everyMs < 0 || afterMs > maxTimerMillis || everyMs > maxTimerMillis {
		return native.StatusInvalid
	}
	c, status := h.timer(conn)
	if status == native.StatusOK && c != nil && c.closing {
		status = native.StatusClosed
	}
	if status == native.StatusOK {
		status = h.effect()
	}
	if status != native.StatusOK {
		return status
	}
	key := timerKey{conn, id}
	before, reset := h.timers[key]
	if !reset {
		of := 0
		for k := range h.timers {
			if k.conn == conn {
				of++
			}
		}
		if len(h.timers) >= maxTimers || conn != 0 && of >= maxTimersPerConn {
			return native.StatusTooMany
		}
	}
	h.onRollback(func() {
		delete(h.timers, key)
		if reset {
			h.timers[key] = before
		}
	})
	after := max(minTimer, time.Duration(afterMs)*time.Millisecond)
	every := time.Duration(everyMs) * time.Millisecond
	if every > 0 {
		every = max(minTimer, every)
	}
	h.timersSet++
	h.timers[key] = &timer{due: h.now.Add(after), every: every, order: h.timersSet}
	return native.StatusOK
}

func (h *host) TimerCancel(conn uint64, id int64) int32 {
	if _, status := h.timer(conn); status != native.StatusOK {
		return status
	}
	key := timerKey{conn, id}
	before, set := h.timers[key]
	if !set {
		return native.StatusNotFound
	}
	delete(h.timers, key)
	h.onRollback(func() { h.timers[key] = before })
	return h.effect()
}

func (h *host) TimeUnixMs() int64 { return h.now.UnixMilli() }

func (h *host) TimeMonoNs() int64 { return int64(h.now.Sub(h.start)) }

func (h *host) Random(data []byte) int32 {
	_, _ = h.random.Read(data) // never fails
	return native.StatusOK
}

func (h *host) Log(level int32, text string) int32 {
	names := [...]string{weir.LevelDebug: "debug", weir.LevelInfo: "info", weir.LevelWarn: "warn", weir.LevelError: "error"}
	if level < 0 || int(level) >= len(names) {
		return native.StatusInvalid
	}
	h.logf("%s %s", names[level], text)
	return native.StatusOK
}

func (h *host) MetricAdd(name string, delta int64) int32 {
	if len(h.options.Metrics) == 0 {
		return native.StatusDenied
	}
	if !slices.Contains(h.options.Metrics, name) {
		return native.StatusNotFound
	}
	name = strings.Clone(name)
	h.metrics[name] += delta
	h.onRollback(func() { h.metrics[name] -= delta })
	return h.effect()
}

func (h *host) ABIHas(name string) int32 {
	if slices.Contains(native.Functions, name) {
		return 1
	}
	return 0
}

func (h *host) UpgradeURI(uri []byte) int32 {
	if h.request == nil {
		return native.StatusUnavailable
	}
	return fill(uri, h.request.request.Target)
}

func (h *host) UpgradeHeader(name string, value []byte) int32 {
	if h.request == nil {
		return native.StatusUnavailable
	}
	values := h.request.request.Header.Values(name)
	if len(values) == 0 {
		return native.StatusNotFound
	}
	return fill(value, strings.Join(values, ", "))
}

func (h *host) UpgradeProtocol(name string) int32 {
	switch {
	case h.request == nil:
		return native.StatusUnavailable
	case !token(name):
		return native.StatusInvalid
	case !slices.Contains(h.request.request.Protocols, name):
		return native.StatusNotFound
	}
	h.request.protocol = strings.Clone(name)
	return native.StatusOK
}

func (h *host) UpgradeRespondHeader(name, value string) int32 {
	if h.request == nil {
		return native.StatusUnavailable
	}
	if !token(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return native.StatusInvalid
	}
	key := http.CanonicalHeaderKey(name)
	if strings.HasPrefix(key, "Sec-Websocket-") ||
		slices.Contains([]string{"Connection", "Upgrade", "Content-Length", "Transfer-Encoding"}, key) {
		return native.StatusDenied
	}
	h.request.header.Add(key, strings.Clone(value))
	return native.StatusOK
}

// token reports whether a name can be that of a header (RFC 9110 §5.6.2).
func token(name string) bool {
	for _, r := range name {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r) {
			return false
		}
	}
	return name != ""
}

func (h *host) StateSave(data string) int32 {
	switch {
	case h.event != native.EventSave:
		return native.StatusUnavailable
	case len(data) > maxSavedBytes:
		return native.StatusTooBig
	}
	h.saved = []byte(data)
	return native.StatusOK
}

func (h *host) InstanceKey(key []byte) int32 { return fill(key, h.options.Key) }
