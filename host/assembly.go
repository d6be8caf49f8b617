package host

import (
	"sync"

	"github.com/gobwas/ws"

	"weir/pool"
)

// assembly is a message that is not whole yet: fragmented, larger than a
// reader, or slow. Connections at a message's boundary have none. It never waits
// and never takes more memory than bytes have come for.
type assembly struct {
	op        ws.OpCode // text or binary
	deflated  bool      // the payload is compressed
	fragments int
	since     int64 // Mono ns of the message's first byte

	buf *pool.Buf // the payload so far, unmasked: buf.B[:n]; nil while empty
	n   int

	inFrame bool
	fin     bool
	left    int64 // payload bytes of the frame that have not come
	mask    [4]byte
	pos     int // in the mask

	text  utf8Check
	ready bool // whole and valid, waiting for its handler
}

var assemblies = sync.Pool{New: func() any { return new(assembly) }}

// assemblyMinBytes is the first buffer of an assembly; it doubles as bytes come.
const assemblyMinBytes = 1 << 10

// startFrame begins a frame of c's message, and the message if it is the first.
func (c *Conn) startFrame(h ws.Header, deflated bool, nowMono int64) {
	if c.asm == nil {
		c.asm = assemblies.Get().(*assembly)
		c.asm.op, c.asm.deflated = h.OpCode, deflated
		c.asm.since = nowMono
	}
	a := c.asm
	a.fragments++
	a.inFrame, a.fin, a.left, a.mask, a.pos = true, h.Fin, h.Length, h.Mask, 0
}

// room is where the next payload bytes go, at least one and at most what the
// frame has left. It fails when the server's inbound budget is spent.
func (c *Conn) room() ([]byte, bool) {
	a := c.asm
	have := 0
	if a.buf != nil {
		have = len(a.buf.B)
	}
	if a.n == have {
		want := a.grown(int64(c.srv.opts().WebSocket.MaxMessageSize))
		if c.srv.inbound.Add(int64(want-have)) > int64(c.srv.opts().Server.InboundBudget) {
			c.srv.inbound.Add(-int64(want - have))
			return nil, false
		}
		grown := pool.Take(want)
		if a.buf != nil {
			copy(grown.B, a.buf.B[:a.n])
			a.buf.Release()
		}
		a.buf = grown
	}
	return a.buf.B[a.n:min(int64(len(a.buf.B)), int64(a.n)+a.left)], true
}

// grown is how large the next buffer is, when this one is full. It doubles, so
// that a message in many small frames is not copied once for each of them; who
// has sent n bytes holds at most 2n, or assemblyMinBytes. The only frame so far,
// and the last one, say how much can come.
func (a *assembly) grown(limitBytes int64) int {
	n := int64(a.n)
	most := n + a.left
	if n > 0 && !a.fin {
		most = max(most, limitBytes)
	}
	return int(min(most, max(assemblyMinBytes, 2*n)))
}

// took unmasks n bytes that were put into room, and reports whether the text is
// still valid, as far as that can be seen.
func (a *assembly) took(n int) bool {
	p := a.buf.B[a.n : a.n+n]
	ws.Cipher(p, a.mask, a.pos)
	a.pos += n
	a.n += n
	a.left -= int64(n)
	return a.op != ws.OpText || a.deflated || a.text.feed(p)
}

// payload is the message.
func (a *assembly) payload() []byte {
	if a.buf == nil {
		return nil
	}
	return a.buf.B[:a.n]
}

// dropAssembly gives an assembly and its buffer back.
func (c *Conn) dropAssembly() {
	a := c.asm
	if a == nil {
		return
	}
	c.asm = nil
	if a.buf != nil {
		c.srv.inbound.Add(-int64(len(a.buf.B)))
		a.buf.Release()
	}
	*a = assembly{}
	assemblies.Put(a)
}
