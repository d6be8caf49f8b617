package host

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"weir/pool"
)

// TopicPolicy says what becomes of publishes to readers that are too slow for
// them (docs/adr/0011).
type TopicPolicy struct {
	// Pattern says for which topics: a name in which "*" stands for any text. The
	// first policy that matches a topic counts. Required.
	Pattern string `koanf:"pattern"`
	// WhenSlow says what becomes of a topic's messages for a reader that does not
	// keep up: "disconnect" closes it with 1013 when its queue is full;
	// "drop_oldest" then drops the oldest message that waits instead; "conflate"
	// keeps only the newest of the topic while the socket takes nothing. Only whole
	// messages are dropped, and what else is sent to the connection stays. Empty
	// means "disconnect".
	WhenSlow string `koanf:"when_slow" oneof:"disconnect,drop_oldest,conflate"`
	// GapNotice is the text message that takes the place of the messages that were
	// dropped. In it, {topic} stands for the topic's name as a JSON string, {from}
	// and {to} for the numbers of the first and the last of them, and {dropped} for
	// how many they are. Messages of a topic are numbered from 1 since its first
	// member joined. "none" sends nothing. Empty means
	// {"weir":"gap","topic":{topic},"from":{from},"to":{to},"dropped":{dropped}}
	GapNotice string `koanf:"gap_notice"`
}

// Values of TopicPolicy.WhenSlow, and of GapNotice.
const (
	slowDisconnect = "disconnect"
	slowDropOldest = "drop_oldest"
	slowConflate   = "conflate"

	noticeNone    = "none"
	noticeDefault = `{"weir":"gap","topic":{topic},"from":{from},"to":{to},"dropped":{dropped}}`
)

// Bounds of what a module's policies may be.
const (
	maxTopicPolicies = 64
	maxNoticeBytes   = 1 << 10
)

// Validate reports every mistake, each with its key.
func (p TopicPolicy) Validate() error {
	var errs []error
	if p.Pattern == "" || len(p.Pattern) > maxTopicBytes || !utf8.ValidString(p.Pattern) {
		errs = append(errs, fmt.Errorf("pattern: %q is not 1 to %d bytes of text", clip(p.Pattern, maxTopicBytes), maxTopicBytes))
	}
	switch p.WhenSlow {
	case "", slowDisconnect, slowDropOldest, slowConflate:
	default:
		errs = append(errs, fmt.Errorf("when_slow: %q is none of %q, %q, %q", p.WhenSlow, slowDisconnect, slowDropOldest, slowConflate))
	}
	if len(p.GapNotice) > maxNoticeBytes || !utf8.ValidString(p.GapNotice) || strings.Contains(p.GapNotice, "\x00") {
		errs = append(errs, fmt.Errorf("gap_notice: is not at most %d bytes of text", maxNoticeBytes))
	}
	return errors.Join(errs...)
}

// policies are a module's, made ready. nil has none.
type policies []TopicPolicy

func newPolicies(all []TopicPolicy) *policies {
	if len(all) == 0 {
		return nil
	}
	p := policies(all)
	return &p
}

// rule is what holds for a topic of that name; nil when its readers are
// disconnected.
func (p *policies) rule(tn *tenant, name string) *dropRule {
	for _, policy := range *p {
		if !matchTopic(policy.Pattern, name) {
			continue
		}
		if policy.WhenSlow == "" || policy.WhenSlow == slowDisconnect {
			return nil
		}
		r := &dropRule{tn: tn, conflate: policy.WhenSlow == slowConflate}
		if policy.GapNotice != noticeNone {
			r.notice = parseNotice(cmp.Or(policy.GapNotice, noticeDefault), name)
		}
		return r
	}
	return nil
}

// matchTopic reports whether name is pattern, in which "*" stands for any text.
func matchTopic(pattern, name string) bool {
	before, after, starred := strings.Cut(pattern, "*")
	if !starred {
		return name == pattern
	}
	name, ok := strings.CutPrefix(name, before)
	if !ok {
		return false
	}
	for {
		before, rest, more := strings.Cut(after, "*")
		if !more {
			return strings.HasSuffix(name, after)
		}
		i := strings.Index(name, before)
		if i < 0 {
			return false
		}
		name, after = name[i+len(before):], rest
	}
}

// dropRule is what one topic's policy says. It never changes, and stands for the
// topic where its messages wait.
type dropRule struct {
	tn       *tenant
	conflate bool
	notice   []noticePart // empty: none
}

