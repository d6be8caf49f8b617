package host

import (
	"unicode/utf8"

	"github.com/gobwas/ws"

	"weir/runtime"
)

// readFrames parses and delivers until the socket is dry, the turn is spent, or
// no instance is free. What was read and not parsed stays in the turn's reader.
// Hot path, 0 allocs (TestMessageAllocs).
func (c *Conn) readFrames(t *turn) verdict {
	for c.phase == phaseOpen || c.phase == phaseClosing {
		if t.spent() {
			return vMore
		}
		if t.rates != nil && c.mustWait(t, t.rates.nextMessage(&c.srv.opts().inbound)) {
			return vDone
		}
		before := t.messages
		enough, v := c.parse(t)
		if t.rates != nil && t.messages != before {
			t.rates.messages.spend(t.now, c.srv.opts().inbound.perMessage)
		}
		if v != vDone {
			return v
		}
		if !enough && (t.rates != nil && c.mustWait(t, t.rates.nextRead(&c.srv.opts().inbound)) || !t.fill()) {
			return vDone
		}
	}
	return vDone
}

// parse takes one step: a control frame, a whole message, or what there is of a
// frame's payload. enough is false when it needs more bytes.
func (c *Conn) parse(t *turn) (enough bool, _ verdict) {
	if a := c.asm; a != nil {
		if a.ready {
			return true, c.deliverAssembled(t)
		}
		if a.inFrame {
			return c.gatherPayload(t)
		}
	}

	have, _ := t.reader.Peek(t.reader.Buffered())
	h, headerBytes, err := parseHeader(have)
	if err == nil && headerBytes == 0 {
		return false, vDone
	}
	deflated := h.Rsv != 0 && c.deflatedFrame(h)
	if deflated {
		h.Rsv = 0
	}
	if err != nil || c.checkFrame(h) != nil {
		c.fail(t, causeProtocol)
		return true, vDone
	}
	behind := have[headerBytes:]
	if h.OpCode.IsControl() {
		if int64(len(behind)) < h.Length {
			return false, vDone
		}
		payload := behind[:h.Length]
		ws.Cipher(payload, h.Mask, 0)
		c.controlFrame(t, h.OpCode, payload)
		t.reader.Discard(headerBytes + len(payload))
		t.messages++
		return true, vDone
	}
	if why := c.checkSize(h, deflated); why != causeNone {
		c.fail(t, why)
		return true, vDone
	}
	if h.Fin && c.asm == nil && h.Length <= int64(len(behind)) && c.phase == phaseOpen {
		if deflated {
			return true, c.deliverDeflated(t, h, headerBytes, behind[:h.Length])
		}
		return true, c.deliverWhole(t, h, headerBytes, behind[:h.Length])
	}
	t.reader.Discard(headerBytes)
	c.startFrame(h, deflated, t.now)
	if c.asm.fragments == 1 {
		c.srv.wheel.scheduleBefore(&c.node, c.asm.since+int64(c.srv.opts().WebSocket.MessageTimeout))
	}
	return true, vDone
}

// checkFrame holds a frame's header against the connection's state.
func (c *Conn) checkFrame(h ws.Header) error {
	state := ws.StateServerSide
	if c.asm != nil {
		state = state.Set(ws.StateFragmented)
	}
	return ws.CheckHeader(h, state)
}

// checkSize bounds a data frame by what it declares, before a byte is kept.
func (c *Conn) checkSize(h ws.Header, deflated bool) cause {
	limits := &c.srv.opts().WebSocket
	soFar, fragments := int64(0), 0
	maxFrame, maxMessage := int64(limits.MaxFrameSize), int64(limits.MaxMessageSize)
	if c.asm != nil {
		soFar, fragments, deflated = int64(c.asm.n), c.asm.fragments, c.asm.deflated
	}
	if deflated {
		maxMessage += deflateSlack(maxMessage)
		if limits.MaxFrameSize == limits.MaxMessageSize {
			maxFrame = maxMessage
		}
	}
	switch {
	case h.Length > maxFrame, h.Length > maxMessage-soFar:
		return causeTooBig
	case fragments >= limits.MaxFragments:
		return causeTooManyFragments
	default:
		return causeNone
	}
}

