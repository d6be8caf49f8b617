package host

import (
	"github.com/gobwas/ws"

	"weir/pool"
	"weir/runtime"
)

// effectKind is what an invocation asked for.
type effectKind uint8

const (
	effectReply   effectKind = iota // a frame to the invocation's own connection; bytes in turn.own
	effectSend                      // a frame to another connection; bytes in invocation.bytes
	effectClose                     // a close; reason in bytes
	effectState                     // an attachment; bytes
	effectJoin                      // topic name in bytes
	effectLeave                     // topic name in bytes
	effectPublish                   // topic name, then the frame, in bytes
	effectTimer                     // set a timer
	effectCancel                    // cancel a timer
	effectMetric                    // add to a metric
)

// effect is one thing that takes hold only if the invocation returns 0.
type effect struct {
	kind       effectKind
	adds       bool   // timer: it replaces none
	code       uint16 // of a close
	conn       *Conn  // whom it concerns; nil for the module's timers, publishes and metrics
	except     uint64 // publish: who does not get it
	from, mid  int32  // bytes[from:mid] is the topic of a publish, bytes[mid:to] its frame
	to         int32
	id         int64 // timer; of a metric what is added to metrics[from]
	dueMono    int64 // timer: Mono ns
	everyNanos int64 // timer: 0 once
}

// invocation is one handler call: what it may see, and the record of what it
// asked for. Its host functions are in services.go. The turn owns it; everything
// in it is used again.
type invocation struct {
	turn  *turn
	tn    *tenant
	cell  *cell // whose instance it is: its key, and its timers
	conn  *Conn // nil for a module's own events
	event runtime.Event

	effects []effect
	bytes   []byte         // payloads of effects; replies stand in turn.own
	scratch []byte         // results of reads
	metrics []*guestMetric // of effects
	closes  int            // effects of kind effectClose
	ownFull bool           // a reply was refused because the peer reads too slowly
	ownGone bool           // something was refused because the peer has gone meanwhile

	unixMilli int64 // frozen at first use; 0 not yet

	saved []byte // of the save event: the state that is handed on; nil none
}

func (inv *invocation) begin(cl *cell, c *Conn, ev runtime.Event) {
	inv.tn, inv.cell, inv.conn, inv.event = cl.tn, cl, c, ev
	inv.unixMilli, inv.ownFull, inv.ownGone = 0, false, false
}

// rollBack forgets everything the invocation asked for.
func (inv *invocation) rollBack() {
	inv.turn.own = inv.turn.own[:inv.turn.ownDone]
	inv.reset()
}

func (inv *invocation) reset() {
	clear(inv.effects) // no connection is kept alive by an old record
	inv.effects = inv.effects[:0]
	if cap(inv.bytes) > 4*ownFlushBytes {
		inv.bytes = nil
	}
	inv.bytes = inv.bytes[:0]
	inv.metrics = inv.metrics[:0]
	inv.closes = 0
	inv.conn, inv.cell, inv.tn = nil, nil, nil
}

// commit makes the effects happen, in the order in which they were asked for.
// Hot path, 0 allocs for replies, sends and publishes (TestMessageAllocs).
func (inv *invocation) commit() {
	t := inv.turn
	for i := range inv.effects {
		e := &inv.effects[i]
		payload := inv.bytes
		switch e.kind {
		case effectReply:
			inv.commitReply(e)
		case effectSend:
			inv.commitSend(e.conn, payload[e.from:e.to])
		case effectClose:
			end := closeInfo{code: e.code, reason: string(payload[e.from:e.to]), cause: causeHandler}
			if e.conn == inv.conn {
				e.conn.close(t, end) // behind the replies that this invocation sent before
			} else {
				e.conn.askAndWake(end)
			}
		case effectState:
			e.conn.mu.Lock()
			more := e.conn.extrasLocked()
			more.state = append(more.state[:0], payload[e.from:e.to]...)
			e.conn.mu.Unlock()
		case effectJoin:
			inv.tn.topics.join(e.conn, payload[e.from:e.to])
		case effectLeave:
			inv.tn.topics.leave(e.conn, payload[e.from:e.to])
		case effectPublish:
			frame := pool.Take(int(e.to - e.mid))
			copy(frame.B, payload[e.mid:e.to])
			t.publish(inv.tn, payload[e.from:e.mid], frame, e.except)
			frame.Release()
		case effectTimer:
			inv.cell.setTimer(t.srv, e.conn, e.id, e.dueMono, e.everyNanos)
		case effectCancel:
			inv.cell.cancelTimer(t.srv, e.conn, e.id)
		case effectMetric:
			inv.metrics[e.from].add(e.id)
		}
	}
	t.own = t.own[:t.ownDone]
	inv.reset()
	if t.ownDone >= ownFlushBytes {
		t.flushOwn()
	}
}