// ruleLocked is the topic's rule by these policies, and the number of the message
// that is published now. topic.mu is held.
func (tp *topic) ruleLocked(tn *tenant, by *policies) (of tag) {
	if by == nil {
		return tag{}
	}
	if tp.under != by {
		tp.under, tp.rule = by, by.rule(tn, tp.name)
	}
	if tp.rule == nil {
		return tag{}
	}
	tp.number++
	return tag{rule: tp.rule, from: tp.number, to: tp.number}
}

// tag says what a queued frame is: one that may be dropped, a message of a topic
// with a rule; or the notice of a gap, dropped > 0; or, the zero value, neither.
type tag struct {
	rule     *dropRule
	from, to uint64 // numbers of the message, or of those that are missing
	dropped  uint64 // how many are missing
}

// noticePart is text of a notice, and what follows it.
type noticePart struct {
	text   string
	number byte // 'f', 't' or 'd' for from, to or dropped; 0 nothing
}

// parseNotice reads a template for the topic of that name.
func parseNotice(template, name string) (parts []noticePart) {
	quoted, _ := json.Marshal(name)                         // valid UTF-8 always has a form
	rest := strings.ReplaceAll(template, "{topic}", "\x00") // which a topic's name cannot have
	for {
		at, word := len(rest), ""
		for _, w := range []string{"{from}", "{to}", "{dropped}"} {
			if i := strings.Index(rest, w); i >= 0 && i < at {
				at, word = i, w
			}
		}
		part := noticePart{text: strings.ReplaceAll(rest[:at], "\x00", string(quoted))}
		if word == "" {
			return append(parts, part)
		}
		part.number = word[1]
		parts = append(parts, part)
		rest = rest[at+len(word):]
	}
}

// encode is the notice of a gap as a frame.
func (g *tag) encode() *pool.Buf {
	var scratch [512]byte
	text := scratch[:0]
	for _, part := range g.rule.notice {
		text = append(text, part.text...)
		switch part.number {
		case 'f':
			text = strconv.AppendUint(text, g.from, 10)
		case 't':
			text = strconv.AppendUint(text, g.to, 10)
		case 'd':
			text = strconv.AppendUint(text, g.dropped, 10)
		}
	}
	frame := pool.Take(frameBytes(len(text)))
	appendFrame(frame.B[:0], ws.OpText, text)
	return frame
}

// enqueueDroppable is enqueue for a message of a topic that has a rule: a reader
// who is too slow for it loses messages, not the connection.
func (c *Conn) enqueueDroppable(frame *pool.Buf, of tag) queued {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sealed || c.dead {
		return queuedClosed
	}
	if c.out == nil && !c.writing {
		c.writing = true
		return queuedMine
	}
	if q := c.out; q != nil {
		if c.blocked && of.rule.conflate {
			for c.dropOldestLocked(of.rule) {
			}
		}
		if !c.makeRoomLocked(len(frame.B)) {
			c.dropNewLocked(of)
			return queuedDropped
		}
	}
	frame.Retain()
	c.appendTaggedLocked(frame, of)
	return queuedQuiet
}

// makeRoomLocked drops what may be dropped, oldest first, until a frame of that
// size fits the queue and the server's budget; false when it does not.
func (c *Conn) makeRoomLocked(frameBytes int) bool {
	limits := &c.srv.opts().WebSocket
	q := c.out
	before := q.bytes
	for len(q.frames) > 0 {
		full := q.bytes+frameBytes > int(limits.OutboundQueueSize) || len(q.frames) >= limits.OutboundQueueMessages
		// Of a budget that all have spent together, each gives as much as it takes.
		spent := c.blocked && before-q.bytes < frameBytes && c.srv.outbound.Load() >= int64(c.srv.opts().Server.OutboundBudget)
		if !full && !spent {
			break
		}
		if !c.dropOldestLocked(nil) {
			return false
		}
	}
	return true
}

// untouched is the index of the first frame of which no byte is out or may just
// be on its way.
func (q *outQueue) untouched() int {
	if q.flying == 0 && (q.sentBytes > 0 || q.begun) {
		return 1
	}
	return q.flying
}

// droppableLocked is the index of the first frame that may be dropped. With context
// takeover what is compressed already stays, since what follows refers to it.
func (c *Conn) droppableLocked() int {
	if c.agreed.out.keeps() {
		return max(c.out.untouched(), c.out.packed)
	}
	return c.out.untouched()
}

