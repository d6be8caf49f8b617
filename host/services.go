package host

import (
	"strings"
	"time"
	"unicode/utf8"

	"weir/runtime"
)

var _ runtime.Host = (*invocation)(nil)

const (
	maxTopicBytes = 255
	// maxNameBytes is longer than any attribute or header field that there is: a
	// handler's name for one is looked at only if it is shorter.
	maxNameBytes = 1 << 10
	// maxStateBytes bounds a connection's attachment.
	maxStateBytes = 16 << 10
	// maxSavedBytes bounds what an instance hands to the one that takes over.
	maxSavedBytes = 1 << 20
	// The shortest timer is one tick of the wheel, the longest ten years: enough
	// for everybody, and far from overflow.
	minTimerMillis = int64(wheelTick / time.Millisecond)
	maxTimerMillis = int64(10 * 365 * 24 * time.Hour / time.Millisecond)
)

// target resolves a connection that the guest named.
func (inv *invocation) target(id uint64) *Conn {
	if c := inv.conn; c != nil && uint64(c.id) == id {
		return c
	}
	return inv.turn.srv.hub.find(id, inv.tn)
}

// room reports whether one more effect with payloadBytes may be recorded.
func (inv *invocation) room(payloadBytes int) runtime.Status {
	limits := &inv.turn.srv.opts().Handler
	if len(inv.effects) >= limits.MaxEffects {
		return runtime.StatusTooMany
	}
	used := len(inv.bytes) + len(inv.turn.own) - inv.turn.ownDone
	if used+payloadBytes > int(limits.MaxEffectsSize) {
		return runtime.StatusTooBig
	}
	return runtime.StatusOK
}

// keep copies p into the record.
func (inv *invocation) keep(p []byte) (from, to int32) {
	from = int32(len(inv.bytes))
	inv.bytes = append(inv.bytes, p...)
	return from, int32(len(inv.bytes))
}

// outlook is what a handler may know of c: whether it takes no more frames, since
// it is closing or this very invocation has asked for that, and how many bytes
// wait for its socket, this invocation's included. A close that somebody else
// asked of the invocation's own connection waits until this event is over.
func (inv *invocation) outlook(c *Conn) (closing bool, queuedBytes int) {
	c.mu.Lock()
	closing = c.sealed || c.dead || c != inv.conn && c.closingLocked()
	if c == inv.conn && closing && c.phase == phaseOpen { // not we have closed it: somebody's write has failed
		inv.ownGone = true
	}
	if c.out != nil {
		queuedBytes = c.out.bytes
	}
	c.mu.Unlock()
	if c == inv.conn {
		queuedBytes += len(inv.turn.own)
	}
	if c == inv.conn && inv.closes == 0 {
		return closing, queuedBytes
	}
	for i := range inv.effects {
		switch e := &inv.effects[i]; {
		case e.conn != c:
		case e.kind == effectClose:
			closing = true
		case e.kind == effectSend:
			queuedBytes += int(e.to - e.from)
		}
	}
	return closing, queuedBytes
}

func (inv *invocation) closing(c *Conn) bool {
	closing, _ := inv.outlook(c)
	return closing
}

// mayReach reports whether the running event lets a handler touch connections
// other than by their state. Nothing may be sent before open, nor from close.
func (inv *invocation) mayReach(c *Conn) runtime.Status {
	if inv.event == runtime.EventClose || inv.moves() || inv.event == runtime.EventUpgrade && c == inv.conn {
		return runtime.StatusDenied
	}
	return runtime.StatusOK
}

// moves reports that an instance hands over or takes over, of which nothing else
// may take hold.
func (inv *invocation) moves() bool {
	return inv.event == runtime.EventSave || inv.event == runtime.EventRestore
}