// commitReply keeps a reply in the turn's own buffer if it may go out from
// there, else queues it behind what others have queued.
func (inv *invocation) commitReply(e *effect) {
	t := inv.turn
	frame := t.own[e.from:e.to]
	if t.claim() {
		if t.tails != nil {
			t.showSend(inv.conn, frame)
		}
		t.stats.framesOut.Add(1)
		if inv.conn.agreed.compresses() {
			if packed := inv.conn.deflated(frame); packed != nil {
				t.ownDone += copy(t.own[t.ownDone:], packed.B) // which is shorter
				packed.Release()
				return
			}
		}
		t.ownDone += copy(t.own[t.ownDone:], frame)
		return
	}
	inv.commitSend(inv.conn, frame)
}

func (inv *invocation) commitSend(c *Conn, frame []byte) {
	buf := pool.Take(len(frame))
	copy(buf.B, frame)
	if inv.turn.sendTo(c, buf) == queuedFull {
		c.tooSlow()
	}
	buf.Release()
}

// sendTo is deliver for a message, which is compressed if c wants that and whoever
// writes it will not do so.
func (t *turn) sendTo(c *Conn, frame *pool.Buf) queued {
	form := frame
	if c.agreed.shares() > 0 {
		if packed := c.deflated(frame.B); packed != nil {
			defer packed.Release()
			form = packed
		}
	}
	answer := t.deliver(c, form)
	if t.tails != nil && answer <= queuedMine {
		t.showSend(c, frame.B)
	}
	return answer
}

// deliver queues frame for c and writes it if nobody else will. What becomes of
// a reader whose queue is full is up to the caller.
func (t *turn) deliver(c *Conn, frame *pool.Buf) queued {
	answer := c.enqueue(frame)
	switch answer {
	case queuedMine:
		t.stats.framesOut.Add(1)
		c.send(frame, tag{})
	case queuedQuiet:
		t.stats.framesOut.Add(1)
	case queuedClosed:
		t.stats.refused.Add(1)
	}
	return answer
}

// tooSlow asks for the close of a reader whose queue, or the server's budget
// for all queues, is full. Any goroutine.
func (c *Conn) tooSlow() {
	why := causeSlowConsumer
	if c.srv.outbound.Load() >= int64(c.srv.opts().Server.OutboundBudget) {
		why = causeOutboundBudget
	}
	c.askAndWake(why.info())
}

// ask notes that c is to be closed; the first who asks wins. Any goroutine.
func (c *Conn) ask(end closeInfo) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || c.sealed {
		return false
	}
	more := c.extrasLocked()
	if more.asked.cause != causeNone {
		return false
	}
	more.asked = end
	return true
}

func (c *Conn) askAndWake(end closeInfo) {
	if c.ask(end) {
		c.wakeUp(inClose)
	}
}

// opcode maps the ABI's kinds (1 text, 2 binary) to frames.
func opcode(kind int32) (ws.OpCode, bool) {
	switch kind {
	case 1:
		return ws.OpText, true
	case 2:
		return ws.OpBinary, true
	default:
		return 0, false
	}
}