// dropOldestLocked drops the oldest message of that rule, or of any (nil), and
// notes the gap where it was; false when there is none.
func (c *Conn) dropOldestLocked(of *dropRule) bool {
	q := c.out
	if !q.tagged {
		return false
	}
	first := c.droppableLocked()
	for i := first; i < len(q.tags); i++ {
		lost := q.tags[i]
		if lost.rule == nil || lost.dropped > 0 || of != nil && lost.rule != of {
			continue
		}
		lost.dropped = 1
		gap := q.gapBefore(i, first, lost.rule)
		switch {
		case len(lost.rule.notice) == 0:
			lost.rule.tn.lost.Add(1)
			q.removeAt(i)
		case gap >= 0:
			q.extend(gap, lost)
			q.removeAt(i)
		default:
			lost.rule.tn.gaps.Add(1)
			lost.rule.tn.lost.Add(1)
			q.tags[i] = lost
			q.replaceAt(i, lost.encode())
		}
		c.recountLocked()
		return true
	}
	return false
}

// dropNewLocked drops a message that has not been queued.
func (c *Conn) dropNewLocked(lost tag) {
	q := c.out
	lost.dropped = 1
	if len(lost.rule.notice) == 0 {
		lost.rule.tn.lost.Add(1)
		return
	}
	if gap := q.gapBefore(len(q.frames), c.droppableLocked(), lost.rule); gap >= 0 {
		q.extend(gap, lost)
		c.recountLocked()
		return
	}
	lost.rule.tn.gaps.Add(1)
	lost.rule.tn.lost.Add(1)
	c.appendTaggedLocked(lost.encode(), lost)
}

// gapBefore is the index of a notice that can tell of a message lost at i too: of
// the same rule, with no message of it between, and not before first; -1 when
// there is none.
func (q *outQueue) gapBefore(i, first int, of *dropRule) int {
	if !q.tagged {
		return -1
	}
	for i--; i >= first; i-- {
		switch {
		case q.tags[i].rule != of:
		case q.tags[i].dropped > 0:
			return i
		default:
			return -1
		}
	}
	return -1
}

// extend makes the notice at i tell of a further message.
func (q *outQueue) extend(i int, lost tag) {
	lost.rule.tn.lost.Add(1)
	q.tags[i].to = lost.to
	q.tags[i].dropped++
	q.replaceAt(i, q.tags[i].encode())
}

func (q *outQueue) replaceAt(i int, frame *pool.Buf) {
	q.bytes += len(frame.B) - len(q.frames[i].B)
	q.frames[i].Release()
	q.frames[i] = frame
}

func (q *outQueue) removeAt(i int) {
	q.bytes -= len(q.frames[i].B)
	q.frames[i].Release()
	last := len(q.frames) - 1
	copy(q.frames[i:], q.frames[i+1:])
	copy(q.tags[i:], q.tags[i+1:])
	q.frames[last], q.tags[last] = nil, tag{}
	q.frames, q.tags = q.frames[:last], q.tags[:last]
}

// recountLocked tells the server's budget that the queue has changed in size.
func (c *Conn) recountLocked() {
	q := c.out
	if c.blocked || q.accounted > q.bytes {
		c.srv.outbound.Add(int64(q.bytes - q.accounted))
		q.accounted = q.bytes
	}
}

// noteLocked notes what the frame is that was queued last. One that may not be
// dropped is a reason to end a connection that takes nothing.
func (c *Conn) noteLocked(of tag) {
	q := c.out
	if !q.tagged { // those that were there before may not be dropped
		q.tagged = true
		q.firm = len(q.frames) - 1
		q.tags = q.tags[:0]
		for range q.firm {
			q.tags = append(q.tags, tag{})
		}
	}
	q.tags = append(q.tags, of)
	if of.rule != nil {
		return
	}
	q.firm++
	if q.firm == 1 && c.blocked && q.stalledAt != 0 { // until now the reader had time
		q.stalledAt = c.srv.clock.Mono()
		c.srv.wheel.scheduleBefore(&c.node, q.stalledAt+int64(c.srv.opts().WebSocket.WriteTimeout))
	}
}

// forgetTags is for frames[:done], which are out.
func (q *outQueue) forgetTags(done int) {
	for _, of := range q.tags[:done] {
		if of.rule == nil {
			q.firm--
		}
	}
	kept := copy(q.tags, q.tags[done:])
	clear(q.tags[kept:])
	q.tags = q.tags[:kept]
}

// droppableBytes is how much of c's queue would give way to something else.
func (c *Conn) droppableBytes() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q := c.out; q != nil && q.tagged {
		for i := c.droppableLocked(); i < len(q.tags); i++ {
			if of := q.tags[i]; of.rule != nil && of.dropped == 0 {
				n += len(q.frames[i].B)
			}
		}
	}
	return n
}