// ConnSend implements runtime.Host.
func (inv *invocation) ConnSend(id uint64, kind int32, p []byte) runtime.Status {
	c := inv.target(id)
	if c == nil {
		return runtime.StatusUnknownConnection
	}
	if st := inv.mayReach(c); st != runtime.StatusOK {
		return st
	}
	limits := &inv.turn.srv.opts().WebSocket
	total := frameBytes(len(p))
	if total > int(limits.OutboundQueueSize) { // before anything looks at all of it
		return runtime.StatusTooBig
	}
	op, ok := opcode(kind)
	if !ok || kind == 1 && !utf8.Valid(p) {
		return runtime.StatusInvalid
	}
	if st := inv.room(total); st != runtime.StatusOK {
		return st
	}
	closing, queued := inv.outlook(c)
	if closing {
		return runtime.StatusClosed
	}
	if queued+total > int(limits.OutboundQueueSize) && queued-c.droppableBytes()+total > int(limits.OutboundQueueSize) {
		inv.ownFull = inv.ownFull || c == inv.conn
		return runtime.StatusQueueFull
	}
	t := inv.turn
	if c == inv.conn {
		from := len(t.own)
		t.own = appendFrame(t.own, op, p)
		inv.effects = append(inv.effects, effect{kind: effectReply, conn: c, from: int32(from), to: int32(len(t.own))})
		return runtime.StatusOK
	}
	from := len(inv.bytes)
	inv.bytes = appendFrame(inv.bytes, op, p)
	inv.effects = append(inv.effects, effect{kind: effectSend, conn: c, from: int32(from), to: int32(len(inv.bytes))})
	return runtime.StatusOK
}

// ConnClose implements runtime.Host.
func (inv *invocation) ConnClose(id uint64, code int32, reason []byte) runtime.Status {
	c := inv.target(id)
	if c == nil {
		return runtime.StatusUnknownConnection
	}
	if st := inv.mayReach(c); st != runtime.StatusOK {
		return st
	}
	if len(reason) > maxReasonBytes {
		return runtime.StatusTooBig
	}
	if !mayHandlerSend(code) || !utf8.Valid(reason) {
		return runtime.StatusInvalid
	}
	if st := inv.room(len(reason)); st != runtime.StatusOK {
		return st
	}
	if inv.closing(c) {
		return runtime.StatusClosed
	}
	from, to := inv.keep(reason)
	inv.closes++
	inv.effects = append(inv.effects, effect{kind: effectClose, conn: c, code: uint16(code), from: from, to: to})
	return runtime.StatusOK
}

// ConnAttr implements runtime.Host.
func (inv *invocation) ConnAttr(id uint64, name []byte) ([]byte, runtime.Status) {
	c := inv.target(id)
	if c == nil {
		return nil, runtime.StatusUnknownConnection
	}
	if len(name) > maxNameBytes {
		return nil, runtime.StatusNotFound
	}
	return inv.attr(c, string(name))
}

func (inv *invocation) attr(c *Conn, name string) ([]byte, runtime.Status) {
	path, query, _ := strings.Cut(c.attrs.uri, "?")
	give := func(s string) ([]byte, runtime.Status) {
		inv.scratch = append(inv.scratch[:0], s...)
		return inv.scratch, runtime.StatusOK
	}
	switch name {
	case "remote_addr":
		addr := c.sock.RemoteAddr()
		if !addr.IsValid() {
			return give("")
		}
		if addr.Port() == 0 { // a proxy has told the address only
			inv.scratch = addr.Addr().AppendTo(inv.scratch[:0])
			return inv.scratch, runtime.StatusOK
		}
		inv.scratch = addr.AppendTo(inv.scratch[:0])
		return inv.scratch, runtime.StatusOK
	case "path":
		return give(path)
	case "query":
		return give(query)
	case "protocol":
		return give(c.attrs.protocol)
	}
	if param, ok := strings.CutPrefix(name, "param:"); ok {
		value, ok := c.route.pattern.param(path, param)
		if !ok {
			return nil, runtime.StatusNotFound
		}
		return give(value)
	}
	if header, ok := strings.CutPrefix(name, "header:"); ok {
		for i, kept := range c.attrs.keep {
			if strings.EqualFold(kept, header) {
				if i >= len(c.attrs.kept) || c.attrs.kept[i] == "" {
					return nil, runtime.StatusNotFound
				}
				return give(c.attrs.kept[i])
			}
		}
		return nil, runtime.StatusNotFound
	}
	return nil, runtime.StatusNotFound
}

