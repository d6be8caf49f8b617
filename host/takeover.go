package host

import "weir/pool"

// takeover is what a connection with context takeover remembers (RFC 7692 §7.1.1).
// Compressors stay pooled: what a message may refer to is put into one before it.
type takeover struct {
	in  history // the lane
	out history // who writes to the socket
}

// history is the end of what was said in compressed messages.
type history struct {
	b     []byte
	limit int // bytes; 0 remembers nothing
}

// add remembers p behind what there is.
func (h *history) add(p []byte) {
	if h.limit == 0 {
		return
	}
	p = p[len(p)-min(len(p), h.limit):]
	n := len(h.b) + len(p)
	if n > cap(h.b) && cap(h.b) < h.limit {
		grown := make([]byte, len(h.b), min(h.limit, max(2*n, 1<<10)))
		copy(grown, h.b)
		h.b = grown
	}
	if over := n - h.limit; over > 0 {
		h.b = h.b[:copy(h.b, h.b[over:])]
	}
	h.b = append(h.b, p...)
}

// reserve counts what a connection may remember; false when the budget is spent.
func (s *Server) reserve(n int64) bool {
	if s.compression.kept.Add(n) > int64(s.opts().WebSocket.Deflate.TakeoverBudget) {
		s.compression.kept.Add(-n)
		return false
	}
	return true
}

// remember gives c what its agreement needs.
func (c *Conn) remember() {
	tk := new(takeover)
	tk.in.limit, tk.out.limit = c.agreed.in.bytes(), c.agreed.out.bytes()
	c.mu.Lock()
	c.extrasLocked().takeover = tk
	c.mu.Unlock()
}

// takeover is what c remembers; nil when that is nothing.
func (c *Conn) takeover() *takeover {
	if !c.agreed.keeps() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.more.takeover
}

// packLocked compresses queued frames of a connection with context takeover, as
// many as the next write may take and at least one, and reports whether there is
// something to write. It unlocks meanwhile; the caller is the writer, and what it
// compresses counts as flying.
func (c *Conn) packLocked() bool {
	const most = 16
	q := c.out
	n, bytes := q.packed, 0
	for _, f := range q.frames[:n] {
		bytes += len(f.B)
	}
	for n < len(q.frames) && n-q.packed < most && (n == 0 || bytes+len(q.frames[n].B) <= gatherBytes) {
		bytes += len(q.frames[n].B)
		n++
	}
	var packed [most]*pool.Buf
	frames := packed[:copy(packed[:], q.frames[q.packed:n])]
	if len(frames) == 0 {
		return true
	}
	q.flying = n
	c.mu.Unlock()
	for i, f := range frames {
		f.Retain()
		frames[i] = c.pack(f)
	}
	c.mu.Lock()
	if c.out != q || c.dead { // nobody but the writer ends the queue
		for _, f := range frames {
			f.Release()
		}
		return false
	}
	for i, f := range frames {
		old := q.frames[q.packed+i]
		q.bytes += len(f.B) - len(old.B)
		q.frames[q.packed+i] = f
		old.Release()
	}
	q.packed = n
	return true
}

// pack returns what is written instead of frame, whose reference it takes.
func (c *Conn) pack(frame *pool.Buf) *pool.Buf {
	packed := c.deflated(frame.B)
	if packed == nil {
		return frame
	}
	frame.Release()
	return packed
}
