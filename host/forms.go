package host

import "weir/pool"

// forms are the frames of one published message: as it is, and compressed, once
// for all receivers that want the same. It holds a reference to each.
type forms struct {
	plain    *pool.Buf
	deflated [maxWindowBits - minWindowBits + 1]*pool.Buf // by window; nil: plain
}

// of is the frame for c. With context takeover that is plain, and whoever writes
// it compresses it.
func (f *forms) of(c *Conn) *pool.Buf {
	if c.agreed.shares() == 0 {
		return f.plain
	}
	if buf := f.deflated[f.window(c.agreed)-minWindowBits]; buf != nil {
		return buf
	}
	return f.plain
}

// window is that of the form for an agreement: what fits into a smaller one refers
// back no further with the largest.
func (f *forms) window(a agreement) uint8 {
	if len(f.plain.B) <= 1<<a.out.bits() {
		return maxWindowBits
	}
	return a.out.bits()
}

// compress makes the forms that members of the topic want now. Who joins later
// gets the plain one. No lock is held while it compresses.
func (f *forms) compress(s *Server, tp *topic) {
	if s.opts().deflate == nil || s.worthDeflating(f.plain.B) == nil {
		return
	}
	wanted := 0
	tp.mu.Lock()
	if tp.deflating > 0 {
		for _, m := range tp.members {
			if a := m.conn.agreed; a.shares() > 0 {
				wanted |= 1 << f.window(a)
			}
		}
	}
	tp.mu.Unlock()
	for bits := uint8(minWindowBits); wanted != 0 && bits <= maxWindowBits; bits++ {
		if wanted&(1<<bits) != 0 {
			f.deflated[bits-minWindowBits] = s.deflate(f.plain.B, nil, bits)
		}
	}
}

// release gives a reference to each back.
func (f *forms) release() {
	f.plain.Release()
	for _, buf := range f.deflated {
		if buf != nil {
			buf.Release()
		}
	}
	*f = forms{}
}