// ConnStateGet implements runtime.Host.
func (inv *invocation) ConnStateGet(id uint64) ([]byte, runtime.Status) {
	c := inv.target(id)
	if c == nil {
		return nil, runtime.StatusUnknownConnection
	}
	for i := len(inv.effects) - 1; i >= 0; i-- {
		if e := &inv.effects[i]; e.kind == effectState && e.conn == c {
			return inv.bytes[e.from:e.to], runtime.StatusOK
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	inv.scratch = inv.scratch[:0]
	if c.more != nil {
		inv.scratch = append(inv.scratch, c.more.state...)
	}
	return inv.scratch, runtime.StatusOK
}

// ConnStateSet implements runtime.Host.
func (inv *invocation) ConnStateSet(id uint64, p []byte) runtime.Status {
	c := inv.target(id)
	if c == nil {
		return runtime.StatusUnknownConnection
	}
	if inv.moves() {
		return runtime.StatusDenied
	}
	if len(p) > maxStateBytes {
		return runtime.StatusTooBig
	}
	if st := inv.room(len(p)); st != runtime.StatusOK {
		return st
	}
	from, to := inv.keep(p)
	inv.effects = append(inv.effects, effect{kind: effectState, conn: c, from: from, to: to})
	return runtime.StatusOK
}

// ConnQueued implements runtime.Host.
func (inv *invocation) ConnQueued(id uint64) int64 {
	c := inv.target(id)
	if c == nil {
		return int64(runtime.StatusUnknownConnection)
	}
	_, queued := inv.outlook(c)
	return int64(queued)
}

// TopicJoin implements runtime.Host.
func (inv *invocation) TopicJoin(id uint64, topic []byte) runtime.Status {
	c := inv.target(id)
	if c == nil {
		return runtime.StatusUnknownConnection
	}
	if st := inv.mayReach(c); st != runtime.StatusOK {
		return st
	}
	if !validTopic(topic) {
		return runtime.StatusInvalid
	}
	if st := inv.room(len(topic)); st != runtime.StatusOK {
		return st
	}
	if inv.closing(c) {
		return runtime.StatusClosed
	}
	if inv.member(c, topic) {
		return runtime.StatusOK
	}
	if inv.topicsOf(c) >= inv.turn.srv.opts().WebSocket.MaxTopics {
		return runtime.StatusTooMany
	}
	from, to := inv.keep(topic)
	inv.effects = append(inv.effects, effect{kind: effectJoin, conn: c, from: from, to: to})
	return runtime.StatusOK
}

// TopicLeave implements runtime.Host.
func (inv *invocation) TopicLeave(id uint64, topic []byte) runtime.Status {
	c := inv.target(id)
	if c == nil {
		return runtime.StatusUnknownConnection
	}
	if st := inv.mayReach(c); st != runtime.StatusOK {
		return st
	}
	if !validTopic(topic) {
		return runtime.StatusInvalid
	}
	if st := inv.room(len(topic)); st != runtime.StatusOK {
		return st
	}
	if !inv.member(c, topic) {
		return runtime.StatusNotFound
	}
	from, to := inv.keep(topic)
	inv.effects = append(inv.effects, effect{kind: effectLeave, conn: c, from: from, to: to})
	return runtime.StatusOK
}

// member reports whether c is in topic, this invocation's joins and leaves
// included.
func (inv *invocation) member(c *Conn, topic []byte) bool {
	for i := len(inv.effects) - 1; i >= 0; i-- {
		e := &inv.effects[i]
		if e.conn == c && (e.kind == effectJoin || e.kind == effectLeave) && string(inv.bytes[e.from:e.to]) == string(topic) {
			return e.kind == effectJoin
		}
	}
	return c.inTopic(topic)
}

// topicsOf is in how many topics c is, this invocation's joins and leaves
// included.
func (inv *invocation) topicsOf(c *Conn) int {
	c.mu.Lock()
	n := 0
	if c.more != nil {
		n = len(c.more.joined)
	}
	c.mu.Unlock()
	for i := range inv.effects {
		if e := &inv.effects[i]; e.conn == c {
			switch e.kind {
			case effectJoin:
				n++
			case effectLeave:
				n--
			}
		}
	}
	return n
}

// TopicPublish implements runtime.Host.
func (inv *invocation) TopicPublish(topic []byte, kind int32, p []byte, except uint64) runtime.Status {
	if inv.moves() {
		return runtime.StatusDenied
	}
	total := frameBytes(len(p))
	if total > int(inv.turn.srv.opts().WebSocket.OutboundQueueSize) {
		return runtime.StatusTooBig
	}
	op, ok := opcode(kind)
	if !ok || !validTopic(topic) || kind == 1 && !utf8.Valid(p) {
		return runtime.StatusInvalid
	}
	if st := inv.room(len(topic) + total); st != runtime.StatusOK {
		return st
	}
	from, mid := inv.keep(topic)
	inv.bytes = appendFrame(inv.bytes, op, p)
	inv.effects = append(inv.effects, effect{kind: effectPublish, except: except, from: from, mid: mid, to: int32(len(inv.bytes))})
	return runtime.StatusOK
}

// TopicCount implements runtime.Host.
func (inv *invocation) TopicCount(topic []byte) int32 {
	if !validTopic(topic) {
		return int32(runtime.StatusInvalid)
	}
	n := inv.tn.topics.count(topic)
	for i := range inv.effects {
		e := &inv.effects[i]
		if (e.kind == effectJoin || e.kind == effectLeave) && string(inv.bytes[e.from:e.to]) == string(topic) {
			// Each was recorded only because it changes the membership.
			if e.kind == effectJoin {
				n++
			} else {
				n--
			}
		}
	}
	return int32(max(n, 0))
}

// TimerSet implements runtime.Host.
func (inv *invocation) TimerSet(id uint64, timer, afterMs, everyMs int64) runtime.Status {
	c, st := inv.timerTarget(id)
	if st != runtime.StatusOK {
		return st
	}
	if afterMs < 0 || afterMs > maxTimerMillis || everyMs < 0 || everyMs > maxTimerMillis {
		return runtime.StatusInvalid
	}
	if st := inv.room(0); st != runtime.StatusOK {
		return st
	}
	if c != nil && inv.closing(c) {
		return runtime.StatusClosed
	}
	adds := !inv.hasTimer(c, timer)
	if adds && inv.timersOf(c) >= inv.turn.srv.maxTimers(c) {
		return runtime.StatusTooMany
	}
	if everyMs != 0 {
		everyMs = max(everyMs, minTimerMillis)
	}
	inv.effects = append(inv.effects, effect{
		kind: effectTimer, conn: c, id: timer, adds: adds,
		dueMono:    inv.turn.now + max(afterMs, minTimerMillis)*int64(time.Millisecond),
		everyNanos: everyMs * int64(time.Millisecond),
	})
	return runtime.StatusOK
}

// TimerCancel implements runtime.Host.
func (inv *invocation) TimerCancel(id uint64, timer int64) runtime.Status {
	c, st := inv.timerTarget(id)
	if st != runtime.StatusOK {
		return st
	}
	if st := inv.room(0); st != runtime.StatusOK {
		return st
	}
	if !inv.hasTimer(c, timer) {
		return runtime.StatusNotFound
	}
	inv.effects = append(inv.effects, effect{kind: effectCancel, conn: c, id: timer})
	return runtime.StatusOK
}

// timerTarget resolves whose timer it is; connection 0 is the module itself.
func (inv *invocation) timerTarget(id uint64) (*Conn, runtime.Status) {
	if id == 0 {
		if inv.event == runtime.EventClose || inv.moves() {
			return nil, runtime.StatusDenied
		}
		return nil, runtime.StatusOK
	}
	c := inv.target(id)
	if c == nil {
		return nil, runtime.StatusUnknownConnection
	}
	return c, inv.mayReach(c)
}

// hasTimer reports whether the timer is set, this invocation's changes included.
func (inv *invocation) hasTimer(c *Conn, id int64) bool {
	for i := len(inv.effects) - 1; i >= 0; i-- {
		e := &inv.effects[i]
		if e.conn == c && e.id == id && (e.kind == effectTimer || e.kind == effectCancel) {
			return e.kind == effectTimer
		}
	}
	return inv.cell.hasTimer(c, id)
}

// timersOf is how many timers are set, this invocation's changes included.
func (inv *invocation) timersOf(c *Conn) int {
	n := inv.cell.countTimers(c)
	for i := range inv.effects {
		switch e := &inv.effects[i]; {
		case e.conn != c:
		case e.kind == effectTimer && e.adds:
			n++
		case e.kind == effectCancel:
			n--
		}
	}
	return n
}

// TimeUnixMs implements runtime.Host: the wall clock, which stands still within
// an event.
func (inv *invocation) TimeUnixMs() int64 {
	if inv.unixMilli == 0 {
		inv.unixMilli = inv.turn.srv.clock.UnixMilli()
	}
	return inv.unixMilli
}

// TimeMonoNs implements runtime.Host: the turn's time.
func (inv *invocation) TimeMonoNs() int64 { return inv.turn.now }

// MetricAdd implements runtime.Host: only what the generation's configuration
// declares can be added to.
func (inv *invocation) MetricAdd(name []byte, delta int64) runtime.Status {
	if inv.moves() {
		return runtime.StatusDenied
	}
	m, ok := inv.turn.crew.metrics[string(name)]
	if !ok {
		return runtime.StatusNotFound
	}
	if !m.mayAdd(delta) {
		return runtime.StatusInvalid
	}
	if st := inv.room(0); st != runtime.StatusOK {
		return st
	}
	inv.metrics = append(inv.metrics, m.guestMetric)
	inv.effects = append(inv.effects, effect{kind: effectMetric, id: delta, from: int32(len(inv.metrics) - 1)})
	return runtime.StatusOK
}

// UpgradeURI implements runtime.Host.
func (inv *invocation) UpgradeURI() ([]byte, runtime.Status) {
	if inv.event != runtime.EventUpgrade {
		return nil, runtime.StatusUnavailable
	}
	return inv.turn.request.target, runtime.StatusOK
}

// UpgradeHeader implements runtime.Host: the values of a header field, joined
// by ", " as RFC 9110 §5.3 allows.
func (inv *invocation) UpgradeHeader(name []byte) ([]byte, runtime.Status) {
	if inv.event != runtime.EventUpgrade {
		return nil, runtime.StatusUnavailable
	}
	if len(name) > maxNameBytes {
		return nil, runtime.StatusNotFound
	}
	value, n := inv.turn.request.header(string(name), inv.scratch[:0])
	if n == 0 {
		return nil, runtime.StatusNotFound
	}
	inv.scratch = value
	return value, runtime.StatusOK
}

// UpgradeProtocol implements runtime.Host: it must be one that the client
// offered.
func (inv *invocation) UpgradeProtocol(name []byte) runtime.Status {
	if inv.event != runtime.EventUpgrade {
		return runtime.StatusUnavailable
	}
	return inv.turn.upgrade.pick(name)
}

// UpgradeRespondHeader implements runtime.Host.
func (inv *invocation) UpgradeRespondHeader(name, value []byte) runtime.Status {
	if inv.event != runtime.EventUpgrade {
		return runtime.StatusUnavailable
	}
	return inv.turn.upgrade.respond(name, value)
}

// StateSave implements runtime.Host.
func (inv *invocation) StateSave(p []byte) runtime.Status {
	if inv.event != runtime.EventSave {
		return runtime.StatusUnavailable
	}
	if len(p) > maxSavedBytes {
		return runtime.StatusTooBig
	}
	inv.saved = append([]byte{}, p...)
	return runtime.StatusOK
}

// InstanceKey implements runtime.Host.
func (inv *invocation) InstanceKey() ([]byte, runtime.Status) {
	inv.scratch = append(inv.scratch[:0], inv.cell.key...)
	return inv.scratch, runtime.StatusOK
}