// deliverWhole hands a message that is whole in the reader to the handler: the
// payload, still masked and lent by the reader, goes straight into guest memory
// and is unmasked there.
func (c *Conn) deliverWhole(t *turn, h ws.Header, headerBytes int, payload []byte) verdict {
	ev := runtime.EventBinary
	if h.OpCode == ws.OpText {
		ev = runtime.EventText
	}
	switch v := t.acquire(c.route.cell, c); v {
	case vDone:
	case vSkip:
		t.messages++
		t.reader.Discard(headerBytes + len(payload))
		return vDone
	default:
		return v
	}
	t.messages++
	t.stats.messagesIn.Add(1)
	view := payload // when no handler wants it, it is checked where it is
	handles := t.crew.mod.Handles(ev)
	if handles {
		var ok bool
		if view, ok = c.inbound(t, ev, len(payload)); !ok {
			t.reader.Discard(headerBytes + len(payload))
			return vDone
		}
		copy(view, payload)
	}
	ws.Cipher(view, h.Mask, 0)
	t.reader.Discard(headerBytes + len(payload))
	if ev == runtime.EventText && !utf8.Valid(view) {
		c.fail(t, causeInvalidUTF8)
		return vDone
	}
	if t.tails != nil {
		t.peek(c, ev, view)
	}
	if handles {
		t.invoke(c, ev, 0, len(view))
	} else if t.picks != 0 {
		t.showMessage(c)
	}
	return vDone
}

// inbound is the instance's buffer for a payload; a guest that has none fails.
func (c *Conn) inbound(t *turn, ev runtime.Event, size int) ([]byte, bool) {
	view, err := t.inst.Inbound(size)
	if err == nil {
		return view, true
	}
	if keep := t.handlerFailed(c.route.cell, c, ev, 0, size, err); !keep {
		c.fail(t, causeHandlerFailed)
	}
	return nil, false
}

// gatherPayload takes what has come of a frame's payload.
func (c *Conn) gatherPayload(t *turn) (enough bool, _ verdict) {
	a := c.asm
	for a.left > 0 {
		if t.reader.Buffered() == 0 && t.src.dry && c.held == nil {
			return false, vDone
		}
		room, ok := c.room()
		if !ok {
			c.fail(t, causeInboundBudget)
			return true, vDone
		}
		n, err := t.reader.Read(room)
		if n > 0 && !a.took(n) {
			c.fail(t, causeInvalidUTF8)
			return true, vDone
		}
		if err != nil {
			return false, vDone
		}
		if t.bytes >= turnBytes {
			return true, vDone // the caller ends the turn
		}
		if t.rates != nil && t.reader.Buffered() == 0 && a.left > 0 {
			return false, vDone // the caller decides whether to read on
		}
	}
	a.inFrame = false
	if !a.fin {
		return true, vDone
	}
	if a.op == ws.OpText && !a.deflated && !a.text.done() {
		c.fail(t, causeInvalidUTF8)
		return true, vDone
	}
	a.ready = true
	return true, c.deliverAssembled(t)
}

// deliverAssembled hands a gathered message to the handler.
func (c *Conn) deliverAssembled(t *turn) verdict {
	if c.phase != phaseOpen {
		c.dropAssembly() // our Close frame is out: nobody listens any more
		return vDone
	}
	a := c.asm
	if a.deflated {
		return c.deliverAssembledDeflated(t)
	}
	ev := runtime.EventBinary
	if a.op == ws.OpText {
		ev = runtime.EventText
	}
	switch v := t.acquire(c.route.cell, c); v {
	case vDone:
	case vSkip:
		t.messages++
		c.dropAssembly()
		return vDone
	default:
		return v
	}
	t.messages++
	t.stats.messagesIn.Add(1)
	if t.tails != nil {
		t.peek(c, ev, a.payload())
	}
	if t.crew.mod.Handles(ev) {
		view, ok := c.inbound(t, ev, a.n)
		if !ok {
			t.picks = 0
			c.dropAssembly()
			return vDone
		}
		size := copy(view, a.payload())
		c.dropAssembly()
		t.invoke(c, ev, 0, size)
		return vDone
	}
	if t.picks != 0 {
		t.showMessage(c)
	}
	c.dropAssembly()
	return vDone
}

// throwAway reads what a peer still sends after the end, so that its Close
// frame and ours are not destroyed by a reset.
func (c *Conn) throwAway(t *turn) verdict {
	for !c.peerGone && !c.cut && t.now < c.deadline {
		t.reader.Discard(t.reader.Buffered())
		if t.bytes >= turnBytes {
			return vMore
		}
		if !t.fill() {
			return vDone
		}
	}
	return vDone
}
