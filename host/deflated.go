package host

import (
	"unicode/utf8"

	"github.com/gobwas/ws"

	"weir/pool"
	"weir/runtime"
)

// inflateInlineBytes is the size from which on a compressed message is left to a
// worker: it may take a millisecond.
const inflateInlineBytes = 16 << 10

// deflatedFrame reports that h begins a compressed message, which the connection's
// agreement allows.
func (c *Conn) deflatedFrame(h ws.Header) bool {
	return h.Rsv == rsv1 && c.agreed.compresses() && c.asm == nil && (h.OpCode == ws.OpText || h.OpCode == ws.OpBinary)
}

// deflateSlack is how much longer than its message the compressed form may be: what
// cannot be compressed grows by some bytes a block.
func deflateSlack(limitBytes int64) int64 { return limitBytes>>8 + 64 }

// deliverDeflated is deliverWhole for a compressed message. Nothing is inflated
// before an instance is there for it; the payload, still masked, is lent by the
// reader.
func (c *Conn) deliverDeflated(t *turn, h ws.Header, headerBytes int, payload []byte) verdict {
	v := t.acquire(c.route.cell, c)
	if v != vDone && v != vSkip {
		return v
	}
	data := pool.Take(len(payload) + len(inflateTail))
	ws.Cipher(data.B[:copy(data.B, payload)], h.Mask, 0)
	copy(data.B[len(payload):], inflateTail)
	t.reader.Discard(headerBytes + len(payload))
	c.deliverInflated(t, h.OpCode, data, v == vSkip)
	return vDone
}

// deliverAssembledDeflated is deliverAssembled for a compressed message.
func (c *Conn) deliverAssembledDeflated(t *turn) verdict {
	a := c.asm
	if t.inline && a.n > inflateInlineBytes {
		return vMore
	}
	v := t.acquire(c.route.cell, c)
	if v != vDone && v != vSkip {
		return v
	}
	data := pool.Take(a.n + len(inflateTail))
	copy(data.B[copy(data.B, a.payload()):], inflateTail)
	op := a.op
	c.dropAssembly()
	c.deliverInflated(t, op, data, v == vSkip)
	return vDone
}

// deliverInflated inflates a message and hands it to the handler. data, whose
// reference it takes, is the compressed form with inflateTail. A message that is to
// be skipped is inflated only for those after it.
func (c *Conn) deliverInflated(t *turn, op ws.OpCode, data *pool.Buf, skip bool) {
	t.messages++
	tk := c.takeover()
	if skip && tk == nil {
		data.Release()
		return
	}
	limits := &c.srv.opts().WebSocket
	o := inflation{srv: c.srv, limit: int(limits.MaxMessageSize), ratio: limits.Deflate.MaxRatio}
	wireBytes := len(data.B) - len(inflateTail)
	err := error(nil)
	if wireBytes > 0 { // else it says nothing
		var earlier []byte
		if tk != nil {
			earlier = tk.in.b
		}
		f := c.srv.takeInflater()
		err = f.run(&o, data.B, earlier)
		c.srv.giveInflater(f)
	}
	data.Release()
	if err != nil {
		c.fail(t, inflateCause(err))
		return
	}
	defer o.release()
	message := o.message()
	if tk != nil {
		tk.in.add(message)
	}
	if skip {
		return
	}
	t.stats.messagesIn.Add(1)
	c.srv.compression.receivedWire.Add(uint64(wireBytes))
	c.srv.compression.receivedPlain.Add(uint64(len(message)))
	ev := runtime.EventBinary
	if op == ws.OpText {
		ev = runtime.EventText
		if !utf8.Valid(message) {
			c.fail(t, causeInvalidUTF8)
			return
		}
	}
	if t.tails != nil {
		t.peek(c, ev, message)
	}
	if !t.crew.mod.Handles(ev) {
		if t.picks != 0 {
			t.showMessage(c)
		}
		return
	}
	view, ok := c.inbound(t, ev, len(message))
	if !ok {
		t.picks = 0
		return
	}
	n := copy(view, message)
	o.release() // a handler may take its time
	t.invoke(c, ev, 0, n)
}

// inflateCause is why the connection ends.
func inflateCause(err error) cause {
	switch err {
	case errInflateBig:
		return causeTooBig
	case errInflateRatio:
		return causeInflateRatio
	case errInflateBudget:
		return causeInboundBudget
	default:
		return causeBadDeflate
	}
}
